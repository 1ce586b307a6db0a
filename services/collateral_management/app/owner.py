"""Owns one partition: takes the journal over, handles commands in order, lets out only what is accepted."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter as Counts
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge, Histogram

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame, ChainHead
from libs.common.codec import headers
from libs.common.errors import InvariantBroken, LostOwnership, invariant
from libs.common.metrics import Metrics
from libs.common.parameters import Parameters
from libs.common.trace import Trace, Tracer, pack, subject_of
from libs.common.units import SECOND_NS
from services.collateral_management.app.audit import Audit
from services.collateral_management.app.checkpoints import Checkpoints
from services.collateral_management.app.frame import Frame
from services.collateral_management.app.outages import Outages
from services.collateral_management.app.ports import Commands, CommandSource, ControlLog, Journal, Received, RunClock
from services.collateral_management.app.relay import Relay
from services.collateral_management.app.tracing import traced
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import fold, handle
from services.collateral_management.domain.state import State

_LOG = logging.getLogger("ballast.ledger")
FRAME_COMMANDS_MAX = 512
FRAME_BYTES_MAX = 1024 * 1024  # a frame is closed at the command that passes this; one command's effects fit above it
POLL_SECONDS = 0.25
GATHER_SECONDS = 0.004  # between frames: one costs the broker and every reader as much as dozens of commands
RECLAIM_SECONDS = 3_600.0
ALERTS = (
    "credit_in_suspense", "fact_in_suspense", "gate_closed", "impossible_fill", "late_report", "link_refused",
    "moved_fill", "off_limit", "outflow_limit", "overdraft", "overfill", "reopened", "restriction",
    "transfer_returned", "unknown_order", "unknown_report", "unreleased_order", "venue_event", "venue_event_beyond",
    "venue_impaired",
)  # fmt: skip


OUTFLOW: dict[int, str] = {  # guards of outflows by the refusal that they give
    ledger_pb2.REFUSAL_OUTFLOW_LIMIT: "outflow_limit",
    ledger_pb2.REFUSAL_GATE_CLOSED: "gate",
    ledger_pb2.REFUSAL_LOCATION_IMPAIRED: "impaired_venue",
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the ledger shows of itself."""

    commands: Counter
    refused: Counter
    sequence: Gauge
    epoch: Gauge
    movements: Gauge
    accepted: Histogram
    alerts: Counter
    held_back: Counter


def gauges(metrics: Metrics) -> Gauges:
    """The ledger's metrics."""
    alerts = metrics.counter("ballast_ledger_alerts_total", "Alerts in the journal", ["alert"])
    for name in ALERTS:  # shown as 0 from the start: the first one is a rise
        alerts.labels(name)
    held_back = metrics.counter("ballast_ledger_outflow_refused_total", "Withdrawals refused by a guard", ["guard"])
    for guard in OUTFLOW.values():
        held_back.labels(guard)
    return Gauges(
        metrics.counter("ballast_ledger_commands_total", "Commands handled", ["command"]),
        metrics.counter("ballast_ledger_refusals_total", "Commands refused", ["command"]),
        metrics.gauge("ballast_ledger_journal_sequence", "Journal sequence accepted", ["partition"]),
        metrics.gauge("ballast_ledger_epoch_count", "Epoch of the claim in force", ["partition"]),
        metrics.gauge("ballast_ledger_movements_pending_count", "Sent to others, not known to be there", ["partition"]),
        metrics.histogram("ballast_ledger_frame_accept_seconds", "Frame built to read back accepted"),
        alerts,
        held_back,
    )


class Shown(Protocol):
    """Where operators see the books."""

    def book(self, *books: PartitionBook) -> None:
        """Shows books."""

    def closed(self, partition: int) -> None:
        """Shows a partition's book no more."""


