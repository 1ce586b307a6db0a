"""Structured products: their legs add up to the payoff that is promised."""

import numpy as np
import pytest

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.options.grid import price_grid, scenarios_of
from services.risk_evaluation.domain.options.packages import PACKAGES, Leg, lines_of, package_legs, package_value

_PRICES = np.array([1.0, 50.0, 79.99, 80.0, 80.01, 100.0, 119.0, 120.0, 121.0, 400.0])


def _at_expiry(legs: tuple[Leg, ...]) -> list[float]:
    kinds, strikes, _ = lines_of(legs)
    ones = np.ones(len(legs))
    values, _ = price_grid(ones, strikes, 0.0 * ones, 0.0 * ones, ones, scenarios_of(_PRICES), kinds=kinds)
    return [float(one) for one in package_value(legs, values)]


def test_covered_strangle_pays_the_coin_less_both_shorts() -> None:
    legs = package_legs("covered_strangle", {"quantity": 2.0, "put_strike": 80.0, "call_strike": 120.0})
    expected = [2.0 * (p - max(80.0 - p, 0.0) - max(p - 120.0, 0.0)) for p in _PRICES]
    assert _at_expiry(legs) == pytest.approx(expected)


def test_dual_currency_note_repays_money_or_coins_at_the_strike() -> None:
    terms = {"notional": 1000.0, "strike": 80.0, "coupon": 0.02, "conditional_coupon": 0.03}
    expected = [
        1000.0 * 1.02 * min(1.0, p / 80.0) + (30.0 if p > 80.0 else 0.0) for p in _PRICES
    ]  # the digital pays its coupon only when the repayment is in money
    assert _at_expiry(package_legs("dual_currency_note", terms)) == pytest.approx(expected)


def test_a_leg_without_size_is_left_out() -> None:
    legs = package_legs("dual_currency_note", {"notional": 1000.0, "strike": 80.0})
    assert [one.kind for one in legs] == [LineKind.CASH, LineKind.PUT]
    assert legs[1].quantity == pytest.approx(-12.5)


def test_a_package_is_worth_its_legs_in_every_scenario() -> None:
    legs = package_legs("covered_strangle", {"quantity": 1.5, "put_strike": 90.0, "call_strike": 130.0})
    kinds, strikes, quantities = lines_of(legs)
    n = len(legs)
    values, _ = price_grid(
        np.full(n, 100.0), strikes, np.full(n, 0.2), np.full(n, 0.7), np.full(n, 0.99),
        scenarios_of(np.linspace(0.5, 1.5, 7)), kinds=kinds,
    )  # fmt: skip
    assert package_value(legs, values) == pytest.approx(quantities @ values)


@pytest.mark.parametrize(
    ("name", "terms", "says"),
    [
        ("autocallable", {}, r"products\[3\].name: expected one of \['covered_strangle', 'dual_currency_note'\]"),
        ("covered_strangle", {"quantity": 1.0, "put_strike": 80.0}, r"products\[3\].call_strike: .* missing"),
        ("covered_strangle", {"quantity": 1.0, "put_strike": 80.0, "call_strike": 80.0}, "expected above put_strike"),
        ("dual_currency_note", {"notional": 0.0, "strike": 1.0}, r"products\[3\].notional: expected 1e-12 .. "),
        ("dual_currency_note", {"notional": 1.0, "strike": 1.0, "coupon": 1.5}, r"coupon: expected 0.0 .. 1.0"),
        ("dual_currency_note", {"notional": 1.0, "strike": float("nan")}, r"strike: expected"),
        (
            "dual_currency_note",
            {"notional": 1.0, "strike": 1.0, "barrier": 2.0},
            r"products\[3\].barrier: expected one",
        ),
    ],
)
def test_unknown_packages_and_terms_are_refused_with_their_path(name: str, terms: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        package_legs(name, terms, path="products[3]")


def test_every_package_says_what_it_is() -> None:
    assert all(one.says and one.legs and one.terms for one in PACKAGES.values())
