"""A sub-account in one underlying as columns: options by expiry, perps, collateral, cash, and their marks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.options.grid import GridScenarios, price_grid
from services.risk_evaluation.domain.options.normal import exp_each

SETTLING_S = 1800.0  # the settlement price is an average of the last half hour: what is averaged no longer moves
YEAR_S = 31_536_000.0


@dataclass(frozen=True, slots=True)
class Expiries:
    """(expiries,) columns.

    Args:
        seconds: until expiry, 0 once past.
        rates: a year; negative ones count as 0.
        confidences: least confidence of the feeds of forward, rate and volatility.
    """

    seconds: F8
    forwards: F8
    rates: F8
    confidences: F8

    @property
    def years(self) -> F8:
        """Years until expiry."""
        return self.seconds / YEAR_S

    @property
    def discounts(self) -> F8:
        """e^(-rate·years)."""
        return exp_each(-self.rates * self.years)

    @property
    def fixed(self) -> F8:
        """Part of each forward that has been averaged already."""
        return self.forwards * np.clip((SETTLING_S - self.seconds) / SETTLING_S, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class BookScenarios:
    """Spot factors (scenarios,), vol factors (options, scenarios) and least vols (scenarios,)."""

    spot: F8
    vol: F8
    vol_floor: F8


@dataclass(frozen=True, slots=True)
class Book:
    """One sub-account. Prices in USD; amounts signed, long > 0.

    Args:
        at: (options,) row of each option's expiry.
        perp_pnl, perp_funding: unrealised profit of perps, and funding due to them.
        cancelling: (collateral,) 1 where the collateral's own moves offset the book, else 0.
        haircut_maintenance, haircut_initial: (collateral,) shares of value; the second comes on top of the first.
    """

    spot: float
    spot_confidence: float
    stable_price: float
    cash: float
    perps: float
    perp_price: float
    perp_confidence: float
    perp_pnl: float
    perp_funding: float
    expiries: Expiries
    at: I8
    kinds: I8
    strikes: F8
    vols: F8
    amounts: F8
    collateral_amounts: F8
    collateral_prices: F8
    collateral_confidences: F8
    collateral_thresholds: F8
    cancelling: F8
    haircut_maintenance: F8
    haircut_initial: F8

    def option_years(self) -> F8:
        """Years of each option."""
        return np.asarray(self.expiries.years[self.at])

    def option_forwards(self) -> F8:
        """Forward of each option."""
        return np.asarray(self.expiries.forwards[self.at])

    def collateral_values(self) -> F8:
        """Value of each collateral in units of the stablecoin."""
        return self.collateral_amounts * self.collateral_prices / self.stable_price

    def cancelling_value(self) -> float:
        """Value of the collateral that moves with the book."""
        return float(np.sum(self.collateral_values() * self.cancelling))

    def mark_to_market(self) -> float:
        """Perps, options and collateral as they are; without cash."""
        perps = self.perp_pnl + self.perp_funding
        return perps + float(np.sum(self.expiry_marks())) + float(np.sum(self.collateral_values()))

    def expiry_marks(self) -> F8:
        """(expiries,) value of all options now."""
        still = BookScenarios(spot=np.ones(1), vol=np.ones((self.strikes.shape[0], 1)), vol_floor=np.zeros(1))
        return np.asarray(self.expiry_values(still)[:, 0])

    def expiry_values(self, scenarios: BookScenarios) -> F8:
        """(expiries, scenarios) value of all options, discounted at the rate of their expiry."""
        total = np.zeros((self.expiries.seconds.shape[0], scenarios.spot.shape[0]))
        if not self.strikes.size:
            return total
        each, _ = price_grid(
            self.option_forwards(),
            self.strikes,
            self.option_years(),
            self.vols,
            np.asarray(self.expiries.discounts[self.at]),
            GridScenarios(scenarios.spot, scenarios.vol, scenarios.vol_floor, np.zeros(scenarios.spot.shape[0])),
            kinds=self.kinds,
            fixed=np.asarray(self.expiries.fixed[self.at]),
        )
        np.add.at(total, self.at, each * self.amounts[:, None])
        return total

    def expiry_notionals(self) -> F8:
        """(expiries,) options at spot, long and short alike."""
        held = np.bincount(self.at, weights=np.abs(self.amounts), minlength=self.expiries.seconds.shape[0])
        return np.asarray(held * self.spot, dtype=np.float64)

    def naked_shorts(self) -> float:
        """Options short beyond what is long at the same expiry and strike, calls and puts together."""
        net: dict[tuple[int, float], float] = {}
        for row, strike, amount in zip(self.at.tolist(), self.strikes.tolist(), self.amounts.tolist(), strict=True):
            net[row, strike] = net.get((row, strike), 0.0) + amount
        return sum(max(0.0, -each) for each in net.values())
