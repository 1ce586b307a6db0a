"""Indices, funding and settlement: interest moves one number, settlement turns variation into cash."""

from __future__ import annotations

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.state import DEBT, FUNDING_HISTORY_MAX, LOTS, SUPPLY, VARIATION
from services.collateral_management.tests.story import BTC, BTC_INVERSE, BTC_PERP, BUY, COIN, DOLLAR, SELL, USD, Story

PRICE = 1_500_000  # 15,000 USD


def settle(story: Story, price: int, *, instrument: int = BTC_PERP) -> None:
    """The next settlement of an instrument."""
    tick = story.state.settlement_tick.get(instrument, 0) + 1
    outcome = story.do("settle_variation", instrument=instrument, tick=tick, price=price, mark_sequence=1)
    assert not outcome.refusal, outcome.detail


def fund(story: Story, units_a_lot: int, *, instrument: int = BTC_PERP) -> None:
    """The next funding tick, whole units a lot in all."""
    outcome = story.do(
        "set_funding", instrument=instrument, home_sequence=1,
        tick=story.state.funding_tick.get(instrument, 0) + 1, run_time_ns=story.now_ns,
        cumulative_funding=(units_a_lot * 10**9).to_bytes(16, "big", signed=True),
    )  # fmt: skip
    assert not outcome.refusal, outcome.detail


