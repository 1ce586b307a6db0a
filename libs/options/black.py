"""Prices and Greeks of single European options, and of forwards, cash and digitals beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from libs.options.normal import INVERSE_SQRT_2PI, exp, log, upper_tail

YEAR_S = 365 * 86_400
TOTAL_VOL_MAX = 24.0  # formulas.md G: beyond it a call is worth the discounted forward, a put the discounted strike
_TOTAL_VOL_MIN = 1e-16  # below it an option is worth less than the last bit of its forward
_CERTAIN = 38.0  # so many deviations away, the tail has left the floats


class LineKind(IntEnum):
    """What one unit of a line pays at expiry, S the settlement price."""

    CALL = 0  # max(S - K, 0)
    PUT = 1  # max(K - S, 0)
    DIGITAL_CALL = 2  # 1 when S > K
    DIGITAL_PUT = 3  # 1 when S <= K
    FORWARD = 4  # S
    CASH = 5  # 1


Cell = tuple[float, float, float, float, float]


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


def cell(
    kind: int, forward: float, strike: float, moneyness: float, years: float, vol: float, discount: float, rate: float
) -> Cell:
    """Value, delta and gamma on the forward, vega per 1.0 of vol, theta per year (vol, forward and rate held).

    Args:
        moneyness: ln(forward / strike), whatever when one of them is 0.
        discount: e^(-rate·years).
    Source: Black (1976), "The pricing of commodity contracts", eq. 16. Edges: formulas.md G.
    """
    if kind >= 4:
        if kind == 4:
            return discount * forward, discount, 0.0, 0.0, rate * discount * forward
        return discount, 0.0, 0.0, 0.0, rate * discount
    root = math.sqrt(years) if years > 0.0 else 0.0
    total = vol * root
    if not total > _TOTAL_VOL_MIN or strike <= 0.0 or forward <= 0.0:
        return certain(kind, forward, strike, discount, rate)
    total = min(total, TOTAL_VOL_MAX)
    d1 = moneyness / total + 0.5 * total
    d2 = d1 - total
    if min(d1, d2) > _CERTAIN or max(d1, d2) < -_CERTAIN:
        return certain(kind, forward, strike, discount, rate)
    # e^(-d2²/2) = e^(-d1²/2)·F/K, so that one exponential serves both; where it has left the floats, so has the tail.
    bell1 = exp(-0.5 * d1 * d1)
    bell2 = bell1 * (forward / strike) if bell1 > 1e-280 else exp(-0.5 * d2 * d2)
    tail1 = upper_tail(abs(d1), bell1)
    tail2 = upper_tail(abs(d2), bell2)
    up1, down1 = (1.0 - tail1, tail1) if d1 > 0.0 else (tail1, 1.0 - tail1)
    up2, down2 = (1.0 - tail2, tail2) if d2 > 0.0 else (tail2, 1.0 - tail2)
    if kind <= 1:
        density = INVERSE_SQRT_2PI * bell1
        gamma = discount * density / (forward * total)
        vega = discount * forward * density * root
        decay = 0.5 * discount * forward * density * total / years
        if kind == 0:
            value = max(0.0, discount * (forward * up1 - strike * up2))
            return value, discount * up1, gamma, vega, rate * value - decay
        value = max(0.0, discount * (strike * down2 - forward * down1))
        return value, -discount * down1, gamma, vega, rate * value - decay
    density = INVERSE_SQRT_2PI * bell2
    side = 1.0 if kind == 2 else -1.0
    value = discount * (up2 if kind == 2 else down2)
    slope = side * discount * density
    delta = slope / (forward * total)
    gamma = -delta * d1 / (forward * total)
    return value, delta, gamma, -slope * d1 / vol, rate * value + 0.5 * slope * d1 / years


def certain(kind: int, forward: float, strike: float, discount: float, rate: float) -> Cell:
    """Discounted intrinsic value: nothing can move any more, or one of the two prices is 0."""
    above = 1.0 if forward > strike else (0.5 if forward == strike and forward > 0.0 else 0.0)
    if kind == 0:
        value = discount * max(forward - strike, 0.0)
        return value, discount * above, 0.0, 0.0, rate * value
    if kind == 1:
        value = discount * max(strike - forward, 0.0)
        return value, discount * (above - 1.0), 0.0, 0.0, rate * value
    pays = forward > strike if kind == 2 else forward <= strike
    value = discount if pays else 0.0
    return value, 0.0, 0.0, 0.0, rate * value
