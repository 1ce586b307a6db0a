"""Where assets sit, and who bears what a venue loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id
from services.collateral_management.domain import locations
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.places import at, impair, judge_places, move, venue_units
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    SELL,
    SOUTH,
    USD,
    Story,
    alerts,
)
from services.collateral_management.tests.town import Town, new_id

NOBODY = account_id(partition=0, entity=9_999, sub=0)
PRICE = 1_000_000  # 10,000 USD a coin


def test_what_is_bought_sits_at_the_venue_and_the_house_owes_it_what_was_paid(story: Story) -> None:
    account = story.account(usd=20_000)
    story.trade(account, BUY, 100, PRICE, instrument=BTC_SPOT, fee=2 * DOLLAR)
    treasury = story.house(SystemAccount.TREASURY)
    bought, paid = story.balance(account, BTC), 20_000 * DOLLAR - story.balance(account, USD)
    assert at(story, account, BTC) == bought > 0
    assert (at(story, account, USD), at(story, treasury, USD)) == (0, -paid)
    judge_places(story)


def test_what_was_moved_there_pays_first(story: Story) -> None:
    account = story.account(usd=20_000)
    assert not move(story, account, 5_000 * DOLLAR)
    story.trade(account, BUY, 100, PRICE, instrument=BTC_SPOT)
    paid = 20_000 * DOLLAR - story.balance(account, USD)
    treasury = story.house(SystemAccount.TREASURY)
    assert at(story, account, USD) == max(0, 5_000 * DOLLAR - paid)
    assert at(story, treasury, USD) == min(0, 5_000 * DOLLAR - paid)
    judge_places(story)


def test_a_perpetual_pays_only_its_fee_at_the_venue(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 1, PRICE, instrument=BTC_PERP, fee=3 * DOLLAR)
    assert at(story, story.house(SystemAccount.TREASURY), USD) == -3 * DOLLAR
    assert account not in story.state.custody.places
    judge_places(story)


def test_the_house_settles_with_a_venue_what_it_owes_and_not_a_unit_more(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 1, PRICE, instrument=BTC_PERP, fee=3 * DOLLAR)
    treasury = story.house(SystemAccount.TREASURY)
    assert move(story, treasury, 3 * DOLLAR + 1) == words.REFUSAL_INSUFFICIENT_BALANCE  # clients' units stay
    assert not move(story, treasury, 3 * DOLLAR)
    assert venue_units(story.state, story, USD, NORTH) == 0
    judge_places(story)


def test_move_location(story: Story) -> None:
    account = story.account(usd=100)
    impair(story, haircut=10)

    def recover() -> None:
        impair(story)

    climb(
        story,
        "move_location",
        {"account": NOBODY, "asset": 99, "venue": 99, "units": 0},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": story.house(SystemAccount.INSURANCE)}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_UNKNOWN_VENUE, {"venue": NORTH}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 100 * DOLLAR + 1}),
            (words.REFUSAL_LOCATION_IMPAIRED, recover),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": -1}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": 100 * DOLLAR}),
        ],
    )
    assert at(story, account, USD) == 100 * DOLLAR == venue_units(story.state, story, USD, NORTH)
    assert move(story, account, 1) == words.REFUSAL_INSUFFICIENT_BALANCE
    assert not move(story, account, -100 * DOLLAR)
    assert story.state.custody.places == {}
    judge_places(story)


def test_what_leaves_an_account_leaves_its_places_to_the_house(story: Story) -> None:
    account = story.account(usd=100)
    move(story, account, 60 * DOLLAR, venue=NORTH)
    move(story, account, 40 * DOLLAR, venue=SOUTH)
    reserved = story.do("withdraw", account=account, asset=USD, units=70 * DOLLAR, destination="bank").subject
    assert (at(story, account, USD), at(story, account, USD, SOUTH)) == (60 * DOLLAR, 40 * DOLLAR)
    story.do("verdict", account=account, reservation=reserved, settle=True, citation=story.cite())
    assert (at(story, account, USD), at(story, account, USD, SOUTH)) == (30 * DOLLAR, 0)
    treasury = story.house(SystemAccount.TREASURY)
    assert (at(story, treasury, USD), at(story, treasury, USD, SOUTH)) == (30 * DOLLAR, 40 * DOLLAR)
    judge_places(story)


def test_impair_venue(story: Story) -> None:
    climb(
        story,
        "impair_venue",
        {"venue": 99, "loss_ppm": 1_000_001, "reason": ""},
        [
            (words.REFUSAL_UNKNOWN_VENUE, {"venue": NORTH}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"loss_ppm": 0, "haircut_ppm": 1_000_001}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"haircut_ppm": 0}),
            (words.REFUSAL_REASON_MISSING, {"reason": "it halted payouts"}),
        ],
    )
    assert alerts(story.outcomes[-1]) == ["venue_impaired"]


@pytest.fixture
def exposed(story: Story) -> tuple[int, int, int]:
    """Accounts with 60, 30 and no dollars at the venue, out of 100 each."""
    accounts = (story.account(usd=100), story.account("bob", usd=100), story.account("carol", usd=100))
    move(story, accounts[0], 60 * DOLLAR)
    move(story, accounts[1], 30 * DOLLAR)
    return accounts


def test_those_whose_assets_sit_there_bear_the_loss_pro_rata(story: Story, exposed: tuple[int, int, int]) -> None:
    assert not impair(story, loss=50)
    assert [story.balance(each, USD) for each in exposed] == [70 * DOLLAR, 85 * DOLLAR, 100 * DOLLAR]
    assert [at(story, each, USD) for each in exposed] == [30 * DOLLAR, 15 * DOLLAR, 0]
    assert venue_units(story.state, story, USD, NORTH) == 45 * DOLLAR
    judge_places(story)


def test_the_same_impairment_again_changes_nothing(story: Story, exposed: tuple[int, int, int]) -> None:
    impair(story, loss=50)
    story.do("withdraw", sender="bob", account=exposed[1], asset=USD, units=85 * DOLLAR, destination="bank")
    before = dict(story.state.all_lines())
    impair(story, loss=50)
    assert dict(story.state.all_lines()) == before
    judge_places(story)


def test_a_recovery_gives_back_to_the_unit(story: Story, exposed: tuple[int, int, int]) -> None:
    for loss in (33, 77, 100, 12, 0):
        impair(story, loss=loss, haircut=50)
        judge_places(story)
    assert [story.balance(each, USD) for each in exposed[1:]] == [100 * DOLLAR] * 2
    impair(story)
    assert [story.balance(each, USD) for each in exposed] == [100 * DOLLAR] * 3
    assert [at(story, each, USD) for each in exposed] == [60 * DOLLAR, 30 * DOLLAR, 0]
    assert not any(one.impaired_units for places in story.state.custody.places.values() for one in places.values())
    judge_places(story)


def test_a_loss_is_rounded_up_and_never_beyond_what_is_there(story: Story) -> None:
    account = story.account(usd=1)
    move(story, account, 1)
    impair(story, loss=1)
    assert (story.balance(account, USD), at(story, account, USD)) == (DOLLAR - 1, 0)
    judge_places(story)


def test_a_loss_beyond_free_cash_gives_back_what_waits(story: Story, exposed: tuple[int, int, int]) -> None:
    waiting = story.do("withdraw", account=exposed[0], asset=USD, units=100 * DOLLAR, destination="bank").subject
    impair(story, loss=100)
    assert waiting not in story.state.reservations
    assert story.balance(exposed[0], USD) == 40 * DOLLAR
    judge_places(story)


def test_a_haircut_keeps_its_share_of_what_sits_there_however_often_one_asks(
    story: Story, exposed: tuple[int, int, int]
) -> None:
    impair(story, haircut=50)
    account = exposed[0]

    def withdraw(dollars: int) -> words.Refusal:
        reserved = story.do("withdraw", account=account, asset=USD, units=dollars * DOLLAR, destination="bank")
        if not reserved.refusal:
            story.do("verdict", account=account, reservation=reserved.subject, settle=True, citation=story.cite())
        return reserved.refusal

    assert withdraw(71) == words.REFUSAL_LOCATION_IMPAIRED
    assert withdraw(50) == words.REFUSAL_UNSPECIFIED
    assert withdraw(20) == words.REFUSAL_UNSPECIFIED
    assert withdraw(1) == words.REFUSAL_LOCATION_IMPAIRED
    other = story.account(entity=account)
    cases: tuple[tuple[str, dict[str, Any]], ...] = (("transfer", {"to_account": other}), ("supply", {}))
    for name, fields in cases:
        refused = story.do(name, account=account, asset=USD, units=DOLLAR, **fields).refusal
        assert refused == words.REFUSAL_LOCATION_IMPAIRED
    impair(story)
    assert withdraw(30) == words.REFUSAL_UNSPECIFIED
    judge_places(story)


def test_what_risk_let_go_stays_when_a_haircut_came_in_between(story: Story, exposed: tuple[int, int, int]) -> None:
    account = exposed[0]
    other = story.account(entity=account)
    sent = story.do("transfer", account=account, to_account=other, asset=USD, units=90 * DOLLAR).subject
    impair(story, haircut=100)
    assert sent not in story.state.reservations
    assert (story.balance(account, USD), story.balance(other, USD)) == (100 * DOLLAR, 0)


def test_a_large_impairment_takes_several_commands(
    story: Story, exposed: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "PLACEMENTS_MAX", 1)
    impair(story, loss=10)
    assert story.state.custody.impairments[NORTH].remaining == story.outcomes[-1].subject == 1
    impair(story, loss=10)
    assert story.state.custody.impairments[NORTH].remaining == 0
    assert [story.balance(each, USD) for each in exposed] == [94 * DOLLAR, 97 * DOLLAR, 100 * DOLLAR]
    judge_places(story)


kinds = ["move", "buy", "sell", "perp", "withdraw", "deposit", "supply", "impair", "transfer"]
moves = st.lists(
    st.tuples(st.sampled_from(kinds), st.integers(0, 2), st.sampled_from((NORTH, SOUTH)), st.integers(1, 300)),
    max_size=40,
)


@given(moves)
@settings(max_examples=150)
def test_i20_venues_hold_what_is_placed_there_whatever_happens(steps: Sequence[tuple[str, int, int, int]]) -> None:
    story = Story()
    first = story.account(usd=2_000)
    accounts = [first, story.account(usd=500, btc=1, entity=first), story.account(btc=2)]
    for what, which, venue, number in steps:
        account, treasury = accounts[which], story.house(SystemAccount.TREASURY)
        own: dict[str, Any] = {"account": account, "asset": USD, "units": number * DOLLAR}
        if what in ("buy", "sell", "perp") and story.state.accounts[account].restricted:
            continue
        match what:
            case "move":
                holder = treasury if number % 7 == 0 else account
                sign = -1 if number % 3 == 0 else 1
                move(story, holder, sign * number * DOLLAR, venue=venue)
                move(story, holder, sign * number * COIN // 100, asset=BTC, venue=venue)
            case "buy" | "sell":
                story.trade(account, BUY if what == "buy" else SELL, number, PRICE, instrument=BTC_SPOT, fee=number)
            case "perp":
                story.trade(account, (BUY, SELL)[number % 2], number, PRICE + number, fee=number)
            case "withdraw" | "transfer":
                fields = {"destination": "bank"} if what == "withdraw" else {"to_account": accounts[number % 2]}
                made = story.do(what, **own, **fields)
                if not made.refusal:
                    story.do("verdict", account=account, reservation=made.subject, settle=True, citation=story.cite())
            case "deposit":
                story.do("confirm_deposit", **own)
            case "supply":
                story.do("supply", **own)
            case "impair":
                impair(story, loss=number % 101, haircut=number * 7 % 101, venue=venue)
        judge_places(story)
    for venue in (NORTH, SOUTH):
        impair(story, venue=venue)
    assert not any(one.lost_units for places in story.state.custody.places.values() for one in places.values())
    judge_places(story)
    story.verify()


def town_with(units: int) -> tuple[Town, int]:
    """An account of two partitions' first one, with 100 dollars, some of them at the first venue."""
    town = Town(2)
    account = town[0].account(usd=100)
    assert not move(town[0], account, units * DOLLAR)
    return town, account


