"""Endings, forks and redenominations while entities move and interest is paid: found by the simulation, told once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from libs.common.units import INDEX_ONE, SECOND_NS
from services.collateral_management.domain import sweeps
from services.collateral_management.domain.state import CASH, DEBT, LOTS, OVERDRAFT
from services.collateral_management.tests.dated import CALL, EXPIRY_S, FUTURE, with_dated
from services.collateral_management.tests.story import BTC, BTC_SPOT, BUY, COIN, DOLLAR, ETH, LTC, SELL, USD
from services.collateral_management.tests.town import Town, new_id

UP = 1_600_000
LTC_SPOT = 3
_FORK: dict[str, Any] = {
    "number": 1,
    "held": BTC,
    "credited": LTC,
    "numerator": 1,
    "denominator": 2,
    "reason": "BTC fork",
}


@pytest.fixture
def town() -> Iterator[Town]:
    """Two partitions that know what ends, judged at the end."""
    told = Town(2, parameters=with_dated())
    yield told
    told.verify()


def test_a_position_that_arrives_after_the_end_is_settled_and_nothing_of_it_stays_in_transit(town: Town) -> None:
    account = town[0].account(usd=1_000)
    town[0].trade(account, BUY, 10, 20_000, instrument=CALL)
    for story in town.stories:
        story.now_ns = EXPIRY_S * SECOND_NS
    assert not town[1].do("close_instrument", instrument=CALL, price=UP).refusal
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    town.relay()
    now = new_id(town, account)
    assert town[1].balance(now, CALL, LOTS) == 0
    assert town[1].balance(now, USD) == 1_080 * DOLLAR
    assert town.in_transit() == {}
    effects = [effect for outcome in town[1].outcomes for effect in outcome.effects]
    assert [one.position_closed.account for one in effects if one.HasField("position_closed")] == [now]


def test_a_settlement_that_is_under_way_ends_with_its_instrument(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    story = town[FUTURE % 2]
    accounts = [story.account(f"owner{number}", usd=1_000) for number in range(3)]
    for number, account in enumerate(accounts):
        story.trade(account, BUY, 1, 1_500_000, instrument=FUTURE, sender=f"owner{number}")
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 2)
    assert not story.do("settle_variation", instrument=FUTURE, tick=1, price=UP).refusal
    story.now_ns = EXPIRY_S * SECOND_NS
    for _ in range(2):
        assert not story.do("close_instrument", instrument=FUTURE, price=UP).refusal
    assert story.state.lifecycle.sweeps == {}
    assert [story.balance(one, USD) for one in accounts] == [1_010 * DOLLAR] * 3


def test_interest_between_two_batches_of_a_fork_counts_for_nobody(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    story = town[BTC % 2]
    lender = story.account("lender", btc=10)
    story.do("supply", sender="lender", account=lender, asset=BTC, units=9 * COIN)
    borrower = story.account("borrower", usd=100_000)
    story.trade(borrower, SELL, 2_000, 1_500_000, instrument=BTC_SPOT, sender="borrower")
    assert story.balance(borrower, BTC, DEBT) == 2 * COIN
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 1)
    assert not story.do("distribute", **_FORK).refusal
    story.pass_time(3_600)
    ticked = story.do(
        "set_index", asset=BTC, tick=1, run_time_ns=story.now_ns, borrow_index=INDEX_ONE + INDEX_ONE // 100,
        supply_index=INDEX_ONE, overdraft_index=INDEX_ONE,
    )  # fmt: skip
    assert not ticked.refusal, ticked.detail
    while not story.state.lifecycle.distributions[1].is_over:
        assert not story.do("distribute", **_FORK).refusal
    assert story.balance(lender, LTC) == 5 * COIN
    assert story.balance(borrower, LTC, DEBT) + story.balance(borrower, LTC, OVERDRAFT) == COIN


def test_who_leaves_before_his_turn_takes_what_a_fork_gives_him_along(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, account = town[0].account("first", btc=1), town[0].account(btc=4)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 1)
    for story in town.stories:
        assert not story.do("distribute", **_FORK).refusal
    town.relay()
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    town.relay()
    now = new_id(town, account)
    assert (town[1].balance(now, BTC), town[1].balance(now, LTC)) == (4 * COIN, 2 * COIN)
    while not town[0].state.lifecycle.distributions[1].is_over:
        assert not town[0].do("distribute", **_FORK).refusal
    assert (town[0].balance(first, LTC), town[0].balance(account, LTC)) == (COIN // 2, 0)


def test_who_arrives_owing_what_has_become_another_asset_owes_that(town: Town) -> None:
    swap: dict[str, Any] = {"asset": LTC, "into": ETH, "numerator": 3, "denominator": 7, "reason": "LTC swap"}
    assert not town[1].do("redenominate_asset", **swap).refusal
    account = town[0].account(usd=100_000)
    town[0].trade(account, SELL, 700, 2_000_000, instrument=LTC_SPOT)
    assert town[0].balance(account, LTC, OVERDRAFT) == 7 * COIN
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    town.relay()
    now = new_id(town, account)
    assert town[1].balance(now, LTC, OVERDRAFT) == town[1].balance(now, LTC, CASH) == 0
    assert town[1].balance(now, ETH, OVERDRAFT) == 3 * COIN
