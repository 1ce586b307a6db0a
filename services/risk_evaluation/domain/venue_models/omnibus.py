"""What the house holds for all its clients together, as the account that a venue would see."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import YEAR_NS
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.prices import USD6, Mark, Prices
from services.risk_evaluation.domain.venue_models import deribit_pm, dydx_v4

_OPTIONS = (InstrumentKind.LINEAR_OPTION, InstrumentKind.COIN_OPTION)


def deribit_account(
    model: Model, prices: Prices, *, asset: int, lots: F8, options: F8, coins: float, now_ns: int
) -> deribit_pm.Account:
    """One currency's sub-account.

    Args:
        lots: (margined) and options: (options) net lots of the house. coins: of the currency, that it has there.
    """
    column = model.asset_column[asset]
    futures = [at for at, one in enumerate(model.margined) if one.underlying == asset and lots[at]]
    held = [
        at
        for at, one in enumerate(model.options)
        if one.underlying == asset and one.kind in _OPTIONS and options[at] and one.expiry_ns > now_ns
    ]
    index = float(prices.unit[column]) * 10.0 ** model.assets[column].decimals / USD6
    chosen = [model.options[at] for at in held]
    return deribit_pm.Account(
        index=index,
        equity=coins,
        forwards=index * prices.options.forward_over_spot[held],
        strikes=np.array([one.strike * 10.0**one.settlement_exponent for one in chosen], dtype=np.float64),
        years=np.array([(one.expiry_ns - now_ns) / YEAR_NS for one in chosen], dtype=np.float64),
        vols=prices.options.vols[held],
        kinds=np.array([int(LineKind.CALL if one.is_call else LineKind.PUT) for one in chosen], dtype=np.int64),
        amounts=options[held] * prices.options.coins[held],
        futures=lots[futures] * prices.lot_notional[futures] / USD6,
        future_prices=np.full(len(futures), index),
    )


def dydx_account(model: Model, marks: dict[int, Mark], *, lots: F8, quote: int) -> dydx_v4.Account:
    """Perpetuals that settle in the quote, at their marks.

    Args:
        lots: (margined) net lots of the house. quote: 10^-6 USD that it has there, variation counted.
    """
    positions = [
        dydx_v4.Position(one.symbol, int(lots[at]) * one.base_units_per_lot, marks[one.id].price)
        for at, one in _perpetuals(model)
        if lots[at] and one.id in marks
    ]
    return dydx_v4.Account(quote, tuple(positions))


def dydx_markets(model: Model, *, initial_ppm: int, maintenance_ppm: int) -> dydx_v4.Parameters:
    """The same margin fractions for each perpetual, maintenance as a share of initial; sizes and prices are ours."""
    return dydx_v4.Parameters(
        tuple(
            dydx_v4.Market(
                name=one.symbol,
                base_resolution=-model.assets[model.asset_column[one.underlying]].decimals,
                price_exponent=one.price_exponent,
                initial_margin_ppm=initial_ppm,
                maintenance_fraction_ppm=maintenance_ppm,
            )
            for _, one in _perpetuals(model)
        )
    )


def _perpetuals(model: Model) -> Iterable[tuple[int, Instrument]]:
    for at, one in enumerate(model.margined):
        if one.kind is InstrumentKind.LINEAR_PERP and not one.expiry_ns:
            yield at, one
