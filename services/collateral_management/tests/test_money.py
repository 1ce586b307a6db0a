"""Positions, borrowing and repaying: the examples of docs/margin.md, and conservation."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.types.v1 import market_pb2
from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.money import debt_units
from services.collateral_management.domain.positions import dirty_value, fill, settlement
from services.collateral_management.domain.state import DEBT, LOTS, VARIATION
from services.collateral_management.tests.story import (
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    PARAMETERS,
    SELL,
    USD,
    Story,
    line_sums,
)

_PERP = PARAMETERS.instrument(BTC_PERP)
assert _PERP is not None
# docs/margin.md: c = 10^6 µUSD per BTC-sized lot and dollar; inverse 10^10
LINEAR: Instrument = replace(_PERP, c_num=10**6, c_den=1)
UNIT: Instrument = replace(_PERP, c_num=1, c_den=1)
INVERSE: Instrument = replace(_PERP, kind=InstrumentKind.INVERSE_PERP, c_num=10**10, c_den=1)
FUNDING_10_USD = 10 * DOLLAR * 10**9


class Position:
    """Folds fills as the ledger posts them."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument, self.lots, self.variation, self.cash = instrument, 0, 0, 0
        self.realised: list[int] = []

    def trade(self, traded: int, price: int, *, funding: int = 0) -> Position:
        """Trades signed lots."""
        parts = fill(
            self.instrument, lots=self.lots, variation=self.variation, traded=traded, price=price, funding=funding
        )
        for part in parts:
            self.lots += part.lots
            self.variation += part.variation
            self.cash += part.realised
            self.realised.append(part.realised)
        return self

    def settle(self, price: int, *, funding: int = 0) -> int:
        """Settles the variation."""
        settled = settlement(self.instrument, lots=self.lots, variation=self.variation, price=price, funding=funding)
        self.cash, self.variation = self.cash + settled, self.variation - settled
        return settled

    def value(self, price: int, *, funding: int = 0) -> Fraction:
        """Exact value of lots, variation and cash."""
        numerator, denominator = dirty_value(self.instrument, lots=self.lots, price=price, funding=funding)
        return Fraction(numerator, denominator) + self.variation + self.cash


def test_example_1_settling_turns_value_into_cash_and_leaves_the_total() -> None:
    position = Position(LINEAR).trade(10, 60_000)
    assert position.value(61_000, funding=FUNDING_10_USD) == 9_900 * DOLLAR
    assert position.settle(61_000, funding=FUNDING_10_USD) == 9_900 * DOLLAR
    assert position.variation == -609_900 * DOLLAR


def test_example_2_reducing_after_settlement_realises_in_proportion() -> None:
    position = Position(LINEAR).trade(10, 60_000)
    position.settle(61_000, funding=FUNDING_10_USD)
    position.trade(-4, 61_500, funding=FUNDING_10_USD)
    assert (position.realised[-1], position.variation) == (2_000 * DOLLAR, -365_940 * DOLLAR)


def test_example_3_a_late_fill_takes_funding_at_execution() -> None:
    position = Position(LINEAR).trade(10, 60_000).trade(-4, 61_000, funding=0)
    assert (position.realised[-1], position.variation) == (4_000 * DOLLAR, -360_000 * DOLLAR)
    assert position.value(61_000, funding=FUNDING_10_USD) == 9_940 * DOLLAR


def test_example_4_a_fill_through_zero_is_two_fills() -> None:
    position = Position(LINEAR).trade(10, 60_000).trade(-15, 61_000, funding=FUNDING_10_USD)
    assert (position.realised[-2], position.lots, position.variation) == (9_900 * DOLLAR, -5, 304_950 * DOLLAR)


def test_example_5_inverse() -> None:
    position = Position(INVERSE).trade(10, 60_000)
    assert position.variation == 1_666_666
    position.trade(-4, 66_000)
    assert (position.realised[-1], position.variation) == (60_605, 1_000_000)


def test_example_6_a_thousand_small_closes_leave_nothing_behind() -> None:
    position = Position(UNIT).trade(1_000, 60_000)
    for _ in range(1_000):
        position.trade(-1, 61_000)
    assert (position.cash, position.variation, position.lots) == (1_000_000, 0, 0)


