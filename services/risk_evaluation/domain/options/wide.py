"""Calls and puts of the grid, eight scenarios at a time: the formulas of `cell` and `normal` with the same bits."""

from __future__ import annotations

import math
from typing import Any

from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.options.cell import TOTAL_VOL_MAX, LineKind
from services.risk_evaluation.domain.options.normal import INVERSE_SQRT_2PI
from services.risk_evaluation.domain.sweep.arithmetic import (
    absolutes,
    all_above,
    any_above,
    floors,
    keep,
    powers_of_two,
    where_above,
)
from services.risk_evaluation.domain.sweep.compiled import compiled, inlined
from services.risk_evaluation.domain.sweep.lanes import gains, larger, load, shape

EIGHT = shape(8)
PUT = int(LineKind.PUT)
_LN2_HIGH, _LN2_LOW, _INVERSE_LN2 = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.44269504088896338700
_SQRT_HALF, _INVERSE_SQRT_PI = 0.70710678118654752440, 0.56418958354775628695
_EXPONENT_MAX = 640.0  # within what `cell` computes with one exponential
_TOTAL_VOL_MIN = 1e-15


@inlined
def exp_lanes(x: Any) -> Any:
    """e^x of lanes in -700 .. 700 (normal.exp)."""
    k = floors(x * _INVERSE_LN2 + 0.5)
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t * (6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))
        )
    )
    return (1.0 - ((low - (r * c) / (2.0 - c)) - high)) * powers_of_two(k)


@inlined
def upper_tail_lanes(x: Any, density: Any) -> Any:
    """Probabilities that a standard normal exceeds x ≥ 0 (normal.upper_tail)."""
    y = x * _SQRT_HALF
    top = (((2.15311535474403846e-8 * y + 5.64188496988670089e-1) * y + 8.88314979438837594e00) * y) + (
        6.61191906371416295e01
    )
    top = (((top * y + 2.98635138197400131e02) * y + 8.81952221241769090e02) * y) + 1.71204761263407058e03
    top = (top * y + 2.05107837782607147e03) * y + 1.23033935479799725e03
    below = (((y + 1.57449261107098347e01) * y + 1.17693950891312499e02) * y) + 5.37181101862009858e02
    below = (((below * y + 1.62138957456669019e03) * y + 3.29079923573345963e03) * y) + 4.36261909014324716e03
    below = (below * y + 3.43936767414372164e03) * y + 1.23033935480374942e03
    tail = 0.5 * density * (top / below)
    if any_above(0.46875 - y, -1e-300):  # some lane is near the middle
        z = y * y
        top = (((1.85777706184603153e-1 * z + 3.16112374387056560e00) * z + 1.13864154151050156e02) * z) + (
            3.77485237685302021e02
        )
        below = (((z + 2.36012909523441209e01) * z + 2.44024637934444173e02) * z) + 1.28261652607737228e03
        near = 0.5 - 0.5 * y * ((top * z + 3.20937758913846947e03) / (below * z + 2.84423683343917062e03))
        tail = where_above(y, 0.46875, tail, near)
    if any_above(y, 4.0):
        z = 1.0 / (y * y)
        top = (((1.63153871373020978e-2 * z + 3.05326634961232344e-1) * z + 3.60344899949804439e-1) * z) + (
            1.25781726111229246e-1
        )
        top = ((top * z + 1.60837851487422766e-2) * z + 6.58749161529837803e-4) * z
        below = (((z + 2.56852019228982242e00) * z + 1.87295284992346725e00) * z) + 5.27905102951428412e-1
        below = (below * z + 6.05183413124413191e-2) * z + 2.33520497626869185e-3
        tail = where_above(y, 4.0, 0.5 * density * ((_INVERSE_SQRT_PI - top / below) / y), tail)
    return tail


@inlined
def is_plain(total: Any, forward: Any, d1: Any, d2: Any) -> bool:
    """Whether every lane is where `cell` has no case of its own; what is no number is not."""
    inside = all_above(total, _TOTAL_VOL_MIN) & all_above(TOTAL_VOL_MAX - total, 0.0) & all_above(forward, 1e-280)
    near = all_above(_EXPONENT_MAX - 0.5 * d1 * d1, 0.0) & all_above(_EXPONENT_MAX - 0.5 * d2 * d2, 0.0)
    return bool(inside & near)


@compiled
def fill_wide(
    kinds: I8, forwards: F8, fixed: F8, strikes: F8, expiries: F8, vols: F8, discounts: F8, rates: F8, bases: F8,
    spot: F8, moved: F8, vol_floor: F8, passed: F8, vol_factor: F8, prices: F8, greeks: F8, left: U1,
) -> None:  # fmt: skip
    """Fills what it can, eight cells at once, and marks in `left` the cells that `cell` must do.

    Args:
        rates, bases: (lines) rate, and logarithm of forward over strike. moved: (scenarios) logarithm of `spot`.
        vol_factor, prices, left: (lines · scenarios) flat. greeks: (4 · lines · scenarios) flat.
        The others: as of `grid.price_grid`.
    """
    columns, size = spot.shape[0], prices.shape[0]
    for i in range(forwards.shape[0]):
        strike, years, discount, row = strikes[i], expiries[i], discounts[i], i * columns
        plain = kinds[i] <= PUT and fixed[i] == 0.0 and years > 0.0 and strike > 0.0 and forwards[i] > 0.0
        root = math.sqrt(max(years, 0.0))
        k = 0
        while k < columns:
            if not plain or columns < 8:
                left[row + k] = 1
                k += 1
                continue
            k = min(k, columns - 8)  # the last eight may do some cells again
            forward = forwards[i] * load(spot, k, EIGHT)
            total = larger(vols[i] * load(vol_factor, row + k, EIGHT), load(vol_floor, k, EIGHT)) * root
            d1 = (bases[i] + load(moved, k, EIGHT)) / total + 0.5 * total
            d2 = d1 - total
            if any_above(load(passed, k, EIGHT), 0.0) or not is_plain(total, forward, d1, d2):
                for each in range(8):
                    left[row + k + each] = 1
                k += 8
                continue
            bell = exp_lanes(-0.5 * d1 * d1)
            tail1 = upper_tail_lanes(absolutes(d1), bell)
            tail2 = upper_tail_lanes(absolutes(d2), bell * (forward / strike))
            up1, down1 = where_above(d1, 0.0, 1.0 - tail1, tail1), where_above(d1, 0.0, tail1, 1.0 - tail1)
            up2, down2 = where_above(d2, 0.0, 1.0 - tail2, tail2), where_above(d2, 0.0, tail2, 1.0 - tail2)
            density = INVERSE_SQRT_2PI * bell
            decay = 0.5 * discount * forward * density * total / years
            if kinds[i] == PUT:
                value, delta = gains(discount * (strike * down2 - forward * down1)), (-discount) * down1
            else:
                value, delta = gains(discount * (forward * up1 - strike * up2)), discount * up1
            keep(prices, row + k, value)
            keep(greeks, row + k, delta)
            keep(greeks, size + row + k, discount * density / (forward * total))
            keep(greeks, 2 * size + row + k, discount * forward * density * root)
            keep(greeks, 3 * size + row + k, rates[i] * value - decay)
            k += 8
