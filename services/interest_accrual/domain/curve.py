"""What a pool's money costs: the kinked curve of utilisation.

Source: Aave v3, DefaultReserveInterestRateStrategyV2; rounding is ours and always against the borrower.
"""

from __future__ import annotations

from libs.common.parameters import Pool
from libs.common.units import PPM, Ppm, Rate12, Units, mul_div_down, mul_div_up


def utilisation(*, debt: Units, idle: Units) -> Ppm:
    """Share of a pool's money that is lent out, rounded down; 0 for an empty pool."""
    total = debt + max(idle, 0)
    return Ppm(mul_div_down(debt, PPM, total)) if total else Ppm(0)


def borrow_rate(pool: Pool, *, debt: Units, idle: Units) -> Rate12:
    """Rate a year that borrowers pay, rounded up; the base rate while nothing is lent."""
    total = debt + max(idle, 0)
    if not debt:
        return pool.base_rate
    optimal = pool.optimal_utilisation
    if debt * PPM <= optimal * total:
        return Rate12(pool.base_rate + mul_div_up(pool.slope_below, debt * PPM, total * optimal))
    beyond = mul_div_up(pool.slope_above, debt * PPM - optimal * total, total * (PPM - optimal))
    return Rate12(pool.base_rate + pool.slope_below + beyond)


def supply_rate(pool: Pool, *, borrow_rate: Rate12, debt: Units, idle: Units) -> Rate12:
    """Rate a year that lenders earn when borrowers pay `borrow_rate`, rounded down."""
    total = debt + max(idle, 0)
    return Rate12(mul_div_down(borrow_rate * debt, PPM - pool.reserve_factor, total * PPM)) if total else Rate12(0)
