"""Calls and puts of the grid, eight scenarios at a time: the formulas of `cell` and `normal` with the same bits."""

from __future__ import annotations

import math
from typing import Any

from libs.options.normal import (
    EXP_REST,
    INVERSE_LN2,
    INVERSE_SQRT_2PI,
    INVERSE_SQRT_PI,
    LN2_HIGH,
    LN2_LOW,
    SQRT_HALF,
    TAIL,
    TAIL_BELOW,
    TAIL_FAR,
    TAIL_FAR_BELOW,
    TAIL_MAX,
    TAIL_NEAR,
    TAIL_NEAR_BELOW,
    TAIL_NEAR_MAX,
)
from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.options.cell import TOTAL_VOL_MAX, LineKind
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
_EXPONENT_MAX = 640.0  # within what `cell` computes with one exponential
_TOTAL_VOL_MIN = 1e-15


@inlined
def exp_lanes(x: Any) -> Any:
    """e^x of lanes in -700 .. 700 (normal.exp)."""
    k = floors(x * INVERSE_LN2 + 0.5)
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    t = r * r
    p = EXP_REST
    c = r - t * (p[0] + t * (p[1] + t * (p[2] + t * (p[3] + t * p[4]))))
    return (1.0 - ((low - (r * c) / (2.0 - c)) - high)) * powers_of_two(k)


@inlined
def upper_tail_lanes(x: Any, density: Any) -> Any:
    """Probabilities that a standard normal exceeds x ≥ 0 (normal.upper_tail)."""
    y, m, d8 = x * SQRT_HALF, TAIL, TAIL_BELOW
    top = (((m[0] * y + m[1]) * y + m[2]) * y + m[3]) * y + m[4]
    top = (((top * y + m[5]) * y + m[6]) * y + m[7]) * y + m[8]
    below = (((y + d8[0]) * y + d8[1]) * y + d8[2]) * y + d8[3]
    below = (((below * y + d8[4]) * y + d8[5]) * y + d8[6]) * y + d8[7]
    tail = 0.5 * density * (top / below)
    if any_above(TAIL_NEAR_MAX - y, -1e-300):  # some lane is near the middle
        z, n, d = y * y, TAIL_NEAR, TAIL_NEAR_BELOW
        top = (((n[0] * z + n[1]) * z + n[2]) * z + n[3]) * z + n[4]
        below = (((z + d[0]) * z + d[1]) * z + d[2]) * z + d[3]
        near = 0.5 - 0.5 * y * (top / below)
        tail = where_above(y, TAIL_NEAR_MAX, tail, near)
    if any_above(y, TAIL_MAX):
        z, f, d5 = 1.0 / (y * y), TAIL_FAR, TAIL_FAR_BELOW
        top = (((((f[0] * z + f[1]) * z + f[2]) * z + f[3]) * z + f[4]) * z + f[5]) * z
        below = ((((z + d5[0]) * z + d5[1]) * z + d5[2]) * z + d5[3]) * z + d5[4]
        tail = where_above(y, TAIL_MAX, 0.5 * density * ((INVERSE_SQRT_PI - top / below) / y), tail)
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
