"""Worst loss over scenarios: a blend of the joint worst case and each underlying's own, with stresses as a floor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import InstrumentKind
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import BookRows, whole_lots
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import inside
from services.risk_evaluation.domain.prices import Prices


@dataclass(frozen=True, slots=True)
class Scan:
    """Losses in 10^-6 USD.

    Args:
        loss: (rows) what the account must be able to bear.
        worst: (rows) its scenario, counted from the grid's first row, stresses after the grid.
        parts: (underlyings, rows) the loss by underlying; they add up to `loss` where it is positive.
    """

    loss: F8
    worst: I8
    parts: F8


def scan(model: Model, change: F8, rows: slice) -> Scan:
    """Scan = λ·max_k[−Σ_u π_u(k)]⁺ + (1−λ)·Σ_u max_k[−π_u(k)]⁺, at least the loss of each joint stress.

    Source: docs/margin.md, Scan. Subadditive: each part is a maximum of linear functions.
    """
    count = change.shape[2]
    blend, rest = model.blend, 1.0 - model.blend
    joint = np.zeros((rows.stop - rows.start, count))
    stress = np.zeros((model.stress_rows.stop - model.stress_rows.start, count))
    own = np.zeros(count)
    own_parts = np.zeros((change.shape[0], count))
    for position in range(change.shape[0]):
        grid = change[position, rows]
        joint -= grid
        stress -= change[position, model.stress_rows]
        own_parts[position] = np.maximum(np.max(-grid, axis=0), 0.0)
        own += own_parts[position]
    worst = np.argmax(joint, axis=0)
    at = np.arange(count)
    together = np.maximum(joint[worst, at], 0.0)
    loss = blend * together + rest * own
    parts = rest * own_parts
    for position in range(change.shape[0]):
        parts[position] += np.where(together > 0.0, blend * -change[position, rows][worst, at], 0.0)
    if stress.shape[0]:
        deepest = np.argmax(stress, axis=0)
        floor = stress[deepest, at]
        binds = floor > loss
        worst = np.where(binds, deepest + joint.shape[0], worst)
        for position in range(change.shape[0]):
            parts[position] = np.where(binds, -change[position, model.stress_rows][deepest, at], parts[position])
        loss = np.where(binds, floor, loss)
    return Scan(loss=loss, worst=worst.astype(np.int64), parts=parts)


def scan_with_orders(model: Model, change: F8, losses: F8, rows: slice) -> Scan:
    """The scan once orders may be filled: what they lose is summed by itself, then added to what lines lose.

    Args:
        losses: (underlyings, scenarios, rows) of `order_losses`. A kernel then does nothing more for the many buckets
            without orders; `worst` and `parts` are to the floats' own rounding.
    """
    count = change.shape[2]
    joint, joint_orders = np.zeros((rows.stop - rows.start, count)), np.zeros((rows.stop - rows.start, count))
    stress = np.zeros((model.stress_rows.stop - model.stress_rows.start, count))
    stress_orders, own, more = np.zeros_like(stress), np.zeros(count), np.zeros(count)
    for position in range(change.shape[0]):
        grid, lost = change[position, rows], losses[position, rows]
        joint -= grid
        joint_orders += lost
        stress -= change[position, model.stress_rows]
        stress_orders += losses[position, model.stress_rows]
        without = np.maximum(np.max(-grid, axis=0), 0.0)
        own += without
        more += np.maximum(np.max(lost - grid, axis=0), 0.0) - without
    together = np.maximum(np.max(joint + joint_orders, axis=0), 0.0)
    loss = model.blend * together + (1.0 - model.blend) * (own + more)
    if stress.shape[0]:
        loss = np.maximum(loss, np.max(stress + stress_orders, axis=0))
    change = change.copy()
    change[:, :-1] -= losses
    return replace(scan(model, change, rows), loss=loss)


def order_losses(model: Model, prices: Prices, book: BookRows) -> F8:
    """What open orders may lose when filled, one by one: max(0, −Q·G_k), fees counted (docs/margin.md, Add-on).

    Returns: (underlyings, scenarios, rows) in 10^-6 USD.
    """
    orders = book.orders
    out = np.zeros((len(model.risky), model.moves.shape[0], book.rows))
    if orders.row.shape[0] == 0:
        return out
    lots = capped_lots(model, book).astype(np.float64)
    inverse = np.array([one.kind is InstrumentKind.INVERSE_PERP for one in model.instruments])[orders.instrument]
    limit = orders.limit.astype(np.float64)
    ratio = prices.ratio[orders.instrument]
    paid = np.where(inverse, -ratio / limit, ratio * limit) * prices.order_settle[:, orders.instrument]
    value = prices.order_value[:, orders.instrument]
    fee = np.abs(lots) * orders.fee * np.maximum(np.abs(value), np.abs(paid))
    loss = np.maximum(fee - lots * (value - paid), 0.0)
    underlying = np.array([model.asset_column[one.underlying] for one in model.instruments])[orders.instrument]
    for position, asset in enumerate(model.risky):
        own = np.flatnonzero(underlying == asset)
        if own.shape[0]:
            gathered = np.zeros((book.rows, model.moves.shape[0]))
            np.add.at(gathered, orders.row[own], loss[:, own].T)  # one by one, in the order of the rows' order ids
            out[position] = gathered.T
    return out


def capped_lots(model: Model, book: BookRows) -> I8:
    """Signed lots of the orders that count: a reduce-only order counts up to the position it reduces."""
    orders = book.orders
    lots = orders.lots.copy()
    for at in np.flatnonzero(orders.reduce_only):
        position = position_lots(model, book, row=int(orders.row[at]), instrument=int(orders.instrument[at]))
        wanted = int(lots[at])
        if (wanted > 0) == (position > 0):
            lots[at] = 0
        else:
            lots[at] = min(wanted, -position) if wanted > 0 else max(wanted, -position)
    return lots


def position_lots(model: Model, book: BookRows, *, row: int, instrument: int) -> int:
    """Signed lots that a reduce-only order may close: of one instrument, or of the base asset held or owed."""
    one = model.instruments[instrument]
    if one.is_margined:
        return int(book.lots[model.margined_column[one.id], row])
    if one.is_package:
        return book.packages.position(row=row, option=model.package_column[one.id])
    if one.is_option:
        option = model.option_column[one.id]
        return book.options.position(row=row, option=option) - inside(model, book.packages, row=row, option=option)
    asset = model.asset_column[one.underlying]
    units = int(book.net_units[asset, row]) - inside(model, book.packages, row=row, asset=asset)
    return whole_lots(units, one.base_units_per_lot)
