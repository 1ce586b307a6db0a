"""Prices and Greeks of many option lines under many scenarios, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.options.cell import LineKind, cell
from services.risk_evaluation.domain.options.normal import compiled, exp, exp_each, log, log_each
from services.risk_evaluation.domain.options.wide import fill_wide

DELTA, GAMMA, VEGA, THETA = range(4)
DAY_YEARS = 1.0 / 365.0


@dataclass(frozen=True, slots=True)
class GridScenarios:
    """What the scenarios do to the lines.

    Args:
        spot: (scenarios,) factor on the moving part of every forward.
        vol: (lines, scenarios) factor on each line's volatility, or (scenarios,) for all alike.
        vol_floor: (scenarios,) least volatility after the shock; 0 for none.
        years_passed: (scenarios,) time that passes; a line never gets older than its expiry.
    """

    spot: F8
    vol: F8
    vol_floor: F8
    years_passed: F8


def scenarios_of(spot: F8, vol: F8 | None = None) -> GridScenarios:
    """Scenarios of spot and vol factors alone."""
    nothing = np.zeros(spot.shape[0])
    return GridScenarios(spot, np.ones(spot.shape[0]) if vol is None else vol, nothing, nothing)


@dataclass(frozen=True, slots=True)
class TenorShock:
    """Volatility shocks that shrink with tenor: factor 1 ± range·(30 days / max(T, floor))^power.

    Source: Derive PM2 and Deribit portfolio margin, formulas.md E.
    """

    range_up: float
    range_down: float
    short_power: float
    long_power: float
    floor_days: float

    def factors(self, years: F8) -> tuple[F8, F8]:
        """Up and down factors of each tenor; down is never below 0."""
        days = np.maximum(years / DAY_YEARS, self.floor_days)
        power = np.where(years <= 30.0 * DAY_YEARS, self.short_power, self.long_power)
        scale = exp_each(power * log_each(30.0 / np.maximum(days, 1e-12)))
        return 1.0 + self.range_up * scale, np.maximum(0.0, 1.0 - self.range_down * scale)


def price_grid(
    forwards: F8,
    strikes: F8,
    expiries: F8,
    vols: F8,
    discounts: F8,
    scenarios: GridScenarios,
    *,
    kinds: I8 | None = None,
    fixed: F8 | None = None,
) -> tuple[F8, F8]:
    """Prices (lines, scenarios), and delta, gamma, vega, theta (4, lines, scenarios), at the shocked point.

    Args:
        forwards, strikes, expiries, vols, discounts: (lines,) arrays; expiries in years.
        kinds: (lines,) of LineKind; calls without it.
        fixed: (lines,) part of each forward that has settled and no longer moves.
    Raises: ValueError when lengths differ or a kind is unknown: the compiled pass looks at no bound.
    """
    lines, columns = forwards.shape[0], scenarios.spot.shape[0]
    kinds = np.full(lines, int(LineKind.CALL), dtype=np.int64) if kinds is None else kinds
    if kinds.shape != (lines,) or np.any((kinds < 0) | (kinds > int(LineKind.CASH))):
        raise ValueError(f"expected {lines} kinds in 0 .. {int(LineKind.CASH)}, was {kinds.shape}")
    prices, greeks = np.empty((lines, columns)), np.empty((4, lines, columns))
    rates, bases, moved = np.empty(lines), np.empty(lines), np.empty(columns)
    of_lines = (
        np.ascontiguousarray(kinds, dtype=np.int64),
        _column(forwards, lines),
        _column(np.zeros(lines) if fixed is None else fixed, lines),
        _column(strikes, lines),
        _column(expiries, lines),
        _column(vols, lines),
        _column(discounts, lines),
    )
    of_scenarios = (
        _column(scenarios.spot, columns),
        moved,
        _column(scenarios.vol_floor, columns),
        _column(scenarios.years_passed, columns),
        np.ascontiguousarray(np.broadcast_to(scenarios.vol, (lines, columns)), dtype=np.float64),
    )
    _logarithms(*of_lines[1:2], *of_lines[3:5], of_lines[6], of_scenarios[0], rates, bases, moved)
    left = np.zeros((lines, columns), dtype=np.uint8)  # cells that are not as plain as most
    flat = (of_scenarios[4].reshape(-1), prices.reshape(-1), greeks.reshape(-1), left.reshape(-1))
    fill_wide(*of_lines, rates, bases, *of_scenarios[:4], *flat)
    _fill(*of_lines, rates, bases, *of_scenarios, prices, greeks, left)
    return prices, greeks


def _column(values: F8, length: int) -> F8:
    if values.shape != (length,):
        raise ValueError(f"expected a column of {length}, was {values.shape}")
    return np.ascontiguousarray(values, dtype=np.float64)


@compiled
def _logarithms(
    forwards: F8, strikes: F8, expiries: F8, discounts: F8, spot: F8, rates: F8, bases: F8, moved: F8
) -> None:
    # One logarithm a scenario and two a line, not one a cell.
    for k in range(spot.shape[0]):
        moved[k] = log(spot[k]) if spot[k] > 0.0 else -np.inf
    for i in range(forwards.shape[0]):
        strike, years, discount = strikes[i], expiries[i], discounts[i]
        rates[i] = -log(discount) / years if years > 0.0 and discount > 0.0 else 0.0
        bases[i] = log(forwards[i] / strike) if forwards[i] > 0.0 and strike > 0.0 else 0.0


@compiled
def _fill(
    kinds: I8,
    forwards: F8,
    fixed: F8,
    strikes: F8,
    expiries: F8,
    vols: F8,
    discounts: F8,
    rates: F8,
    bases: F8,
    spot: F8,
    moved: F8,
    vol_floor: F8,
    passed: F8,
    vol_factor: F8,
    prices: F8,
    greeks: F8,
    left: U1,
) -> None:
    for i in range(forwards.shape[0]):
        strike, years, discount, still, rate = strikes[i], expiries[i], discounts[i], fixed[i], rates[i]
        for k in range(spot.shape[0]):
            if not left[i, k]:
                continue
            forward = still + (forwards[i] - still) * spot[k]
            moneyness = bases[i] + moved[k]
            if still != 0.0 and forward > 0.0 and strike > 0.0:
                moneyness = log(forward / strike)
            remaining, factor = years, discount
            if passed[k] > 0.0 and years > 0.0:
                remaining = max(0.0, years - passed[k])
                factor = exp(-rate * remaining)
            vol = max(vols[i] * vol_factor[i, k], vol_floor[k])
            value, delta, gamma, vega, theta = cell(kinds[i], forward, strike, moneyness, remaining, vol, factor, rate)
            prices[i, k] = value
            greeks[0, i, k] = delta
            greeks[1, i, k] = gamma
            greeks[2, i, k] = vega
            greeks[3, i, k] = theta
