"""A redenomination, a fork, an airdrop: every holder by what he held, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain import sweeps
from services.collateral_management.domain.state import DEBT
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_SPOT,
    BUY,
    COIN,
    ETH,
    LTC,
    PARAMETERS,
    SELL,
    USD,
    Story,
)

ALONE = replace(PARAMETERS, partitions=1)
RENAME: dict[str, Any] = {"asset": LTC, "into": ETH, "numerator": 3, "denominator": 7, "reason": "LTC swap"}
FORK: dict[str, Any] = {
    "number": 1, "held": BTC, "credited": LTC, "numerator": 1, "denominator": 3, "reason": "BTC fork"
}  # fmt: skip


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger of one partition; checked when the test is over."""
    told = Story(ALONE)
    yield told
    told.verify()


def give(story: Story, account: int, asset: int, units: int) -> None:
    """A deposit."""
    assert not story.do("confirm_deposit", account=account, asset=asset, units=units).refusal


def test_redenominate_asset(story: Story) -> None:
    account = story.account(usd=10_000)
    give(story, account, LTC, 1_000)
    lender = story.account("lender")
    give(story, lender, LTC, 500)
    story.do("supply", sender="lender", account=lender, asset=LTC, units=500)
    order = story.order(account, BUY, 1, 1, instrument=3)
    reserved = story.do("withdraw", account=account, asset=LTC, units=10).subject

    def come_home() -> None:
        assert not story.do("redeem", sender="lender", account=lender, asset=LTC, units=0).refusal

    def void() -> None:
        story.do("verdict", account=account, reservation=reserved, settle=False, citation=story.cite())

    def cancelled() -> None:
        story.report(order, words.REPORT_KIND_CANCELLED)

    climb(
        story,
        "redenominate_asset",
        {"asset": USD, "into": 99},
        [
            (words.REFUSAL_REASON_MISSING, {"reason": "swap"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": LTC}),
            (words.REFUSAL_UNKNOWN_ASSET, {"into": LTC}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"numerator": 10**15 + 1, "denominator": 7}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"numerator": 3}),
            (words.REFUSAL_UNKNOWN_ASSET, {"into": ETH}),
            (words.REFUSAL_ASSET_IN_USE, come_home),
            (words.REFUSAL_ASSET_IN_USE, void),
            (words.REFUSAL_ASSET_IN_USE, cancelled),
        ],
    )
    assert story.balance(account, LTC) == 0
    assert story.balance(account, ETH) == 1_000 * 3 // 7
    assert story.balance(lender, ETH) == 500 * 3 // 7
    again = story.do("redenominate_asset", **RENAME)
    assert again.refusal == words.REFUSAL_ASSET_CLOSED
    late = story.do("confirm_deposit", account=account, asset=LTC, units=1)
    assert late.refusal == words.REFUSAL_ASSET_CLOSED


def test_an_asset_changes_in_batches_and_nothing_old_is_left(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [story.account(f"owner{number}") for number in range(5)]
    for number, account in enumerate(accounts):
        give(story, account, LTC, 100 + number)
    give(story, story.house(SystemAccount.INSURANCE), LTC, 77)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 2)
    assert not story.do("redenominate_asset", **RENAME).refusal
    other = story.do("redenominate_asset", **{**RENAME, "numerator": 4})
    assert other.refusal == words.REFUSAL_SWEEP_OPEN
    for _ in range(2):
        assert not story.do("redenominate_asset", **RENAME).refusal
    assert [story.balance(one, ETH) for one in accounts] == [(100 + n) * 3 // 7 for n in range(5)]
    assert {line for line, balance in story.state.all_lines() if line[1] == LTC and balance} == set()


def test_distribute(story: Story) -> None:
    account = story.account(btc=1)
    climb(
        story,
        "distribute",
        {"number": 2, "held": 99, "credited": 98},
        [
            (words.REFUSAL_REASON_MISSING, {"reason": "fork"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"held": BTC}),
            (words.REFUSAL_UNKNOWN_ASSET, {"credited": BTC}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"numerator": 1, "denominator": 3}),
            (words.REFUSAL_UNKNOWN_ASSET, {"credited": LTC}),
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"number": 1}),
        ],
    )
    assert story.balance(account, LTC) == COIN // 3
    assert story.do("distribute", **FORK).refusal == words.REFUSAL_TICK_OUT_OF_ORDER


