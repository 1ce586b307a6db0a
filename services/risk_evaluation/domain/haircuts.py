"""Published haircuts: what share of an asset's value does not count, by size, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.columns import BookRows, order_columns
from services.risk_evaluation.domain.lines import bucket_sums, line_table, quantities
from services.risk_evaluation.domain.liquidity import add_on
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.scan import scan


@dataclass(frozen=True, slots=True)
class Haircut:
    """The haircut of one size held alone, and its parts.

    Args:
        units: size. value: in 10^-6 USD.
        haircut: min(1, scan + add_on), share of value.
        scan, add_on: shares of value: what the price may lose, what selling costs.
        scenario: the one that loses most.
    """

    units: int
    value: float
    haircut: float
    scan: float
    add_on: float
    scenario: str


def haircut_table(model: Model, prices: Prices, *, asset: int, sizes: Sequence[int]) -> tuple[Haircut, ...]:
    """Haircut of each size: min(1, (Scan_IM+A+A_IM)(x held alone)/value) (docs/margin.md, Haircuts).

    Each size is an account of an entity of its own, without orders, so A_IM is 0; the scan is the kernel's.

    Args:
        asset: asset id. sizes: units, each above 0.

    Raises:
        ValueError: a size of 0 or less, or an asset without a price: it is not worth 0, it is not known.
    """
    column = model.asset_column[asset]
    if prices.unit[column] <= 0.0:
        raise ValueError(f"expected a price of {model.assets[column].symbol}, was none")
    if any(size <= 0 for size in sizes):
        raise ValueError(f"expected sizes above 0, was {min(sizes)}")
    if column not in model.risky:
        return tuple(Haircut(size, size * float(prices.unit[column]), 0.0, 0.0, 0.0, "none") for size in sizes)
    book = _alone(model, column, sizes)
    sums = bucket_sums(model, line_table(model, prices), quantities(model, book))
    worst = scan(model, sums.change, model.initial_rows)
    cost = np.sum(add_on(prices.liquidity, book, sums.notional), axis=0)
    grid = model.names[model.initial_rows]
    names = (*grid, *model.names[model.stress_rows])
    out = []
    for row, size in enumerate(sizes):
        value = size * float(prices.unit[column])
        lost, sold = float(worst.loss[row]) / value, float(cost[row]) / value
        name = names[int(worst.worst[row])] if lost > 0.0 else "none"
        out.append(Haircut(size, value, min(1.0, lost + sold), lost, sold, name))
    return tuple(out)


def _alone(model: Model, column: int, sizes: Sequence[int]) -> BookRows:
    rows = len(sizes)
    net = np.zeros((len(model.assets), rows), dtype=np.int64)
    net[column] = np.array(sizes, dtype=np.int64)
    nothing = np.zeros((len(model.margined), rows), dtype=np.int64)
    return BookRows(
        net_units=net,
        held=net != 0,
        lots=nothing,
        variation=nothing.copy(),
        entity=np.arange(rows, dtype=np.int64),
        entities=rows,
        orders=order_columns(model, ()),
    )