@given(
    st.sampled_from((LINEAR, UNIT, INVERSE)),
    st.lists(
        st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10**7), st.integers(-(10**14), 10**14)),
        min_size=1,
        max_size=20,
    ),
)
def test_rounding_of_fills_never_favours_the_account(
    instrument: Instrument, trades: list[tuple[int, int, int]]
) -> None:
    """I8 arithmetic: value gained by trading at p, marked at p, is in (−1, 0] units a part."""
    position = Position(instrument)
    for traded, price, funding in trades:
        before = position.value(price, funding=funding)
        parts = len(position.realised)
        position.trade(traded, price, funding=funding)
        gained = position.value(price, funding=funding) - before
        assert -(len(position.realised) - parts) < gained <= 0
    assert position.lots or position.variation == 0


def test_example_7_repaying_less_than_a_share_burns_nothing() -> None:
    story = Story()
    story.lend(usd=1_000)
    account = story.account()
    half = INDEX_ONE // 2
    for tick in range(1, 11):  # the index step is bounded, so 1.5 takes a few ticks
        story.do(
            "set_index",
            asset=USD,
            tick=tick,
            borrow_index=INDEX_ONE + half * tick // 10,
            supply_index=INDEX_ONE,
            overdraft_index=INDEX_ONE,
            home_sequence=1,
        )
    assert story.state.borrow_index(USD) == INDEX_ONE + half
    # borrow 1 unit by a fee of one unit on a fill that costs nothing else
    story.trade(account, BUY, 1, 100, fee=1)
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (0, 1)
    assert debt_units(Draft(story.state, story.contexts[-1]), account, USD) == 2
    story.do("confirm_deposit", account=account, asset=USD, units=1)
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (1, 1)
    story.do("confirm_deposit", account=account, asset=USD, units=1)  # full repayment takes both
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (0, 0)
    story.verify()


def test_cash_below_zero_is_borrowed_and_repaid_from_what_comes_in() -> None:
    story = Story()
    story.lend(usd=1_000_000)
    account = story.account(usd=1_000)
    story.trade(account, BUY, 100, 15_000_00, instrument=BTC_SPOT)  # 0.1 BTC at 15,000
    assert story.balance(account, USD) == 0
    assert story.balance(account, USD, DEBT) == 500 * DOLLAR
    assert story.balance(account, 2) == COIN // 10
    story.do("confirm_deposit", account=account, asset=USD, units=600 * DOLLAR)
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (100 * DOLLAR, 0)


def test_beyond_the_pool_a_fill_becomes_an_overdraft_that_restricts() -> None:
    story = Story()
    story.lend(usd=100)
    account = story.account(usd=1_000)
    outcome = story.trade(account, BUY, 100, 15_000_00, instrument=BTC_SPOT)
    assert not outcome.refusal
    assert story.state.accounts[account].restricted
    assert [e.alert.name for e in outcome.effects if e.HasField("alert")] == ["overdraft"]
    story.do("confirm_deposit", account=account, asset=USD, units=400 * DOLLAR)
    assert not story.state.accounts[account].restricted
    assert story.balance(account, USD, DEBT) == 100 * DOLLAR


@given(st.lists(st.tuples(st.sampled_from("bsdt"), st.integers(1, 400), st.integers(9_000_00, 16_000_00)), max_size=25))
def test_i1_lines_sum_to_zero_whatever_is_traded(moves: list[tuple[str, int, int]]) -> None:
    story = Story()
    story.lend(usd=5_000, btc=1)
    account = story.account(usd=2_000)
    for what, lots, price in moves:
        if what == "d":
            story.do("confirm_deposit", account=account, asset=USD, units=lots * DOLLAR)
        elif what == "t":
            tick = story.state.settlement_tick.get(BTC_PERP, 0) + 1
            story.do("settle_variation", instrument=BTC_PERP, tick=tick, price=price, mark_sequence=1)
        elif not story.state.accounts[account].restricted:
            instrument = BTC_SPOT if lots % 2 else BTC_PERP
            story.trade(account, BUY if what == "b" else SELL, lots, price, instrument=instrument, fee=lots)
        assert set(line_sums(story.state).values()) == {0}
        assert not [
            line
            for line, balance in story.state.all_lines()
            if line[0] == account and balance < 0 and line[2] not in (LOTS, VARIATION)
        ]


def test_market_side_numbers_are_the_wire_s() -> None:
    assert (BUY, SELL) == (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL)


@pytest.mark.parametrize("lots", [1, 7, 1_000])
def test_settlement_equals_value_rounded_down(lots: int) -> None:
    position = Position(INVERSE).trade(lots, 61_234)
    value = position.value(59_999)
    assert position.settle(59_999) == value.numerator // value.denominator
