"""Published margins computed again with risk's own kernel, from the journal and the marks alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ballast.events.v1 import risk_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.book import PartitionBook
from libs.common.ids import system_kind
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.market import settled
from services.risk_evaluation.domain import margin, prices
from services.risk_evaluation.domain.arrays import I8, Mask
from services.risk_evaluation.domain.columns import Column as Line
from services.risk_evaluation.domain.columns import Columns, Indices, OpenOrder
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.volatility import Sigmas, model_under
from tools.reconcile.marks import MarkHistory
from tools.reconcile.world import World

_COLUMNS: dict[int, Line] = {
    ledger_pb2.LINE_KIND_CASH: Line.CASH,
    ledger_pb2.LINE_KIND_RESERVED: Line.RESERVED,
    ledger_pb2.LINE_KIND_SUPPLY_SHARES: Line.SUPPLY,
    ledger_pb2.LINE_KIND_DEBT_SHARES: Line.DEBT,
    ledger_pb2.LINE_KIND_OVERDRAFT_SHARES: Line.OVERDRAFT,
    ledger_pb2.LINE_KIND_LOTS: Line.LOTS,
    ledger_pb2.LINE_KIND_VARIATION: Line.VARIATION,
}
COMPARED = (
    "equity",
    "initial_margin",
    "maintenance_margin",
    "equity_for_new_risk",
    "state",
    "worst_scenario",
    "validity",
    "add_on",
    "open_orders",
    "gross_notional",
)
_SHOWN_MAX = 3


class Recomputation:
    """Recomputes margin frames."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.model = build_model(world.parameters)
        self._levels: dict[int, Sigmas] = {}
        self._at_levels = self.model

    def margins(self, book: PartitionBook, *, mark_number: int) -> tuple[Columns, margin.Margins]:
        """The margin of every account of a book under the marks in force at a frame of them."""
        history = self._world.marks
        model = self._model_at(history.levels(mark_number))
        columns = book_columns(model, book)
        priced = prices.funded(priced_at(model, history, mark_number), columns.funding)
        return columns, margin.evaluate(model, priced, columns.all_rows())

    def _model_at(self, levels: dict[int, Sigmas]) -> Model:
        if levels != self._levels:
            self._levels, self._at_levels = levels, model_under(self._world.parameters, levels)
        return self._at_levels

    def marks_number(self, published: risk_pb2.MarginFrame) -> int:
        """Number of the marks frame that a margin frame cites, -1 when there is none."""
        return self._world.marks.number_of(published.mark_sequence)

    def compare(self, published: risk_pb2.MarginFrame, book: PartitionBook) -> tuple[int, list[str]]:
        """Rows compared, and what differs in words; the book stands at the frame's journal sequence."""
        number = self.marks_number(published)
        if number < 0:
            return 0, [f"cites mark {published.mark_sequence}, which was never published"]
        columns, again = self.margins(book, mark_number=number)
        return len(published.account), list(_differences(published, columns, again))


def priced_at(model: Model, history: MarkHistory, number: int) -> prices.Prices:
    """Prices under the marks and surfaces in force at a frame of them, without funding."""
    return prices.price_book(model, marks_at(history, number), history.surfaces(number))


def marks_at(history: MarkHistory, number: int) -> dict[int, prices.Mark]:
    """The marks in force at a frame of them."""
    marks = {
        instrument: prices.Mark(mark.price, mark.slow_price or mark.price, mark.validity, mark.confidence)
        for instrument in history.instruments
        if (mark := history.mark(instrument, number)).price > 0
    }
    return marks | settled(marks, history.settling(number))


def book_columns(model: Model, book: PartitionBook) -> Columns:
    """The kernel's columns of a book."""
    columns = Columns(model)
    for account in sorted(book.accounts):
        columns.row(account)
    for asset, pool in book.pools.items():
        columns.set_indices(asset, Indices(pool.supply_index, pool.borrow_index, pool.overdraft_index))
    for instrument, one in book.funding.items():
        columns.set_funding(instrument, int.from_bytes(one.cumulative_funding, "big", signed=True))
    for (account, key, kind), balance in book.lines.items():
        if system_kind(account) is None and kind in _COLUMNS:
            columns.set_line(account, _COLUMNS[kind], key, balance)
    for line in book.away():
        if line.kind in _COLUMNS:
            columns.set_line(line.account, _COLUMNS[line.kind], line.asset, line.units)
    for order in book.orders.values():
        if order.remaining > 0:
            lots = order.remaining if order.side == market_pb2.SIDE_BUY else -order.remaining
            fee = model.taker_fee.get(order.venue, 0.0)
            found = OpenOrder(order.order, order.instrument, lots, order.limit_price, order.reduce_only, fee)
            columns.set_order(order.account, found)
    return columns


@dataclass(frozen=True, slots=True)
class Column:
    """One published column beside what came out again; `wrong` says where they differ."""

    name: str
    published: I8
    again: I8
    wrong: Mask


def compared(published: risk_pb2.MarginFrame, columns: Columns, again: margin.Margins) -> Iterator[Column]:
    """Every column of a frame whose accounts the journal has; lengths may differ, then all of it is wrong."""
    rows = np.array([columns.row_of[account] for account in published.account], dtype=np.int64)
    for name in (*COMPARED, "scan_loss"):
        given = np.array(list(getattr(published, name)), dtype=np.int64)
        ours = np.asarray(getattr(again, name))[..., rows].T.reshape(-1).astype(np.int64)
        if given.shape != ours.shape:
            yield Column(name, given, ours, np.ones(ours.shape, dtype=np.bool_))
            continue
        wrong = given != ours
        if name == "validity":  # a worker that hears no heartbeat trusts its marks less, never more
            wrong &= given != ValidityClass.STALE
        yield Column(name, given, ours, wrong)


def _differences(published: risk_pb2.MarginFrame, columns: Columns, again: margin.Margins) -> Iterator[str]:
    unknown = [account for account in published.account if account not in columns.row_of]
    if unknown:
        yield f"publishes account {unknown[0]}, which the journal does not have"
        return
    for one in compared(published, columns, again):
        if one.published.shape != one.again.shape:
            yield f"{one.name}: expected {one.again.shape[0]} figures, was {one.published.shape[0]}"
            continue
        for at in np.flatnonzero(one.wrong)[:_SHOWN_MAX]:
            account = published.account[int(at) * len(published.account) // len(one.again)]
            yield f"{one.name} of account {account}: expected {one.again[at]}, was {one.published[at]}"
