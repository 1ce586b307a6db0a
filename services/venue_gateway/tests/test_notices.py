"""What a venue did to our account: shared over partitions one after another, acknowledged when all have their part."""

from __future__ import annotations

from typing import Any

import pytest

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import custody_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount, account_id, system_account
from libs.common.units import MalformedNumber
from services.venue_gateway.app.notices import Notices, event_of
from services.venue_gateway.errors import EndReason, SessionEnded
from services.venue_gateway.tests.house import DIRECTORY, NORTH, PARAMETERS, PERP, House, outcome_of
from services.venue_gateway.tests.test_venue_session import Story

LIQUIDATION, BUST = kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_BUST
SOCIALISED = kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS
RECOVERY, SETTLEMENT = kinds.VENUE_EVENT_KIND_RECOVERY, kinds.VENUE_EVENT_KIND_SETTLEMENT
SELL = market_pb2.SIDE_SELL
GOOD: dict[str, Any] = {
    "sequence": 1, "kind": LIQUIDATION, "symbol": "BTC-USD-PERP", "side": SELL, "lots": 100, "price": "60000",
    "amount": "1.5",
}  # fmt: skip


def notice(**changes: Any) -> venue_pb2.VenueNotice:
    """A liquidation of 100 lots, or what is changed."""
    return venue_pb2.VenueNotice(**{**GOOD, **changes})


def hold(house: House, partition: int, *lots: int) -> None:
    """Clients of a partition with so many lots."""
    effects = []
    for number, held in enumerate(lots, 1):
        account = account_id(partition=partition, entity=number, sub=0)
        posting = journal_pb2.Posting(
            account=account, asset=PERP.id, kind=ledger_pb2.LINE_KIND_LOTS, balance=held
        )  # fmt: skip
        effects.append(journal_pb2.Effect(posting=posting))
    house.journal(journal_pb2.Outcome(effects=effects), partition=partition)


def take(house: House, notices: Notices) -> tuple[int, int, int] | None:
    """Journals the next part: its partition, lots and units; None when none is due."""
    part = notices.due()
    if part is None:
        return None
    event = part.command.venue_event
    share = lifecycle_pb2.VenueShare(
        venue=event.venue, number=event.number, left_lots=event.left_lots, left_units=event.left_units
    )
    house.journal(outcome_of(part.command, journal_pb2.Effect(venue_share=share)), partition=part.partition)
    return part.partition, event.lots, event.units


def fresh(house: House) -> Notices:
    """A follower that knows what the journal says."""
    return Notices(venue=NORTH, view=house.view, directory=DIRECTORY)


def test_parts_go_by_what_clients_hold_and_add_up() -> None:
    house = House()
    hold(house, 0, 30, -500)
    hold(house, 1, 20, 40)
    hold(house, 3, 7)
    notices = fresh(house)
    notices.hear(notice())
    assert notices.due() is not None
    assert notices.due() is None  # one at a time
    notices.again()
    parts = [take(house, notices) for _ in range(4)]
    assert parts == [(0, 30, 450_000), (1, 62, 930_000), (2, 0, 0), (3, 8, 120_000)]
    assert take(house, notices) is None
    assert (notices.recorded, notices.is_waiting) == (1, False)


@pytest.mark.parametrize("taken", range(4))
def test_a_restart_in_the_middle_goes_on_where_it_was(taken: int) -> None:
    house = House()
    hold(house, 0, 30)
    hold(house, 2, 30)
    first = fresh(house)
    first.hear(notice())
    parts = [take(house, first) for _ in range(taken)]
    hold(house, 0, 99)  # what changes meanwhile does not change what was given out
    second = fresh(house)
    second.hear(notice())
    parts += [take(house, second) for _ in range(4 - taken)]
    assert sum(part[1] for part in parts if part) == 100
    assert sum(part[2] for part in parts if part) == 1_500_000
    assert second.recorded == 1


def test_what_nobody_holds_goes_to_the_last_partition() -> None:
    house = House()
    notices = fresh(house)
    notices.hear(notice())
    assert [take(house, notices) for _ in range(4)][-1] == (3, 100, 1_500_000)


def test_a_bust_goes_by_the_units_that_clients_keep_there() -> None:
    house = House()
    for partition, units in ((1, 300), (2, 100)):
        account = account_id(partition=partition, entity=1, sub=0)
        placement = custody_pb2.Placement(account=account, asset=2, venue=NORTH.id, units=units)
        house.journal(journal_pb2.Outcome(effects=[journal_pb2.Effect(placement=placement)]), partition=partition)
    notices = fresh(house)
    notices.hear(venue_pb2.VenueNotice(sequence=1, kind=BUST, asset="BTC", amount="0.00000201"))
    assert [take(house, notices) for _ in range(4)] == [(0, 0, 0), (1, 0, 150), (2, 0, 51), (3, 0, 0)]


