"""Decisions and their reasons on their way out: commands in order a partition, plans behind them."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from ballast.events.v1 import commands_pb2, liquidation_pb2
from libs.common.codec import Publisher
from libs.common.commands import CommandSender
from libs.common.errors import Fault
from libs.common.ids import partition_of
from libs.common.topics import PLANS
from services.liquidation_execution.adapters.tracing import EpisodeTraces
from services.liquidation_execution.adapters.wire import command_of, plan_of
from services.liquidation_execution.app.ports import Decision

_BATCH_MAX = 256
_ATTEMPTS = 5
_BACK_OFF_SECONDS = 0.1
_PLANS_QUEUED_MAX = 10_000
_TURN_SECONDS = 0.2  # how soon a stop is seen


class DecisionSender:
    """Implements DecisionPort: numbers commands in the session, one batch a partition on its way at a time.

    Args:
        session: 16 random bytes that name this process.
    """

    def __init__(self, sender: CommandSender, *, session: bytes, traces: EpisodeTraces) -> None:
        self._traces = traces
        self._sender = sender
        self._session = session
        self._numbers: defaultdict[int, int] = defaultdict(int)
        self._queued: defaultdict[int, deque[commands_pb2.Command]] = defaultdict(deque)
        self._unsent = 0
        self._filled = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Commands submitted and not yet with the broker."""
        return self._unsent

    def submit(self, decision: Decision) -> int:
        """Number of the command in the session of its partition."""
        partition = partition_of(decision.account)
        self._numbers[partition] += 1
        number, command = self._numbers[partition], command_of(decision)
        command.session.session, command.session.n = self._session, number
        self._queued[partition].append(command)
        self._unsent += 1
        if self._traces.on:
            self._traces.decided(decision, number)
        self._filled.set()
        return number

    async def run(self, stopping: asyncio.Event) -> None:
        """Sends until asked to stop and nothing is queued. Raises Fault when the broker takes nothing."""
        while not (stopping.is_set() and not self._unsent):
            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                continue
            self._filled.clear()
            await asyncio.gather(*(self._drain(partition) for partition in list(self._queued)))

    async def _drain(self, partition: int) -> None:
        queued = self._queued[partition]
        while queued:
            batch = [queued.popleft() for _ in range(min(len(queued), _BATCH_MAX))]
            await self._send(partition, batch)
            self._unsent -= len(batch)

    async def _send(self, partition: int, batch: list[commands_pb2.Command]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                traces = self._traces.sent(batch) if self._traces.on else None
                await self._sender.send(partition, batch, traces=traces)
            except Fault:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_BACK_OFF_SECONDS * 2**attempt)
            else:
                return


class PlanPublisher:
    """Implements PlanPort on its topic.

    Args:
        look: shown each decision on its way out.
    """

    def __init__(self, *, bootstrap: str, client_id: str, look: Callable[[Decision], None]) -> None:
        self._look = look
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id, linger_ms=5)
        self._queued: asyncio.Queue[liquidation_pb2.LiquidationPlan] = asyncio.Queue(_PLANS_QUEUED_MAX)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything queued is sent."""
        while not self._queued.empty():
            await self._put(self._queued.get_nowait())
        await self._publisher.stop()

    def publish(self, decision: Decision) -> None:
        """Queues the reason of a decision. Raises asyncio.QueueFull when the broker took none for too long."""
        self._look(decision)
        self._queued.put_nowait(plan_of(decision))

    async def run(self, stopping: asyncio.Event) -> None:
        """Sends until asked to stop; `stop` sends the rest. Raises Fault when the broker takes nothing."""
        while not stopping.is_set():
            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    plan = await self._queued.get()
            except TimeoutError:
                continue
            await self._put(plan)

    async def _put(self, plan: liquidation_pb2.LiquidationPlan) -> None:
        await self._publisher.enqueue(PLANS.name, plan.SerializeToString())
