"""Numbers at the edges, and division that names its rounding."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor, trunc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.units import (
    INT63,
    MalformedNumber,
    from_scaled,
    from_units,
    mul_div_down,
    mul_div_up,
    mul_div_zero,
    to_scaled,
    to_units,
)

whole = st.integers(-(2**200), 2**200)
positive = st.integers(1, 2**200)


@pytest.mark.parametrize(
    ("text", "exponent", "value"),
    [
        ("0", 0, 0),
        ("-0", 0, 0),
        ("-0.000", -2, 0),
        ("12.5", -1, 125),
        ("12.50", -1, 125),
        ("12.5", -8, 1_250_000_000),
        ("-12.5", -1, -125),
        ("0012", 0, 12),
        ("100", 2, 1),
        ("100.00", 2, 1),
        ("0.000", 3, 0),
        ("9223372036854775807", 0, INT63 - 1),
        ("-9223372036854775808", 0, -INT63),
        ("9.223372036854775807", -18, INT63 - 1),
        ("1" + "0" * 29, 20, 10**9),
    ],
)
def test_a_decimal_becomes_an_integer_of_its_scale(text: str, exponent: int, value: int) -> None:
    assert to_scaled(text, exponent) == value


@pytest.mark.parametrize(
    ("text", "exponent", "words"),
    [
        ("", 0, "a decimal"),
        ("-", 0, "a decimal"),
        (".", 0, "a decimal"),
        ("1.", 0, "a decimal"),
        (".5", -1, "a decimal"),
        ("+1", 0, "a decimal"),
        ("--1", 0, "a decimal"),
        ("1e5", 0, "a decimal"),
        ("1_000", 0, "a decimal"),
        ("1,000", 0, "a decimal"),
        (" 1", 0, "a decimal"),
        ("1\n", 0, "a decimal"),
        ("nan", 0, "a decimal"),
        ("inf", 0, "a decimal"),
        ("0x10", 0, "a decimal"),
        ("１２", 0, "a decimal"),  # full-width digits
        ("٣", 0, "a decimal"),  # an Arabic digit
        ("1" * 31, 0, "a decimal"),
        ("1." + "0" * 31, 0, "a decimal"),
        ("1.25", -1, "at most 1 digits"),
        ("0.1", 0, "at most 0 digits"),
        ("0.5", 2, "at most 0 digits"),
        ("150", 2, "a multiple of 10^2"),
        ("9223372036854775808", 0, "a number below 2^63"),
        ("-9223372036854775809", 0, "a number below 2^63"),
        ("10", -18, "a number below 2^63"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str, exponent: int, words: str) -> None:
    with pytest.raises(MalformedNumber, match=re.escape(f"expected {words}")) as refused:
        to_scaled(text, exponent)
    assert len(str(refused.value)) < 120


@given(st.integers(-INT63, INT63 - 1), st.integers(-18, 6))
def test_what_is_written_is_read_back(value: int, exponent: int) -> None:
    if abs(value) * 10 ** max(0, exponent) < 10**30:
        assert to_scaled(from_scaled(value, exponent), exponent) == value


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [(0, 8, "0"), (1, 8, "0.00000001"), (-1, 2, "-0.01"), (100, 2, "1"), (-150, 2, "-1.5"), (7, 0, "7")],
)
def test_amounts_are_written_as_short_as_can_be(units: int, decimals: int, text: str) -> None:
    assert from_units(units, decimals) == text
    assert to_units(text, decimals) == units


@given(whole, whole, positive)
def test_divisions_round_as_they_are_named(a: int, b: int, d: int) -> None:
    exact = Fraction(a * b, d)
    assert (mul_div_down(a, b, d), mul_div_up(a, b, d)) == (floor(exact), ceil(exact))
    assert mul_div_zero(a, b, d) == trunc(exact)


@pytest.mark.parametrize("divide", [mul_div_down, mul_div_up, mul_div_zero])
def test_nothing_is_divided_by_zero(divide: object) -> None:
    assert callable(divide)
    with pytest.raises(ZeroDivisionError):
        divide(1, 1, 0)
