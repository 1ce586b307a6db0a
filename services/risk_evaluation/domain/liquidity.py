"""The add-on A: what it costs to trade an entity's net position out, shared by its accounts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.risk_evaluation.domain.arrays import F8, Mask
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.model import Liquidity, Model
from services.risk_evaluation.domain.prices import Prices


def order_notional(model: Model, prices: Prices, book: BookRows, lots: F8) -> tuple[F8, F8]:
    """Notional that open orders would buy and sell at the mark, both positive: (underlyings, rows) each."""
    buys = np.zeros((len(model.risky), book.rows))
    sells = np.zeros((len(model.risky), book.rows))
    orders = book.orders
    notional = lots * prices.order_notional[orders.instrument]
    underlying = np.array([model.asset_column[one.underlying] for one in model.instruments])[orders.instrument]
    for position, asset in enumerate(model.risky):
        for side, out in ((1.0, buys), (-1.0, sells)):
            own = (underlying == asset) & (side * notional > 0.0)
            out[position] = np.bincount(orders.row[own], weights=side * notional[own], minlength=book.rows)
    return buys, sells


def add_on(liquidity: Sequence[Liquidity], book: BookRows, exposure: F8) -> F8:
    """Cost of exit of each account on each underlying: the entity's shared by size (docs/margin.md, Add-on)."""
    out = np.zeros_like(exposure)
    for position, one in enumerate(liquidity):
        own = exposure[position]
        net = np.bincount(book.entity, weights=own, minlength=book.entities)  # adds in the order of the rows
        size = np.bincount(book.entity, weights=np.abs(own), minlength=book.entities)
        cost = cost_of_exit(one, np.abs(net), net > 0.0)
        held = size[book.entity]
        share = np.divide(np.abs(own), held, out=np.zeros_like(own), where=held > 0.0)
        out[position] = cost[book.entity] * share
    return out


def cost_of_exit(liquidity: Liquidity, notional: F8, is_long: Mask) -> F8:
    """notional·(half_spread + impact·√notional); of a long, one more dollar costs at most its cap, and just that
    where it could not be sold in time.

    The square root of size is the usual law of market impact (Almgren et al. 2005; Tóth et al. 2011).
    """
    near = np.where(is_long, np.minimum(notional, capped_from(liquidity)), notional)
    far = notional - near
    rate = liquidity.half_spread + liquidity.impact * np.sqrt(near)
    return near * rate + liquidity.marginal_max * far


def capped_from(liquidity: Liquidity) -> float:
    """The long notional from which one more dollar would cost more than its cap, or could not be sold in time."""
    room = liquidity.marginal_max - liquidity.half_spread
    if room <= 0.0:
        return 0.0
    if liquidity.impact <= 0.0:
        return liquidity.sellable
    # d/dN of N·(h + i·√N) is h + 1.5·i·√N.
    return min((room / (1.5 * liquidity.impact)) ** 2, liquidity.sellable)
