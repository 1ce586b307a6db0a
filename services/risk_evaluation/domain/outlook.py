"""What prices have done and may do: common history, volatilities, correlations, the dynamics of default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from libs.common.default_parameters import DefaultRules
from libs.common.units import PPM, SECOND_NS
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.motion import Dynamics
from services.risk_evaluation.domain.volatility import Sigmas

HOUR_NS = 3_600 * SECOND_NS
CORRELATED_HOURS_MIN = 48  # of common history before its correlations are believed

Closes = Mapping[int, Sequence[tuple[int, float]]]  # by asset id: ends of hours, ns, and prices there, USD


@dataclass(frozen=True, slots=True)
class History:
    """Hourly prices without a gap, oldest first.

    Args:
        prices: (hours, assets) USD; an asset without history stands at 1 throughout.
        known: columns of the assets with history.
    """

    prices: F8
    known: tuple[int, ...]

    @property
    def hours(self) -> int:
        """How many."""
        return int(self.prices.shape[0])


def common_history(model: Model, closes: Closes) -> History:
    """The last unbroken run of hours that all assets with any history have in common."""
    columns = tuple(at for at, one in enumerate(model.assets) if closes.get(one.id))
    by_hour = [{at_ns // HOUR_NS: price for at_ns, price in closes[model.assets[at].id]} for at in columns]
    shared = sorted(set.intersection(*(set(one) for one in by_hour))) if by_hour else []
    run = [hour for back, hour in enumerate(reversed(shared)) if shared[-1] - hour == back]
    prices = np.ones((len(run), len(model.assets)))
    for position, at in enumerate(columns):
        prices[:, at] = [by_hour[position][hour] for hour in reversed(run)]
    return History(prices, columns)


def moves_over(history: History, hours: int) -> F8:
    """(hours − h, assets) relative moves over h hours, one begun in each hour."""
    return history.prices[hours:] / history.prices[:-hours] - 1.0


def dynamics(model: Model, levels: Mapping[int, Sigmas], history: History, price: F8) -> Dynamics:
    """How prices may move from here: diffusion at the volatility of new risk, joint jumps, no drift of prices.

    Args:
        price: (underlyings,) USD of a coin, in the order of `Model.risky`.
    """
    rules = model.parameters.margin.default_rules
    declared = {one.asset: one.sigma for one in model.parameters.margin.assets}
    sigma = np.zeros(len(model.risky))
    for position, column in enumerate(model.risky):
        asset = model.assets[column].id
        sigma[position] = (levels[asset].initial if asset in levels else declared.get(asset, 0)) / PPM
    together = correlations(model, history, rules)
    moving = (sigma > 0.0).astype(np.float64)
    jump, spread = rules.jump_mean / PPM * moving, rules.jump_sigma / PPM * moving
    a_year = rules.jumps_a_year / PPM
    expected = np.expm1(jump + 0.5 * spread**2)
    return Dynamics(
        spot=price,
        covariance=np.outer(sigma, sigma) * together,
        drift=-0.5 * sigma**2 - a_year * expected,
        jumps_a_year=a_year,
        jump_mean=jump,
        jump_covariance=np.outer(spread, spread) * together,
    )


def correlations(model: Model, history: History, rules: DefaultRules) -> F8:
    """(underlyings, underlyings): of hourly moves where there is enough history, else the declared one."""
    count = len(model.risky)
    found = np.full((count, count), rules.correlation / PPM)
    np.fill_diagonal(found, 1.0)
    if history.hours <= CORRELATED_HOURS_MIN:
        return found
    moves = np.diff(np.log(history.prices), axis=0)
    deviation = np.sqrt(np.mean(moves**2, axis=0))
    for one, first in enumerate(model.risky):
        for other, second in enumerate(model.risky[:one]):
            scale = float(deviation[first] * deviation[second])
            if first in history.known and second in history.known and scale > 0.0:
                found[one, other] = found[other, one] = float(np.mean(moves[:, first] * moves[:, second])) / scale
    return found


def liquidation_years(model: Model, notional: F8) -> float:
    """δ: how long the book takes at a share of the daily volume of its slowest underlying, at least the declared time.

    Args:
        notional: (underlyings,) USD. What has no market of its own here counts as sold at once.
    """
    rules = model.parameters.margin.default_rules
    volumes = {one.asset: float(one.daily_volume_usd) for one in model.parameters.margin.assets}
    days = [
        abs(float(notional[position])) / (rules.participation / PPM * volumes[asset])
        for position, column in enumerate(model.risky)
        if (asset := model.assets[column].id) in volumes
    ]
    return max(rules.least_liquidation_ns / SECOND_NS / 86_400.0, max(days, default=0.0)) / 365.0


def whole_hours(horizon_ns: int) -> int:
    """A horizon in hours, rounded up."""
    return math.ceil(horizon_ns / HOUR_NS)
