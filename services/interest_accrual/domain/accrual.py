"""One interest tick of a pool: what its indices become, and what that moves from borrowers to lenders.

Money is exact here: amounts stand in 10^-15 units (shares x index), so nothing rounds before the new index does. Borrow
indices round up and supply indices down; what lies between is the pool's reserve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from libs.common.ids import AssetId
from libs.common.parameters import Pool
from libs.common.units import (
    INDEX_ONE,
    PPM,
    RATE_ONE,
    YEAR_NS,
    Index15,
    Ppm,
    Rate12,
    Units,
    UnixNs,
    mul_div_down,
    mul_div_up,
)
from services.interest_accrual.domain import curve

GROWTH_ONE = 10**24
_ONE_UNIT = INDEX_ONE  # one unit, in 10^-15 units


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool over all partitions after a tick.

    Args:
        idle: units not lent; may be negative for a moment while fixed quotas are overdrawn.
        debt_shares, supply_shares: as clients hold them.
        loss: units lost to bankrupt borrowers that the supply index does not carry yet.
    """

    asset: AssetId
    tick: int
    idle: Units
    debt_shares: int
    supply_shares: int
    loss: Units
    borrow_index: Index15 = INDEX_ONE
    supply_index: Index15 = INDEX_ONE
    overdraft_index: Index15 = INDEX_ONE

    @property
    def debt(self) -> Units:
        """Units owed by borrowers, rounded up."""
        return Units(mul_div_up(self.debt_shares, self.borrow_index, INDEX_ONE))

    @property
    def claims(self) -> Units:
        """Units owed to lenders, rounded down."""
        return Units(mul_div_down(self.supply_shares, self.supply_index, INDEX_ONE))

    @property
    def residual_15(self) -> int:
        """What the pool has beyond its lenders' claims, in 10^-15 units: its reserve and all roundings."""
        held = (self.idle + self.loss) * _ONE_UNIT + self.debt_shares * self.borrow_index
        return held - self.supply_shares * self.supply_index


@dataclass(frozen=True, slots=True)
class PoolTick:
    """A tick as decided; `before` are its inputs."""

    before: PoolState
    tick: int
    run_time_ns: UnixNs
    utilisation: Ppm
    borrow_rate: Rate12
    supply_rate: Rate12
    borrow_index: Index15
    supply_index: Index15
    overdraft_index: Index15
    write_off: Units
    top_up: Units

    def after(self) -> PoolState:
        """The pool right after the tick, if no share and no idle unit moved meanwhile."""
        return replace(
            self.before,
            tick=self.tick,
            idle=Units(self.before.idle + self.top_up),
            loss=Units(self.before.loss - self.write_off),
            borrow_index=self.borrow_index,
            supply_index=self.supply_index,
            overdraft_index=self.overdraft_index,
        )


def growth(rate: Rate12, *, elapsed_ns: int) -> int:
    """Factor in 10^-24 by which a debt grows: three terms of e^x with x = rate x years, each rounded up.

    Source: Aave v3, MathUtils.calculateCompoundedInterest.
    """
    x = mul_div_up(rate * elapsed_ns, GROWTH_ONE, RATE_ONE * YEAR_NS)
    second = mul_div_up(x, x, 2 * GROWTH_ONE)
    return GROWTH_ONE + x + second + mul_div_up(second, x, 3 * GROWTH_ONE)


def decide(pool: Pool, state: PoolState, *, run_time_ns: UnixNs, elapsed_ns: int, index_step_max: Ppm) -> PoolTick:
    """The next tick of a pool.

    Args:
        elapsed_ns: run time since the tick before.
        index_step_max: no index moves further in one tick; a loss beyond it waits for the next tick.
    """
    debt = state.debt
    rate = curve.borrow_rate(pool, debt=debt, idle=state.idle)
    borrow = _grown(state.borrow_index, rate, elapsed_ns, index_step_max)
    overdraft_rate = Rate12(rate + pool.overdraft_penalty)
    paid = state.debt_shares * (borrow - state.borrow_index)
    earned = _earned(pool, state, paid)
    write_off = _write_off(state, index_step_max)
    return PoolTick(
        before=state,
        tick=state.tick + 1,
        run_time_ns=run_time_ns,
        utilisation=curve.utilisation(debt=debt, idle=state.idle),
        borrow_rate=rate,
        supply_rate=curve.supply_rate(pool, borrow_rate=rate, debt=debt, idle=state.idle),
        borrow_index=borrow,
        supply_index=_moved(state, earned - write_off * _ONE_UNIT, index_step_max),
        overdraft_index=_grown(state.overdraft_index, overdraft_rate, elapsed_ns, index_step_max),
        write_off=write_off,
        top_up=_top_up(state, paid),
    )


def _grown(index: Index15, rate: Rate12, elapsed_ns: int, step_max: Ppm) -> Index15:
    grown = mul_div_up(index, growth(rate, elapsed_ns=elapsed_ns), GROWTH_ONE)
    return Index15(min(grown, mul_div_down(index, PPM + step_max, PPM)))


def _earned(pool: Pool, state: PoolState, paid: int) -> int:
    # Shares may have moved between the cut of the tick before and its arrival in a partition. What that cost the pool
    # is made up first, so that lenders never get more in all than borrowers paid (I2).
    room = state.residual_15 + paid
    return max(0, min(mul_div_down(paid, PPM - pool.reserve_factor, PPM), room))


def _top_up(state: PoolState, paid: int) -> Units:
    # When nobody borrows any more, no later tick can make it up: the house does, to the unit.
    return Units(max(0, mul_div_up(-(state.residual_15 + paid), 1, _ONE_UNIT)))


def _write_off(state: PoolState, step_max: Ppm) -> Units:
    bound = mul_div_down(state.supply_shares, state.supply_index - _lowest(state, step_max), _ONE_UNIT)
    return Units(max(0, min(state.loss, bound)))


def _lowest(state: PoolState, step_max: Ppm) -> int:
    return max(1, mul_div_up(state.supply_index, PPM - step_max, PPM))


def _moved(state: PoolState, change_15: int, step_max: Ppm) -> Index15:
    if not state.supply_shares:
        return state.supply_index
    moved = state.supply_index + mul_div_down(change_15, 1, state.supply_shares)
    highest = mul_div_down(state.supply_index, PPM + step_max, PPM)
    return Index15(max(_lowest(state, step_max), min(moved, highest)))
