"""Rows of a book as the margin reads them, with their live orders and what they hold of options and packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8, Mask
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import NO_OPTIONS, OptionRows


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A live order.

    Args:
        instrument: instrument id.
        lots: what remains, signed: positive buys.
        limit: worst price, integer with the instrument's exponent.
        fee: share of notional.
    """

    order: int
    instrument: int
    lots: int
    limit: int
    reduce_only: bool
    fee: float


@dataclass(frozen=True, slots=True)
class OrderColumns:
    """Live orders of the rows, sorted by row and order id.

    Args:
        row: position in the rows. instrument: column among all instruments. lots, limit, reduce_only, fee: as in
            `OpenOrder`.
    """

    row: I8
    instrument: I8
    lots: I8
    limit: I8
    reduce_only: Mask
    fee: F8


@dataclass(frozen=True, slots=True)
class BookRows:
    """What the kernel reads; rows of one entity are all present.

    Args:
        net_units: (assets, rows) cash, reserved cash and supply less debt. held: (assets, rows) any line not zero.
        lots, variation: (margined, rows). entity: (rows) number of the entity, below `entities`.
        options: positions of options, those of packages' legs among them, as units of packages are among `net_units`.
        packages: positions of packages, as columns of `Model.packages`.
    """

    net_units: I8
    held: Mask
    lots: I8
    variation: I8
    entity: I8
    entities: int
    orders: OrderColumns
    options: OptionRows = NO_OPTIONS
    packages: OptionRows = NO_OPTIONS

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.entity.shape[0])

    def repeated(self, times: int) -> BookRows:
        """The rows over and over, each time with entities of their own."""
        turn = np.repeat(np.arange(times, dtype=np.int64), self.rows)
        by_order = np.repeat(np.arange(times, dtype=np.int64), self.orders.row.shape[0])
        orders = self.orders
        return BookRows(
            net_units=np.tile(self.net_units, times),
            held=np.tile(self.held, times),
            lots=np.tile(self.lots, times),
            variation=np.tile(self.variation, times),
            entity=np.tile(self.entity, times) + turn * self.entities,
            entities=self.entities * times,
            orders=OrderColumns(
                row=np.tile(orders.row, times) + by_order * self.rows,
                instrument=np.tile(orders.instrument, times),
                lots=np.tile(orders.lots, times),
                limit=np.tile(orders.limit, times),
                reduce_only=np.tile(orders.reduce_only, times),
                fee=np.tile(orders.fee, times),
            ),
            options=self.options.repeated(times, self.rows),
            packages=self.packages.repeated(times, self.rows),
        )


def order_columns(model: Model, orders: Sequence[tuple[int, OpenOrder]]) -> OrderColumns:
    """Orders as parallel arrays; given as (row, order), sorted."""
    return OrderColumns(
        row=np.array([row for row, _ in orders], dtype=np.int64),
        instrument=np.array([model.instrument_column[one.instrument] for _, one in orders], dtype=np.int64),
        lots=np.array([one.lots for _, one in orders], dtype=np.int64),
        limit=np.array([one.limit for _, one in orders], dtype=np.int64),
        reduce_only=np.array([one.reduce_only for _, one in orders], dtype=np.bool_),
        fee=np.array([one.fee for _, one in orders], dtype=np.float64),
    )
