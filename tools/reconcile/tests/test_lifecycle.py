"""An honest takeover, deleveraging, closing, fork and venue event pass every check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ballast.events.v1 import lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from ballast.types.v1 import market_pb2 as sides
from libs.common.ids import InstrumentId
from libs.common.parameters import Clearing, PrincipalRule
from libs.common.units import SECOND_NS, UnixNs
from libs.common.validity import ValidityClass
from services.collateral_management.domain import sweeps
from services.collateral_management.tests import dated
from services.interest_accrual.app.endings import Endings
from services.interest_accrual.app.view import View
from services.price_ingestion.adapters.marks_log import average_message
from services.price_ingestion.domain.averages import Averages
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from tools.reconcile.tests import story as story_module
from tools.reconcile.tests.story import BTC, BUY, DOLLAR, HOUR_NS, PERP, SELL, USD, Story

LTC = 4
ENDS = UnixNs(story_module.PARAMETERS.genesis_ns + 10 * HOUR_NS)


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    """A run in which the perpetual is internal and delisted after ten hours, and a liquidity provider is named."""
    known = story_module.PARAMETERS
    changed = replace(
        known,
        instruments=tuple(
            replace(one, clearing=Clearing.INTERNAL, delisted_ns=ENDS) if one.id == PERP else one
            for one in known.instruments
        ),
        principals=(*known.principals, PrincipalRule("backstop", "liquidity_provider")),
    )
    monkeypatch.setattr(story_module, "PARAMETERS", changed)
    for name, service in (
        ("close_instrument", "interest_accrual"),
        ("take_over_position", "liquidation_execution"),
        ("deleverage", "liquidation_execution"),
        ("deleverage_across", "liquidation_execution"),
        ("venue_event", "venue_gateway"),
    ):
        monkeypatch.setitem(story_module.SERVICES, name, service)
    told = Story()
    told.mark(1_500_000)
    return told


def passes(story: Story) -> None:
    """Nothing is found, but for what this run leaves out on purpose: rates and margins of other partitions."""
    result = story.reconcile()
    assert {name: one.shown for name, one in result.findings.items() if one.count} == {}


def basis(story: Story) -> lifecycle_pb2.Basis:
    """What a step is judged on."""
    cited = story.cite()
    return lifecycle_pb2.Basis(
        journal_sequence=cited.journal_sequence, mark_sequence=cited.mark_sequence, control_sequence=1
    )


def under_water(story: Story) -> tuple[int, int]:
    """An account below nothing, with an open episode."""
    account = story.account("alice", usd=9_000)
    story.trade("alice", account, BUY, 2_000, 1_500_100, instrument=PERP)
    story.mark(1_000_000, hours=1)
    equity, maintenance = story.publish()[account]
    episode = story.send(
        "open_episode", account=account, equity=equity, maintenance_margin=maintenance, citation=story.cite()
    ).subject
    story.publish()
    return account, episode


def test_a_takeover_and_a_deleveraging_are_losses_with_a_cause(story: Story) -> None:
    lender = story.account("lender", usd=50_000)
    story.send("supply", sender="lender", account=lender, asset=USD, units=40_000 * DOLLAR)
    taker, other = story.account("backstop", usd=50_000), story.account("bob", usd=50_000)
    story.trade("bob", other, SELL, 1_500, 1_500_100, instrument=PERP)
    account, episode = under_water(story)
    story.send(
        "take_over_position", account=account, episode=episode, step=1, instrument=PERP, lots=500, price=980_000,
        taker=taker, basis=basis(story),
    )  # fmt: skip
    story.publish()
    party = lifecycle_pb2.DeleveragedPosition(account=other, lots=1_500)
    story.send(
        "deleverage", account=account, episode=episode, step=2, instrument=PERP, price=1_060_000, mark_price=1_000_000,
        deficit_units=1_500 * DOLLAR, counterparties=[party], basis=basis(story),
    )  # fmt: skip
    story.send("resolve_shortfall", account=account, episode=episode)
    story.publish()
    closed = words.EPISODE_STATE_EMPTIED
    story.send("close_episode", account=account, episode=episode, outcome=closed, citation=story.cite())
    passes(story)


def deleveraged_across(story: Story) -> list[int]:
    """Accounts of three partitions that hold the opposite of one that is under water, and give up what is lacking."""
    lender = story.account("lender", usd=50_000)
    story.send("supply", sender="lender", account=lender, asset=USD, units=40_000 * DOLLAR)
    parties = []
    for partition, lots, usd in ((0, 500, 9_000), (1, 900, 9_000), (2, 1_500, 90_000)):
        parties.append(story.account(f"p{partition}", partition=partition, usd=usd))
        story.trade(f"p{partition}", parties[-1], SELL, lots, 1_500_100, instrument=PERP)
    account, episode = under_water(story)
    story.send(
        "deleverage_across", account=account, episode=episode, step=1, instrument=PERP, lots=2_000, price=1_050_000,
        mark_price=1_000_000, deficit_units=1_010 * DOLLAR, basis=basis(story),
    )  # fmt: skip
    story.publish()
    story.send("resolve_shortfall", account=account, episode=episode)
    story.publish()
    closed = words.EPISODE_STATE_EMPTIED
    story.send("close_episode", account=account, episode=episode, outcome=closed, citation=story.cite())
    return [account, *parties]


def test_a_deleveraging_over_partitions_passes(story: Story) -> None:
    accounts = deleveraged_across(story)
    lots = [story.books[one >> 48].lines.get((one, PERP, words.LINE_KIND_LOTS), 0) for one in accounts]
    assert lots == [0, -500, 0, -400]
    passes(story)


def test_who_was_passed_over_is_named(story: Story) -> None:
    deleveraged_across(story)
    for frame in story.frames:
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.movement.kind == words.MOVEMENT_KIND_DELEVERAGING_OFFER and frame.partition == 2:
                    effect.movement.deleveraging.ranked[0].cash = 1  # with so little it ranks before all others
    found = story.reconcile().findings["I11"]
    assert any("by rank they are" in one for one in found.shown)


def test_a_closing_at_the_published_price_passes_and_at_a_later_one_does_not(story: Story) -> None:
    account = story.account("alice", usd=90_000)
    story.trade("alice", account, BUY, 2_000, 1_500_100, instrument=PERP)
    story.mark(1_400_000, hours=10)
    story.marks[-1].body.settlement_average.add(instrument=PERP, price=1_410_000, is_final=True)
    for partition in range(4):
        home = PERP % 4
        order = (home, *(one for one in range(4) if one != home))[partition]
        sequence = 0 if order == home else story.books[home].sequence
        story.send(
            "close_instrument", partition=order, instrument=PERP, price=1_410_000, mark_sequence=len(story.marks),
            home_sequence=sequence,
        )  # fmt: skip
    passes(story)
    story.marks[-1].body.settlement_average[0].price = 1_410_001
    assert story.reconcile().broken == ["I16"]


def test_a_fork_and_a_venue_event_are_explained(story: Story) -> None:
    account, other = story.account("alice", usd=90_000, btc=2), story.account("bob", btc=1)
    story.trade("alice", account, BUY, 100, 1_500_100, instrument=PERP)
    story.send("distribute", number=1, held=BTC, credited=LTC, numerator=1, denominator=3, reason="fork")
    story.send(
        "venue_event", venue=1, kind=kinds.VENUE_EVENT_KIND_LIQUIDATION, instrument=PERP, side=SELL, lots=40,
        price=1_490_000, units=7, whole=40, executed_at_ns=story.now_ns,
    )  # fmt: skip
    story.send(
        "venue_event", venue=1, kind=kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS, instrument=PERP, price=1_490_000,
        asset=USD, units=9, whole=9, executed_at_ns=story.now_ns,
    )  # fmt: skip
    assert story.books[0].lines[other, LTC, words.LINE_KIND_CASH] == 10**8 // 3
    passes(story)


DATED = dated.with_dated()
EXPIRES_NS = dated.EXPIRY_S * 10**9


def at_expiry(story: Story, price: int) -> None:
    """Marks at the expiry, all instruments on BTC at the settlement price."""
    story.now_ns = EXPIRES_NS
    story.mark(price, hours=0)
    for one in DATED.instruments:
        if one.closes_ns:
            story.marks[-1].body.settlement_average.add(instrument=one.id, price=price, is_final=True)


# instrument, side, coins held beside it: none where it would hedge them, for what it hedged is bare after an expiry
EXPIRIES = [
    (dated.FUTURE, BUY, 0),
    (dated.FUTURE, SELL, 0),
    (dated.FUTURE, BUY, 5),
    (dated.INVERSE_FUTURE, BUY, 5),
    (dated.DELIVERED_FUTURE, BUY, 0),
    (dated.DELIVERED_FUTURE, BUY, 5),
    (dated.DELIVERED_FUTURE, SELL, 5),
]


@pytest.mark.parametrize(("instrument", "side", "coins"), EXPIRIES)
@pytest.mark.parametrize("price", [1_300_000, 1_500_000, 1_723_457])
def test_equity_stays_and_the_requirement_does_not_rise_across_an_expiry(
    monkeypatch: pytest.MonkeyPatch, instrument: int, side: sides.Side, coins: int, price: int
) -> None:
    monkeypatch.setattr(story_module, "PARAMETERS", replace(DATED, partitions=4))
    monkeypatch.setitem(story_module.SERVICES, "close_instrument", "interest_accrual")
    story = Story()
    story.mark(1_500_000)
    account = story.account("alice", usd=90_000, **({"btc": coins} if coins else {}))
    story.trade("alice", account, side, 100, 1_500_000, instrument=instrument)
    at_expiry(story, price)
    (equity, maintenance) = story.publish()[account]
    home = instrument % 4
    sequence = 0 if home == 0 else 1
    if home:
        story.send(
            "close_instrument", partition=home, instrument=instrument, price=price, mark_sequence=len(story.marks)
        )
        sequence = story.books[home].sequence
    story.send(
        "close_instrument", instrument=instrument, price=price, mark_sequence=len(story.marks), home_sequence=sequence
    )
    (after, required) = story.publish()[account]
    assert abs(after - equity) <= 1_000  # a unit of BTC is worth 170 · 10^-6 USD
    assert required <= maintenance


def test_from_the_index_to_the_last_position_without_a_person(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices average, interest proposes and relays, the ledger closes in batches, the reader finds nothing wrong."""
    parameters = story_module.PARAMETERS
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 2)
    for number in range(5):
        account = story.account(f"owner{number}", usd=9_000)
        story.trade(f"owner{number}", account, BUY, 100 + number, 1_500_100, instrument=PERP)
    averages, view = Averages(parameters), View(parameters)
    endings, perp = Endings(view), next(one for one in parameters.instruments if one.id == PERP)
    for minutes, price in ((-40, 1_400_000), (-20, 1_420_000), (-10, 1_460_000), (1, 900_000)):
        story.now_ns = ENDS + minutes * 60 * SECOND_NS
        story.mark(price, hours=0)
        rows = [MarkRow(InstrumentId(1), Mark(price, price, 0, ValidityClass.VALID), price)]
        for one in averages.take(rows, now_ns=UnixNs(story.now_ns)):
            story.marks[-1].body.settlement_average.append(average_message(one))
        last = story.marks[-1]
        view.fold_marks(sequence=last.sequence, run_time_ns=last.run_time_ns, body=last.body)
    seen, rounds = 0, 0
    while rounds < 10:
        for frame in story.frames[seen:]:
            view.fold_journal(frame.partition, sequence=frame.sequence, body=frame.body)
        seen = len(story.frames)
        due = endings.due(perp, now_s=0.0)
        if not due:
            break
        rounds += 1
        for partition, command in due:
            closing = command.close_instrument
            fields = {each.name: value for each, value in closing.ListFields()}
            story.send("close_instrument", partition=partition, **fields)
    assert [book.lifecycle.listings[PERP].price for book in story.books] == [1_426_666] * 4
    assert not [line for book in story.books for line in book.lines if line[1] == PERP and line[0] > 1 << 32]
    assert rounds == 4  # the home partition, the others, and two batches more of the one with five holders
    passes(story)