def judge_all(town: Town) -> None:
    """I20 in every partition, and everything else that a story is judged by."""
    for story in town.stories:
        judge_places(story)
    town.verify()


def test_places_move_with_their_entity() -> None:
    town, account = town_with(60)
    second = town[0].account(usd=50, btc=1, entity=account)
    assert not move(town[0], second, COIN // 2, asset=BTC, venue=SOUTH)
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    judge_places(town[0])  # everything is on its way
    town.relay()
    first, other = new_id(town, account), new_id(town, second)
    assert (at(town[1], first, USD), at(town[1], other, BTC, SOUTH)) == (60 * DOLLAR, COIN // 2)
    assert town[0].state.custody.places == {}
    assert not move(town[1], first, -60 * DOLLAR)
    assert town.in_transit() == {}
    judge_all(town)


def test_a_loss_and_what_is_given_back_reach_an_account_that_has_moved() -> None:
    town, account = town_with(60)
    impair(town[0], loss=25)
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    town.relay()
    moved = new_id(town, account)
    assert (town[1].balance(moved, USD), at(town[1], moved, USD)) == (85 * DOLLAR, 45 * DOLLAR)
    impair(town[0], loss=50)
    impair(town[1], loss=50)
    assert (town[1].balance(moved, USD), at(town[1], moved, USD)) == (70 * DOLLAR, 30 * DOLLAR)
    judge_places(town[1])
    impair(town[0])
    impair(town[1])
    assert (town[1].balance(moved, USD), at(town[1], moved, USD)) == (100 * DOLLAR, 60 * DOLLAR)
    judge_all(town)


def test_nobody_moves_past_the_loss_of_a_venue() -> None:
    town, account = town_with(60)
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    impair(town[1], loss=50)  # while it is on its way
    town.relay()
    moved = new_id(town, account)
    assert (town[1].balance(moved, USD), at(town[1], moved, USD)) == (70 * DOLLAR, 30 * DOLLAR)
    impair(town[0], loss=50)
    impair(town[1], loss=50)
    assert town[1].balance(moved, USD) == 70 * DOLLAR
    judge_all(town)


def test_places_of_an_account_that_left_again_are_the_houses() -> None:
    town, account = town_with(60)
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    entity, places = town.pending()
    assert not town.arrive(entity).refusal
    (moved,) = town[1].state.accounts
    assert not town.do("move_entity", account=moved, to_partition=0).refusal
    assert not town.arrive(places).refusal
    assert at(town[1], town[1].house(SystemAccount.TREASURY), USD) == 60 * DOLLAR
    town.relay()
    judge_all(town)


def test_what_was_spent_in_between_is_the_houses_there() -> None:
    town, account = town_with(60)
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    entity, places = town.pending()
    assert not town.arrive(entity).refusal
    (moved,) = town[1].state.accounts
    made = town.do("withdraw", account=moved, asset=USD, units=70 * DOLLAR, destination="bank")
    town.do("verdict", account=moved, reservation=made.subject, settle=True, citation=town[1].cite())
    assert not town.arrive(places).refusal
    assert (at(town[1], moved, USD), town[1].balance(moved, USD)) == (30 * DOLLAR, 30 * DOLLAR)
    assert at(town[1], town[1].house(SystemAccount.TREASURY), USD) == 30 * DOLLAR
    town.relay()
    judge_all(town)
