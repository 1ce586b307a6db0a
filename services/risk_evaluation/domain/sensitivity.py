"""Delta, gamma, vega and theta of every account by underlying, in coins and in USD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import InstrumentKind
from services.risk_evaluation.domain.arrays import F8, I8, Mask
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.lines import settled_units
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.motion import Quadratic
from services.risk_evaluation.domain.prices import USD6, Mark, Prices, funded, price_book
from services.risk_evaluation.domain.surfaces import VolatilitySurface

VOL_POINT = 0.01
DAYS = 365.0


@dataclass(frozen=True, slots=True)
class OptionLines:
    """Options that rows hold, one a line, priced where the market stands.

    Args:
        underlying: (options,) bucket, as in `Model.risky`.
        coin_settled: (options,) the value is owed in coins of the underlying.
        coins: (options,) coins that one option is on.
        forward_over_spot: (options,) what the forward moves for one of spot.
        value: (options,) USD of an option on one coin.
        greeks: (4, options) delta and gamma on the forward, vega per 1.0 of volatility, theta a year: USD, on one coin.
        held: (options, rows) signed number held.
    """

    underlying: I8
    coin_settled: Mask
    coins: F8
    forward_over_spot: F8
    value: F8
    greeks: F8
    held: F8


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """What each account gains: (underlyings, rows), in the order of `Model.risky`.

    Args:
        price: (underlyings,) USD of a coin.
        coin_delta: coins of coin lines: cash, shares, and what margined instruments are worth in that coin. Settling
            moves nothing between it and the others.
        lot_delta: coins that perpetuals and options stand for while the coin they settle in stands still.
        option_value_delta: coins that coin-settled options are worth: held in that coin until they are paid.
        gamma: change of delta, coins per USD of price. vega: USD per point of volatility. theta: USD a day.
    """

    price: F8
    coin_delta: F8
    lot_delta: F8
    option_value_delta: F8
    gamma: F8
    vega: F8
    theta: F8

    @property
    def delta(self) -> F8:
        """Coins in all: what equity in USD gains per USD of price."""
        total: F8 = self.coin_delta + self.lot_delta + self.option_value_delta
        return total

    @property
    def delta_usd(self) -> F8:
        """USD of the coins in all."""
        total: F8 = self.delta * self.price[:, None]
        return total

    @property
    def gamma_usd(self) -> F8:
        """USD that `delta_usd` gains from coins that come and go when the price rises by 1 %."""
        total: F8 = self.gamma * (self.price**2 / 100.0)[:, None]
        return total

    @property
    def vega_coins(self) -> F8:
        """Coins per point of volatility."""
        return self._in_coins(self.vega)

    @property
    def theta_coins(self) -> F8:
        """Coins a day."""
        return self._in_coins(self.theta)

    def _in_coins(self, usd: F8) -> F8:
        price = np.broadcast_to(self.price[:, None], usd.shape)
        return np.divide(usd, price, out=np.zeros_like(usd), where=price > 0.0)


def option_lines(model: Model, prices: Prices, book: BookRows) -> OptionLines:
    """The options of a book as the prices have them."""
    bucket = {column: position for position, column in enumerate(model.risky)}
    held = np.zeros((len(model.options), book.rows))
    np.add.at(held, (book.options.option, book.options.row), book.options.lots.astype(np.float64))
    priced = prices.options
    return OptionLines(
        underlying=np.array([bucket[model.asset_column[one.underlying]] for one in model.options], dtype=np.int64),
        coin_settled=np.array([one.kind is InstrumentKind.COIN_OPTION for one in model.options], dtype=np.bool_),
        coins=priced.coins,
        forward_over_spot=priced.forward_over_spot,
        value=priced.value,
        greeks=priced.greeks,
        held=held,
    )


def sensitivities(model: Model, prices: Prices, book: BookRows, options: OptionLines | None = None) -> Sensitivities:
    """The sensitivities of every row. An underlying without a price has none: its validity class says so.

    A quote other than USD moves against its instrument's mark (docs/margin.md, Scan): its share stands with the quote.

    Args:
        options: in place of those that the book holds.
    """
    shape = (len(model.risky), book.rows)
    coin_units = np.array([10.0 ** model.assets[column].decimals for column in model.risky])
    price = np.array([prices.unit[column] for column in model.risky]) * coin_units / USD6
    bucket = {column: position for position, column in enumerate(model.risky)}
    units = settled_units(model, book).astype(np.float64)
    lots = np.zeros(shape)
    for number, one in enumerate(model.margined):
        held = book.lots[number].astype(np.float64)
        units[model.asset_column[one.settlement]] += held * prices.lot_units[number]
        u, notional = bucket[model.asset_column[one.underlying]], held * (prices.lot_notional[number] / USD6)
        lots[u] += notional / price[u] if price[u] > 0.0 else 0.0
        quote = bucket.get(model.asset_column[one.quote])
        if quote is not None and one.kind is InstrumentKind.LINEAR_PERP and price[quote] > 0.0:
            lots[quote] -= notional / price[quote]
    coins = (
        np.stack([units[column] for column in model.risky]) / coin_units[:, None] if model.risky else np.zeros(shape)
    )
    values, gamma, vega, theta = (np.zeros(shape) for _ in range(4))
    options = options or option_lines(model, prices, book)
    if options.held.shape[0]:
        _add_options(options, price, lots, values, gamma, vega, theta)
    return Sensitivities(price, coins, lots, values, gamma, vega, theta)


def _add_options(options: OptionLines, price: F8, lots: F8, values: F8, gamma: F8, vega: F8, theta: F8) -> None:
    delta_forward, gamma_forward, vega_one, theta_year = options.greeks
    carry = options.forward_over_spot
    spot = price[options.underlying]
    worth = np.divide(options.value, spot, out=np.zeros_like(spot), where=options.coin_settled & (spot > 0.0))
    coins = options.held * options.coins[:, None]
    for out, one in (
        (lots, delta_forward * carry - worth),  # Black-76 delta is that of value in USD: the value's own coins apart
        (values, worth),
        (gamma, gamma_forward * carry**2),
        (vega, vega_one * VOL_POINT),
        (theta, theta_year / DAYS),
    ):
        np.add.at(out, options.underlying, one[:, None] * coins)


def moved_surfaces(
    model: Model, surfaces: Mapping[int, VolatilitySurface], *, asset: int, factor: float
) -> dict[int, VolatilitySurface]:
    """Surfaces when an asset's USD price moves by a factor: its forwards go along, volatilities by moneyness stay."""
    out = dict(surfaces)
    for underlying in {one.underlying for one in model.options if asset in (one.underlying, one.quote)}:
        surface, by = surfaces.get(underlying), factor if underlying == asset else 1.0 / factor
        if surface is not None:
            smiles = tuple(replace(one, forward_price=round(one.forward_price * by)) for one in surface.smiles)
            out[underlying] = replace(surface, smiles=smiles)
    return out


