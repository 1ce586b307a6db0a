"""VenueService over gRPC: one stream a venue, read and written until either side ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ballast.api.v1 import venue_pb2, venue_pb2_grpc
from libs.common import rpc
from services.venue_gateway.adapters.tracing import OrderTraces
from services.venue_gateway.app.ports import Commands
from services.venue_gateway.app.venue_session import VenueSession
from services.venue_gateway.app.venues import Venues
from services.venue_gateway.errors import EndReason, SessionEnded

HELLO_SECONDS_MAX = 10.0
SILENCE_SECONDS_MAX = 10.0  # a venue that says nothing for so long is gone
TICK_SECONDS = 1.0

_STATUS: dict[EndReason, grpc.StatusCode] = {
    EndReason.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    EndReason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    EndReason.MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    EndReason.SUPERSEDED: grpc.StatusCode.ABORTED,
    EndReason.SILENT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Requests = AsyncIterator[venue_pb2.ConnectRequest]


class VenueService(venue_pb2_grpc.VenueServiceServicer):
    """The venue edge."""

    def __init__(self, *, venues: Venues, commands: Commands, traces: OrderTraces) -> None:
        self._traces = traces
        self._venues = venues
        self._commands = commands

    async def Connect(
        self, request_iterator: Requests, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[venue_pb2.ConnectResponse]:
        """Serves one venue until it leaves or its session ends."""
        principal = await rpc.require_principal(context)
        try:
            requests = aiter(request_iterator)
            session = await self._venues.open(await _hello(requests), principal=principal)
            try:
                async for response in self._serve(session, requests):
                    if self._traces.on:
                        self._traces.sent(response)
                    yield response
            finally:
                self._venues.close(session)
        except SessionEnded as ended:
            await context.abort(_STATUS[ended.reason], ended.detail)

    async def _serve(self, session: VenueSession, requests: Requests) -> AsyncIterator[venue_pb2.ConnectResponse]:
        tasks = [
            asyncio.create_task(_read(session, requests)),
            asyncio.create_task(_tick(session)),
            asyncio.create_task(session.post(self._commands)),
        ]
        for task in tasks:
            task.add_done_callback(lambda _: session.wake.set())
        try:
            while True:
                while session.outgoing:
                    yield session.outgoing.popleft()
                if session.ended is not None:
                    raise session.ended
                for task in tasks:
                    if task.done():
                        task.result()  # raises what went wrong
                        return
                session.wake.clear()
                await session.wake.wait()
        finally:
            session.end(EndReason.SILENT, "the stream ended")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _hello(requests: Requests) -> venue_pb2.VenueHello:
    try:
        async with asyncio.timeout(HELLO_SECONDS_MAX):
            first = await anext(requests, None)
    except TimeoutError as error:
        raise SessionEnded(EndReason.SILENT, f"expected a hello within {HELLO_SECONDS_MAX:.0f} s") from error
    if first is None or first.WhichOneof("message") != "hello":
        raise SessionEnded(EndReason.MALFORMED, "expected the first message to be a hello")
    return first.hello


async def _read(session: VenueSession, requests: Requests) -> None:
    while True:
        await session.room.wait()
        try:
            async with asyncio.timeout(SILENCE_SECONDS_MAX):
                message = await anext(requests, None)
        except TimeoutError as error:
            detail = f"expected a message within {SILENCE_SECONDS_MAX:.0f} s"
            raise SessionEnded(EndReason.SILENT, detail) from error
        if message is None:
            return
        session.hear(message)


async def _tick(session: VenueSession) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        session.tick()
