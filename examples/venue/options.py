"""Options as the venue sees them: Black's formula on its own spot price, with its own opinion of the volatility.

A venue knows the wire alone, so this formula is its own; the house prices by its own, from surfaces it has checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

YEAR_NS = 365 * 86_400 * 10**9
PPM = 1_000_000
SPREAD = 0.001  # half the width of a digital's spread, share of its strike


@dataclass(frozen=True, slots=True)
class Smile:
    """Total variance of one expiry: a + b(rho(k - m) + sqrt((k - m)² + sigma²)), k = ln(strike / forward)."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float

    def total_variance(self, k: float) -> float:
        """At a log-moneyness, never below 0."""
        x = k - self.m
        return max(0.0, self.a + self.b * (self.rho * x + math.sqrt(x * x + self.sigma * self.sigma)))


@dataclass(frozen=True, slots=True)
class Surface:
    """Smiles of one underlying by expiry in ns, as made at a run time."""

    made_at_ns: int
    smiles: Mapping[int, Smile]


@dataclass(frozen=True, slots=True)
class Option:
    """What is listed.

    Args:
        underlying: number of the asset in the replay's surfaces.
        in_coins: priced in coins a coin, not in the quote.
        vol_bias_ppm: what this venue adds to the surface's volatility, share of it.
    """

    underlying: int
    is_call: bool
    strike: float
    expiry_ns: int
    in_coins: bool
    vol_bias_ppm: int

    def price(self, *, spot: float, surface: Surface, run_time_ns: int) -> float | None:
        """Fair price of an option on one coin; None when the surface does not know the expiry."""
        left_ns = self.expiry_ns - run_time_ns
        smile = surface.smiles.get(self.expiry_ns)
        if left_ns <= 0:
            total = 0.0
        elif smile is None:
            return None
        else:
            then = (self.expiry_ns - surface.made_at_ns) / YEAR_NS
            vol = math.sqrt(smile.total_variance(math.log(self.strike / spot)) / then) * (1 + self.vol_bias_ppm / PPM)
            total = vol * math.sqrt(left_ns / YEAR_NS)
        value = black(spot, self.strike, total, is_call=self.is_call)
        return value / spot if self.in_coins else value


@dataclass(frozen=True, slots=True)
class Package:
    """A structured product on one coin: money, coins and options that change hands as one, in the quote.

    Args:
        legs: options and how many of each, sold below 0.
    """

    underlying: int
    coins: float
    money: float
    legs: tuple[tuple[float, Option], ...]

    def price(self, *, spot: float, surface: Surface, run_time_ns: int) -> float | None:
        """Fair price; None when the surface does not know the expiry."""
        value = self.money + self.coins * spot
        for quantity, option in self.legs:
            one = option.price(spot=spot, surface=surface, run_time_ns=run_time_ns)
            if one is None:
                return None
            value += quantity * one
        return value


def digital(quantity: float, option: Option) -> tuple[tuple[float, Option], ...]:
    """So much money when the price ends beyond the strike: as a narrow spread of options with the smile."""
    half = option.strike * SPREAD
    near, far = (replace(option, strike=option.strike + side * half) for side in (-1.0, 1.0))
    if not option.is_call:
        near, far = far, near
    each = quantity / (2.0 * half)
    return (each, near), (-each, far)


def black(forward: float, strike: float, total_vol: float, *, is_call: bool) -> float:
    """Undiscounted value. Source: Black (1976), eq. 16."""
    side = 1.0 if is_call else -1.0
    if total_vol <= 0.0:
        return max(0.0, side * (forward - strike))
    d1 = math.log(forward / strike) / total_vol + 0.5 * total_vol
    return side * (forward * _normal(side * d1) - strike * _normal(side * (d1 - total_vol)))


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
