"""The columnar book of one partition: a row an account, a column an asset or instrument, kept by overwriting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from libs.common.ids import entity_of
from libs.common.units import INDEX_ONE, mul_div_down, mul_div_up
from services.risk_evaluation.domain.arrays import I8, U1
from services.risk_evaluation.domain.book_rows import BookRows as BookRows
from services.risk_evaluation.domain.book_rows import OpenOrder as OpenOrder
from services.risk_evaluation.domain.book_rows import OrderColumns as OrderColumns
from services.risk_evaluation.domain.book_rows import order_columns as order_columns
from services.risk_evaluation.domain.live_orders import LiveOrders
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import PaidUpHoldings

FIRST_CAPACITY = 64


class Column(IntEnum):
    """What a line counts."""

    CASH = 0
    SUPPLY = 1
    DEBT = 2
    OVERDRAFT = 3
    RESERVED = 4
    LOTS = 5
    VARIATION = 6


@dataclass(frozen=True, slots=True)
class Indices:
    """Units per share of a pool, in 10^-15."""

    supply: int = INDEX_ONE
    borrow: int = INDEX_ONE
    overdraft: int = INDEX_ONE


class Columns:
    """The book of one partition, without the house's own accounts."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.accounts: list[int] = []
        self.row_of: dict[int, int] = {}
        self.indices: list[Indices] = [Indices() for _ in model.assets]
        self.funding: list[int] = [0 for _ in model.margined]
        self.orders: dict[int, dict[int, OpenOrder]] = {}  # by row, then order id
        self._live = LiveOrders()
        self._all_orders: OrderColumns | None = None  # of every row, until an order changes
        self._changed: set[int] = set()  # rows whose lines changed since `take_changed`
        self._entity_number: dict[int, int] = {}
        self._entity_rows: list[list[int]] = []
        assets, margined = len(model.assets), len(model.margined)
        self._shares = np.zeros((5, assets, FIRST_CAPACITY), dtype=np.int64)  # by Column below LOTS
        self._claims = np.zeros(
            (assets, FIRST_CAPACITY), dtype=np.int64
        )  # units of supply less debt at the indices, reserved ones, and those that packages hold
        self._lots = np.zeros((margined, FIRST_CAPACITY), dtype=np.int64)
        self._variation = np.zeros((margined, FIRST_CAPACITY), dtype=np.int64)
        self._entity = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self._is_ordered = np.zeros(FIRST_CAPACITY, dtype=np.uint8)  # 1 for rows with live orders
        self.paid_up = PaidUpHoldings(model)
        self.options = self.paid_up.options  # those that packages hold among them

    def row(self, account: int) -> int:
        """The row of an account, made when it is new."""
        row = self.row_of.get(account)
        if row is not None:
            return row
        row = len(self.accounts)
        if row == self._entity.shape[0]:
            self._grow()
        entity = entity_of(account)
        number = self._entity_number.setdefault(entity, len(self._entity_number))
        if number == len(self._entity_rows):
            self._entity_rows.append([])
        self._entity_rows[number].append(row)
        self._entity[row] = number
        self.accounts.append(account)
        self.row_of[account] = row
        self._changed.add(row)
        return row

    def set_line(self, account: int, column: Column, key: int, balance: int) -> None:
        """Overwrites a line; key is the asset id, or the instrument id for lots and variation."""
        row = self.row(account)
        self._changed.add(row)
        if column is Column.LOTS and self.paid_up.is_kept(key):
            for asset in self.paid_up.set(row=row, key=key, lots=balance):
                self._claims[asset, row] = self._claim(asset, row)
        elif column is Column.LOTS:
            self._lots[self._model.margined_column[key], row] = balance
        elif column is Column.VARIATION:
            self._variation[self._model.margined_column[key], row] = balance
        else:
            asset = self._model.asset_column[key]
            self._shares[column, asset, row] = balance
            if column is not Column.CASH:
                self._claims[asset, row] = self._claim(asset, row)

    def load(self, rows: I8, column: I8, key: I8, balance: I8) -> I8:
        """Overwrites very many lines at once; returns the positions of those that `set_line` must take."""
        asset_of, margined_of = _table(self._model.asset_column, key), _table(self._model.margined_column, key)
        done = np.zeros(rows.shape[0], dtype=np.bool_)
        for each in Column:
            of = margined_of if each in (Column.LOTS, Column.VARIATION) else asset_of
            mine = np.flatnonzero((column == each) & (of >= 0))
            done[mine] = True
            if each is Column.LOTS or each is Column.VARIATION:
                table = self._lots if each is Column.LOTS else self._variation
                table[of[mine], rows[mine]] = balance[mine]
                continue
            self._shares[each, of[mine], rows[mine]] = balance[mine]
            for at in mine.tolist() if each is not Column.CASH else ():
                asset, row = int(of[at]), int(rows[at])
                self._claims[asset, row] = self._claim(asset, row)
        self._changed.update(np.unique(rows).tolist())
        return np.flatnonzero(~done)

    def line(self, account: int, column: Column, key: int) -> int:
        """Balance of a line, 0 for an unknown account."""
        row = self.row_of.get(account)
        if row is None:
            return 0
        if column is Column.LOTS and self.paid_up.is_kept(key):
            return self.paid_up.lots(row=row, key=key)
        if column is Column.LOTS:
            return int(self._lots[self._model.margined_column[key], row])
        if column is Column.VARIATION:
            return int(self._variation[self._model.margined_column[key], row])
        return int(self._shares[column, self._model.asset_column[key], row])

    def closable_lots(self, row: int, instrument: int) -> int:
        """Signed lots that a reduce-only order may close."""
        one = self._model.instruments[self._model.instrument_column[instrument]]
        if one.is_margined:
            return int(self._lots[self._model.margined_column[instrument], row])
        if one.is_paid_up:
            return self.paid_up.lots(row=row, key=instrument)
        asset = self._model.asset_column[one.underlying]
        units = int(self._shares[Column.CASH, asset, row] + self._claims[asset, row])
        units -= int(self._shares[Column.RESERVED, asset, row]) + self.paid_up.units(row=row, asset=asset)
        return whole_lots(units, one.base_units_per_lot)

    def set_order(self, account: int, order: OpenOrder) -> None:
        """Overwrites a live order."""
        row = self.row(account)
        self.orders.setdefault(row, {})[order.order] = order
        self._live.set(order, row=row, instrument=self._model.instrument_column[order.instrument])
        self._is_ordered[row] = 1
        self._all_orders = None

    def remove_order(self, account: int, order: int) -> None:
        """Forgets an order that is terminal."""
        row = self.row(account)
        orders = self.orders.get(row, {})
        orders.pop(order, None)
        self._live.remove(order, row=row)
        if not orders:
            self.orders.pop(row, None)
            self._is_ordered[row] = 0
        self._all_orders = None

    def set_indices(self, asset_id: int, indices: Indices) -> None:
        """Moves a pool's indices; the claims of every holder follow."""
        asset = self._model.asset_column[asset_id]
        self.indices[asset] = indices
        holders = np.flatnonzero(np.any(self._shares[1:, asset, : len(self.accounts)] != 0, axis=0))
        self._changed.update(holders.tolist())
        for row in holders:
            self._claims[asset, row] = self._claim(asset, int(row))

    def set_funding(self, instrument: int, cumulative: int) -> None:
        """Moves an instrument's cumulative funding, 10^-9 settlement units a lot."""
        self.funding[self._model.margined_column[instrument]] = cumulative

    def take_changed(self) -> list[int]:
        """Rows whose lines changed, or came to be worth others units, since this was asked last."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    @property
    def entities(self) -> I8:
        """Number of each row's entity."""
        return self._entity[: len(self.accounts)]

    @property
    def all_orders(self) -> OrderColumns:
        """Every live order."""
        if self._all_orders is None:
            self._all_orders = OrderColumns(*self._live.columns())
        return self._all_orders

    @property
    def is_ordered(self) -> U1:
        """1 for each row with live orders."""
        return self._is_ordered[: len(self.accounts)]

    def entity_rows(self, rows: Iterable[int]) -> list[int]:
        """All rows of the entities that these rows belong to, in row order."""
        numbers = {int(self._entity[row]) for row in rows}
        return sorted(row for number in numbers for row in self._entity_rows[number])

    def all_rows(self) -> BookRows:
        """Every account."""
        count = len(self.accounts)
        net = self._shares[0, :, :count] + self._claims[:, :count]
        held = np.any(self._shares[:, :, :count] != 0, axis=0) | (self._claims[:, :count] != 0)
        return BookRows(
            net,
            held,
            self._lots[:, :count].copy(),
            self._variation[:, :count].copy(),
            self._entity[:count].copy(),
            len(self._entity_rows),
            self.all_orders,
            self.options.of(range(count)),
            self.paid_up.packages.of(range(count)),
        )

    def some_rows(
        self, rows: Sequence[int], *, without: Collection[int] = frozenset(), paid_out: bool = False
    ) -> BookRows:
        """These rows, which must hold whole entities; orders in `without` are left out.

        Args:
            paid_out: what is reserved counts as gone, as it must when new risk or an outflow is judged.
        """
        at = np.array(rows, dtype=np.int64)
        numbers, entity = np.unique(self._entity[at], return_inverse=True)
        net = self._shares[Column.CASH][:, at] + self._claims[:, at]
        if paid_out:
            net -= self._shares[Column.RESERVED][:, at]
        return BookRows(
            net,
            np.any(self._shares[:, :, at] != 0, axis=0) | (self._claims[:, at] != 0),
            self._lots[:, at],
            self._variation[:, at],
            entity.astype(np.int64),
            len(numbers),
            self._order_columns(rows, without),
            self.options.of(rows),
            self.paid_up.packages.of(rows),
        )

    def _order_columns(self, rows: Sequence[int], without: Collection[int]) -> OrderColumns:
        found: list[tuple[int, OpenOrder]] = []
        if self.orders:
            for position in np.flatnonzero(self._is_ordered[np.asarray(rows, dtype=np.int64)]).tolist():
                orders = self.orders[rows[position]]
                found += [(position, orders[key]) for key in sorted(orders) if key not in without]
        return order_columns(self._model, found)

    def package_units(self, account: int, asset: int) -> int:
        """Units of an asset, by column, that an account's packages hold, negative when owed."""
        row = self.row_of.get(account)
        return 0 if row is None else self.paid_up.units(row=row, asset=asset)

    def claim_units(self, account: int, column: Column, asset_id: int) -> int:
        """Units that a line of shares stands for, negative when owed."""
        shares, indices = self.line(account, column, asset_id), self.indices[self._model.asset_column[asset_id]]
        return _units_of(column, shares, indices)

    def _claim(self, asset: int, row: int) -> int:
        kinds = (Column.SUPPLY, Column.DEBT, Column.OVERDRAFT)
        claims = sum(_units_of(kind, int(self._shares[kind, asset, row]), self.indices[asset]) for kind in kinds)
        return claims + int(self._shares[Column.RESERVED, asset, row]) + self.paid_up.units(row=row, asset=asset)

    def _grow(self) -> None:
        self._shares = np.concatenate([self._shares, np.zeros_like(self._shares)], axis=2)
        self._claims = np.concatenate([self._claims, np.zeros_like(self._claims)], axis=1)
        self._lots = np.concatenate([self._lots, np.zeros_like(self._lots)], axis=1)
        self._variation = np.concatenate([self._variation, np.zeros_like(self._variation)], axis=1)
        self._entity = np.concatenate([self._entity, np.zeros_like(self._entity)])
        self._is_ordered = np.concatenate([self._is_ordered, np.zeros_like(self._is_ordered)])


def _table(column: Mapping[int, int], keys: I8) -> I8:
    # The column of each key, -1 for one that has none.
    of = np.full(max(column, default=0) + 2, -1)
    of[list(column)] = list(column.values())
    found: I8 = of[np.minimum(keys, of.shape[0] - 1)]
    return found


def _units_of(column: Column, shares: int, indices: Indices) -> int:
    if column is Column.SUPPLY:
        return mul_div_down(shares, indices.supply, INDEX_ONE)
    index = indices.borrow if column is Column.DEBT else indices.overdraft
    return -mul_div_up(shares, index, INDEX_ONE)


def whole_lots(units: int, units_per_lot: int) -> int:
    """Lots that units held can be sold in, positive, or that buy back what is owed, negative: the last part counts."""
    return units // units_per_lot