def test_reserved_and_lent_units_count_and_debt_counts_against(story: Story) -> None:
    lender = story.lend(btc=4)
    holder, borrower = story.account(btc=3), story.account("bob", usd=100_000)
    story.do("withdraw", account=holder, asset=BTC, units=COIN)
    story.trade(borrower, SELL, 1_000, 1_500_000, instrument=BTC_SPOT, sender="bob")
    assert story.balance(borrower, BTC, DEBT) == COIN
    assert not story.do("distribute", **FORK).refusal
    assert story.balance(holder, LTC) == COIN
    assert story.balance(lender, LTC) == 4 * COIN // 3
    owed = story.balance(borrower, LTC, words.LINE_KIND_OVERDRAFT_SHARES) + story.balance(borrower, LTC, DEBT)
    assert owed == COIN // 3 + 1  # against the account


def test_whoever_moves_the_asset_before_his_turn_is_credited_first(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [story.account(f"owner{number}", btc=number + 1) for number in range(4)]
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 1)
    assert not story.do("distribute", **FORK).refusal
    give(story, accounts[3], BTC, COIN)  # after the cut: does not count
    out = story.do("withdraw", sender="owner2", account=accounts[2], asset=BTC, units=2 * COIN).subject
    story.do("verdict", account=accounts[2], reservation=out, settle=True, citation=story.cite())
    fresh = story.account("late", btc=5)
    assert story.do("distribute", **{**FORK, "numerator": 2}).refusal == words.REFUSAL_SWEEP_OPEN
    rounds = 0
    while not story.state.lifecycle.distributions[1].is_over:
        rounds += 1
        assert rounds < 9
        assert not story.do("distribute", **FORK).refusal
    assert [story.balance(one, LTC) for one in (*accounts, fresh)] == [(n + 1) * COIN // 3 for n in range(4)] + [0]
    assert list(story.state.lifecycle.distributions[1].early) == []


def test_a_second_distribution_waits_for_the_first(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        story.account(f"owner{number}", btc=1)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 1)
    story.do("distribute", **FORK)
    assert story.do("distribute", **{**FORK, "number": 2}).refusal == words.REFUSAL_SWEEP_OPEN


_DEEDS = st.lists(st.tuples(st.sampled_from(("pay", "take", "supply", "batch")), st.integers(0, 3)), max_size=12)


@given(_DEEDS, st.lists(st.integers(0, 9 * COIN), min_size=4, max_size=4), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_i1_everyone_gets_what_he_held_at_the_cut_whatever_moves_meanwhile(
    deeds: list[tuple[str, int]], held: list[int], batch: int
) -> None:
    story = Story(ALONE)
    accounts = [story.account(f"owner{number}") for number in range(4)]
    for account, units in zip(accounts, held, strict=True):
        if units:
            give(story, account, BTC, units)
    before, sweeps.ACCOUNTS_MAX = sweeps.ACCOUNTS_MAX, batch
    try:
        story.do("distribute", **FORK)
        for what, number in deeds:
            account, owner = accounts[number], f"owner{number}"
            if what == "pay":
                give(story, account, BTC, COIN)
            elif what == "batch":
                story.do("distribute", **FORK)
            else:
                name = "supply" if what == "supply" else "withdraw"
                story.do(name, sender=owner, account=account, asset=BTC, units=COIN // 2)
        while not story.state.lifecycle.distributions[1].is_over:
            story.do("distribute", **FORK)
    finally:
        sweeps.ACCOUNTS_MAX = before
    assert [story.balance(account, LTC) for account in accounts] == [units // 3 for units in held]
    story.verify()
