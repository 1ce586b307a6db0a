"""What a venue pays: back to those who bore a loss, by what they bore; to its contra what an instrument came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount
from services.collateral_management.tests.dated import EXPIRY_S, FUTURE, with_dated
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.places import at, judge_places, move
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    PARAMETERS,
    USD,
    Story,
    alerts,
)
from services.collateral_management.tests.town import Town, new_id

BUST, RECOVERY = kinds.VENUE_EVENT_KIND_BUST, kinds.VENUE_EVENT_KIND_RECOVERY
SETTLEMENT, SOCIALISED = kinds.VENUE_EVENT_KIND_SETTLEMENT, kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS
SECOND_NS = 10**9


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger of one partition; checked when the test is over."""
    told = Story(replace(PARAMETERS, partitions=1))
    yield told
    judge_places(told)
    told.verify()


def event(story: Story, **fields: Any) -> journal_pb2.Outcome:
    """Outcome of a notice of the first venue."""
    outcome = story.do("venue_event", venue=NORTH, executed_at_ns=story.now_ns, **fields)
    assert not outcome.refusal, outcome.detail
    return outcome


def busted(story: Story) -> tuple[int, int]:
    """Two accounts that have lost half of 3 and of 1 coins to a bust, notice 1."""
    accounts = story.account(btc=4), story.account("bob", btc=4)
    for account, units in zip(accounts, (3 * COIN, COIN), strict=True):
        assert not move(story, account, units, asset=BTC)
    event(story, kind=BUST, asset=BTC, units=2 * COIN, number=1)
    return accounts


def owed(story: Story, number: int = 1) -> dict[int, int]:
    """What the venue still owes for a notice, by account."""
    return story.state.lifecycle.owed_by_venue(NORTH, number)