class AcceptedBooks:
    """State of each owned partition as accepted: the only thing that questions are answered from."""

    def __init__(self, watch: Shown | None = None) -> None:
        self._watch = watch
        self.books: dict[int, PartitionBook] = {}
        self.tails: dict[int, Callable[[], int]] = {}
        self.epochs: dict[int, int] = {}
        self._changed: dict[int, asyncio.Event] = {}

    def opened(self, book: PartitionBook, *, epoch: int, tail: Callable[[], int]) -> None:
        """Answers questions about the partition from this book."""
        self.books[book.partition], self.epochs[book.partition] = book, epoch
        self.tails[book.partition] = tail
        if self._watch is not None:
            self._watch.book(book)
        self.changed(book.partition)

    def closed(self, partition: int) -> None:
        """Answers no more questions about the partition."""
        self.books.pop(partition, None)
        if self._watch is not None:
            self._watch.closed(partition)
        self.changed(partition)

    def changed(self, partition: int) -> None:
        """Wakes who waits for a sequence."""
        self._changed.pop(partition, asyncio.Event()).set()

    async def at_least(self, partition: int, sequence: int) -> PartitionBook | None:
        """The book once it has the sequence (0: the tail at the call); None when the partition is not owned here."""
        wanted = sequence or (self.tails[partition]() if partition in self.books else 0)
        while partition in self.books:
            book = self.books[partition]
            if book.sequence >= wanted:
                return book
            await self._changed.setdefault(partition, asyncio.Event()).wait()
        return None


