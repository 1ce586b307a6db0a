"""Folds a partition's journal twice over: into the shared book for its fingerprint, and into the kernel's columns."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.book import LIVE_ORDER_STATES, PartitionBook, own
from libs.common.chain import AcceptedFrame
from libs.common.errors import invariant
from libs.common.ids import system_kind
from services.risk_evaluation.app.kept import Kept, begin_book, fill_columns
from services.risk_evaluation.domain.columns import Column, Columns, Indices, OpenOrder
from services.risk_evaluation.domain.model import Model

COLUMNS: dict[int, Column] = {
    ledger_pb2.LINE_KIND_CASH: Column.CASH,
    ledger_pb2.LINE_KIND_RESERVED: Column.RESERVED,
    ledger_pb2.LINE_KIND_SUPPLY_SHARES: Column.SUPPLY,
    ledger_pb2.LINE_KIND_DEBT_SHARES: Column.DEBT,
    ledger_pb2.LINE_KIND_OVERDRAFT_SHARES: Column.OVERDRAFT,
    ledger_pb2.LINE_KIND_LOTS: Column.LOTS,
    ledger_pb2.LINE_KIND_VARIATION: Column.VARIATION,
}  # what is reserved is still the client's until it is paid out; a pool's loss stands on house accounts only

Pending = journal_pb2.Order | journal_pb2.Reservation


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ledger said to a command of this worker's session."""

    n: int
    refusal: int


@dataclass(frozen=True, slots=True)
class Folded:
    """What a frame did: clients' accounts it touched, and answers to this worker's commands."""

    touched: frozenset[int]
    answers: tuple[Answer, ...]


class PartitionFold:
    """One partition as risk sees it.

    Args:
        session: of this worker's commands.
    """

    def __init__(self, *, partition: int, model: Model, session: bytes) -> None:
        self.book = PartitionBook(partition)
        self.columns = Columns(model)
        self.pending: dict[int, Pending] = {}  # orders and reservations that wait for a verdict, by id
        self.pending_of: dict[int, set[int]] = {}  # their ids by account
        self.exact_from = 0  # journal sequence from which the book is the ledger's: a checkpoint holds newer items too
        self._away: dict[tuple[int, int], movement_pb2.Movement] = {}  # entities that have left, till they arrive
        self._also_touched: set[int] = set()
        self._model = model
        self._session = session

    @property
    def sequence(self) -> int:
        """Journal sequence folded."""
        return self.book.sequence

    def begin(self, kept: Kept) -> None:
        """Stands at a checkpoint's head instead of before the first frame."""
        begin_book(self.book, kept)
        for effect in kept.effects:
            self._apply(effect)
        fill_columns(self.columns, kept, dict(COLUMNS))
        for one in self.book.movements.values():
            self._apply_movement(one)
        self.exact_from = kept.exact_from

    def apply(self, frame: AcceptedFrame) -> Folded:
        """Folds the next frame.

        Raises:
            InvariantBroken: I8 when it is not the next one, I13 when the ledger's fingerprint is another.
        """
        body = journal_pb2.JournalBody.FromString(frame.body)
        touched = self.book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
        invariant(
            self.book.fingerprint == body.fingerprint or frame.sequence < self.exact_from,
            "I13",
            f"partition {self.book.partition} sequence {frame.sequence}: expected fingerprint "
            f"{body.fingerprint.hex()}, was {self.book.fingerprint.hex()}",
        )
        answers: list[Answer] = []
        for outcome in body.outcomes:
            if outcome.WhichOneof("key") == "session" and outcome.session.session == self._session:
                answers.append(Answer(outcome.session.n, outcome.refusal))
            for effect in outcome.effects:
                self._apply(effect)
        touched |= self._also_touched
        self._also_touched.clear()
        return Folded(frozenset(one for one in touched if system_kind(one) is None), tuple(answers))

    def _apply(self, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case "posting":
                one = effect.posting
                column = COLUMNS.get(one.kind)
                if column is not None and system_kind(one.account) is None:
                    self.columns.set_line(one.account, column, one.asset, one.balance)
            case "account":
                if system_kind(effect.account.account) is None:
                    self.columns.row(effect.account.account)
            case "movement":
                self._apply_movement(effect.movement)
            case "order":
                self._apply_order(effect.order)
            case "reservation":
                waits = effect.reservation.state == ledger_pb2.RESERVATION_STATE_PENDING
                self._wait(effect.reservation.reservation, effect.reservation, waits=waits)
            case "pool_index":
                moved = effect.pool_index
                self.columns.set_indices(
                    moved.asset, Indices(moved.supply_index, moved.borrow_index, moved.overdraft_index)
                )
            case "funding_index":
                paid = int.from_bytes(effect.funding_index.cumulative_funding, "big", signed=True)
                self.columns.set_funding(effect.funding_index.instrument, paid)

    def _apply_movement(self, one: movement_pb2.Movement) -> None:
        """Keeps what an entity takes along on its old accounts, until the other partition is known to have it."""
        key = (one.to_partition, one.sequence)
        if one.kind == ledger_pb2.MOVEMENT_KIND_ENTITY:
            self._away[key] = own(one)
        gone = self._away.pop(key, None) if one.arrived else self._away.get(key)
        for line in gone.lines if gone is not None else ():
            column = COLUMNS.get(line.kind)
            if column is not None:
                self.columns.set_line(line.account, column, line.asset, 0 if one.arrived else line.units)
            self._also_touched.add(line.account)

    def _apply_order(self, one: journal_pb2.Order) -> None:
        self._wait(one.order, one, waits=one.state == ledger_pb2.ORDER_STATE_RESERVED)
        if one.state not in LIVE_ORDER_STATES or one.remaining <= 0:
            self.columns.remove_order(one.account, one.order)
            return
        lots = one.remaining if one.side == market_pb2.SIDE_BUY else -one.remaining
        fee = self._model.taker_fee.get(one.venue, 0.0)
        open_order = OpenOrder(one.order, one.instrument, lots, one.limit_price, one.reduce_only, fee)
        self.columns.set_order(one.account, open_order)

    def _wait(self, key: int, one: Pending, *, waits: bool) -> None:
        if waits:
            self.pending[key] = one
            self.pending_of.setdefault(one.account, set()).add(key)
        elif self.pending.pop(key, None) is not None:
            mine = self.pending_of[one.account]
            mine.discard(key)
            if not mine:
                del self.pending_of[one.account]
