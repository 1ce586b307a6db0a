"""One expiry of a volatility surface: raw SVI, its clamps, and whether it is free of butterfly arbitrage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from libs.options.normal import log

F8 = npt.NDArray[np.float64]

TOTAL_VARIANCE_MAX = 144.0  # formulas.md E: a total volatility of 12
CLAMP_WIDTH = 4.0  # formulas.md E: log-moneyness within ±4·sqrt(a + b·sigma)
WING_SLOPE_MAX = 2.0  # Lee (2004): total variance grows at most by 2 per unit of log-moneyness
_TOLERANCE = 1e-12
_STEPS = 401
_WIDTH_MIN = 1.5


@dataclass(frozen=True, slots=True)
class SviSlice:
    """Total variance w(k) = a + b(ρ(k - m) + sqrt((k - m)² + σ²)) of one expiry, k = ln(strike / forward).

    Source: Gatheral and Jacquier (2014), "Arbitrage-free SVI volatility surfaces", eq. 3.1.
    """

    a: float
    b: float
    rho: float
    m: float
    sigma: float
    forward: float
    years: float

    @property
    def clamp(self) -> float:
        """Beyond this |k| the smile is flat."""
        return CLAMP_WIDTH * math.sqrt(max(0.0, self.a + self.b * self.sigma))

    def total_variance(self, k: F8) -> F8:
        """w(k) with the clamps, in 0 .. 144."""
        within = np.clip(k, -self.clamp, self.clamp)
        return np.clip(self.raw(within), 0.0, TOTAL_VARIANCE_MAX)

    def raw(self, k: F8) -> F8:
        """w(k) as the formula gives it, unclamped."""
        x = k - self.m
        return self.a + self.b * (self.rho * x + np.sqrt(x * x + self.sigma * self.sigma))

    def vols(self, strikes: F8) -> F8:
        """Volatilities a year at these strikes; 0 at or after expiry. A strike of 0 is at the clamp."""
        if self.years <= 0.0:
            return np.zeros_like(strikes)
        k = np.array([log(max(strike, 1e-300) / self.forward) for strike in strikes.tolist()])
        return np.sqrt(self.total_variance(k) / self.years)

    def vol(self, strike_over_forward: float) -> float:
        """Volatility a year at one strike; 0 at or after expiry. A strike of 0 is at the clamp."""
        if self.years <= 0.0:
            return 0.0
        k = log(max(strike_over_forward, 1e-300))
        return math.sqrt(float(self.total_variance(np.array([k]))[0]) / self.years)

    def vol_slope(self, strike_over_forward: float) -> float:
        """Change of `vol` per 1 of strike over forward, as the formula has it; 0 where the smile is flat."""
        if self.years <= 0.0 or strike_over_forward <= 0.0:
            return 0.0
        k = log(max(strike_over_forward, 1e-300))
        variance = float(self.raw(np.array([k]))[0])
        if not (abs(k) < self.clamp and 0.0 < variance < TOTAL_VARIANCE_MAX):
            return 0.0
        x = k - self.m
        slope = self.b * (self.rho + x / math.sqrt(x * x + self.sigma * self.sigma))
        return slope / (2.0 * math.sqrt(variance * self.years) * strike_over_forward)

    def at_the_money(self) -> float:
        """Total variance at the forward."""
        return float(self.total_variance(np.zeros(1))[0])


def fault(one: SviSlice) -> str | None:
    """Why the parameters are no smile at all, with value and bound; None when they are."""
    numbers = (one.a, one.b, one.rho, one.m, one.sigma, one.forward, one.years)
    if not all(math.isfinite(each) for each in numbers):
        return f"expected finite parameters, was {numbers}"
    if one.forward <= 0.0:
        return f"expected forward > 0, was {one.forward!r}"
    if one.years < 0.0:
        return f"expected years >= 0, was {one.years!r}"
    if one.b < 0.0 or one.sigma <= 0.0:
        return f"expected b >= 0 and sigma > 0, was {one.b!r} and {one.sigma!r}"
    if abs(one.rho) > 1.0:
        return f"expected rho in -1 .. 1, was {one.rho!r}"
    least = one.a + one.b * one.sigma * math.sqrt(1.0 - one.rho * one.rho)
    if least < 0.0 or one.a + one.b * one.sigma <= 0.0:
        return f"expected total variance >= 0 everywhere, was {least!r}"
    return None


def grid_of(*slices: SviSlice) -> F8:
    """Log-moneyness points within the clamps of all these expiries, where the smile is used."""
    width = max(one.clamp for one in slices)
    return np.linspace(-width, width, _STEPS)


def wide_grid_of(one: SviSlice) -> F8:
    """Log-moneyness points within the clamps and to ±1.5 at least, where the formula must make sense."""
    width = max(one.clamp, _WIDTH_MIN)
    return np.linspace(-width, width, _STEPS)


def density_factor(one: SviSlice, k: F8) -> F8:
    """g(k), the sign of the implied density: no butterfly arbitrage where it is at least 0.

    Source: Gatheral and Jacquier (2014), eq. 2.1, on the unclamped smile.
    """
    x = k - one.m
    root = np.sqrt(x * x + one.sigma * one.sigma)
    w = one.a + one.b * (one.rho * x + root)
    first = one.b * (one.rho + x / root)
    second = one.b * one.sigma * one.sigma / (root * root * root)
    w = np.maximum(w, _TOLERANCE)
    return (1.0 - k * first / (2.0 * w)) ** 2 - first * first / 4.0 * (1.0 / w + 0.25) + second / 2.0


def has_butterfly(one: SviSlice) -> bool:
    """Somewhere a butterfly has a negative price, or a wing is steeper than any law of prices allows."""
    if one.b * (1.0 + abs(one.rho)) > WING_SLOPE_MAX:
        return True
    return bool(np.any(density_factor(one, wide_grid_of(one)) < -_TOLERANCE))


@dataclass(frozen=True, slots=True)
class JumpWings:
    """The same smile in words of a trader, at the money: variance, skew, slopes of the wings, least variance."""

    v: float
    psi: float
    p: float
    c: float
    v_min: float
    years: float


def jump_wings(one: SviSlice) -> JumpWings:
    """SVI jump wings of a slice with years > 0. Source: Gatheral and Jacquier (2014), eq. 3.5."""
    root = math.sqrt(one.m * one.m + one.sigma * one.sigma)
    w = one.a + one.b * (-one.rho * one.m + root)
    scale = 1.0 / math.sqrt(w)
    return JumpWings(
        v=w / one.years,
        psi=scale * one.b / 2.0 * (one.rho - one.m / root),
        p=scale * one.b * (1.0 - one.rho),
        c=scale * one.b * (1.0 + one.rho),
        v_min=(one.a + one.b * one.sigma * math.sqrt(1.0 - one.rho * one.rho)) / one.years,
        years=one.years,
    )


def raw_of(wings: JumpWings, like: SviSlice) -> SviSlice | None:
    """The slice with these jump wings; None when there is none. Source: Gatheral and Jacquier (2014), lemma 3.2."""
    w = wings.v * wings.years
    b = math.sqrt(w) / 2.0 * (wings.c + wings.p)
    if b <= 0.0:
        return None
    rho = 1.0 - wings.p * math.sqrt(w) / b
    beta = rho - 2.0 * wings.psi * math.sqrt(w) / b
    if abs(beta) > 1.0 or abs(rho) >= 1.0:
        return None
    complement = math.sqrt(1.0 - rho * rho)
    if abs(beta) < _TOLERANCE:
        return replace(like, a=w - b * like.sigma, b=b, rho=rho, m=0.0)
    alpha = math.copysign(math.sqrt(1.0 / (beta * beta) - 1.0), beta)
    below = -rho + math.copysign(math.sqrt(1.0 + alpha * alpha), alpha) - alpha * complement
    if abs(below) < _TOLERANCE:
        return None
    m = (wings.v - wings.v_min) * wings.years / (b * below)
    sigma = alpha * m
    if sigma <= 0.0:
        return None
    return replace(like, a=wings.v_min * wings.years - b * sigma * complement, b=b, rho=rho, m=m, sigma=sigma)