def test_what_comes_back_goes_by_what_is_still_owed_for_that_notice() -> None:
    house = House()
    for partition, borne, back in ((0, 300, 200), (2, 700, 0)):
        claim = lifecycle_pb2.VenueClaim(
            venue=NORTH.id, number=1, account=account_id(partition=partition, entity=1, sub=0), asset=2,
            borne_units=borne, recovered_units=back,
        )  # fmt: skip
        house.journal(journal_pb2.Outcome(effects=[journal_pb2.Effect(venue_claim=claim)]), partition=partition)
    notices = fresh(house)
    notices.hear(venue_pb2.VenueNotice(sequence=1, kind=BUST, asset="BTC", amount="0.00001"))
    assert [take(house, notices) for _ in range(4)][-1] == (3, 0, 1_000)
    notices.hear(
        venue_pb2.VenueNotice(sequence=2, kind=RECOVERY, asset="BTC", amount="0.00000401", recovers=1, is_final=True)
    )
    part = notices.due()
    assert part is not None
    assert (part.command.venue_event.recovers, part.command.venue_event.is_final) == (1, True)
    notices.again()
    assert [take(house, notices) for _ in range(4)] == [(0, 0, 50), (1, 0, 0), (2, 0, 351), (3, 0, 0)]


def test_a_settlement_pays_each_partition_what_its_contra_is_owed() -> None:
    house = House()
    for partition, cash in ((0, -500), (1, 300)):
        contra = system_account(SystemAccount.CONTRA, partition=partition, index=PERP.id)
        posting = journal_pb2.Posting(account=contra, asset=1, kind=ledger_pb2.LINE_KIND_CASH, balance=cash)
        house.journal(journal_pb2.Outcome(effects=[journal_pb2.Effect(posting=posting)]), partition=partition)
    settled = {"kind": SETTLEMENT, "asset": "USD", "amount": "-0.00001", "to_vault": True, "lots": 0, "price": ""}
    notices = fresh(house)
    notices.hear(notice(**settled))
    assert [take(house, notices) for _ in range(2)] == [(0, 0, 500), (1, 0, -300)]
    again = fresh(house)  # a restart in the middle
    again.hear(notice(**settled))
    assert [take(house, again) for _ in range(2)] == [(2, 0, 0), (3, 0, -210)]


BAD = [
    {"sequence": 2},
    {"symbol": "DOGE"},
    {"price": "0"},
    {"price": "1.001"},
    {"lots": 0},
    {"side": 0},
    {"amount": "-1"},
    {"kind": SOCIALISED, "asset": "DOGE"},
    {"kind": SOCIALISED, "asset": "USD", "amount": "0"},
    {"kind": 0, "asset": "USD"},
    {"kind": BUST, "asset": "USD", "amount": "1.0000001"},
    {"kind": RECOVERY, "asset": "USD", "amount": "1", "recovers": 0},
    {"kind": RECOVERY, "asset": "USD", "amount": "1", "recovers": 1},
    {"kind": RECOVERY, "asset": "DOGE", "amount": "1", "recovers": 0},
    {"kind": SETTLEMENT, "asset": "ETH", "amount": "1"},
    {"kind": SETTLEMENT, "asset": "DOGE", "amount": "1"},
    {"kind": SETTLEMENT, "asset": "USD", "amount": "1", "symbol": ""},
]


@pytest.mark.parametrize("changes", BAD)
def test_a_notice_that_cannot_be_taken_ends_the_session(changes: dict[str, Any]) -> None:
    story = Story()
    with pytest.raises(SessionEnded) as ended:
        story.session.hear(venue_pb2.ConnectRequest(notice=notice(**changes)))
    assert ended.value.reason is EndReason.MALFORMED


def test_a_loss_is_read_in_its_own_asset() -> None:
    event = event_of(notice(kind=SOCIALISED, asset="USD", amount="12.34"), venue=NORTH, directory=DIRECTORY)
    assert (event.asset, event.units, event.whole, event.lots) == (1, 12_340_000, 12_340_000, 0)
    with pytest.raises(MalformedNumber):
        event_of(notice(kind=SOCIALISED, asset="USD", amount="x"), venue=NORTH, directory=DIRECTORY)


def test_a_session_acknowledges_a_notice_when_every_partition_has_its_part() -> None:
    story = Story()
    story.session.begin()
    (hello,) = [message for name, message in story.said() if name == "hello"]
    assert hello.notices_after == 0
    story.session.hear(venue_pb2.ConnectRequest(notice=notice()))
    assert story.session.due.is_set()
    for partition in range(PARAMETERS.partitions):
        assert "notice_ack" not in story.names()
        assert take(story.house, story.session._notices) == (
            partition,
            100 * (partition == 3),
            1_500_000 * (partition == 3),
        )
    (ack,) = [message for name, message in story.said() if name == "notice_ack"]
    assert ack.up_to == 1
    story.session.hear(venue_pb2.ConnectRequest(notice=notice()))  # sent again
    assert "notice_ack" in story.names()
