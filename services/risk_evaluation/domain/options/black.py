"""Prices and Greeks of single European options."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.risk_evaluation.domain.options.cell import LineKind, cell
from services.risk_evaluation.domain.options.normal import exp, log

YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Greeks:
    """Value and sensitivities of one unit of an option line.

    Args:
        delta, gamma: to the forward (Black-76) or to spot (Black-Scholes-Merton).
        vega, rho: per 1.0 of volatility, of rate.
        theta: per year that passes, everything else held.
        dividend_rho: per 1.0 of the continuous yield; 0 under Black-76.
    """

    value: float
    delta: float
    gamma: float
    vega: float
    theta: float
    rho: float
    dividend_rho: float = 0.0

    @property
    def theta_per_day(self) -> float:
        """Theta of one day of a year of 365."""
        return self.theta / 365.0

    def elasticity(self, underlying: float) -> float:
        """Relative move of the value per relative move of the underlying; 0 when the value is."""
        return self.delta * underlying / self.value if self.value else 0.0


def years_of(seconds: float) -> float:
    """Years of 365 days; what is past counts as 0."""
    return max(0.0, seconds) / YEAR_S


def black76(
    *, forward: float, strike: float, years: float, vol: float, discount: float, kind: LineKind = LineKind.CALL
) -> Greeks:
    """Price and Greeks on a forward with an explicit discount factor.

    Raises: ValueError, an input that is negative or no number.
    Source: Black (1976), eq. 16; edges as formulas.md G: K = 0, F = 0, T = 0, vol = 0, total vol capped at 24.
    """
    _check(forward=forward, strike=strike, years=years, vol=vol, discount=discount)
    rate = -log(discount) / years if years > 0.0 and discount > 0.0 else 0.0
    value, delta, gamma, vega, theta = cell(
        int(kind), forward, strike, _moneyness(forward, strike), years, vol, discount, rate
    )
    return Greeks(value, delta, gamma, vega, theta, rho=-years * value)


def black_scholes_merton(
    *,
    spot: float,
    strike: float,
    years: float,
    vol: float,
    rate: float,
    dividend_yield: float = 0.0,
    kind: LineKind = LineKind.CALL,
) -> Greeks:
    """Price and Greeks on spot with a continuous yield.

    Raises: ValueError, an input that is negative or no number; rates may be negative.
    Source: Merton (1973), "Theory of rational option pricing", eq. 21; Haug (1998), ch. 1 and 2.
    """
    _check(spot=spot, strike=strike, years=years, vol=vol)
    if not (math.isfinite(rate) and math.isfinite(dividend_yield)):
        raise ValueError(f"expected finite rates, was {rate!r} and {dividend_yield!r}")
    growth = exp((rate - dividend_yield) * years)
    forward = spot * growth
    value, delta, gamma, vega, theta = cell(
        int(kind), forward, strike, _moneyness(forward, strike), years, vol, exp(-rate * years), rate
    )
    # With spot held, time also moves the forward: dF/dT = (r - q)·F, and F = S·growth.
    return Greeks(
        value=value,
        delta=delta * growth,
        gamma=gamma * growth * growth,
        vega=vega,
        theta=theta - (rate - dividend_yield) * forward * delta,
        rho=years * (forward * delta - value),
        dividend_rho=-years * forward * delta,
    )


def _moneyness(forward: float, strike: float) -> float:
    return log(forward / strike) if forward > 0.0 and strike > 0.0 else 0.0


def _check(**inputs: float) -> None:
    for name, value in inputs.items():
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"expected a finite {name} >= 0, was {value!r}")
