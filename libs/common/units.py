"""Numbers that are owed or owned: distinct integer types, and division that names its rounding."""

from __future__ import annotations

import re
from typing import NewType

Units = NewType("Units", int)  # smallest unit of an asset, which stands beside it
Usd6 = NewType("Usd6", int)  # 10^-6 USD
Lots = NewType("Lots", int)  # whole lots of an instrument, signed where a position is meant
Price = NewType("Price", int)  # integer with the instrument's exponent
Ppm = NewType("Ppm", int)  # 10^-6
Rate12 = NewType("Rate12", int)  # 10^-12 a year
Index15 = NewType("Index15", int)  # units per share, 10^-15
UnixNs = NewType("UnixNs", int)  # ns since 1970 of the run clock

PPM = 1_000_000
RATE_ONE = 10**12
INDEX_ONE = Index15(10**15)
FUNDING_ONE = 10**9  # cumulative funding is in 10^-9 settlement units
SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 86_400 * SECOND_NS  # years have 365 days everywhere
SETTLEMENT_WINDOW_NS = 1_800 * SECOND_NS  # over which the index is averaged before an instrument ends
INT63 = 2**63

_DECIMAL = re.compile(r"^-?[0-9]{1,30}(\.[0-9]{1,30})?\Z")


class MalformedNumber(ValueError):
    """A decimal string from outside that cannot be taken: the message says what was expected."""


def mul_div_down(a: int, b: int, d: int) -> int:
    """`a·b/d` rounded toward minus infinity. Raises ZeroDivisionError when d is 0."""
    return a * b // d


def mul_div_up(a: int, b: int, d: int) -> int:
    """`a·b/d` rounded toward plus infinity. Raises ZeroDivisionError when d is 0."""
    return -(-a * b // d)


def mul_div_zero(a: int, b: int, d: int) -> int:
    """`a·b/d` truncated toward zero; d > 0."""
    product = a * b
    return product // d if product >= 0 else -(-product // d)


def to_scaled(text: str, exponent: int) -> int:
    """The integer n with n·10^exponent == text.

    Raises:
        MalformedNumber: not a plain decimal, more digits than the scale holds, or beyond 63 bits.
    """
    if not _DECIMAL.match(text):
        raise MalformedNumber(f"expected a decimal such as '12.5', was {text[:40]!r}")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > max(0, -exponent):
        raise MalformedNumber(f"expected at most {max(0, -exponent)} digits after the point, was {text!r}")
    digits = int(whole.lstrip("-") + fraction)
    shift = -exponent - len(fraction)
    if shift < 0 and digits % _ten(-shift):
        raise MalformedNumber(f"expected a multiple of 10^{exponent}, was {text!r}")
    value = digits * _ten(shift) if shift >= 0 else digits // _ten(-shift)
    value = -value if whole.startswith("-") else value
    if not -INT63 <= value < INT63:
        raise MalformedNumber(f"expected a number below 2^63 in 10^{exponent}, was {text!r}")
    return value


def _ten(power: int) -> int:
    return int("1" + "0" * power)


def to_units(text: str, decimals: int) -> Units:
    """Units of an asset with that many decimals. Raises MalformedNumber as `to_scaled` does."""
    return Units(to_scaled(text, -decimals))


def from_scaled(value: int, exponent: int) -> str:
    """Shortest plain decimal string of `value·10^exponent`."""
    sign, digits = ("-", -value) if value < 0 else ("", value)
    if exponent >= 0:
        return f"{sign}{digits * _ten(exponent)}"
    whole, part = divmod(digits, _ten(-exponent))
    fraction = str(part).rjust(-exponent, "0").rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def from_units(units: int, decimals: int) -> str:
    """Shortest plain decimal string of an amount."""
    return from_scaled(units, -decimals)