def test_an_index_moves_every_debt_and_claim_by_one_number(story: Story) -> None:
    lender = story.lend(usd=1_000)
    account = story.account(btc=1)
    story.trade(account, BUY, 1, 100, fee=500 * DOLLAR)
    moved = story.tick(USD, borrow_index=INDEX_ONE * 104 // 100, supply_index=INDEX_ONE * 101 // 100, borrow_rate=7)
    assert [effect.WhichOneof("effect") for effect in moved.effects] == ["pool_index"]
    story.do("confirm_deposit", account=account, asset=USD, units=600 * DOLLAR)
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (80 * DOLLAR, 0)
    story.do("redeem", sender="lender", account=lender, asset=USD, units=0)
    assert story.balance(lender, USD) == 1_010 * DOLLAR
    assert story.balance(story.house(SystemAccount.POOL, USD), USD) == 10 * DOLLAR  # the reserve


def test_an_index_never_moves_further_than_one_tick_may(story: Story) -> None:
    most = INDEX_ONE + INDEX_ONE * story.parameters.ledger.index_step_max // 10**6
    for name in ("borrow_index", "supply_index", "overdraft_index"):
        assert story.tick(USD, **{name: most + 1}).refusal == words.REFUSAL_INDEX_OUT_OF_BOUNDS
    assert not story.tick(USD, borrow_index=most, supply_index=most, overdraft_index=most).refusal


def test_a_debt_in_shares_is_never_worth_less_than_what_was_borrowed(story: Story) -> None:
    story.lend(usd=1_000)
    assert not story.tick(USD, borrow_index=INDEX_ONE + 333_333_333_333).refusal
    account = story.account(btc=1)
    for fee in (1, 2, 3, 999_999):
        story.trade(account, BUY, 1, 100, fee=fee)
    shares = story.balance(account, USD, DEBT)
    assert -(-shares * story.state.borrow_index(USD) // INDEX_ONE) >= 1 + 2 + 3 + 999_999


def test_supplying_rounds_shares_down_and_redeeming_rounds_them_up(story: Story) -> None:
    account = story.account(usd=1)
    assert not story.tick(USD, supply_index=INDEX_ONE * 105 // 100).refusal
    story.do("supply", account=account, asset=USD, units=1_000)
    assert story.balance(account, USD, SUPPLY) == 952  # 1000 / 1.05 = 952.38
    story.do("redeem", account=account, asset=USD, units=10)
    assert story.balance(account, USD, SUPPLY) == 942  # 10 / 1.05 = 9.52
    story.do("redeem", account=account, asset=USD, units=0)
    assert (story.balance(account, USD, SUPPLY), story.balance(account, USD)) == (0, DOLLAR - 1)


def test_settlement_turns_gains_and_losses_into_cash_and_debt(story: Story) -> None:
    story.lend(usd=1_000)
    long, short = story.account(usd=10), story.account("bob", usd=10)
    story.trade(long, BUY, 10, PRICE)
    story.trade(short, SELL, 10, PRICE, sender="bob")
    settle(story, PRICE + 200_000)  # 20 USD on 0.01 BTC
    assert (story.balance(long, USD), story.balance(long, BTC_PERP, VARIATION)) == (30 * DOLLAR, -170 * DOLLAR)
    assert (story.balance(short, USD), story.balance(short, USD, DEBT)) == (0, 10 * DOLLAR)
    contra = story.house(SystemAccount.CONTRA, BTC_PERP)
    assert [story.balance(contra, BTC_PERP, kind) for kind in (LOTS, VARIATION)] == [0, 0]
    settle(story, PRICE)
    assert (story.balance(long, USD), story.balance(short, USD)) == (10 * DOLLAR, 10 * DOLLAR)


def test_settlement_counts_funding_up_to_now(story: Story) -> None:
    account = story.account(usd=10)
    story.trade(account, BUY, 10, PRICE)
    story.pass_time(1)
    fund(story, 3)
    settle(story, PRICE)
    assert story.balance(account, USD) == 10 * DOLLAR - 30
    settle(story, PRICE)
    assert story.balance(account, USD) == 10 * DOLLAR - 30


def test_settlement_leaves_out_who_holds_nothing_any_more(story: Story) -> None:
    account = story.account(usd=10)
    story.trade(account, BUY, 10, PRICE)
    story.trade(account, SELL, 10, PRICE)
    assert story.state.holders(BTC_PERP) == []
    settle(story, PRICE * 2)
    assert story.balance(account, USD) == 10 * DOLLAR


def test_settlement_of_an_inverse_instrument_is_in_coins(story: Story) -> None:
    account = story.account(btc=1)
    story.trade(account, BUY, 15_000, PRICE, instrument=BTC_INVERSE)
    settle(story, PRICE * 2, instrument=BTC_INVERSE)
    assert story.balance(account, BTC) == COIN + COIN // 2
    settle(story, PRICE, instrument=BTC_INVERSE)
    assert story.balance(account, BTC) == COIN


def test_a_trade_in_suspense_is_not_settled(story: Story) -> None:
    account = story.account(usd=10)
    order = story.do("place_order", account=account, instrument=BTC_PERP, venue=1, side=BUY, lots=1, limit_price=PRICE,
                     time_in_force=1).subject  # fmt: skip
    story.report(order, words.REPORT_KIND_FILL, lots=1, price=PRICE)
    assert story.state.holders(BTC_PERP) == []
    settle(story, PRICE)


def test_funding_is_remembered_for_late_fills_up_to_a_bound(story: Story) -> None:
    times = []
    for each in range(1, FUNDING_HISTORY_MAX + 3):
        story.pass_time(1)
        times.append(story.now_ns)
        fund(story, each)
    state = story.state
    assert state.funding_at(BTC_PERP, story.now_ns) == (FUNDING_HISTORY_MAX + 2) * 10**9
    assert state.funding_at(BTC_PERP, times[10]) == 11 * 10**9
    assert state.funding_at(BTC_PERP, times[10] - 1) == 10 * 10**9
    assert state.funding_at(BTC_PERP, 0) == 3 * 10**9  # the oldest that is remembered
    assert state.funding_at(BTC_INVERSE, story.now_ns) == 0


def test_before_the_first_funding_tick_nothing_was_paid(story: Story) -> None:
    story.pass_time(1)
    fund(story, 5)
    assert story.state.funding_at(BTC_PERP, story.now_ns - 1) == 0
    assert story.state.funding_at(BTC_PERP, story.now_ns) == 5 * 10**9


def test_funding_may_fall(story: Story) -> None:
    fund(story, 5)
    fund(story, -7)
    assert story.state.funding_at(BTC_PERP, story.now_ns) == -7 * 10**9
