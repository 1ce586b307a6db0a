"""Open orders as the kernel takes them: by account, then bucket, and what each would trade at the marks in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.common.parameters import InstrumentKind
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import OrderColumns
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import options_in
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.lanes import aligned
from services.risk_evaluation.domain.sweep.layout import CLAIM, KernelTable, padded


@dataclass(frozen=True, slots=True)
class OrderTable:
    """Orders by account, then bucket, then order id, and what they trade at the marks in force.

    Args:
        start: (accounts + 1) first order of each account. bucket, instrument, lots, paid, fee: (orders) bucket, column
            of the instrument, signed lots that count, price as units of what it is paid in, share of notional.
        leg_start: (instruments + 1) first leg of each; leg_line, leg_lots: (legs) lots of options in a lot of it.
        notional: (instruments) of a lot.
        rows: (instruments · 2 · (initial + tail)) value of a lot, then of a unit of what its price is paid in.
    """

    start: I8
    bucket: I8
    instrument: I8
    lots: F8
    paid: F8
    fee: F8
    leg_start: I8
    leg_line: I8
    leg_lots: F8
    notional: F8
    rows: F8


def order_table(
    model: Model, prices: Prices, table: KernelTable, orders: OrderColumns, lots: I8, *, accounts: int
) -> OrderTable:
    """The orders of all accounts; an order on an asset that never moves is left out, as the scan does.

    Args:
        orders: their rows are accounts. lots: signed, of each order, as far as it counts (`capped_lots`).
    """
    position = {asset: number for number, asset in enumerate(model.risky)}
    of = np.array([position.get(model.asset_column[one.underlying], -1) for one in model.instruments], dtype=np.int64)
    bucket = of[orders.instrument]
    sequence = np.lexsort((np.arange(bucket.shape[0]), bucket, orders.row))
    sequence = sequence[bucket[sequence] >= 0]
    inverse = np.array([one.kind is InstrumentKind.INVERSE_PERP for one in model.instruments])[orders.instrument]
    limit, ratio = orders.limit.astype(np.float64), prices.ratio[orders.instrument]
    counts = np.bincount(orders.row[sequence], minlength=accounts)
    return OrderTable(
        start=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]),
        bucket=bucket[sequence],
        instrument=orders.instrument[sequence],
        lots=lots.astype(np.float64)[sequence],
        paid=np.where(inverse, -ratio / limit, ratio * limit)[sequence],
        fee=orders.fee[sequence],
        **_legs(model, orders),
        notional=prices.order_notional,
        rows=order_rows(
            prices.order_value.T, prices.order_settle.T, model.initial_rows, model.stress_rows, table=table
        ),
    )


def _legs(model: Model, orders: OrderColumns) -> dict[str, Any]:
    count, line, lots = np.zeros(len(model.instruments), dtype=np.int64), [], []
    for instrument in np.unique(orders.instrument).tolist() if model.options else ():
        for option, each in options_in(model, model.instruments[instrument]):
            count[instrument] += 1
            line.append(int(model.wide.option[option]))
            lots.append(float(each))
    return {
        "leg_start": np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(count)]),
        "leg_line": np.array(line, dtype=np.int64),
        "leg_lots": np.array(lots, dtype=np.float64),
    }


def order_rows(value: F8, settle: F8, initial: slice, stresses: slice, *, table: KernelTable) -> F8:
    """The rows of an order table: (instruments, scenarios) each."""
    a, _, c = table.widths.lanes
    rows = aligned(value.shape[0] * 2 * (a + c))
    lanes = rows.reshape(value.shape[0], 2, a + c)
    first = a + CLAIM + table.widths.claims
    for half, of in enumerate((value, settle)):
        lanes[:, half, :a] = padded(of[:, initial], a)
        lanes[:, half, first : first + table.widths.stresses] = of[:, stresses]
    return rows
