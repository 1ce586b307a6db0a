"""Structured products as registered packages of legs, priced line by line in the grid of everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.options.cell import LineKind


@dataclass(frozen=True, slots=True)
class LegTemplate:
    """A leg: `scale`·(product of the terms in `times`)/(product of those in `over`) units of a line.

    Args:
        strike: term that is the strike; None for forwards and cash.
        unless_zero: the leg is left out when this term is 0.
    """

    kind: LineKind
    scale: float
    times: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    strike: str | None = None
    unless_zero: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """A named number of a package with its bounds, both allowed."""

    low: float
    high: float
    default: float | None = None


@dataclass(frozen=True, slots=True)
class PackageTemplate:
    """What the package is, its terms, its legs; `rising` terms must rise in that order."""

    says: str
    terms: Mapping[str, Term]
    legs: tuple[LegTemplate, ...]
    rising: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leg:
    """So many units of a line; all legs of a package share underlying and expiry."""

    kind: LineKind
    quantity: float
    strike: float


_PRICE = Term(low=1e-12, high=1e12)
_AMOUNT = Term(low=1e-12, high=1e12)
_COUPON = Term(low=0.0, high=1.0, default=0.0)

PACKAGES: dict[str, PackageTemplate] = {
    "covered_strangle": PackageTemplate(
        says="Long the coin and short a put below and a call above: yield for giving up the upside and buying the dip.",
        terms={"quantity": _AMOUNT, "put_strike": _PRICE, "call_strike": _PRICE},
        legs=(
            LegTemplate(LineKind.FORWARD, 1.0, times=("quantity",)),
            LegTemplate(LineKind.PUT, -1.0, times=("quantity",), strike="put_strike"),
            LegTemplate(LineKind.CALL, -1.0, times=("quantity",), strike="call_strike"),
        ),
        rising=("put_strike", "call_strike"),
    ),
    # Repays notional·(1 + coupon) in money, or that many coins at the strike when the price ends below it: a bond
    # short notional·(1 + coupon)/K puts. The conditional coupon is paid only when the repayment is in money.
    "dual_currency_note": PackageTemplate(
        says="A deposit repaid in money or, below the strike, in coins at it; a digital may pay a coupon on top.",
        terms={"notional": _AMOUNT, "strike": _PRICE, "coupon": _COUPON, "conditional_coupon": _COUPON},
        legs=(
            LegTemplate(LineKind.CASH, 1.0, times=("notional",)),
            LegTemplate(LineKind.CASH, 1.0, times=("notional", "coupon"), unless_zero="coupon"),
            LegTemplate(LineKind.PUT, -1.0, times=("notional",), over=("strike",), strike="strike"),
            LegTemplate(
                LineKind.PUT,
                -1.0,
                times=("notional", "coupon"),
                over=("strike",),
                strike="strike",
                unless_zero="coupon",
            ),
            LegTemplate(
                LineKind.DIGITAL_CALL,
                1.0,
                times=("notional", "conditional_coupon"),
                strike="strike",
                unless_zero="conditional_coupon",
            ),
        ),
    ),
}


def package_legs(name: str, terms: Mapping[str, float], *, path: str = "package") -> tuple[Leg, ...]:
    """Legs of one unit of a registered package.

    Raises: ConfigurationError, with the path of what is unknown, missing or out of its bound.
    """
    template = PACKAGES.get(name)
    if template is None:
        raise ConfigurationError(f"{path}.name: expected one of {sorted(PACKAGES)}, was {name!r}")
    known = _terms(template, terms, path)
    for low, high in zip(template.rising, template.rising[1:], strict=False):
        if known[low] >= known[high]:
            raise ConfigurationError(f"{path}.{high}: expected above {low} {known[low]!r}, was {known[high]!r}")
    return tuple(
        Leg(
            kind=one.kind,
            quantity=one.scale
            * math.prod(known[term] for term in one.times)
            / math.prod(known[term] for term in one.over),
            strike=known[one.strike] if one.strike is not None else 0.0,
        )
        for one in template.legs
        if one.unless_zero is None or known[one.unless_zero] != 0.0
    )


def _terms(template: PackageTemplate, terms: Mapping[str, float], path: str) -> dict[str, float]:
    unknown = sorted(set(terms) - set(template.terms))
    if unknown:
        raise ConfigurationError(f"{path}.{unknown[0]}: expected one of {sorted(template.terms)}")
    known: dict[str, float] = {}
    for name, term in template.terms.items():
        value = terms.get(name, term.default)
        if value is None:
            raise ConfigurationError(f"{path}.{name}: expected a number, was missing")
        if not term.low <= value <= term.high:
            raise ConfigurationError(f"{path}.{name}: expected {term.low} .. {term.high}, was {value!r}")
        known[name] = float(value)
    return known


def lines_of(legs: tuple[Leg, ...]) -> tuple[I8, F8, F8]:
    """Kinds, strikes and quantities of legs, as `price_grid` takes them."""
    return (
        np.array([int(one.kind) for one in legs], dtype=np.int64),
        np.array([one.strike for one in legs]),
        np.array([one.quantity for one in legs]),
    )


def package_value(legs: tuple[Leg, ...], line_values: F8) -> F8:
    """Value of one package in each scenario.

    Args:
        line_values: (legs, scenarios) of one unit of each leg.
    """
    quantities = lines_of(legs)[2]
    total = np.zeros(line_values.shape[1])
    for row, quantity in enumerate(quantities):  # in order: the same bits whatever the shape
        total += quantity * line_values[row]
    return total
