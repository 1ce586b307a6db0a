"""What the gateway knows of the ledger: the fold of every partition's journal, and who is told when it moves."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame
from libs.common.ids import entity_of, partition_of
from services.venue_gateway.app.answers import Answer, Answers

DECIDED_MAX = 200_000  # reservations whose end is remembered, for calls that are repeated
CLOSED_ORDERS_MAX = 50_000  # orders whose instrument is remembered, for reports that come late


@dataclass(frozen=True, slots=True)
class Decision:
    """How a reservation ended, and where."""

    partition: int
    sequence: int
    settled: bool
    reason: ledger_pb2.Refusal


@dataclass(slots=True)
class Moved:
    """What some frames of one partition changed, for those who act on it.

    Args:
        orders: by id, each as the frames left it.
        gaps: (stream, sequence) of facts that fell into a gap.
    """

    partition: int
    orders: dict[int, journal_pb2.Order] = field(default_factory=dict)
    gaps: list[tuple[str, int]] = field(default_factory=list)


class LedgerView:
    """Books of all partitions at the sequence each has reached."""

    def __init__(self, *, partitions: int, answers: Answers) -> None:
        self.books = [PartitionBook(partition) for partition in range(partitions)]
        self.run_time_ns = 0
        self._answers = answers
        self._decisions: OrderedDict[int, Decision] = OrderedDict()
        self._deciding: dict[int, list[asyncio.Future[Decision]]] = {}
        self._reaching: list[tuple[int, int, asyncio.Future[None]]] = []
        self._instruments: OrderedDict[int, int] = OrderedDict()
        self._listeners: list[Callable[[Moved], None]] = []

    def listen(self, listener: Callable[[Moved], None]) -> None:
        """Has `listener` called after each batch of frames, once all of it is applied."""
        self._listeners.append(listener)

    def apply(self, partition: int, frames: Sequence[AcceptedFrame]) -> None:
        """Folds accepted frames of one partition, in order, then tells whoever waits for them."""
        moved = Moved(partition)
        answers: list[Answer] = []
        for frame in frames:
            body = journal_pb2.JournalBody.FromString(frame.body)
            self.books[partition].apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
            self.run_time_ns = max(self.run_time_ns, frame.run_time_ns)
            for outcome in body.outcomes:
                self._take(partition, frame.sequence, outcome, moved)
                answers.append(Answer(partition, frame.sequence, outcome))
        for answer in answers:
            self._answers.resolve(answer)
        self._reach(partition)
        for listener in self._listeners:
            listener(moved)

    def _take(self, partition: int, sequence: int, outcome: journal_pb2.Outcome, moved: Moved) -> None:
        if outcome.refusal == ledger_pb2.REFUSAL_GAP and outcome.WhichOneof("key") == "fact":
            moved.gaps.append((outcome.fact.stream, outcome.fact.sequence))
        for effect in outcome.effects:
            which = effect.WhichOneof("effect")
            if which == "order":
                moved.orders[effect.order.order] = effect.order
                self._remember_instrument(effect.order)
            elif which == "reservation":
                self._decide(partition, sequence, effect.reservation)

    def _remember_instrument(self, order: journal_pb2.Order) -> None:
        self._instruments[order.order] = order.instrument
        self._instruments.move_to_end(order.order)
        while len(self._instruments) > CLOSED_ORDERS_MAX:
            oldest, instrument = self._instruments.popitem(last=False)
            if oldest in self.books[partition_of(oldest)].orders:  # still alive: not to be forgotten
                self._instruments[oldest] = instrument
                break

    def _decide(self, partition: int, sequence: int, reservation: journal_pb2.Reservation) -> None:
        if reservation.state == ledger_pb2.RESERVATION_STATE_PENDING:
            return
        settled = reservation.state == ledger_pb2.RESERVATION_STATE_SETTLED
        decision = Decision(partition, sequence, settled, reservation.reason)
        self._decisions[reservation.reservation] = decision
        while len(self._decisions) > DECIDED_MAX:
            self._decisions.popitem(last=False)
        for future in self._deciding.pop(reservation.reservation, ()):
            if not future.done():
                future.set_result(decision)

    def _reach(self, partition: int) -> None:
        still = []
        for waiting in self._reaching:
            where, sequence, future = waiting
            if where == partition and self.books[partition].sequence >= sequence:
                if not future.done():
                    future.set_result(None)
            elif not future.done():
                still.append(waiting)
        self._reaching = still

    def account(self, account: int) -> journal_pb2.Account | None:
        """A client's account, None when there is none."""
        partition = partition_of(account)
        return self.books[partition].accounts.get(account) if partition < len(self.books) else None

    def entity_owner(self, entity: int) -> str | None:
        """Who owns an entity, by its first account; None when there is none."""
        first = self.account(entity) if entity_of(entity) == entity else None
        return first.owner if first is not None else None

    def order(self, order: int) -> journal_pb2.Order | None:
        """A live order."""
        partition = partition_of(order)
        return self.books[partition].orders.get(order) if partition < len(self.books) else None

    def instrument_of(self, order: int) -> int | None:
        """Instrument of an order that is alive or was not long ago."""
        live = self.order(order)
        return live.instrument if live is not None else self._instruments.get(order)

    def marks(self, stream: str) -> dict[int, int]:
        """By partition, number of the last fact of a stream on record."""
        return {partition: book.streams.get(stream, 0) for partition, book in enumerate(self.books)}

    def live_orders(self, venue: int) -> list[journal_pb2.Order]:
        """Live orders of a venue, oldest first in each partition."""
        return [order for book in self.books for order in book.orders.values() if order.venue == venue]

    async def decided(self, reservation: int) -> Decision | None:
        """How a reservation ended, once it has; None when it ended too long ago to be remembered."""
        known = self._decisions.get(reservation)
        if known is not None or reservation not in self.books[partition_of(reservation)].reservations:
            return known
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._deciding.setdefault(reservation, []).append(future)
        try:
            return await future
        finally:
            waiting = self._deciding.get(reservation, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._deciding.pop(reservation, None)

    async def reached(self, partition: int, sequence: int) -> None:
        """Returns when the partition has reached the sequence."""
        if self.books[partition].sequence >= sequence:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reaching.append((partition, sequence, future))
        await future