def moved_marks(model: Model, marks: Mapping[int, Mark], *, asset: int, factor: float) -> dict[int, Mark]:
    """Marks when an asset's USD price moves by a factor: what is on it goes along, what is quoted in it against."""
    out: dict[int, Mark] = {}
    for instrument, mark in marks.items():
        one = model.instruments[model.instrument_column[instrument]]
        by = (factor if one.underlying == asset else 1.0) / (factor if one.quote == asset else 1.0)
        price, slow = max(1, round(mark.price * by)), max(1, round(mark.slow * by))
        out[instrument] = Mark(price, slow, mark.validity, settling=mark.settling)
    return out


@dataclass(frozen=True, slots=True)
class Shapes:
    """Equity and buffer (E − MM) of every row as quadratics of the prices' moves, in USD; `price`: (underlyings,)."""

    price: F8
    equity: tuple[Quadratic, ...]
    buffer: tuple[Quadratic, ...]


def shapes(
    model: Model,
    marks: Mapping[int, Mark],
    book: BookRows,
    *,
    funding: Sequence[int],
    step: float,
    surfaces: Mapping[int, VolatilitySurface] | None = None,
) -> Shapes:
    """The kernel's own figures at marks moved by ±step, fitted: MM moves with the price as it does in production.

    Args:
        funding: cumulative, by margined column. step: share of price, wide enough to see the book's curvature.
    """

    known = surfaces or {}

    def figures(asset: int, factor: float) -> tuple[F8, F8]:
        at = moved_marks(model, marks, asset=asset, factor=factor)
        smiles = moved_surfaces(model, known, asset=asset, factor=factor)
        margins = evaluate(model, funded(price_book(model, at, smiles), funding), book)
        equity = margins.equity / USD6
        return equity, equity - margins.maintenance_margin / USD6

    prices = price_book(model, marks, known)
    price = np.array([prices.unit[c] * 10.0 ** model.assets[c].decimals / USD6 for c in model.risky])
    middle = figures(0, 1.0)
    slopes = np.zeros((2, len(model.risky), book.rows))
    curves = np.zeros_like(slopes)
    for position, column in enumerate(model.risky):
        asset, move = model.assets[column].id, price[position] * step
        up, down = figures(asset, 1.0 + step), figures(asset, 1.0 - step)
        for which in range(2):
            slopes[which, position] = (up[which] - down[which]) / (2.0 * move)
            curves[which, position] = (up[which] - 2.0 * middle[which] + down[which]) / move**2
    greeks = sensitivities(model, funded(prices, funding), book)
    theta = np.sum(greeks.theta, axis=0) * DAYS
    equity, buffer = (
        tuple(
            Quadratic(
                float(middle[which][row]), slopes[which, :, row].copy(), curves[which, :, row].copy(), float(theta[row])
            )
            for row in range(book.rows)
        )
        for which in range(2)
    )
    return Shapes(price, equity, buffer)
