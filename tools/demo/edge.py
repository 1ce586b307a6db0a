"""The demo's clients: what they ask of Ballast goes through the gRPC edge, one stream a principal."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1 import ledger_pb2 as words
from libs.common.rpc import PRINCIPAL_KEY, channel

FRAME_COMMANDS_MAX = 200
ANSWER_SECONDS_MAX = 60.0
RECONNECT_SECONDS = 0.2


class Desk:
    """One principal's stream; survives the gateway's restart by sending again what has no outcome yet.

    Args:
        refusals: counts refusals by name over all desks.
    """

    def __init__(self, principal: str, *, target: str, refusals: Counter[str]) -> None:
        self.principal = principal
        self._target = target
        self._session = secrets.token_bytes(16)
        self._refusals = refusals
        self._n = 0
        self._waiting: dict[int, tuple[client_pb2.SubmitCommand, asyncio.Future[client_pb2.CommandOutcome]]] = {}
        self._unsent: asyncio.Queue[client_pb2.SubmitCommand] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connects, and again whenever the stream breaks."""
        self._task = asyncio.create_task(self._run(), name=self.principal)

    async def stop(self) -> None:
        """Ends the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def submit(self, command: client_pb2.SubmitCommand) -> asyncio.Future[client_pb2.CommandOutcome]:
        """The outcome, when it comes."""
        self._n += 1
        command.n = self._n
        future: asyncio.Future[client_pb2.CommandOutcome] = asyncio.get_running_loop().create_future()
        self._waiting[self._n] = (command, future)
        self._unsent.put_nowait(command)
        return future

    async def ask(self, command: client_pb2.SubmitCommand) -> client_pb2.CommandOutcome:
        """The outcome. Raises TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self.submit(command)

    async def _run(self) -> None:
        while True:
            try:
                async with channel(self._target) as open_channel:
                    await self._talk(client_pb2_grpc.ClientServiceStub(open_channel))
            except grpc.aio.AioRpcError:
                pass
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _talk(self, stub: client_pb2_grpc.ClientServiceStub) -> None:
        again = [command for command, _ in self._waiting.values()]
        # A queue of its own: the requests of a broken stream may still wait on the old one, and would take what is new.
        self._unsent = asyncio.Queue()
        call = stub.Submit(self._requests(again, self._unsent), metadata=((PRINCIPAL_KEY, self.principal),))
        async for answer in call:
            for one in answer.outcomes:
                known = self._waiting.pop(one.n, None)
                if known is not None and not known[1].done():
                    if one.outcome.refusal:
                        self._refusals[words.Refusal.Name(one.outcome.refusal)] += 1
                    known[1].set_result(one.outcome)

    async def _requests(
        self, again: list[client_pb2.SubmitCommand], unsent: asyncio.Queue[client_pb2.SubmitCommand]
    ) -> AsyncIterator[client_pb2.SubmitRequest]:
        yield client_pb2.SubmitRequest(session=self._session)
        for start in range(0, len(again), FRAME_COMMANDS_MAX):
            yield client_pb2.SubmitRequest(commands=again[start : start + FRAME_COMMANDS_MAX])
        while True:
            commands = [await unsent.get()]
            while not unsent.empty() and len(commands) < FRAME_COMMANDS_MAX:
                commands.append(unsent.get_nowait())
            yield client_pb2.SubmitRequest(commands=commands)
