"""Who is margined in the backtest: one account an entity, from one coin to mixed books, all at full leverage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from libs.common.ids import InstrumentId
from libs.common.parameters import InstrumentKind, Parameters
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import BookRows, order_columns
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import OptionRows, option_rows
from services.risk_evaluation.domain.prices import Prices

SIZES_USD = (100_000.0, 1_000_000.0, 5_000_000.0)
MIXED = 24


@dataclass(frozen=True, slots=True)
class Leg:
    """An option held, by the USD of coins it stands for; sold below 0."""

    option: InstrumentId
    usd: float


@dataclass(frozen=True, slots=True)
class Holding:
    """USD of notional an entity has: coins held or owed by asset, lots by instrument kind and asset; signed.

    Args:
        coins, linear, inverse: one number an asset, in the order of the margin blocks.
    """

    name: str
    coins: tuple[float, ...]
    linear: tuple[float, ...]
    inverse: tuple[float, ...]
    options: tuple[Leg, ...] = ()


def population(parameters: Parameters, *, seed: int) -> tuple[Holding, ...]:
    """The entities; mixed books are drawn from the seed."""
    return tuple(_single(parameters)) + tuple(_mixed(parameters, seed))


def _single(parameters: Parameters) -> Iterator[Holding]:
    count = len(parameters.margin.assets)
    names = [next(one.symbol for one in parameters.assets if one.id == risk.asset) for risk in parameters.margin.assets]
    inverse = {one.underlying for one in parameters.instruments if one.kind is InstrumentKind.INVERSE_PERP}
    none = (0.0,) * count

    def only(at: int, usd: float) -> tuple[float, ...]:
        return tuple(usd if one == at else 0.0 for one in range(count))

    for at, name in enumerate(names):
        for usd in SIZES_USD:
            yield Holding(f"long {name} on credit", only(at, usd), none, none)
            yield Holding(f"long {name} perpetual", none, only(at, usd), none)
            yield Holding(f"short {name} perpetual", none, only(at, -usd), none)
            if parameters.margin.assets[at].asset in inverse:
                yield Holding(f"long {name} inverse", none, none, only(at, usd))
                yield Holding(f"short {name} inverse", none, none, only(at, -usd))
        yield Holding(f"{name} hedged", only(at, SIZES_USD[1]), only(at, -SIZES_USD[1]), none)
    for first, second in permutations(range(count), 2):
        for usd in SIZES_USD[:2]:
            pair = tuple(usd if at == first else -usd if at == second else 0.0 for at in range(count))
            yield Holding(f"long {names[first]} short {names[second]}", none, pair, none)


def _mixed(parameters: Parameters, seed: int) -> Iterator[Holding]:
    random = np.random.default_rng(seed)
    count = len(parameters.margin.assets)
    for number in range(MIXED):
        size = float(np.exp(random.uniform(np.log(SIZES_USD[0]), np.log(SIZES_USD[-1]))))
        coins, linear = random.normal(0.3, 1.0, count) * size / count, random.normal(0.2, 1.0, count) * size / count
        yield Holding(f"mixed {number}", tuple(coins), tuple(linear), (0.0,) * count)


def cohort(parameters: Parameters, model: Model, prices: Prices, holdings: tuple[Holding, ...]) -> BookRows:
    """The holdings opened at these prices, each with just the cash that makes its equity its initial margin."""
    rows = len(holdings)
    net = np.zeros((len(model.assets), rows), dtype=np.int64)
    lots = np.zeros((len(model.margined), rows), dtype=np.int64)
    variation = np.zeros_like(lots)
    for at, risk in enumerate(parameters.margin.assets):
        column = model.asset_column[risk.asset]
        net[column] = _whole([one.coins[at] for one in holdings], float(prices.unit[column]) / 1e6)
    for number, one in enumerate(model.margined):
        if one.expiry_ns:
            continue
        at = [risk.asset for risk in parameters.margin.assets].index(one.underlying)
        kind = "inverse" if one.kind is InstrumentKind.INVERSE_PERP else "linear"
        usd = [getattr(holding, kind)[at] for holding in holdings]
        lots[number] = _whole(usd, float(prices.lot_notional[number]) / 1e6)
        variation[number] = -np.rint(lots[number] * prices.lot_units[number]).astype(np.int64)
    entity = np.arange(rows, dtype=np.int64)
    book = BookRows(
        net, net != 0, lots, variation, entity, rows, order_columns(model, ()), _options(model, prices, holdings)
    )
    margins = evaluate(model, prices, book)
    return with_dollars(model, book, margins.initial_margin - margins.equity)


def _options(model: Model, prices: Prices, holdings: tuple[Holding, ...]) -> OptionRows:
    column = {one.id: number for number, one in enumerate(model.options)}
    index = prices.options.index_notional / 1e6
    return option_rows(
        (row, option, lots)
        for row, one in enumerate(holdings)
        for option, usd in sorted((column[leg.option], leg.usd) for leg in one.options)
        if (lots := int(np.rint(usd / index[option])))
    )


def with_dollars(model: Model, book: BookRows, usd6: I8) -> BookRows:
    """The rows with so many 10^-6 USD more each; USD has six decimals."""
    dollar = next(column for column, one in enumerate(model.assets) if one.price_instrument is None)
    net = book.net_units.copy()
    net[dollar] += usd6
    return replace(book, net_units=net, held=net != 0)


def _whole(usd: list[float], each: float) -> I8:
    wanted: F8 = np.array(usd, dtype=np.float64)
    return np.rint(wanted / each).astype(np.int64)
