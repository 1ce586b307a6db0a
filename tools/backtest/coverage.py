"""Whether losses exceed margin too often: Kupiec's test, and a bootstrap that keeps each day's accounts together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, Mask


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often a loss exceeded margin.

    Args:
        rate: share of account-days. low, high: 95 % of the bootstrap over days.
        kupiec: probability, under the expected rate, of a likelihood ratio as large, in either direction, as if
            account-days were independent.
        effective: independent account-days whose rate would vary as much as that of days drawn whole.
        kupiec_of_days: `kupiec` of that many; not a number without an exceedance, which says nothing of their size.
        too_often: the same, of exceedances being this many or more; what speaks against a margin.
        days_hit: days with an exceedance. day_bound: rate of such days that 95 % confidence still allows.
    """

    rate: float
    low: float
    high: float
    exceeded: int
    account_days: int
    kupiec: float
    effective: float
    kupiec_of_days: float
    too_often: float
    days_hit: int
    days: int
    day_bound: float


def coverage(exceeded: Mask, *, expected: float, draws: int, seed: int) -> Coverage:
    """Coverage of (days, accounts)."""
    days, accounts = exceeded.shape
    count = int(exceeded.sum())
    by_day: F8 = exceeded.mean(axis=1)
    picked = np.random.default_rng(seed).integers(0, days, (draws, days))
    means = by_day[picked].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    ratio = likelihood_ratio(count, days * accounts, expected)
    rate, spread = count / (days * accounts), float(means.var())
    effective = rate * (1.0 - rate) / spread if spread else 0.0
    of_days = likelihood_ratio(rate * effective, effective, expected) if effective else math.nan
    root = math.copysign(math.sqrt(ratio), rate - expected)
    hit = int(exceeded.any(axis=1).sum())
    return Coverage(
        rate=rate,
        low=float(low),
        high=float(high),
        exceeded=count,
        account_days=days * accounts,
        kupiec=math.erfc(math.sqrt(ratio / 2.0)),
        effective=effective,
        kupiec_of_days=math.erfc(math.sqrt(of_days / 2.0)),
        too_often=0.5 * math.erfc(root / math.sqrt(2.0)),
        days_hit=hit,
        days=days,
        day_bound=upper_bound(hit, days),
    )


def likelihood_ratio(exceeded: float, of: float, expected: float) -> float:
    """Kupiec's proportion of failures, chi-squared with one degree of freedom.

    Source: Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models"; counts of clustered
    observations divided by their design effect: Rao and Scott (1984).
    """

    def likelihood(rate: float) -> float:
        hits = exceeded * math.log(rate) if exceeded else 0.0
        return hits + ((of - exceeded) * math.log(1.0 - rate) if of > exceeded else 0.0)

    return max(0.0, 2.0 * (likelihood(exceeded / of) - likelihood(expected)))


def upper_bound(hit: int, of: int, *, confidence: float = 0.95) -> float:
    """Largest rate under which so few hits are not yet improbable. Source: Clopper and Pearson (1934)."""
    low, high = hit / of, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        fewer = sum(math.comb(of, k) * middle**k * (1.0 - middle) ** (of - k) for k in range(hit + 1))
        low, high = (middle, high) if fewer > 1.0 - confidence else (low, middle)
    return 0.5 * (low + high)
