"""Smiles made from prices: a level that follows realised volatility, a shape that parameters fix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from libs.common.option_parameters import SurfaceRule
from libs.common.units import PPM, YEAR_NS
from libs.options.svi import SviSlice

RATE_ONE = 10**12


def realised_variance(prices: Sequence[tuple[int, int]], rule: SurfaceRule) -> float:
    """Variance a year of the last price's moment: the larger of two measures, within floor and ceiling.

    One weighs squared returns down by half each `half_life` (RiskMetrics 1996, section 5.2) and begins at the long run;
    the other weighs them alike.

    Args:
        prices: (run time in ns, price above 0), oldest first.
    """
    weighted, total, elapsed = (rule.long_run / PPM) ** 2, 0.0, 0
    for (before_ns, before), (at_ns, price) in pairwise(prices):
        squared, years = math.log(price / before) ** 2, (at_ns - before_ns) / YEAR_NS
        stays = 2.0 ** (-(at_ns - before_ns) / rule.half_life_ns)
        weighted = weighted * stays + squared / years * (1.0 - stays)
        total, elapsed = total + squared, elapsed + at_ns - before_ns
    even = total / (max(elapsed, rule.window_ns) / YEAR_NS)  # what is missing of the window counts as still
    return min(max(weighted, even, (rule.floor / PPM) ** 2), (rule.ceiling / PPM) ** 2)


def smile_of(rule: SurfaceRule, *, variance: float, years: float) -> SviSlice:
    """The smile of one expiry, its forward as a multiple of spot.

    Variance reverts to the long run, so total variance grows with tenor; an SSVI smile with eta·(1 + |rho|) ≤ 2 is free
    of butterflies. Source: Gatheral and Jacquier (2014), eq. 4.1 and remark 4.4, phi = eta/sqrt(theta·(1 + theta)).

    Args:
        variance: a year, now. years: to expiry, above 0.
    """
    long_run, pull = (rule.long_run / PPM) ** 2, years * YEAR_NS / rule.reversion_ns
    theta = (long_run + (variance - long_run) * -math.expm1(-pull) / pull) * years
    rho = rule.rho / PPM
    phi = rule.eta / PPM / math.sqrt(theta * (1.0 + theta))
    rest = math.sqrt(1.0 - rho * rho)
    return SviSlice(
        a=0.5 * theta * rest * rest,
        b=0.5 * theta * phi,
        rho=rho,
        m=-rho / phi,
        sigma=rest / phi,
        forward=math.exp(rule.carry / RATE_ONE * years),
        years=years,
    )
