"""Parameters of default probability: how prices may move, and how long a book takes to be liquidated."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.units import Ppm


@dataclass(frozen=True, slots=True)
class DefaultRules:
    """How the default of an account is judged (docs/margin.md, Risk figures). Diffusion is at the volatility in force.

    Args:
        jumps_a_year: how often all prices jump together. jump_mean, jump_sigma: of the logarithm.
        correlation: of two prices that have no common history yet.
        participation: share of daily volume that a liquidation may be. least_liquidation_ns: it takes at least so long.
        paths, steps: of the simulation.
    """

    jumps_a_year: Ppm
    jump_mean: Ppm
    jump_sigma: Ppm
    correlation: Ppm
    participation: Ppm
    least_liquidation_ns: int
    paths: int
    steps: int


STILL = DefaultRules(Ppm(0), Ppm(0), Ppm(0), Ppm(0), Ppm(100_000), 60 * 10**9, 1_024, 16)