class PartitionOwner:
    """One partition from take-over to loss of ownership.

    Args:
        new_journal: makes the writer; it calls the function given with each frame of this owner once accepted.
    """

    def __init__(
        self,
        partition: int,
        *,
        parameters: Parameters,
        new_journal: Callable[[Callable[[AcceptedFrame], None]], Journal],
        source: CommandSource,
        clock: RunClock,
        control: ControlLog,
        books: AcceptedBooks,
        shown: Gauges,
        audit: Audit | None = None,
        tracer: Tracer | None = None,
        commands: Commands | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.partition = partition
        self._checkpoints = checkpoints
        self._audit = audit
        self._tracer = tracer or Tracer()
        self._parameters = parameters
        self._journal = new_journal(self._on_accepted)
        self._source = source
        self._clock = clock
        self._control = control
        self._books = books
        self._shown = shown
        self._state = State(partition)
        self._book = PartitionBook(partition)
        self._handled = 0  # sequence of the last frame that the state has
        self._built_at: dict[int, float] = {}
        self._claimed_at_s = 0.0
        self._appended_at_s = 0.0
        self._relay = Relay(self._book, commands) if commands is not None else None
        self._outages = Outages(longest_s=parameters.guards.outage_ns / SECOND_NS)

    async def run(self, stopping: asyncio.Event, *, on_serving: Callable[[bool], None]) -> None:
        """Serves until asked to stop. Raises LostOwnership, InputLost, Fault, InvariantBroken."""
        try:
            await self._journal.take_over(self._fold, head=await self._restored(), caught_up=self._caught_up)
            offset, _ = self._journal.input_position
            await self._source.start(after_offset=offset)
            self._claimed()
            _LOG.info(
                "partition taken over",
                extra={
                    "partition": self.partition,
                    "epoch": self._journal.epoch,
                    "sequence": self._book.sequence,
                    "input_offset": offset,
                },
            )
            on_serving(True)
            await self._serve(stopping)
        finally:
            on_serving(False)
            self._books.closed(self.partition)
            await self._journal.close()
            await self._source.stop()
            if self._checkpoints is not None:
                await self._checkpoints.stop()

    async def _restored(self) -> ChainHead | None:
        if self._checkpoints is None:
            return None
        head = await self._checkpoints.restore(self._state, self._book)
        self._handled = self._book.sequence
        if self._audit is not None and self._checkpoints.exact_from == self._book.sequence:
            self._audit.begin(self._book)
        return head

    def _caught_up(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.caught_up(self._book.sequence)

    def _claimed(self) -> None:
        self._books.opened(self._book, epoch=self._journal.epoch, tail=lambda: self._journal.next_sequence - 1)
        self._shown.epoch.labels(self.partition).set(self._journal.epoch)
        self._claimed_at_s = time.monotonic()

    async def _serve(self, stopping: asyncio.Event) -> None:
        lost = asyncio.create_task(self._journal.wait_lost())
        beside = [asyncio.create_task(each) for each in self._beside()]
        try:
            while not stopping.is_set():
                if lost.done():
                    raise lost.result()
                for each in beside:
                    if each.done():
                        each.result()
                await self._turn()
            await self._journal.drain()
            if self._checkpoints is not None:
                await self._checkpoints.finish()
        except LostOwnership as ended:
            if isinstance(
                ended.__cause__, InvariantBroken
            ):  # ownership ended because a bug was found: not to be retried
                raise ended.__cause__ from ended
            raise
        finally:
            lost.cancel()
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _beside(self) -> Iterator[Coroutine[Any, Any, None]]:
        if self._relay is not None:
            yield self._relay.run()
        if self._checkpoints is not None:
            yield self._checkpoints.write(self._state, epoch=self._journal.epoch, handled=lambda: self._handled)

    async def _turn(self) -> None:
        if time.monotonic() - self._claimed_at_s > RECLAIM_SECONDS:
            await self._journal.reclaim(secrets.token_bytes(16))
            self._claimed()
        if (wait_s := self._appended_at_s + GATHER_SECONDS - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait_s)
        skip_offset, skip_index = self._journal.input_position
        frame = Frame()
        arrived = await self._source.poll(timeout_s=POLL_SECONDS)
        self._notice(arrived)
        for received in arrived:
            for index, command in enumerate(received.batch.commands if received.batch else ()):
                if (received.offset, index) <= (skip_offset, skip_index):
                    continue
                if not frame.outcomes:
                    frame.context = self._context()
                    self._handled = frame.context.sequence
                if received.traces:
                    self._trace(command, frame, received.traces, at=(received.offset, index))
                else:
                    self._handle(command, frame, at=(received.offset, index))
                if len(frame.outcomes) >= FRAME_COMMANDS_MAX or frame.size >= FRAME_BYTES_MAX:
                    await self._append(frame)
                    await asyncio.sleep(0)  # other partitions and readers wait for a frame, not for a window of them
                    frame = Frame()
        if frame.outcomes:
            await self._append(frame)

    def _notice(self, arrived: list[Received]) -> None:
        seen, _ = self._journal.input_position  # the record there is read again
        waited_s = max((received.waited_s for received in arrived if received.offset > seen), default=0.0)
        now_s, now_ns = asyncio.get_running_loop().time(), max(self._clock.run_time_ns, self._journal.run_time_ns)
        if self._outages.notice(now_s=now_s, now_ns=now_ns, alive=self._clock.marks_alive, waited_s=waited_s):
            _LOG.warning("outage noticed", extra={"partition": self.partition, "waited_s": round(waited_s, 3)})

    def _context(self) -> Context:
        return Context(
            parameters=self._parameters,
            sequence=self._journal.next_sequence,
            now_ns=max(self._clock.run_time_ns, self._journal.run_time_ns),
            control_sequence=self._control.sequence,
            marks_alive=self._clock.marks_alive,
            outage_at_ns=self._outages.at_ns,
        )

    def _handle(self, command: commands_pb2.Command, frame: Frame, *, at: tuple[int, int]) -> None:
        frame.add(handle(self._state, command, frame.opened()), at=at)

    def _trace(
        self, command: commands_pb2.Command, frame: Frame, causes: Mapping[int, Trace], *, at: tuple[int, int]
    ) -> None:
        started_ns = time.time_ns()
        self._tracer.work_for(causes.get(subject_of(command)))
        self._handle(command, frame, at=at)
        self._tracer.work_for(None)
        place = (self.partition, *at)
        found = traced(self._tracer, command, frame.outcomes[-1], causes, at=place, started_ns=started_ns)
        frame.traces.update(found)

    async def _append(self, frame: Frame) -> None:
        context = frame.opened()
        body = frame.body(fingerprint=self._state.fingerprint)
        self._appended_at_s = asyncio.get_running_loop().time()  # the loop's: virtual in the simulation
        self._count(frame.outcomes)
        self._built_at[context.sequence] = time.monotonic()
        await self._journal.append(
            body,
            input_offset=frame.at[0],
            input_index=frame.at[1],
            run_time_ns=context.now_ns,
            control_sequence=context.control_sequence,
            headers=dict(headers(wall_ns=time.time_ns(), trace=pack(frame.traces) if frame.traces else None)),
        )

    def _count(self, outcomes: list[journal_pb2.Outcome]) -> None:
        for command, count in Counts([outcome.command for outcome in outcomes]).items():
            self._shown.commands.labels(command).inc(count)
        refused = [outcome for outcome in outcomes if outcome.refusal]
        for command, count in Counts([outcome.command for outcome in refused]).items():
            self._shown.refused.labels(command).inc(count)
        for reason, count in Counts([outcome.refusal for outcome in refused if outcome.refusal in OUTFLOW]).items():
            self._shown.held_back.labels(OUTFLOW[reason]).inc(count)

    def _fold(self, accepted: AcceptedFrame) -> None:
        body = _body(accepted)
        context = Context(self._parameters, accepted.sequence, accepted.run_time_ns, accepted.control_sequence, False)
        fold(self._state, body, context)
        self._handled = accepted.sequence
        found = self._state.fingerprint
        if self._checkpoints is not None:
            self._checkpoints.folded(accepted, found=found, expected=body.fingerprint)
        else:
            invariant(found == body.fingerprint, "I8", f"fold differs at {accepted.sequence}")
        self._read(accepted, body, is_history=True)

    def _on_accepted(self, accepted: AcceptedFrame) -> None:
        body = _body(accepted)
        self._read(accepted, body, is_history=False)
        self._books.changed(self.partition)
        for alert in self._book.alerts:
            self._shown.alerts.labels(alert.name).inc()
            _LOG.warning("alert raised", extra={"alert": alert.name, "detail": alert.detail})
        self._shown.movements.labels(self.partition).set(len(self._book.movements))
        if self._relay is not None:
            self._relay.accepted(body)
        if self._checkpoints is not None:
            self._checkpoints.accepted(accepted, body.fingerprint)
        built_at = self._built_at.pop(accepted.sequence, None)
        if built_at is not None:
            self._shown.accepted.observe(time.monotonic() - built_at)

    def _read(self, accepted: AcceptedFrame, body: journal_pb2.JournalBody, *, is_history: bool) -> None:
        self._book.apply(sequence=accepted.sequence, run_time_ns=accepted.run_time_ns, body=body)
        exact_from = self._checkpoints.exact_from if self._checkpoints is not None else 0
        if accepted.sequence >= exact_from:
            invariant(self._book.fingerprint == body.fingerprint, "I13", f"book differs at {accepted.sequence}")
        if self._audit is not None and accepted.sequence > exact_from:
            self._audit.frame(accepted.sequence, body, self._book, is_history=is_history)
        elif self._audit is not None and accepted.sequence == exact_from:
            self._audit.begin(self._book)
        self._shown.sequence.labels(self.partition).set(accepted.sequence)


def _body(accepted: AcceptedFrame) -> journal_pb2.JournalBody:
    try:
        return journal_pb2.JournalBody.FromString(accepted.body)
    except DecodeError as error:
        raise InvariantBroken(
            "I8", f"frame {accepted.sequence} at offset {accepted.offset} has no body: {error}"
        ) from None


__all__ = ["AcceptedBooks", "Gauges", "LostOwnership", "PartitionOwner", "gauges"]
