"""One client's stream of commands: read in order, bounded in flight, answered as outcomes are journalled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from ballast.api.v1 import client_pb2
from libs.common.errors import BallastError
from services.venue_gateway.app.answers import Ticket
from services.venue_gateway.app.clients import Clients, session_of
from services.venue_gateway.app.requests import Planned

IN_FLIGHT_MAX = 2_048  # commands without outcome; beyond, the client is not read
UNSENT_MAX = 8_192  # outcomes the client has not read; beyond, the client is not read either
OUTCOMES_A_RESPONSE = 1_000
SESSION_BYTES = 16


class MalformedStream(BallastError):
    """What the client sent breaks the form of the stream."""


class SubmitStream:
    """State of one stream."""

    def __init__(self, *, clients: Clients, principal: str) -> None:
        self._clients = clients
        self._principal = principal
        self._session = b""
        self._last = 0
        self._tickets: dict[int, Ticket] = {}
        self._outcomes: deque[client_pb2.SubmitOutcome] = deque()
        self._wake = asyncio.Event()  # an outcome is there, or reading has ended
        self._room = asyncio.Event()
        self._room.set()

    async def read(self, requests: AsyncIterator[client_pb2.SubmitRequest]) -> None:
        """Takes requests until the client ends. Raises MalformedStream."""
        try:
            async for request in requests:
                if not self._session:
                    self._begin(request)
                await self._submit(request)
        finally:
            self._wake.set()

    def _begin(self, request: client_pb2.SubmitRequest) -> None:
        if len(request.session) != SESSION_BYTES:
            raise MalformedStream(f"expected a session of {SESSION_BYTES} bytes first, was {len(request.session)}")
        self._session = session_of(self._principal, request.session)

    async def _submit(self, request: client_pb2.SubmitRequest) -> None:
        batch: list[tuple[int, Planned]] = []
        for command in request.commands:
            if command.n <= self._last:
                raise MalformedStream(f"expected a number above {self._last}, was {command.n}")
            self._last = command.n
            if len(self._tickets) + len(batch) >= IN_FLIGHT_MAX or len(self._outcomes) >= UNSENT_MAX:
                await self._send(batch)
                batch = []
                await self._wait_for_room()
            # Planned only when there is room: it is judged by what is known then.
            planned = self._clients.plan_stream(command, principal=self._principal, session=self._session)
            if isinstance(planned, Planned):
                batch.append((command.n, planned))
            else:
                self._deliver(command.n, planned)
        await self._send(batch)

    async def _send(self, batch: list[tuple[int, Planned]]) -> None:
        if batch:
            await self._clients.send_stream(batch, self._deliver, tickets=self._tickets)

    async def _wait_for_room(self) -> None:
        while len(self._tickets) >= IN_FLIGHT_MAX or len(self._outcomes) >= UNSENT_MAX:
            self._room.clear()
            await self._room.wait()

    def _deliver(self, n: int, outcome: client_pb2.CommandOutcome) -> None:
        self._outcomes.append(client_pb2.SubmitOutcome(n=n, outcome=outcome))
        self._wake.set()
        self._room.set()

    async def next_response(self, reading: asyncio.Task[Any]) -> client_pb2.SubmitResponse | None:
        """The next outcomes as soon as there are any; None when the client has ended and all is answered."""
        while not self._outcomes:
            if reading.done() and (reading.exception() is not None or not self._tickets):
                return None
            self._wake.clear()
            await self._wake.wait()
        count = min(len(self._outcomes), OUTCOMES_A_RESPONSE)
        response = client_pb2.SubmitResponse(outcomes=[self._outcomes.popleft() for _ in range(count)])
        self._room.set()
        return response

    def close(self) -> None:
        """Ends the waits that are left."""
        self._clients.forget(list(self._tickets.values()))
