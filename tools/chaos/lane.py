"""One session of one principal over the client stream: in order, again after every break, some of it twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1.ledger_pb2 import REFUSAL_KEY_EXPIRED
from libs.common import rpc
from services.venue_gateway.app.clients import session_of
from tools.chaos.model import Sent
from tools.chaos.waiting import holds_within

BATCH_MAX = 64
_UNANSWERED_MAX = 512
SILENCE_SECONDS_MAX = 12.0  # without an answer for so long a client connects anew
_PAUSE_SECONDS = 0.3
_COPIES_AT_ONCE = 4
_EAGER = 0.8  # chance of a batch to be sent twice while fewer than the share are
_COPY_SECONDS_MAX = 60.0

Made = tuple[Sent, client_pb2.SubmitCommand]
_BROKEN = (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError, TimeoutError)


class Lane:
    """Sends what `make` makes, until it is told to end and all is answered.

    Args:
        make: the next command, None when none is to be sent now.
        on_told: told each command at its first answer.
        twice, again: shares that are sent twice, and again after the answer.
        window: outcomes that the ledger remembers of a session; numbers run ahead of what has no answer by half of it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        principal: str,
        *,
        dice: Random,
        make: Callable[[], Made | None],
        on_told: Callable[[Sent], None],
        twice: float,
        again: float,
        window: int,
    ) -> None:
        self.forgotten: list[int] = []  # numbers that were told to be expired while they could not be
        self._window = window
        self._unanswered_max = min(_UNANSWERED_MAX, window >> 1)
        self.principal = principal
        self.session = dice.randbytes(16)
        self.journalled_as = session_of(principal, self.session)
        self.sent: list[Sent] = []  # by number, from 1
        self.commands: list[client_pb2.SubmitCommand] = []
        self.breaks = 0
        self._stub: Any = client_pb2_grpc.ClientServiceStub(channel)
        self._dice = dice
        self._make = make
        self._on_told = on_told
        self._twice, self._again = twice, again
        self._unanswered: dict[int, None] = {}
        self._answered_at_s = time.monotonic()
        self._ending = False
        self._changed = asyncio.Event()
        self._doubled = 0
        self._copies: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_COPIES_AT_ONCE)

    async def run(self) -> None:
        """Returns when told to end and all is answered."""
        while not (self._ending and not self._unanswered):
            try:
                await self._stream()
            except _BROKEN:
                self.breaks += 1
                await asyncio.sleep(_PAUSE_SECONDS)
        while self._copies:
            await asyncio.wait(self._copies)

    def waits_for(self) -> str:
        """What has no answer, in words."""
        first = next(iter(self._unanswered), 0)
        name = self.sent[first - 1].name if first else "nothing"
        return (
            f"{self.principal} {len(self._unanswered)} of {len(self.sent)} from {first} ({name}), {self.breaks} breaks"
        )

    def wake(self) -> None:
        """There may be something to send."""
        self._changed.set()

    def end(self) -> None:
        """No more commands."""
        self._ending = True
        self._changed.set()

    async def resend(self, numbers: Sequence[int]) -> None:
        """Sends commands once more on a stream of their own; answers count like any."""
        call = self._call()
        try:
            async with asyncio.timeout(_COPY_SECONDS_MAX):
                await call.write(self._request(numbers))
                await call.done_writing()
                await self._read(call)
        except _BROKEN:
            call.cancel()

    def _call(self) -> Any:
        return self._stub.Submit(metadata=((rpc.PRINCIPAL_KEY, self.principal),), wait_for_ready=True)

    def _request(self, numbers: Sequence[int]) -> client_pb2.SubmitRequest:
        return client_pb2.SubmitRequest(session=self.session, commands=[self.commands[n - 1] for n in numbers])

    async def _stream(self) -> None:
        call = self._call()
        reading = asyncio.create_task(self._read(call))
        self._answered_at_s = time.monotonic()
        try:
            left = sorted(self._unanswered)
            for start in range(0, max(1, len(left)), BATCH_MAX):  # the first request names the session
                await call.write(self._request(left[start : start + BATCH_MAX]))
            async for batch in self._batches(reading):
                await call.write(self._request(batch))
            await call.done_writing()
            await reading
        finally:
            reading.cancel()
            call.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _batches(self, reading: asyncio.Task[None]) -> AsyncIterator[list[int]]:
        while not (self._ending and not self._unanswered):
            batch = self._next_batch()
            if batch:
                yield batch
                continue
            if reading.done():
                await reading
                raise TimeoutError("the stream ended before all was answered")
            if self._unanswered and time.monotonic() - self._answered_at_s > SILENCE_SECONDS_MAX:
                raise TimeoutError("no answer")
            self._changed.clear()
            try:
                async with asyncio.timeout(0.25):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next_batch(self) -> list[int]:
        batch: list[int] = []
        most = self._dice.randint(1, BATCH_MAX)
        while len(batch) < most and not self._ending:
            if len(self.sent) - next(iter(self._unanswered), len(self.sent)) >= self._unanswered_max:
                break
            made = self._make()
            if made is None:
                break
            one, command = made
            self.sent.append(one)
            one.session, one.n, command.n = self.journalled_as, len(self.sent), len(self.sent)
            one.sent_at_s = time.monotonic()
            self.commands.append(command)
            self._unanswered[one.n] = None
            batch.append(one.n)
        if batch:
            if len(batch) == len(self._unanswered):
                self._answered_at_s = time.monotonic()
            self._copy_some(batch)
        return batch

    def _copy_some(self, batch: list[int]) -> None:
        if self._doubled < self._twice * len(self.sent) and self._dice.random() < _EAGER:
            self._doubled += len(batch)
            self._start(self._send_twice(batch))
        if self._dice.random() < self._again:
            self._start(self._send_again(batch, after_s=self._dice.uniform(0.0, 2.0)))

    def _start(self, copying: Any) -> None:
        task = asyncio.create_task(copying)
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _send_twice(self, batch: list[int]) -> None:
        # Numbers of a session rise: a copy must not overtake what was sent before it.
        if not await holds_within(_COPY_SECONDS_MAX, lambda: next(iter(self._unanswered), batch[0]) >= batch[0]):
            return
        async with self._turns:
            for n in batch:
                self.sent[n - 1].twice = True
            await self.resend(batch)

    async def _send_again(self, batch: list[int], *, after_s: float) -> None:
        if not await holds_within(_COPY_SECONDS_MAX, lambda: not any(n in self._unanswered for n in batch)):
            return
        await asyncio.sleep(after_s)
        async with self._turns:
            for n in batch:
                self.sent[n - 1].again = True
            await self.resend(batch)

    async def _read(self, call: Any) -> None:
        async for response in call:
            for each in response.outcomes:
                self._take(each)
            self._answered_at_s = time.monotonic()
            self._changed.set()

    def _take(self, each: client_pb2.SubmitOutcome) -> None:
        one = self.sent[each.n - 1]
        one.answers.append((each.outcome.refusal, each.outcome.subject))
        if each.outcome.refusal == REFUSAL_KEY_EXPIRED and len(self.sent) - each.n < self._window:
            self.forgotten.append(each.n)
        if self._unanswered.pop(each.n, self) is None:
            self._on_told(one)
