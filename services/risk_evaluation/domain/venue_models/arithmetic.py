"""Integer arithmetic that several venues share; every function names its rounding."""

from __future__ import annotations

import math

from libs.common.units import mul_div_down, mul_div_zero

WAD = 10**18
BPS = 10_000
PPM = 1_000_000


def times_power_of_ten(value: int, exponent: int) -> int:
    """`value·10^exponent`, what does not fit truncated toward zero."""
    return value * 10**exponent if exponent >= 0 else mul_div_zero(value, 1, 10**-exponent)


def mul_div_half_up(a: int, b: int, d: int) -> int:
    """`a·b/d` to the nearest integer, halves up; a·b ≥ 0."""
    return (a * b + d // 2) // d


def value_away(amount: int, price: int, decimals: int) -> int:
    """`amount·price/10^decimals`: what is owned rounded down, what is owed rounded up in size."""
    return mul_div_down(amount, price, 10**decimals)


def root(value: int) -> int:
    """Integer square root, rounded down."""
    return math.isqrt(value)
