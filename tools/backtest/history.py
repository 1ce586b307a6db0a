"""Hourly prices to walk through: recorded ones, and generated stress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libs.common.parameters import Parameters
from libs.common.units import UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.adapters.recorded import RecordedPrices, read_table
from services.price_ingestion.domain.replay_path import HOUR_NS
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.prices import Mark

# Whose figures stand for an asset: BTC's hours are recorded; a day of the others is recorded at its open, extremes and
# close, and follows BTC's hours between (data/NOTICE.md).
SOURCES: dict[str, str] = {"BTC": "south", "ETH": "north", "LTC": "north"}
DAY_HOURS = 24
DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Hourly:
    """Prices of every asset with a margin block, in the order of the blocks: (hours, assets), USD."""

    first_ns: int
    prices: F8

    def at_ns(self, hour: int) -> int:
        """Run time of an hour."""
        return self.first_ns + hour * HOUR_NS


def recorded(directory: Path, parameters: Parameters) -> Hourly:
    """The recorded days, from the first hour all assets have to the last."""
    path = RecordedPrices(directory, parameters).path
    symbols = [_symbol(parameters, one.asset) for one in parameters.margin.assets]
    spans = [path.span(venue=SOURCES[symbol], asset=symbol) for symbol in symbols]
    first = -(-max(start for start, _ in spans) // HOUR_NS) * HOUR_NS
    last = min(end for _, end in spans)
    steps = _steps(parameters)
    rows = []
    for at_ns in range(first, last + 1, HOUR_NS):
        found = [path.price(UnixNs(at_ns), venue=SOURCES[symbol], asset=symbol) for symbol in symbols]
        rows.append([price * step for price, step in zip(found, steps, strict=True) if price is not None])
    return Hourly(first, np.array(rows, dtype=np.float64))


def range_volatilities(directory: Path, parameters: Parameters, *, days: int, window: int) -> dict[str, float]:
    """Largest volatility a year of any window of days among the first days, from each day's high and low.

    Source: Parkinson (1980), "The extreme value method for estimating the variance of the rate of return".
    """
    out: dict[str, float] = {}
    for one in parameters.margin.assets:
        symbol = _symbol(parameters, one.asset)
        exponent = _exponent(parameters, one.asset)
        candles = read_table(directory, venue=SOURCES[symbol], asset=symbol, exponent=exponent).candles
        length = DAY_HOURS * HOUR_NS // candles[0].length_ns  # rows a day
        squares = []
        for day in range(days):
            rows = candles[day * length : (day + 1) * length]
            span = math.log(max(row.high for row in rows) / min(row.low for row in rows))
            squares.append(span**2 / (4.0 * math.log(2.0)))
        means = [sum(squares[at : at + window]) / window for at in range(days - window + 1)]
        out[symbol] = math.sqrt(max(means) * DAYS_A_YEAR)
    return out


@dataclass(frozen=True, slots=True)
class Stress:
    """Generated stress: clustered volatility, fat tails, joint jumps; fixed before any result was seen.

    Args:
        day_sigma: long-run deviation of a day. alpha, beta: GARCH(1,1) an hour. freedom: of Student's t.
        common: correlation of any two assets. jumps_a_year, jump_mean, jump_sigma: of logarithms, all assets together.
    """

    day_sigma: float = 0.055
    alpha: float = 0.03
    beta: float = 0.965
    freedom: float = 4.0
    common: float = 0.8
    jumps_a_year: float = 6.0
    jump_mean: float = -0.12
    jump_sigma: float = 0.10


def generated(start: F8, *, days: int, seed: int, stress: Stress) -> Hourly:
    """One path of hourly prices from the given ones."""
    random = np.random.default_rng(seed)
    assets, hours = start.shape[0], days * DAY_HOURS
    unit = stress.day_sigma**2 / DAY_HOURS
    variance = unit
    mix = math.sqrt(stress.common), math.sqrt(1.0 - stress.common)
    scale = math.sqrt((stress.freedom - 2.0) / stress.freedom)
    moves = np.zeros((hours, assets))
    for hour in range(hours):
        market = random.standard_t(stress.freedom) * scale
        own = random.standard_t(stress.freedom, assets) * scale
        moves[hour] = math.sqrt(variance) * (mix[0] * market + mix[1] * own)
        square = float(np.mean(moves[hour]) ** 2) / (stress.common + (1.0 - stress.common) / assets)
        variance = (1.0 - stress.alpha - stress.beta) * unit + stress.alpha * square + stress.beta * variance
        if random.random() < stress.jumps_a_year / (DAYS_A_YEAR * DAY_HOURS):
            jump = random.normal(stress.jump_mean, stress.jump_sigma)
            moves[hour] += jump * random.uniform(0.8, 1.2, assets)
    levels = np.concatenate([np.zeros((1, assets)), np.cumsum(moves, axis=0)])
    return Hourly(0, start * np.exp(np.clip(levels, -3.0, 3.0)))


def marks_of(parameters: Parameters, prices: F8) -> Mapping[int, Mark]:
    """A mark of every instrument at these prices of its underlying."""
    by_asset = {one.asset: float(price) for one, price in zip(parameters.margin.assets, prices, strict=True)}
    out: dict[int, Mark] = {}
    for one in parameters.instruments:
        price = max(1, round(by_asset[one.underlying] * 10.0**-one.price_exponent))
        out[one.id] = Mark(price, price, ValidityClass.VALID)
    return out


def _symbol(parameters: Parameters, asset: int) -> str:
    return next(one.symbol for one in parameters.assets if one.id == asset)


def _exponent(parameters: Parameters, asset: int) -> int:
    priced = next(one.price_instrument for one in parameters.assets if one.id == asset)
    return next(one.price_exponent for one in parameters.instruments if one.id == priced)


def _steps(parameters: Parameters) -> list[float]:
    return [10.0 ** _exponent(parameters, one.asset) for one in parameters.margin.assets]
