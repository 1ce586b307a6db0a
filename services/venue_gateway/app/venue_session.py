"""One session of one venue: orders out from the journal, reports into it, acknowledged once they are on record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, journal_pb2
from libs.common.book import LIVE_ORDER_STATES
from libs.common.ids import partition_of
from libs.common.parameters import Venue
from libs.common.units import MalformedNumber
from services.venue_gateway.app import venue_words
from services.venue_gateway.app.books import DisplayedBooks
from services.venue_gateway.app.ledger_view import LedgerView, Moved
from services.venue_gateway.app.notices import Notices, notice_stream
from services.venue_gateway.app.ports import Commands
from services.venue_gateway.app.venue_metrics import VenueMetrics
from services.venue_gateway.domain.cursors import OwnFacts, Posting, Receipt, ReportCursor
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.dispatch import (
    Action,
    OrderView,
    Progress,
    decide,
    decide_on_status,
    is_silent,
)
from services.venue_gateway.errors import EndReason, SessionEnded

OUTGOING_MAX = 20_000  # messages a venue does not read before its session ends
UNRECORDED_MAX = 20_000  # reports that may wait for the ledger before the venue is not read any more
POST_MAX = 500  # reports in one record

_LOG = logging.getLogger("ballast.venue_session")


@dataclass(slots=True)
class _Report:
    posted: commands_pb2.OrderReport
    received_wall_ns: int


def venue_stream(venue: Venue) -> str:
    """Name of the stream of a venue's own reports."""
    return f"venue/{venue.name}"


def gateway_stream(venue: Venue) -> str:
    """Name of the stream of the gateway's reports about a venue's orders."""
    return f"gateway/{venue.name}"


