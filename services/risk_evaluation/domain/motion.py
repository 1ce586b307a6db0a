"""How prices move, and a value as a quadratic of their moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8


@dataclass(frozen=True, slots=True)
class Quadratic:
    """A value as a function of price moves x and time t: value + Σ(delta·x + gamma·x²/2) + theta·t.

    Args:
        value: USD. delta, gamma: (underlyings,), USD per USD and per USD². theta: USD a year.
    """

    value: float
    delta: F8
    gamma: F8
    theta: float = 0.0

    def at(self, moved: F8, years: float) -> F8:
        """(paths,) value after moves (paths, underlyings) and a time."""
        value: F8 = self.value + moved @ self.delta + 0.5 * (moved * moved) @ self.gamma + self.theta * years
        return value


@dataclass(frozen=True, slots=True)
class Dynamics:
    """How prices move: diffusion with joint jumps, on logarithms, or on prices themselves if `is_normal`.

    Args:
        spot: (underlyings,) prices, USD.
        covariance: (underlyings, underlyings) a year. drift: (underlyings,) a year.
        jumps_a_year: how often all jump together. jump_mean: (underlyings,). jump_covariance: of one jump.
    """

    spot: F8
    covariance: F8
    drift: F8
    jumps_a_year: float
    jump_mean: F8
    jump_covariance: F8
    is_normal: bool = False

    def moved(self, driven: F8) -> F8:
        """Price moves of the driving process."""
        return driven if self.is_normal else self.spot * np.expm1(driven)
