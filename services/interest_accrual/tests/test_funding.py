"""Cumulative funding: what a tick adds, truncated, with what truncation left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.parameters import InstrumentKind
from libs.common.units import Price, Rate12
from services.interest_accrual.domain.funding import FundingState, accrue
from services.interest_accrual.tests.examples import perpetual

LINEAR, INVERSE = InstrumentKind.LINEAR_PERP, InstrumentKind.INVERSE_PERP

CASES = [
    # kind    c        rate 10^-12   index      adds 10^-9 settlement units
    (LINEAR,  10,      100_000_000,  6_000_000, 6_000_000_000_000),   # 0.01 % of 60 USD a lot of 0.001 BTC
    (LINEAR,  10,      -100_000_000, 6_000_000, -6_000_000_000_000),
    (INVERSE, 10**10,  100_000_000,  6_000_000, 166_666_666),         # 1666.67 units x 0.01 %
    (INVERSE, 10**10,  -100_000_000, 6_000_000, -166_666_666),
    (LINEAR,  1,       0,            6_000_000, 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "c", "rate", "index", "added"), CASES)
def test_a_tick_adds_rate_times_value(kind: InstrumentKind, c: int, rate: int, index: int, added: int) -> None:
    after = accrue(perpetual(kind, c_num=c), FundingState(4, 100), rate=Rate12(rate), index_price=Price(index))
    assert (after.tick, after.cumulative) == (5, 100 + added)


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(1, 10**9)), max_size=50), st.integers(2, 997))
def test_the_carried_remainder_makes_the_sum_exact(ticks: list[tuple[int, int]], c_den: int) -> None:
    instrument = perpetual(LINEAR, c_num=7, c_den=c_den)
    state, exact = FundingState(0, 0), 0
    for rate, index in ticks:
        state = accrue(instrument, state, rate=Rate12(rate), index_price=Price(index))
        exact += 10**9 * rate * 7 * index
    denominator = 10**12 * c_den
    assert state.cumulative * denominator + state.carried == exact
    assert abs(state.carried) < denominator