class VenueSession:
    """What is said and heard in one session. Tell it what arrives; `outgoing` holds what is to be sent.

    Args:
        epoch: of this session, as journalled.
        received: number up to which the venue's reports are on record.
        clock: wall time in seconds, for silence only.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        epoch: int,
        received: int,
        directory: Directory,
        view: LedgerView,
        books: DisplayedBooks,
        metrics: VenueMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.venue = venue
        self.epoch = epoch
        self.outgoing: deque[venue_pb2.ConnectResponse] = deque()
        self.wake = asyncio.Event()  # something is in `outgoing`, or the session has ended
        self.due = asyncio.Event()  # something is to be posted
        self.room = asyncio.Event()  # the ledger keeps up: the venue may be read
        self.room.set()
        self.ended: SessionEnded | None = None
        self._directory, self._view, self._books = directory, view, books
        self._metrics, self._clock = metrics, clock
        self._cursor = ReportCursor(received=received, marks=view.marks(venue_stream(venue)))
        self._own = OwnFacts(view.marks(gateway_stream(venue)))
        self._notices = Notices(venue=venue, view=view, directory=directory)
        self._noticed = self._notices.recorded
        self._reports: dict[int, _Report] = {}
        self._to_give_up: deque[int] = deque()
        self._progress: dict[int, Progress] = {}
        self._acknowledged = received
        self._heard_at_s = clock()
        self._handlers: dict[str, Callable[[venue_pb2.ConnectRequest], None]] = {
            "book": lambda message: self._take_book(message.book),
            "report": lambda message: self._take_report(message.report),
            "status": lambda message: self._take_status(message.status),
            "heartbeat": lambda message: None,
            "notice": lambda message: self._take_notice(message.notice),
        }

    def begin(self) -> None:
        """Greets the venue and lets out what waited for it."""
        hello = venue_pb2.GatewayHello(
            session_epoch=self.epoch, resume_after=self._cursor.received, notices_after=self._noticed
        )
        self._say(venue_pb2.ConnectResponse(hello=hello))
        for order in self._view.live_orders(self.venue.id):
            self._consider(order)

    def end(self, reason: EndReason, detail: str) -> None:
        """Ends the session; the first reason counts."""
        if self.ended is None:
            self.ended = SessionEnded(reason, detail)
        self.wake.set()
        self.due.set()
        self.room.set()

    # from the venue

    def hear(self, message: venue_pb2.ConnectRequest) -> None:
        """Takes a message of the venue. Raises SessionEnded when it cannot be taken."""
        handler = self._handlers.get(message.WhichOneof("message") or "")
        if handler is None:
            raise SessionEnded(EndReason.MALFORMED, "expected a book, report, status or heartbeat after the hello")
        self._heard_at_s = self._clock()
        handler(message)

    def _take_book(self, book: venue_pb2.BookUpdate) -> None:
        try:
            self._books.show(venue_words.liquidity(book, venue=self.venue, directory=self._directory))
        except MalformedNumber as error:
            raise SessionEnded(EndReason.MALFORMED, f"book update {book.sequence}: {error}") from error

    def _take_report(self, report: venue_pb2.ExecutionReport) -> None:
        partition = partition_of(report.order)
        if partition >= len(self._view.books):
            raise SessionEnded(EndReason.MALFORMED, f"report {report.sequence}: no such order {report.order}")
        receipt = self._cursor.receive(report.sequence, partition=partition)
        if receipt is Receipt.OUT_OF_ORDER:
            expected = self._cursor.received + 1
            raise SessionEnded(EndReason.MALFORMED, f"expected report {expected}, was {report.sequence}")
        if receipt is Receipt.NEW:
            self._hold(report)
        self._acknowledge(again=receipt is Receipt.REPEATED)
        progress = self._progress.get(report.order)
        if progress is not None and not progress.known and progress.sent:
            progress.known = True
            self._metrics.round_trip.observe(self._clock() - progress.sent_at_s)

    def _hold(self, report: venue_pb2.ExecutionReport) -> None:
        instrument = self._view.instrument_of(report.order)
        try:
            posted = venue_words.order_report(
                report, venue=self.venue, instrument_id=instrument, directory=self._directory
            )
        except MalformedNumber as error:
            # A fact is never dropped: it stays unacknowledged and the venue is stopped until somebody has looked.
            _LOG.error("report not taken", extra={"venue": self.venue.name, "report": str(report), "why": str(error)})
            raise SessionEnded(EndReason.MALFORMED, f"report {report.sequence}: {error}") from error
        self._reports[report.sequence] = _Report(posted, report.order_received_wall_ns)
        self._metrics.unrecorded.set(self._cursor.unrecorded)
        if self._cursor.unrecorded >= UNRECORDED_MAX:
            self.room.clear()
        self.due.set()

    def _take_notice(self, notice: venue_pb2.VenueNotice) -> None:
        try:
            self._notices.hear(notice)
        except MalformedNumber as error:
            # A fact is never dropped: it stays unacknowledged and the venue is stopped until somebody has looked.
            _LOG.error("notice not taken", extra={"venue": self.venue.name, "notice": str(notice), "why": str(error)})
            raise SessionEnded(EndReason.MALFORMED, f"notice {notice.sequence}: {error}") from error
        self._note(again=notice.sequence <= self._noticed)

    def _note(self, *, again: bool = False) -> None:
        """Posts the next part of a notice when there is one, and acknowledges what is on record everywhere."""
        recorded = self._notices.recorded
        if recorded > self._noticed or again:
            self._noticed = recorded
            self._say(venue_pb2.ConnectResponse(notice_ack=venue_pb2.NoticeAck(up_to=recorded)))
        if self._notices.is_waiting:
            self.due.set()

    def _take_status(self, status: venue_pb2.OrderStatus) -> None:
        order, progress = self._view.order(status.order), self._progress.get(status.order)
        if order is None or progress is None or order.venue != self.venue.id:
            return  # it has ended meanwhile
        action = decide_on_status(
            OrderView(order.state, order.send_by_ns),
            progress,
            known=status.known,
            terminal=status.terminal,
            run_time_ns=self._view.run_time_ns,
        )
        self._act(action, order, progress)

    # from the journal

    def journal_moved(self, moved: Moved) -> None:
        """Takes what frames of one partition changed; the view has it already."""
        partition = moved.partition
        marks = self._view.books[partition].streams
        for sequence in self._cursor.record(partition, marks.get(venue_stream(self.venue), 0)):
            self._reports.pop(sequence, None)
        self._own.record(partition, marks.get(gateway_stream(self.venue), 0))
        self._note()
        for stream, sequence in moved.gaps:
            self._rewind(partition, stream, sequence)
        for order in moved.orders.values():
            if order.venue == self.venue.id:
                self._consider(order)
        self._metrics.unrecorded.set(self._cursor.unrecorded)
        if self._cursor.unrecorded < UNRECORDED_MAX:
            self.room.set()
        self._acknowledge()
        if self._view.books[0].venue_epochs.get(self.venue.id, 0) > self.epoch:
            self.end(EndReason.SUPERSEDED, f"expected session epoch {self.epoch} to be the newest: another took over")

    def _rewind(self, partition: int, stream: str, sequence: int) -> None:
        if stream == venue_stream(self.venue) and self._cursor.rewind(partition, sequence=sequence):
            _LOG.warning("reports rewound", extra={"venue": self.venue.name, "partition": partition, "from": sequence})
            self.due.set()
        elif stream == notice_stream(self.venue):
            self._notices.again()
            self.due.set()
        elif stream == gateway_stream(self.venue):
            self._to_give_up.extend(self._own.rewind(partition))
            self.due.set()

    def _acknowledge(self, *, again: bool = False) -> None:
        up_to = self._cursor.acknowledged
        if up_to > self._acknowledged or again:
            self._acknowledged = up_to
            if self.outgoing and self.outgoing[-1].HasField("ack"):
                self.outgoing.pop()  # one that says more takes its place
            self._say(venue_pb2.ConnectResponse(ack=venue_pb2.ReportAck(up_to=up_to)))

    # orders

    def _consider(self, order: journal_pb2.Order) -> None:
        if order.state not in LIVE_ORDER_STATES:
            self._progress.pop(order.order, None)
            return
        view = OrderView(order.state, order.send_by_ns)
        progress = self._progress.get(order.order) or Progress()
        action = decide(view, progress, run_time_ns=self._view.run_time_ns)
        if action is not Action.NOTHING:
            self._progress[order.order] = progress
            self._act(action, order, progress)

    def _act(self, action: Action, order: journal_pb2.Order, progress: Progress) -> None:
        match action:
            case Action.SEND:
                progress.sent, progress.sent_at_s = True, self._clock()
                self._metrics.orders_sent.inc()
                self._say(venue_words.new_order(order, self._directory))
            case Action.CANCEL:
                progress.cancel_sent, progress.sent_at_s = True, self._clock()
                self._say(venue_pb2.ConnectResponse(cancel=venue_pb2.CancelRequest(order=order.order)))
            case Action.QUERY:
                progress.queried = True
                self._say(venue_pb2.ConnectResponse(query=venue_pb2.OrderQuery(order=order.order)))
            case Action.GIVE_UP:
                self._to_give_up.append(order.order)
                self.due.set()
            case Action.NOTHING:
                pass

    def tick(self) -> None:
        """Once a second: says that the gateway is alive, and asks for orders of which nothing is heard."""
        self._say(venue_pb2.ConnectResponse(heartbeat=venue_pb2.GatewayHeartbeat(session_epoch=self.epoch)))
        now_s = self._clock()
        self._metrics.silence.set(now_s - self._heard_at_s)
        for number, progress in list(self._progress.items()):
            order = self._view.order(number)
            if order is None:
                del self._progress[number]
            elif is_silent(OrderView(order.state, order.send_by_ns), progress, now_s=now_s):
                progress.sent_at_s = now_s
                self._act(Action.QUERY, order, progress)

    def _say(self, message: venue_pb2.ConnectResponse) -> None:
        if len(self.outgoing) >= OUTGOING_MAX:
            self.end(EndReason.SILENT, f"expected {self.venue.name} to read what it is sent, {OUTGOING_MAX} wait")
            return
        self.outgoing.append(message)
        self.wake.set()

    # to the ledger

    async def post(self, commands: Commands) -> None:
        """Posts what is due, as long as the session lasts."""
        while self.ended is None:
            await self.due.wait()
            self.due.clear()
            for partition in range(len(self._view.books)):
                for batch, wall_ns in self._due_batches(partition):
                    stamps = {"order_received_wall_ns": wall_ns} if wall_ns else {}
                    await commands.send(partition, batch, stamps=stamps)
                    self._metrics.posted.inc(len(batch))
            await self._post_given_up(commands)
            part = self._notices.due()
            if part is not None:
                await commands.send(part.partition, [part.command])

    def _due_batches(self, partition: int) -> Iterator[tuple[list[commands_pb2.Command], int]]:
        """Due reports in order, grouped so that one header stamp fits all of a record."""
        batch: list[commands_pb2.Command] = []
        stamp = 0
        for posting in self._cursor.take(partition):
            report = self._reports[posting.sequence]
            if batch and (report.received_wall_ns != stamp or len(batch) >= POST_MAX):
                yield batch, stamp
                batch = []
            stamp = report.received_wall_ns
            batch.append(_fact(venue_stream(self.venue), posting, report.posted))
        if batch:
            yield batch, stamp

    async def _post_given_up(self, commands: Commands) -> None:
        while self._to_give_up:
            number = self._to_give_up.popleft()
            partition = partition_of(number)
            if self._view.order(number) is None:
                continue
            posting = self._own.post(partition, number)
            if posting is None:
                continue
            report = venue_words.given_up(number, venue=self.venue, run_time_ns=self._view.run_time_ns)
            _LOG.warning("order given up", extra={"venue": self.venue.name, "order": number, "why": report.detail})
            self._metrics.given_up.inc()
            await commands.send(partition, [_fact(gateway_stream(self.venue), posting, report)])


def _fact(stream: str, posting: Posting, report: commands_pb2.OrderReport) -> commands_pb2.Command:
    key = commands_pb2.FactKey(stream=stream, sequence=posting.sequence, previous=posting.previous)
    return commands_pb2.Command(fact=key, order_report=report)