def test_a_payment_that_cannot_be_booked_says_why(story: Story) -> None:
    story.account(btc=1)
    climb(
        story,
        "venue_event",
        {"venue": 9, "kind": RECOVERY, "asset": 99, "units": -1, "recovers": 1},
        [
            (words.REFUSAL_UNKNOWN_VENUE, {"venue": NORTH}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": BTC}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 1, "kind": SETTLEMENT, "instrument": BTC_SPOT}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_PERP, "asset": 4}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
        ],
    )


def test_what_comes_back_is_shared_by_what_was_borne(story: Story) -> None:
    there, other = busted(story)
    assert owed(story) == {there: 3 * COIN // 2, other: COIN // 2}
    paid = event(story, kind=RECOVERY, asset=BTC, units=1_000_001, recovers=1, number=2)
    assert alerts(paid) == ["venue_event"]
    assert (story.balance(there, BTC), story.balance(other, BTC)) == (250_750_001, 350_250_000)
    assert (at(story, there, BTC), at(story, other, BTC)) == (150_750_001, 50_250_000)
    parts = [one.loss_allocated for one in paid.effects if one.HasField("loss_allocated")]
    assert [(one.account, one.units) for one in parts] == [(there, -750_001), (other, -250_000)]
    rest = event(story, kind=RECOVERY, asset=BTC, units=2 * COIN - 1_000_001, recovers=1, number=3)
    assert (story.balance(there, BTC), story.balance(other, BTC)) == (4 * COIN, 4 * COIN)
    assert owed(story) == {}
    assert story.state.lifecycle.venue_claims == {}
    assert "venue_event_beyond" not in alerts(rest)


def test_what_is_beyond_the_loss_is_the_houses(story: Story) -> None:
    there, _ = busted(story)
    treasury = story.house(SystemAccount.TREASURY)
    paid = event(story, kind=RECOVERY, asset=BTC, units=2 * COIN + 5, recovers=1)
    assert set(alerts(paid)) == {"venue_event", "venue_event_beyond"}
    assert (story.balance(there, BTC), story.balance(treasury, BTC), at(story, treasury, BTC)) == (4 * COIN, 5, 5)
    unknown = event(story, kind=RECOVERY, asset=BTC, units=7, recovers=9)
    assert "venue_event_beyond" in alerts(unknown)
    assert story.balance(treasury, BTC) == 12


def test_the_last_payment_ends_what_is_owed(story: Story) -> None:
    there, other = busted(story)
    event(story, kind=RECOVERY, asset=BTC, units=COIN, recovers=1, is_final=True, to_vault=True)
    assert owed(story) == {}
    assert story.balance(there, BTC) == 4 * COIN - 3 * COIN // 4
    assert (at(story, there, BTC), at(story, other, BTC)) == (3 * COIN // 2, COIN // 2)  # paid into the vault
    assert story.balance(story.house(SystemAccount.CUSTODY), BTC) == -8 * COIN + 3 * COIN


def test_the_house_gets_back_what_it_bore_and_the_asset_must_be_the_lost_one(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 1, 1_500_000)
    event(story, kind=SOCIALISED, instrument=BTC_PERP, price=1_600_000, asset=USD, units=20 * DOLLAR, number=4)
    treasury = story.house(SystemAccount.TREASURY)
    assert owed(story, 4) == {account: 16 * DOLLAR, treasury: 4 * DOLLAR}
    event(story, kind=RECOVERY, asset=BTC, units=100, recovers=4)
    assert story.balance(treasury, BTC) == 100
    event(story, kind=RECOVERY, asset=USD, units=10 * DOLLAR, recovers=4)
    assert (story.balance(account, USD), story.balance(treasury, USD)) == (992 * DOLLAR, -2 * DOLLAR)


def test_a_recovery_follows_an_account_that_has_moved_and_opens_a_closed_one() -> None:
    town = Town(2)
    account, other = busted(town[0])
    town[0].do("move_entity", account=account, to_partition=1)
    town.relay()
    units = town[0].balance(other, BTC)
    made = town[0].do("withdraw", sender="bob", account=other, asset=BTC, units=units, destination="bank")
    town[0].do("verdict", account=other, reservation=made.subject, settle=True, citation=town[0].cite())
    assert not town[0].do("close_account", sender="bob", account=other).refusal
    paid = event(town[0], kind=RECOVERY, asset=BTC, units=2 * COIN, recovers=1)
    town.relay()
    assert town[1].balance(new_id(town, account), BTC) == 4 * COIN
    assert (town[0].balance(other, BTC), "reopened" in alerts(paid)) == (COIN // 2, True)
    judge_places(town[0])
    judge_places(town[1])
    town.verify()


def test_what_an_instrument_came_to_is_paid_to_its_contra(story: Story) -> None:
    account = story.account(usd=10_000)
    story.trade(account, BUY, 1_000, 1_500_000)
    story.do("settle_variation", instrument=BTC_PERP, tick=1, price=1_600_000, mark_sequence=1)
    contra = story.house(SystemAccount.CONTRA, BTC_PERP)
    assert story.balance(contra, USD) == -1_000 * DOLLAR  # it has paid the account: the venue owes that
    event(story, kind=SETTLEMENT, instrument=BTC_PERP, asset=USD, units=990 * DOLLAR, is_final=True)
    assert story.balance(contra, USD) == -10 * DOLLAR  # it goes on: nothing is final
    treasury = story.house(SystemAccount.TREASURY)
    assert at(story, treasury, USD) == 990 * DOLLAR
    assert not move(story, treasury, -at(story, treasury, USD))
    event(story, kind=SETTLEMENT, instrument=BTC_PERP, asset=USD, units=-30 * DOLLAR, to_vault=True)
    assert story.balance(contra, USD) == -40 * DOLLAR
    assert story.balance(treasury, USD) == 0


@pytest.mark.parametrize(("paid", "left"), [(1_000, 0), (990, -10), (1_003, 3)])
def test_what_an_ended_instrument_came_to_more_or_less_is_the_houses(paid: int, left: int) -> None:
    story = Story(replace(with_dated(), partitions=1))
    account = story.account(usd=10_000)
    story.trade(account, BUY, 100, 1_500_000, instrument=FUTURE)
    story.now_ns = EXPIRY_S * SECOND_NS
    assert not story.do("close_instrument", instrument=FUTURE, price=1_600_000, mark_sequence=1).refusal
    contra, treasury = story.house(SystemAccount.CONTRA, FUTURE), story.house(SystemAccount.TREASURY)
    assert story.balance(contra, USD) == -1_000 * DOLLAR
    done = event(story, kind=SETTLEMENT, instrument=FUTURE, asset=USD, units=paid * DOLLAR, is_final=True)
    assert (story.balance(contra, USD), story.balance(treasury, USD)) == (0, left * DOLLAR)
    assert ("venue_event_beyond" in alerts(done)) == bool(left)
    judge_places(story)
    story.verify()


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=6),
    st.integers(0, 700),
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_nobody_gets_back_more_than_he_lost_and_every_unit_is_booked(
    holders: Sequence[tuple[int, int]], loss: int, payments: Sequence[tuple[int, bool]]
) -> None:
    story = Story(replace(PARAMETERS, partitions=1))
    accounts = []
    for number, (has, there) in enumerate(holders):
        accounts.append(story.account(f"o{number}", btc=0))
        if has:
            story.do("confirm_deposit", account=accounts[-1], asset=BTC, units=has)
            move(story, accounts[-1], min(has, there), asset=BTC)
    before = {one: story.balance(one, BTC) for one in accounts}
    event(story, kind=BUST, asset=BTC, units=loss, number=1)
    borne = owed(story)
    assert sum(borne.values()) == loss
    paid = 0
    for number, (units, to_vault) in enumerate(payments, 2):
        event(story, kind=RECOVERY, asset=BTC, units=units, recovers=1, number=number, to_vault=to_vault)
        paid += units
        judge_places(story)
        left = owed(story)
        assert all(0 <= left.get(one, 0) <= units for one, units in borne.items())
        assert sum(left.values()) == max(0, loss - paid)
        assert all(story.balance(one, BTC) == before[one] - left.get(one, 0) for one in accounts)
        if paid <= loss and loss:  # nobody is a whole unit ahead of his part of each payment
            assert all(abs((units - left.get(one, 0)) * loss - paid * units) <= loss * number
                       for one, units in borne.items())  # fmt: skip
    story.verify()
