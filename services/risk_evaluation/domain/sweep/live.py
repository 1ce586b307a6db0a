"""The live book of a partition as the kernel keeps it: an arena beside the columns, following what changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.common.ids import account_id
from services.risk_evaluation.domain.arrays import F8, I4, I8, U1, Mask
from services.risk_evaluation.domain.columns import Column, Columns, OpenOrder, OrderColumns
from services.risk_evaluation.domain.lines import OPTION, quantities, still_money
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import OptionRows
from services.risk_evaluation.domain.prices import Prices, price_book
from services.risk_evaluation.domain.scan import capped_lots
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import (
    Split,
    Standings,
    arena_of,
    beyond_lines,
    run_alone,
    run_entities,
    split,
)
from services.risk_evaluation.domain.sweep.fingerprints import LINE, sum_of_lines
from services.risk_evaluation.domain.sweep.layout import KernelTable, kernel_table
from services.risk_evaluation.domain.sweep.movers import WINDOW, Reference, is_covered, reference
from services.risk_evaluation.domain.sweep.option_movers import Bumped
from services.risk_evaluation.domain.sweep.orders import OrderTable, order_table
from services.risk_evaluation.domain.sweep.ticks import Ticks

ROWS_AT_ONCE = 16_384
TICKS_FROM = 4_096  # fewer accounts are swept as fast
LOOSE_MAX = 0.02  # share of accounts without intervals from which all are laid anew


@dataclass(frozen=True, slots=True)
class _Ticking:
    # laid: accounts that have intervals; those that came later have none.
    ticks: Ticks
    reference: Reference
    funding: tuple[int, ...]
    laid: int


def warm_up(model: Model) -> None:
    """Has the kernels of a model made, or taken from disk: seconds, or less than one."""
    columns = Columns(model)
    first = account_id(partition=0, entity=1, sub=0)
    columns.row(account_id(partition=0, entity=2, sub=0))
    if model.instruments:
        one = model.instruments[0]
        columns.set_order(first, OpenOrder(1, one.id, 1, 1, reduce_only=False, fee=0.0))
    live, prices = LiveBook(model, columns, ticks_from=0), price_book(model, {})
    live.standings(prices)
    if live.is_due:
        live.lay(prices)
        columns.set_line(first, Column.CASH, model.assets[0].id, 1)
        live.standings(prices)
    sum_of_lines(np.zeros(1, dtype=np.uint64), np.zeros(1, dtype=LINE))


class LiveBook:
    """Margins of every account of a partition at new marks.

    Args:
        columns: the book; nobody else takes its changes.
        ticks_from: accounts from which only those are valued whose state may have changed.
    """

    def __init__(self, model: Model, columns: Columns, *, ticks_from: int = TICKS_FROM) -> None:
        self._model, self._columns = model, columns
        self._ticks_from = ticks_from
        self._ticking: _Ticking | None = None
        self._is_worn = False  # whether the intervals are worth laying anew
        self._is_fresh: Mask = np.zeros(0, dtype=np.bool_)
        self._is_skipped: Mask = np.zeros(0, dtype=np.bool_)  # who is valued at every mark
        self._arena = Arena(lines=len(model.wide.order.bucket))
        self._money: F8 = np.zeros(0)
        self._out = Standings.of(0)
        self._is_beyond: U1 = np.zeros(0, dtype=np.uint8)  # who holds options or dated futures
        self._was_special: U1 = np.zeros(0, dtype=np.uint8)
        self._orders: OrderTable  # of the last prices
        self._split = self._shared = split(np.zeros(0, dtype=np.int64), self._was_special)
        self._is_shared: Mask = np.zeros(0, dtype=np.bool_)  # who is not alone in its entity

    def under(self, model: Model) -> None:
        """Sweeps by another model of the same columns from now on."""
        self._model = model

    @property
    def is_fresh(self) -> Mask:
        """Rows whose figures are of the last prices; of the others the state alone is: it cannot have changed."""
        return self._is_fresh

    def standings(self, prices: Prices) -> Standings:
        """The margins; the arrays are written again by the next call."""
        count = len(self._columns.accounts)
        changed = self._follow(prices, count)
        was_skipped, which = self._is_skipped, self._split_now()
        table, every = kernel_table(self._model, prices), self._columns.all_orders
        if which.members.shape[0]:
            self._orders = order_table(self._model, prices, table, every, self._counting(every), accounts=count)
        self._is_fresh = np.zeros(count, dtype=np.bool_)
        ticked, moves = self._ticked(which), self._moves(prices, table)
        if moves is None:
            ticked = which
        self._is_skipped = np.zeros(count, dtype=np.bool_)
        self._is_skipped[ticked.members] = True
        if moves is None:
            run_alone(self._arena, self._money, table, which.alone, self._out)
            self._is_fresh[:] = True
        else:
            left = np.flatnonzero(was_skipped & ~self._is_skipped[: was_skipped.shape[0]])
            self._tick(moves, table, np.union1d(changed, left).astype(np.int32))
        if ticked.members.shape[0]:
            run_entities(self._arena, self._money, table, self._orders, ticked, self._out)
            self._is_fresh[ticked.members] = True
        return self._out

    def _moves(self, prices: Prices, table: KernelTable) -> Mapping[int, float] | None:
        """How far prices are from the reference; None where there are no intervals that hold."""
        ticking = self._ticking
        if ticking is not None and ticking.reference.model is self._model and ticking.funding == self._funding:
            moves = ticking.reference.moves(prices, table)
            if all(map(math.isfinite, moves.values())):  # else a mark is missing, or something ends
                return moves
        self._ticking = None
        return None

    def _ticked(self, which: Split) -> Split:
        """Of the members those that every mark values: not who alone holds options that intervals cover."""
        if self._ticking is None or self._ticking.reference.options is None:
            return which
        start, size = which.members_start[:-1], np.diff(which.members_start)
        first = which.members[start]
        stays = (size > 1) | (self._is_beyond[first] == 0) | (self._columns.is_ordered[first] > 0)
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(size[stays])])
        return replace(which, members_start=ends, members=which.members[np.repeat(stays, size)])

    def _value(self, table: KernelTable, chosen: npt.NDArray[Any]) -> int:
        """Margins of accounts each alone in its entity and without orders."""
        beyond = self._is_beyond[chosen] > 0
        changed = run_alone(self._arena, self._money, table, chosen[~beyond], self._out)
        members = chosen[beyond].astype(np.int64)
        if members.shape[0]:
            alone = Split(members[:0], np.arange(members.shape[0] + 1), members, self._is_beyond)
            changed += run_entities(self._arena, self._money, table, self._orders, alone, self._out)
        return changed

    def _tick(self, moves: Mapping[int, float], table: KernelTable, changed: I4) -> None:
        """Values whose state may have changed."""
        ticking, count, skip = self._ticking, self._out.equity.shape[0], self._is_skipped
        if ticking is None:
            return
        ticking.ticks.put(self._money, self._out)
        ticking.ticks.tick(table, moves, dirty=changed[changed < ticking.laid], skip=skip)
        new = np.arange(ticking.laid, count)
        loose = new.shape[0] + ticking.ticks.loose
        new = new[~skip[new]]
        self._value(table, new)
        self._is_fresh[ticking.ticks.valued] = self._is_fresh[new] = True
        self._is_worn = loose > LOOSE_MAX * count or ticking.reference.is_far(moves)

    @property
    def _funding(self) -> tuple[int, ...]:
        return tuple(self._columns.funding)

    @property
    def is_due(self) -> bool:
        """Whether intervals are lacking, or worth laying anew."""
        enough = len(self._columns.accounts) >= self._ticks_from and is_covered(self._model)
        return enough and (self._ticking is None or self._is_worn)

    def lay(self, prices: Prices, bumped: Bumped | None = None) -> None:
        """Lays intervals anew around these prices: half a microsecond an account, for when nothing else is due.

        Args:
            bumped: what tells what options do; None: those who hold them are valued at each mark.
        """
        self._ticking = None
        self.standings(prices)
        table = kernel_table(self._model, prices)
        start = reference(self._model, prices, table, bumped)
        ticks = Ticks(
            self._arena, self._money, start.table, start.slopes, self._out, window=WINDOW, is_valued=True,
            value=self._value,
        )  # fmt: skip
        self._ticking = _Ticking(ticks, start, self._funding, self._out.equity.shape[0])
        self._is_skipped[:] = False  # everyone was valued a moment ago
        self._is_skipped[self._ticked(self._split).members] = True
        self._is_worn = False

    def _counting(self, orders: OrderColumns) -> I8:
        """Signed lots of each order as far as it counts: one that may only reduce, up to the position."""
        reducing = np.unique(orders.row[orders.reduce_only])
        if not reducing.shape[0]:
            return orders.lots
        lots = orders.lots.copy()
        lots[np.isin(orders.row, reducing)] = capped_lots(self._model, self._columns.some_rows(reducing.tolist()))
        return lots

    def _split_now(self) -> Split:
        """The split; made anew where accounts came, else only what orders and options came and went for."""
        is_special = self._columns.is_ordered | self._is_beyond
        count = is_special.shape[0]
        if count != self._is_shared.shape[0]:
            self._shared = split(self._columns.entities, np.zeros(count, dtype=np.uint8))
            self._is_shared = np.zeros(count, dtype=np.bool_)
            self._is_shared[self._shared.members] = True
        if not np.array_equal(is_special, self._was_special):
            self._was_special = is_special
            single = np.flatnonzero((is_special > 0) & ~self._is_shared)
            start = self._shared.members_start
            ends = start[-1] + np.arange(1, single.shape[0] + 1)
            is_member = self._is_shared | (is_special > 0)
            self._split = Split(
                np.flatnonzero(~is_member),
                np.concatenate([start, ends]),
                np.concatenate([self._shared.members, single]),
                self._is_beyond,
            )
        return self._split

    def _follow(self, prices: Prices, count: int) -> I8:
        changed = self._columns.take_changed()
        if count != self._money.shape[0]:
            more = count - self._money.shape[0]
            self._money = np.concatenate([self._money, np.zeros(more)])
            self._is_beyond = np.concatenate([self._is_beyond, np.zeros(more, dtype=np.uint8)])
            self._out = self._out.with_room(count)
        if len(changed) == count >= ROWS_AT_ONCE:  # a whole book at once, as after a start
            book = self._columns.all_rows()
            self._arena, self._ticking = arena_of(self._model, book), None
            self._money = still_money(self._model, prices, book)
            self._is_beyond[:] = 0
            self._is_beyond[beyond_lines(self._model, book)] = 1
            return np.arange(count)
        lines = self._model.wide.ordinary
        for begin in range(0, len(changed), ROWS_AT_ONCE):
            rows = changed[begin : begin + ROWS_AT_ONCE]
            book = self._columns.some_rows(rows)
            held = quantities(self._model, book).T
            self._money[rows] = still_money(self._model, prices, book)
            self._arena.set(np.repeat(rows, lines.shape[0]), np.tile(lines, len(rows)), held.reshape(-1))
            self._follow_options(rows, book.options)
            self._is_beyond[rows] = 0
            self._is_beyond[np.array(rows)[beyond_lines(self._model, book)]] = 1
        self._arena.take_dirty()
        return np.array(changed, dtype=np.int64)

    def _follow_options(self, rows: list[int], options: OptionRows) -> None:
        """Overwrites the options of these rows, of which `options` names those that are there."""
        kind = self._model.wide.kind
        of, line = np.array(rows, dtype=np.int64)[options.row], self._model.wide.option[options.option]
        for row in (row for row in rows if self._is_beyond[row]):
            held = self._arena.row(row)[0].astype(np.int64)
            gone = np.setdiff1d(held[kind[held] == OPTION], line[of == row])
            self._arena.set(np.full(gone.shape[0], row), gone, np.zeros(gone.shape[0]))
        self._arena.set(of, line, options.lots.astype(np.float64))
