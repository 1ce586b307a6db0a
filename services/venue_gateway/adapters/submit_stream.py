"""One client's stream of commands: read in order, bounded in flight, answered as outcomes are journalled."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Any

from ballast.api.v1 import client_pb2
from libs.common.errors import BallastError
from services.venue_gateway.app.answers import Answer, StreamWaits
from services.venue_gateway.app.clients import Clients, session_of
from services.venue_gateway.app.requests import Planned
from services.venue_gateway.domain.refusals import sentence

REQUEST_COMMANDS_MAX = 8_000
IN_FLIGHT_MAX = 8_192  # commands without outcome; beyond, the client is not read
UNSENT_MAX = 16_384  # outcomes the client has not read; beyond, the client is not read either
OUTCOMES_A_RESPONSE = 1_000
SESSION_BYTES = 16


class MalformedStream(BallastError):
    """What the client sent breaks the form of the stream."""


class SubmitStream:
    """State of one stream."""

    def __init__(self, *, clients: Clients, principal: str) -> None:
        self._clients = clients
        self._principal = principal
        self._waits: StreamWaits | None = None
        self._last = 0
        self._unsent = 0
        self._responses: deque[client_pb2.SubmitResponse] = deque()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._received: deque[tuple[int, float]] = deque()  # last number of a request -> when it came
        self._wake = asyncio.Event()  # an outcome is there, or reading has ended
        self._room = asyncio.Event()

    async def read(self, requests: AsyncIterator[client_pb2.SubmitRequest]) -> None:
        """Takes requests until the client ends. Raises MalformedStream."""
        try:
            async for request in requests:
                waits = self._waits or self._begin(request)
                await self._submit(request, waits)
        finally:
            self._wake.set()

    def _begin(self, request: client_pb2.SubmitRequest) -> StreamWaits:
        if len(request.session) != SESSION_BYTES:
            raise MalformedStream(f"expected a session of {SESSION_BYTES} bytes first, was {len(request.session)}")
        session = session_of(self._principal, request.session)
        self._waits = waits = StreamWaits(self._principal, session, self._deliver)
        self._clients.open_stream(waits)
        return waits

    async def _submit(self, request: client_pb2.SubmitRequest, waits: StreamWaits) -> None:
        if len(request.commands) > REQUEST_COMMANDS_MAX:
            raise MalformedStream(f"expected at most {REQUEST_COMMANDS_MAX} commands, was {len(request.commands)}")
        if request.commands:
            self._received.append((request.commands[-1].n, time.perf_counter()))
        at = 0
        while at < len(request.commands):
            await self._wait_for_room(waits)
            # Planned only when there is room: it is judged by what is known then.
            until = at + IN_FLIGHT_MAX - len(waits.requests)
            self._plan(request.commands[at:until], waits)
            at = until

    def _plan(self, commands: list[client_pb2.SubmitCommand], waits: StreamWaits) -> None:
        asker, planned = self._clients.asker(self._principal), list[Planned]()
        try:
            for command in commands:
                if command.n <= self._last:
                    raise MalformedStream(f"expected a number above {self._last}, was {command.n}")
                self._last = command.n
                one = self._clients.plan_stream(command, asker=asker, session=waits.session)
                if isinstance(one, Planned):
                    planned.append(one)
                else:
                    self._next_outcome(command.n).CopyFrom(one)
        finally:
            self._clients.send_stream(planned, waits)

    async def _wait_for_room(self, waits: StreamWaits) -> None:
        while len(waits.requests) >= IN_FLIGHT_MAX or self._unsent >= UNSENT_MAX:
            self._room.clear()
            await self._room.wait()

    def _deliver(self, n: int, answer: Answer) -> None:
        journalled, outcome = answer.outcome, self._next_outcome(n)
        if refusal := journalled.refusal:
            outcome.refusal, outcome.detail = refusal, journalled.detail or sentence(refusal)
        outcome.subject, outcome.repeated = journalled.subject, journalled.repeated
        outcome.partition, outcome.sequence = answer.partition, answer.sequence
        self._counts[journalled.command, refusal] += 1
        self._room.set()

    def _next_outcome(self, n: int) -> client_pb2.CommandOutcome:
        if not self._responses or len(self._responses[-1].outcomes) >= OUTCOMES_A_RESPONSE:
            self._responses.append(client_pb2.SubmitResponse())
        one = self._responses[-1].outcomes.add()
        one.n = n
        self._unsent += 1
        self._wake.set()
        return one.outcome

    async def next_response(self, reading: asyncio.Task[Any]) -> client_pb2.SubmitResponse | None:
        """The next outcomes as soon as there are any; None when the client has ended and all is answered."""
        while not self._responses:
            if reading.done() and (reading.exception() is not None or self._waits is None or not self._waits.requests):
                return None
            self._wake.clear()
            await self._wake.wait()
        response = self._responses.popleft()
        self._unsent -= len(response.outcomes)
        self._room.set()
        self._count()
        return response

    def _count(self) -> None:
        counts, self._counts = self._counts, Counter()
        now, seconds = time.perf_counter(), []
        while self._received and (self._waits is None or self._received[0][0] not in self._waits.requests):
            seconds.append(now - self._received.popleft()[1])
        self._clients.answered(counts, seconds=seconds)

    def close(self) -> None:
        """Ends the waits that are left."""
        if self._waits is not None:
            self._clients.close_stream(self._waits)
