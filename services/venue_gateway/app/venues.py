"""Venues as they come and go: one session each, its epoch journalled before it is greeted."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.parameters import Venue
from services.venue_gateway.app.books import DisplayedBooks
from services.venue_gateway.app.clients import Clients
from services.venue_gateway.app.ledger_view import LedgerView, Moved
from services.venue_gateway.app.requests import Planned
from services.venue_gateway.app.venue_metrics import GatewayMetrics, VenueMetrics
from services.venue_gateway.app.venue_session import VenueSession, venue_stream
from services.venue_gateway.domain.cursors import resume_after
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.translation import listing_fault
from services.venue_gateway.errors import EndReason, SessionEnded

EPOCH_SECONDS_MAX = 20.0
SESSION_PARTITION = 0

_LOG = logging.getLogger("ballast.venues")


class Venues:
    """Opens sessions and tells them what the journal says.

    Args:
        session: 16 random bytes under which epochs are asked for.
        ready: whether the journal is read to its end; before, nobody knows what is on record.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        view: LedgerView,
        clients: Clients,
        books: DisplayedBooks,
        metrics: GatewayMetrics,
        session: bytes,
        ready: Callable[[], bool],
        principal_id: str,
    ) -> None:
        self._directory, self._view, self._clients, self._books = directory, view, clients, books
        self._metrics = metrics
        self._session = session
        self._ready = ready
        self._principal = commands_pb2.Principal(id=principal_id, role=ledger_pb2.ROLE_SERVICE)
        self._numbers = itertools.count(1)
        self._sessions: dict[int, VenueSession] = {}
        self._opening: dict[int, asyncio.Lock] = {venue: asyncio.Lock() for venue in directory.venue_by_id}
        view.listen(self._journal_moved)

    async def open(self, hello: venue_pb2.VenueHello, *, principal: str) -> VenueSession:
        """The session of a venue that has said hello; an older one of the same venue ends.

        Raises:
            SessionEnded: the venue cannot be served.
        """
        venue = self._check(hello, principal=principal)
        async with self._opening[venue.id]:
            older = self._sessions.pop(venue.id, None)
            if older is not None:
                older.end(EndReason.SUPERSEDED, f"{venue.name} has connected again")
            epoch = await self._begin(venue)
            if epoch <= hello.session_epoch:
                detail = f"expected a venue below epoch {epoch}, was {hello.session_epoch}: it knows another house"
                raise SessionEnded(EndReason.MISMATCH, detail)
            session = self._session_of(venue, hello, epoch)
            self._sessions[venue.id] = session
            session.begin()
        _LOG.info("venue session begun", extra={"venue": venue.name, "epoch": epoch, "last_report": hello.last_report})
        return session

    def _session_of(self, venue: Venue, hello: venue_pb2.VenueHello, epoch: int) -> VenueSession:
        marks = self._view.marks(venue_stream(venue))
        recorded = max(marks.values())
        if hello.last_report < recorded:
            detail = f"expected a last report of at least {recorded}, was {hello.last_report}: the venue lost reports"
            raise SessionEnded(EndReason.MISMATCH, detail)
        metrics = VenueMetrics(self._metrics, venue.name)
        metrics.session.set(1)
        metrics.epoch.set(epoch)
        self._books.forget(venue.id)
        return VenueSession(
            venue=venue,
            epoch=epoch,
            received=resume_after(marks, oldest=hello.oldest_report, last=hello.last_report),
            directory=self._directory,
            view=self._view,
            books=self._books,
            metrics=metrics,
        )

    def _check(self, hello: venue_pb2.VenueHello, *, principal: str) -> Venue:
        if not self._ready():
            raise SessionEnded(EndReason.NOT_READY, "the journal is not read to its end yet: try again")
        venue = self._directory.venue_by_name.get(hello.venue)
        if venue is None:
            raise SessionEnded(EndReason.MISMATCH, f"expected a declared venue, was {hello.venue[:40]!r}")
        if principal != venue.name:
            raise SessionEnded(EndReason.MISMATCH, f"expected principal {venue.name!r}, was {principal[:64]!r}")
        for one in hello.instruments:
            fault = listing_fault(
                self._directory, venue, symbol=one.symbol, tick_size=one.tick_size, lot_size=one.lot_size
            )
            if fault is not None:
                raise SessionEnded(EndReason.MISMATCH, fault)
        return venue

    async def _begin(self, venue: Venue) -> int:
        command = commands_pb2.Command(
            session=commands_pb2.SessionKey(session=self._session, n=next(self._numbers)),
            principal=self._principal,
            begin_venue_session=commands_pb2.BeginVenueSession(venue=venue.id),
        )
        try:
            async with asyncio.timeout(EPOCH_SECONDS_MAX):
                answer = await self._clients.ask(Planned(SESSION_PARTITION, command))
        except TimeoutError as error:
            raise SessionEnded(EndReason.NOT_READY, "the ledger has not journalled the session: try again") from error
        epoch = _epoch_of(answer.outcome)
        if epoch is None:
            raise SessionEnded(EndReason.MISMATCH, f"the ledger refused the session: {answer.outcome.detail}")
        return epoch

    def close(self, session: VenueSession) -> None:
        """Forgets a session that has ended."""
        if self._sessions.get(session.venue.id) is session:
            del self._sessions[session.venue.id]
            self._metrics.session.labels(session.venue.name).set(0)

    def _journal_moved(self, moved: Moved) -> None:
        for session in list(self._sessions.values()):
            session.journal_moved(moved)


def _epoch_of(outcome: journal_pb2.Outcome) -> int | None:
    for effect in outcome.effects:
        if effect.WhichOneof("effect") == "venue_session":
            return effect.venue_session.epoch
    return None
