"""Indices: compounding, rounding, and that lenders never get more than borrowers pay."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.parameters import Pool
from libs.common.units import INDEX_ONE, PPM, YEAR_NS, Index15, Ppm, Rate12, Units, UnixNs
from services.interest_accrual.domain.accrual import GROWTH_ONE, PoolState, PoolTick, decide, growth
from services.interest_accrual.tests.examples import pool, rate, state

HOUR_NS = 3_600_000_000_000
STEP = Ppm(50_000)

shares = st.integers(0, 10**15)
pools = st.builds(
    pool,
    optimal=st.floats(0.1, 0.95),
    base=st.floats(0, 10),
    below=st.floats(0, 50),
    above=st.floats(50, 500),
    reserve=st.floats(0, 1),
)


def ticked(before: PoolState, at: Pool | None = None, *, elapsed_ns: int = HOUR_NS) -> PoolTick:
    return decide(at or pool(), before, run_time_ns=UnixNs(0), elapsed_ns=elapsed_ns, index_step_max=STEP)


def test_growth_agrees_with_aave_compound_interest() -> None:
    # Aave v3, MathUtils.t.sol: 8 % a year over 7 years, literal e^0.56 within 0.3 %; the series itself to 27 digits.
    grown = growth(rate(8), elapsed_ns=7 * YEAR_NS)
    assert abs(grown - 1_750672500296101082549976) * 1000 < 3 * grown
    assert grown - 1_746069333333333333333333 in (0, 1, 2)


def test_no_time_moves_nothing() -> None:
    assert growth(rate(8), elapsed_ns=0) == GROWTH_ONE


def test_a_fixed_case_by_hand() -> None:
    # 90 of 100 lent at 41.5 % for an hour; the reserve keeps a tenth of what borrowers pay.
    tick = ticked(state(idle=10 * 10**9, debt_shares=90 * 10**9, supply_shares=100 * 10**9))
    grown = math.expm1(0.415 / 8760) * 1e15
    assert tick.borrow_rate == rate(41.5)
    assert tick.utilisation == 900_000
    assert tick.borrow_index == pytest.approx(1e15 + grown, abs=2)
    assert tick.supply_index == pytest.approx(1e15 + 0.9 * 0.9 * grown, abs=2)
    assert tick.overdraft_index > tick.borrow_index


def test_an_empty_pool_ticks_without_moving_its_supply_index() -> None:
    tick = ticked(state(idle=0, debt_shares=0, supply_shares=0))
    assert (tick.supply_index, tick.borrow_index) == (INDEX_ONE, INDEX_ONE)
    assert tick.overdraft_index > INDEX_ONE


@given(pools, st.lists(st.tuples(shares, shares, st.integers(1, 48)), min_size=1, max_size=20))
def test_indices_never_fall_without_a_loss(at: Pool, moves: list[tuple[int, int, int]]) -> None:
    now = state(idle=0, debt_shares=0, supply_shares=0)
    for debt, supply, hours in moves:
        now = replace(now, debt_shares=debt, supply_shares=debt + supply, idle=Units(supply))
        after = ticked(now, at, elapsed_ns=hours * HOUR_NS).after()
        assert after.borrow_index >= now.borrow_index
        assert after.supply_index >= now.supply_index
        assert after.overdraft_index >= now.overdraft_index
        now = after


@given(pools, shares, shares, st.integers(1, 200))
def test_lenders_and_reserve_get_what_borrowers_paid_and_never_more(
    at: Pool, debt: int, supply: int, ticks: int
) -> None:
    now = state(idle=supply, debt_shares=debt, supply_shares=debt + supply)
    paid = earned = 0
    for _ in range(ticks):
        after = ticked(now, at).after()
        paid += debt * (after.borrow_index - now.borrow_index)
        earned += now.supply_shares * (after.supply_index - now.supply_index)
        now = after
    reserve = now.residual_15
    assert paid == earned + reserve
    assert reserve >= 0
    lowest = paid * at.reserve_factor // PPM
    assert lowest <= reserve <= lowest + ticks * (now.supply_shares + 1)


@given(shares.filter(bool), shares, shares)
def test_shares_that_moved_while_a_tick_travelled_are_made_up_by_the_next_ones(
    debt: int, supply: int, moved: int
) -> None:
    before = state(idle=supply, debt_shares=debt, supply_shares=debt + supply)
    repaid = min(moved, debt)
    # Decided with the whole debt; part of it is repaid before the tick arrives.
    after = replace(ticked(before).after(), debt_shares=debt - repaid, idle=Units(supply + repaid))
    short = after.residual_15
    for _ in range(3):
        after = ticked(after).after()
        assert after.residual_15 >= min(short, 0)
        short = after.residual_15


@given(shares, st.integers(1, 10**12), st.integers(0, 10**14))
def test_a_loss_lowers_the_supply_index_by_what_was_posted(debt: int, supply: int, loss: int) -> None:
    # The debt that was lost is gone already: what is held is the claims less the loss.
    claims = debt + supply + loss
    before = state(idle=supply, debt_shares=debt, supply_shares=claims, loss=loss)
    assert before.residual_15 == 0
    ticks, carried = 0, 0
    now = before
    while now.loss and ticks < 2000:
        tick = ticked(now, replace(pool(), base_rate=Rate12(0), slope_below=Rate12(0), slope_above=Rate12(0)))
        fell = now.supply_shares * (now.supply_index - tick.supply_index)
        assert tick.write_off * INDEX_ONE <= fell < tick.write_off * INDEX_ONE + now.supply_shares
        assert tick.supply_index >= (now.supply_index * (PPM - STEP)) // PPM
        if not tick.write_off:
            break
        carried += tick.write_off
        now, ticks = tick.after(), ticks + 1
    assert carried + now.loss == loss
    assert now.residual_15 >= 0
    assert now.borrow_index == INDEX_ONE


def test_no_tick_moves_an_index_further_than_the_ledger_lets_it() -> None:
    before = replace(
        state(idle=0, debt_shares=10**9, supply_shares=10**9), supply_index=Index15(INDEX_ONE), borrow_index=INDEX_ONE
    )
    tick = ticked(before, pool(above=10**6))
    assert tick.borrow_index == INDEX_ONE * 105 // 100
