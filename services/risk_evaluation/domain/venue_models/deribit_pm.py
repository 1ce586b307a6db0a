"""Deribit portfolio margin of one currency: a grid of price and volatility moves, and flat contingencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.options.grid import VEGA, GridScenarios, TenorShock, price_grid
from services.risk_evaluation.domain.venue_models.parameters import bounded, children
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand


@dataclass(frozen=True, slots=True)
class FarMove:
    """A move beyond the grid with volatility up: `damping` of the loss counts, for far out-of-the-money shorts."""

    spot: float = bounded(0.0, 100.0)
    damping: float = bounded(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class VolShock:
    """Volatility moves by tenor, down to a floor of days."""

    range_up: float = bounded(0.0, 10.0)
    range_down: float = bounded(0.0, 1.0)
    short_power: float = bounded(0.0, 2.0)
    long_power: float = bounded(0.0, 2.0)
    floor_days: float = bounded(0.0, 30.0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything the model takes.

    Args:
        price_range, price_steps: widest move, and how many evenly spaced prices from down to up.
        short_option: coins per option net short at a strike.
        offset_future: share of the value of futures that offset each other.
        offset_vega: share of the vega, per 1 % of volatility, that offsets itself between expiries.
        initial_over_maintenance: initial margin over maintenance margin.
    """

    vol: VolShock
    far: tuple[FarMove, ...] = children(FarMove, at_most=32)
    price_range: float = bounded(0.0, 0.99)
    price_steps: int = bounded(3, 101)
    short_option: float = bounded(0.0, 1.0)
    offset_future: float = bounded(0.0, 1.0)
    offset_vega: float = bounded(0.0, 1.0)
    initial_over_maintenance: float = bounded(1.0, 10.0)


# www.deribit.com/pages/docs/portfoliomargin (age unknown) as formulas.md E quotes it; nine price buckets are of
# support.deribit.com/hc/en-us/articles/25944756247837. What is initial over maintenance is not said there: 1.3 is ours.
PUBLISHED: dict[str, object] = {
    "vol": {"range_up": 0.38, "range_down": 0.38, "short_power": 0.30, "long_power": 0.30, "floor_days": 1.0},
    "far": [],
    "price_range": 0.10,
    "price_steps": 9,
    "short_option": 0.01,
    "offset_future": 0.01,
    "offset_vega": 0.0,
    "initial_over_maintenance": 1.3,
}


@dataclass(frozen=True, slots=True)
class Account:
    """One currency's sub-account.

    Args:
        index: USD of a coin. equity: coins.
        forwards, strikes, years, vols, kinds, amounts: (options,) columns, amounts in coins' worth, long > 0.
        futures: (futures,) USD value of inverse futures, long > 0, and their prices.
    """

    index: float
    equity: float
    forwards: F8
    strikes: F8
    years: F8
    vols: F8
    kinds: I8
    amounts: F8
    futures: F8
    future_prices: F8


def demand(parameters: Parameters, account: Account) -> Demand:
    """What Deribit asks of this account, in USD at the index."""
    worst = max(0.0, -float(np.min(scenario_profits(parameters, account), initial=0.0)))
    parts = {"worst": worst, **contingencies(parameters, account)}
    maintenance = sum(parts.values())
    has = account.equity * account.index
    return Demand(
        initial=Check(has=has, needs=maintenance * parameters.initial_over_maintenance),
        maintenance=Check(has=has, needs=maintenance),
        parts=parts,
    )


def scenario_profits(parameters: Parameters, account: Account) -> F8:
    """(scenarios,) profit in USD: prices × volatility up, same and down, then the far moves, damped."""
    spot = 1.0 + np.linspace(-parameters.price_range, parameters.price_range, parameters.price_steps)
    far = np.array([one.spot for one in parameters.far])
    damping = np.concatenate([np.ones(3 * spot.size), np.array([one.damping for one in parameters.far])])
    moves = np.concatenate([np.tile(spot, 3), far])
    # An inverse future of N USD pays N·(1/p - 1/p') coins, worth p' each.
    profit = np.sum(account.futures) * (moves - 1.0)
    if account.strikes.size:
        shock = parameters.vol
        up, down = TenorShock(
            shock.range_up, shock.range_down, shock.short_power, shock.long_power, shock.floor_days
        ).factors(account.years)
        vol = np.concatenate(
            [np.repeat(each[:, None], spot.size, axis=1) for each in (up, np.ones_like(up), down)]
            + [np.repeat(up[:, None], far.size, axis=1)],
            axis=1,
        )
        now, _ = _priced(account, np.ones(1), np.ones((account.strikes.size, 1)))
        then, _ = _priced(account, moves, vol)
        profit = profit + np.sum((then - now) * account.amounts[:, None], axis=0)
    return np.asarray(profit * damping)


def contingencies(parameters: Parameters, account: Account) -> dict[str, float]:
    """Flat charges in USD: shorts per strike, offsetting futures, vega offset between expiries."""
    net: dict[tuple[float, float], float] = {}
    for strike, years, amount in zip(
        account.strikes.tolist(), account.years.tolist(), account.amounts.tolist(), strict=True
    ):
        net[strike, years] = net.get((strike, years), 0.0) + amount
    short = sum(max(0.0, -each) for each in net.values())
    long_value = float(np.sum(np.maximum(account.futures, 0.0)))
    short_value = float(np.sum(np.maximum(-account.futures, 0.0)))
    vega_long = vega_short = 0.0
    if account.strikes.size:
        _, greeks = _priced(account, np.ones(1), np.ones((account.strikes.size, 1)))
        per_line = greeks[VEGA, :, 0] * account.amounts * 0.01
        for years in sorted(set(account.years.tolist())):
            vega = float(np.sum(per_line[account.years == years]))
            vega_long, vega_short = vega_long + max(0.0, vega), vega_short + max(0.0, -vega)
    return {
        "short_options": short * parameters.short_option * account.index,
        "offset_futures": parameters.offset_future * min(long_value, short_value),
        "offset_vega": parameters.offset_vega * min(vega_long, vega_short),
    }


def _priced(account: Account, spot: F8, vol: F8) -> tuple[F8, F8]:
    nothing = np.zeros(spot.size)
    return price_grid(
        account.forwards,
        account.strikes,
        account.years,
        account.vols,
        np.ones(account.strikes.size),
        GridScenarios(spot, vol, nothing, nothing),
        kinds=account.kinds,
    )
