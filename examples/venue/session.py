"""The venue's session with the gateway: one stream, made again whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc

from ballast.api.v1 import venue_pb2, venue_pb2_grpc
from examples.venue import wire
from examples.venue.engine import VenueEngine
from examples.venue.listing import Listing
from examples.venue.observe import Conditions, Metrics
from examples.venue.retry import Backoff
from examples.venue.state import StateFile

BOOK_LEVELS = 15
BOOK_INTERVAL_S = 0.05  # books that change faster than this are sent as they are then
HEARTBEAT_S = 0.5
SILENCE_S = 5.0  # a gateway that says nothing for so long is gone
RESEND_S = 10.0  # reports sent and not acknowledged for so long are sent again
REPORTS_A_ROUND = 256
QUERIES_MAX = 10_000

_LOG = logging.getLogger("venue.session")


class SessionLost(Exception):
    """The stream ended or went silent; another attempt follows."""


class SessionRefused(Exception):
    """The venue does not accept this gateway: what was expected of it, and what it said."""


class GatewaySession:
    """Connects, answers and reports as long as it runs."""

    def __init__(
        self,
        *,
        name: str,
        listing: Listing,
        engine: VenueEngine,
        channel: grpc.aio.Channel,
        state: StateFile,
        session_epoch: int,
        recorded: int,
        first_book: int,
        backoff: Backoff,
        conditions: Conditions,
        metrics: Metrics,
        wall_ns: Callable[[], int],
    ) -> None:
        """
        Args:
            session_epoch: highest accepted before, 0 if none.
            recorded: last report the state file holds, 0 if none.
            first_book: number of the first book update, above every one an earlier process of this venue has sent.
            wall_ns: wall clock.
        """
        self._name = name
        self._listing = listing
        self._engine = engine
        self._stub = venue_pb2_grpc.VenueServiceStub(channel)
        self._state = state
        self._epoch = session_epoch
        self._book = first_book
        self._backoff = backoff
        self._conditions = conditions
        self._metrics = metrics
        self._wall_ns = wall_ns
        self._wake = asyncio.Event()
        self._is_waiting = False  # told that the gateway is not there
        self._recorded = recorded
        self._sent = 0  # last report sent in this session
        self._acknowledged_at = 0.0
        self._queries: dict[int, None] = {}
        self._books: dict[str, None] = {}
        self._books_due_at = 0.0
        self._heartbeat_due_at = 0.0

    def wake(self) -> None:
        """There may be something new to send."""
        self._wake.set()

    async def run(self) -> None:
        """Never returns; cancel it to stop."""
        while True:
            try:
                await self._connect()
            except grpc.aio.AioRpcError as error:
                self._lost(f"{error.code().name}: {error.details()}")
            except SessionLost as error:
                self._lost(str(error))
            except SessionRefused as error:
                self._metrics.sessions_refused.inc()
                _LOG.error("session refused", extra={"fields": {"reason": str(error)}})
            finally:
                self._conditions.session_up = False
            await asyncio.sleep(self._backoff.next_s())

    def _lost(self, reason: str) -> None:
        """Tells of a session that was up, and once of a gateway that is not there."""
        if self._conditions.session_up:
            _LOG.warning("session lost", extra={"fields": {"reason": reason}})
        elif not self._is_waiting:
            _LOG.info("waiting for the gateway", extra={"fields": {"reason": reason}})
        self._is_waiting = True

    async def _connect(self) -> None:
        call = self._stub.Connect(metadata=(("ballast-principal", self._name),), wait_for_ready=False)
        try:
            self._record()
            outbox = self._engine.outbox
            await self._send(
                call, wire.hello(name=self._name, listing=self._listing, session_epoch=self._epoch, outbox=outbox)
            )
            self._begin(await self._receive(call))
            tasks = [asyncio.create_task(self._read(call)), asyncio.create_task(self._write(call))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):
                    raise end
        finally:
            call.cancel()

    def _begin(self, response: venue_pb2.ConnectResponse) -> None:
        if response.WhichOneof("message") != "hello":
            raise SessionRefused(f"expected GatewayHello first, was {response.WhichOneof('message')}")
        hello = response.hello
        self._check_epoch(hello.session_epoch)
        if hello.resume_after > self._engine.outbox.last:
            # Numbering on would let the gateway take new fills for repeated ones.
            raise SessionRefused(
                f"expected resume_after of at most {self._engine.outbox.last}, was {hello.resume_after}: "
                "this venue has lost reports it once made; start it with the --state file it had"
            )
        if hello.session_epoch > self._epoch:
            self._epoch = hello.session_epoch
            self._state.record_epoch(self._epoch)
        self._engine.acknowledge(hello.resume_after)
        self._sent = hello.resume_after
        self._acknowledged_at = asyncio.get_running_loop().time()
        self._queries.clear()
        self._books = dict.fromkeys(self._engine.symbols)
        self._books_due_at = self._heartbeat_due_at = 0.0
        self._backoff.reset()
        self._metrics.sessions.inc()
        self._conditions.session_up, self._is_waiting = True, False
        _LOG.info("session begun", extra={"fields": {"epoch": self._epoch, "resume_after": hello.resume_after}})

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise SessionRefused(
                f"FAILED_PRECONDITION: expected a session epoch of at least {self._epoch}, was {epoch}"
            )

    async def _receive(self, call: Any) -> venue_pb2.ConnectResponse:
        try:
            async with asyncio.timeout(SILENCE_S):
                response = await call.read()
        except TimeoutError as error:
            raise SessionLost(f"expected a message within {SILENCE_S} s, was none") from error
        if response is grpc.aio.EOF:
            raise SessionLost("the gateway ended the stream")
        message: venue_pb2.ConnectResponse = response
        return message

    async def _read(self, call: Any) -> None:
        handlers: dict[str, Callable[[venue_pb2.ConnectResponse], None]] = {
            "order": self._on_order,
            "cancel": self._on_cancel,
            "query": self._on_query,
            "ack": self._on_ack,
            "heartbeat": self._on_heartbeat,
        }
        while True:
            response = await self._receive(call)
            # A message of a newer gateway that is unknown here has no handler.
            handler = handlers.get(response.WhichOneof("message") or "")
            if handler is not None:
                handler(response)
                self.wake()

    def _on_order(self, response: venue_pb2.ConnectResponse) -> None:
        self._metrics.orders.inc()
        if not self._engine.place(wire.order_request(response.order), received_wall_ns=self._wall_ns()):
            self._metrics.shed.inc()

    def _on_cancel(self, response: venue_pb2.ConnectResponse) -> None:
        # The status tells a gateway that cancels what the venue never had, or what is long done.
        self._engine.cancel(response.cancel.order)
        self._ask(response.cancel.order)

    def _on_query(self, response: venue_pb2.ConnectResponse) -> None:
        self._ask(response.query.order)

    def _ask(self, order: int) -> None:
        if len(self._queries) < QUERIES_MAX:
            self._queries[order] = None

    def _on_ack(self, response: venue_pb2.ConnectResponse) -> None:
        self._engine.acknowledge(response.ack.up_to)
        self._acknowledged_at = asyncio.get_running_loop().time()

    def _on_heartbeat(self, response: venue_pb2.ConnectResponse) -> None:
        self._check_epoch(response.heartbeat.session_epoch)

    async def _write(self, call: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            for message in self._due(loop.time()):
                await self._send(call, message)
            if self._engine.outbox.after(self._sent, limit=1):
                continue
            due_at = min(self._heartbeat_due_at, self._books_due_at) if self._books else self._heartbeat_due_at
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wake.wait()

    async def _send(self, call: Any, message: venue_pb2.ConnectRequest) -> None:
        try:
            await call.write(message)
        except asyncio.InvalidStateError as error:
            raise SessionLost("the stream ended while the venue was writing") from error

    def _due(self, now: float) -> Iterator[venue_pb2.ConnectRequest]:
        """What is to be sent now, most urgent first; each message is made when the one before has gone."""
        yield from self._due_reports(now)
        for order in list(self._queries):
            del self._queries[order]
            yield wire.order_status(order, self._engine.status(order))
        self._books.update(dict.fromkeys(self._engine.take_changed()))
        if self._books and now >= self._books_due_at:
            self._books_due_at = now + BOOK_INTERVAL_S
            for symbol in list(self._books):
                del self._books[symbol]
                yield self._displayed(symbol)
        if now >= self._heartbeat_due_at:
            self._heartbeat_due_at = now + HEARTBEAT_S
            yield wire.heartbeat(self._engine.run_time_ns)

    def _due_reports(self, now: float) -> Iterator[venue_pb2.ConnectRequest]:
        outbox = self._engine.outbox
        if now - self._acknowledged_at > RESEND_S and len(outbox):
            self._sent = min(self._sent, outbox.oldest - 1)
            self._acknowledged_at = now
        self._record()
        for report in outbox.after(self._sent, limit=REPORTS_A_ROUND):
            self._sent = report.sequence
            yield wire.execution_report(report)

    def _record(self) -> None:
        """Writes down the reports made since; what is not written is not sent."""
        outbox = self._engine.outbox
        new = outbox.after(self._recorded, limit=len(outbox))
        self._state.record_reports((self._engine.symbol_of(each.order), each) for each in new)
        for report in new:
            self._metrics.reports.labels(report.kind.value).inc()
        self._recorded = outbox.last

    def _displayed(self, symbol: str) -> venue_pb2.ConnectRequest:
        self._metrics.books.inc()
        self._book += 1
        return wire.book_update(
            self._engine.displayed(symbol, depth=BOOK_LEVELS),
            self._listing.instruments[symbol],
            sequence=self._book,
            run_time_ns=self._engine.run_time_ns,
        )
