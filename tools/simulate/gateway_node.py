"""A process of the gateway: the service's sessions of venues and its client edge over simulated ways."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import Fault
from libs.common.metrics import Metrics
from services.venue_gateway.app.answers import Answers
from services.venue_gateway.app.books import DisplayedBooks, again_after_ns
from services.venue_gateway.app.clients import ClientMetrics, Clients
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.app.venue_metrics import GatewayMetrics
from services.venue_gateway.app.venue_session import VenueSession
from services.venue_gateway.app.venues import Venues
from services.venue_gateway.errors import EndReason, SessionEnded
from tools.simulate.decider_nodes import Following
from tools.simulate.setting import Sender, Setting
from tools.simulate.venue import VenueModel

_TICK_SECONDS = 1.0
_TRADE_SECONDS = 0.15
_BOOK_TRADES = 8  # a book is shown every so many looks
_AGAIN_SECONDS = (0.2, 1.0)


@cache
def _metrics() -> tuple[ClientMetrics, GatewayMetrics]:
    metrics = Metrics()
    return ClientMetrics(metrics), GatewayMetrics(metrics)


class GatewayNode(Following):
    """The edge; implements LiquidityLog."""

    def __init__(self, name: str, setting: Setting, venues: Sequence[VenueModel]) -> None:
        super().__init__(name, setting.network)
        self._setting = setting
        session = setting.network.rng.randbytes(16)
        self._commands = Sender(self, setting, principal="venue_gateway", session=session)
        answers, directory = Answers(), setting.house.directory
        self.view = LedgerView(partitions=setting.house.parameters.partitions, answers=answers)
        client_metrics, gateway_metrics = _metrics()
        self.clients = Clients(
            directory=directory, view=self.view, answers=answers, commands=self._commands, metrics=client_metrics
        )
        self._books = DisplayedBooks(lambda _: None, again_after_ns=again_after_ns(setting.house.parameters))
        self._venues = Venues(
            directory=directory,
            view=self.view,
            clients=self.clients,
            books=self._books,
            metrics=gateway_metrics,
            session=session,
            ready=lambda: self.caught_up,
            principal_id="venue_gateway",
        )
        for one in setting.house.partitions:
            self.follow(setting.journals[one], setting.journal_chains[one], partial(self._fold, one))
        self.spawn(self._books.publish(self), "books")
        for venue in venues:
            self.spawn(self._serve(venue), venue.venue.name)
        self._sessions: dict[str, VenueSession] = {}

    def _fold(self, partition: int, frame: AcceptedFrame) -> None:
        self.view.apply(partition, [frame])

    async def publish(self, books: Sequence[market_pb2.Liquidity]) -> None:
        """Displayed depth on its way."""
        for book in books:
            self.sending(self._setting.liquidity, book.SerializeToString())
        await self.pause(0.02)

    def disconnect(self, venue: str) -> None:
        """The stream of a venue breaks."""
        session = self._sessions.get(venue)
        if session is not None:
            session.end(EndReason.SILENT, "the stream broke")

    async def _serve(self, venue: VenueModel) -> None:
        while True:
            try:
                session = await self._venues.open(venue.hello(), principal=venue.venue.name)
                self._sessions[venue.venue.name] = session
                try:
                    await self._session(session, venue)
                finally:
                    self._venues.close(session)
            except (SessionEnded, Fault) as ended:
                self.network.trace(f"{self.name}: session of {venue.venue.name} ends: {ended}")
            await self.pause(self.network.rng.uniform(*_AGAIN_SECONDS))

    async def _session(self, session: VenueSession, venue: VenueModel) -> None:
        tasks = [
            asyncio.create_task(work)
            for work in (
                session.post(self._commands),
                self._tick(session),
                self._say(session, venue),
                self._hear(session, venue),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    task.result()
        finally:
            session.end(EndReason.SILENT, "the stream ended")
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, SessionEnded, Fault):
                    await task

    async def _tick(self, session: VenueSession) -> None:
        while True:
            await self.pause(_TICK_SECONDS)
            session.tick()

    async def _say(self, session: VenueSession, venue: VenueModel) -> None:
        """What the gateway says, in order, each a while under way."""
        while session.ended is None:
            session.wake.clear()
            while session.outgoing:
                message = session.outgoing.popleft()
                await self.pause(self.network.delay_s())
                answer = venue.hear(message, epoch=session.epoch)
                if answer is not None:
                    await self.pause(self.network.delay_s())
                    session.hear(answer)
            if session.ended is None:
                await session.wake.wait()
        raise session.ended

    async def _hear(self, session: VenueSession, venue: VenueModel) -> None:
        """What the venue says, in order, each a while under way; some of it twice."""
        rng, looks = self.network.rng, 0
        while venue.session_epoch < session.epoch:
            await self.pause(0.02)
        while venue.session_epoch == session.epoch:
            if looks % _BOOK_TRADES == 0:
                for book in venue.books():
                    session.hear(venue_pb2.ConnectRequest(book=book))
            looks += 1
            venue.trade()
            reports = venue.reports(again=rng.random() < 0.1 * self.network.doses.duplicate)
            for report in reports:
                await self.pause(self.network.delay_s())
                session.hear(venue_pb2.ConnectRequest(report=report))
                if rng.random() < self.network.doses.duplicate:
                    session.hear(venue_pb2.ConnectRequest(report=report))
            for notice in venue.notices.due(again=rng.random() < 0.1 * self.network.doses.duplicate):
                await self.pause(self.network.delay_s())
                session.hear(venue_pb2.ConnectRequest(notice=notice))
            await self.pause(_TRADE_SECONDS)
