"""What a venue does to our omnibus account is shared among clients by a published rule, to the last unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount
from services.collateral_management.domain import venue_losses
from services.collateral_management.domain.sharing import shares
from services.collateral_management.domain.state import LOTS
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    PARAMETERS,
    SELL,
    SOUTH,
    USD,
    Story,
    alerts,
)

PRICE, MARK = 1_500_000, 1_600_000
LIQUIDATION, BUST = kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_BUST
SOCIALISED = kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger of one partition; checked when the test is over."""
    told = Story(replace(PARAMETERS, partitions=1))
    yield told
    told.verify()


def holders(story: Story, *lots: int) -> list[int]:
    """Accounts with so many lots of the perpetual, short when negative."""
    accounts = [story.account(f"owner{number}", usd=1_000) for number in range(len(lots))]
    for number, (account, held) in enumerate(zip(accounts, lots, strict=True)):
        side = BUY if held > 0 else SELL
        story.trade(account, side, abs(held), PRICE, sender=f"owner{number}")
    return accounts


def event(story: Story, **fields: Any) -> journal_pb2.Outcome:
    """Outcome of an event at the first venue."""
    given_fields = {"venue": NORTH, "instrument": BTC_PERP, "price": MARK, "executed_at_ns": story.now_ns, **fields}
    return story.do("venue_event", **given_fields)


def test_venue_event(story: Story) -> None:
    holders(story, 5)
    climb(
        story,
        "venue_event",
        {"venue": 9, "instrument": BTC_SPOT, "kind": LIQUIDATION},
        [
            (words.REFUSAL_UNKNOWN_VENUE, {"venue": NORTH}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_PERP}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": MARK}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"side": SELL, "lots": -1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": 5, "units": -1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 0, "kind": 17}),
            (words.REFUSAL_UNKNOWN_COMMAND, {"kind": SOCIALISED, "asset": 99, "units": -1}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 7, "kind": BUST}),
        ],
    )


def test_a_closing_is_shared_pro_rata_of_the_side_that_is_closed(story: Story) -> None:
    accounts = holders(story, 10, 20, 31, -40)
    outcome = event(story, kind=LIQUIDATION, side=SELL, lots=10, units=61, whole=10)
    assert not outcome.refusal, outcome.detail
    # 10·10/61 = 1.64, 3.28, 5.08: the one lot that is left goes to the largest remainder
    assert [story.balance(one, BTC_PERP, LOTS) for one in accounts] == [8, 17, 26, -40]
    assert alerts(outcome) == ["venue_event"]
    parts = [one.position_closed for one in outcome.effects if one.HasField("position_closed")]
    assert [(one.account, one.lots, one.weight) for one in parts] == [
        (accounts[0], 2, 10), (accounts[1], 3, 20), (accounts[2], 5, 31)
    ]  # fmt: skip
    assert -sum(one.paid_units for one in parts) == 61  # the fee, to the last unit
    # two lots of a thousandth of a coin, bought 1,000 dollars lower; their part of the fee is 12 units
    assert story.balance(accounts[0], USD) == 1_002 * DOLLAR - 12


def test_a_partition_without_a_part_says_only_that_it_has_none(story: Story) -> None:
    outcome = event(story, kind=LIQUIDATION, side=SELL, number=7, left_lots=3, left_units=5, whole=3)
    assert [one.WhichOneof("effect") for one in outcome.effects] == ["venue_share"]
    share = story.state.lifecycle.venue_shares[NORTH]
    assert (share.number, share.left_lots, share.left_units) == (7, 3, 5)


def test_what_nobody_holds_is_the_houses(story: Story) -> None:
    accounts = holders(story, 4)
    outcome = event(story, kind=LIQUIDATION, side=SELL, lots=6)
    assert set(alerts(outcome)) == {"venue_event", "venue_event_beyond"}
    assert story.balance(accounts[0], BTC_PERP, LOTS) == 0
    assert story.balance(story.house(SystemAccount.SUSPENSE), BTC_PERP, LOTS) == -2


def test_a_socialised_loss_is_shared_by_both_sides(story: Story) -> None:
    accounts = holders(story, 10, -20)
    event(story, kind=SOCIALISED, asset=USD, units=300)
    assert [story.balance(one, USD) for one in accounts] == [1_000 * DOLLAR - 100, 1_000 * DOLLAR - 200]


def test_nobody_loses_more_than_his_position_is_worth(story: Story) -> None:
    accounts = holders(story, 1, -1)  # worth 16 dollars each
    story.lend(usd=100)
    event(story, kind=SOCIALISED, asset=USD, units=40 * DOLLAR)
    assert [story.balance(one, USD) for one in accounts] == [984 * DOLLAR, 984 * DOLLAR]
    assert story.balance(story.house(SystemAccount.TREASURY), USD) == -8 * DOLLAR


def test_a_bust_is_borne_by_those_whose_units_were_there(story: Story) -> None:
    there, elsewhere = story.account(btc=4), story.account("bob", btc=4)
    for account, venue, units in ((there, NORTH, 3 * COIN), (elsewhere, SOUTH, COIN)):
        assert not story.do("move_location", account=account, asset=BTC, venue=venue, units=units).refusal
    event(story, kind=BUST, asset=BTC, units=2 * COIN, instrument=0)
    assert (story.balance(there, BTC), story.balance(elsewhere, BTC)) == (2 * COIN, 4 * COIN)
    event(story, kind=BUST, asset=BTC, units=2 * COIN, instrument=0)
    assert story.balance(there, BTC) == COIN
    assert story.balance(story.house(SystemAccount.TREASURY), BTC) == -COIN


def test_beyond_a_number_of_holders_the_largest_bear(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = holders(story, 3, 9, 5)
    monkeypatch.setattr(venue_losses, "BEARERS_MAX", 2)
    event(story, kind=LIQUIDATION, side=SELL, lots=7)
    assert [story.balance(one, BTC_PERP, LOTS) for one in accounts] == [3, 4, 3]


def test_a_fact_that_cannot_be_read_is_kept_for_a_person(story: Story) -> None:
    command = story.command("venue_event", venue=NORTH, kind=LIQUIDATION, instrument=99, lots=3, detail="liq 77")
    command.ClearField("session")
    command.fact.stream, command.fact.sequence = "venue/north/events", 1
    outcome = story.send(command)
    assert (outcome.refusal, alerts(outcome)) == (0, ["fact_in_suspense"])
    assert story.send(command).repeated


weights = st.dictionaries(st.integers(1, 40), st.integers(0, 10**6), max_size=8)


@given(st.integers(0, 10**7), weights)
@settings(max_examples=300, deadline=None)
def test_shares_add_up_and_keep_their_caps(whole: int, held: dict[int, int]) -> None:
    parts = shares(whole, held, caps=held)
    assert sum(parts.values()) == min(whole, sum(held.values()))
    assert all(0 < part <= held[account] for account, part in parts.items())
    total = sum(held.values())
    if whole < total:  # nobody is a whole unit away from his exact share
        assert all(abs(parts.get(one, 0) * total - whole * weight) < total for one, weight in held.items())
