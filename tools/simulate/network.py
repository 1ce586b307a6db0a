"""Logs, and the ways to them: what is sent may be lost for a while, doubled, late, overtaken or never taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from libs.common.errors import Fault, LostOwnership
from tools.simulate.doses import Doses

_SENT_AGAIN_SECONDS = (0.1, 0.6)
_COPY_SECONDS_MAX = 3.0
_APART_SECONDS = 1e-6  # timers of one moment have no order
_SURVIVES = 0.5  # chance that what a dying process had sent arrives all the same


class Log:
    """One partition of a topic: whoever appends is heard at once by those who watch, later by those who read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: list[bytes] = []
        self.watchers: list[Callable[[int, bytes], None]] = []
        self._grown = asyncio.Event()

    def append(self, value: bytes) -> int:
        """Offset of the record."""
        offset = len(self.records)
        self.records.append(value)
        for watcher in self.watchers:
            watcher(offset, value)
        self._grown.set()
        self._grown = asyncio.Event()
        return offset

    async def beyond(self, position: int) -> None:
        """Returns when there is a record at that offset."""
        while len(self.records) <= position:
            await self._grown.wait()


@dataclass(slots=True)
class Network:
    """Everything random in a world comes from one generator, in the order in which it happens.

    Args:
        doses: replaced when the faults end.
        stopped: told of each task that ended with an error: node and error.
        trace: told what happens, in words.
    """

    rng: random.Random
    doses: Doses
    stopped: Callable[[Node, BaseException], None]
    trace: Callable[[str], None]

    def delay_s(self) -> float:
        """Seconds that one way takes."""
        return self.rng.expovariate(1.0) * self.doses.delay_s

    def now_s(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()


class Node:
    """One process: it can die, taking its memory along, and be stopped and go on as if nothing had been.

    Args:
        name: told in the trace.
    """

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.network = network
        self.is_dead = False
        self._tasks: list[asyncio.Task[None]] = []
        self._on_the_way: set[asyncio.TimerHandle] = set()
        self._last_arrival_s: dict[str, float] = {}
        self._runs = asyncio.Event()
        self._runs.set()
        rng, doses = network.rng, network.doses
        self._rate = 1.0 + rng.uniform(-1.0, 1.0) * doses.drift
        self._began_s = rng.uniform(0.0, 1000.0)
        self.skew_ns = round(rng.uniform(-1.0, 1.0) * doses.skew_s * 1e9)

    @property
    def is_frozen(self) -> bool:
        """Stopped, and not dead."""
        return not self._runs.is_set()

    def monotonic(self) -> float:
        """Seconds of this process's own clock, which drifts."""
        return self._began_s + self.network.now_s() * self._rate

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a task of this process; an error in it is told."""
        task = asyncio.create_task(work, name=f"{self.name} {name}")
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.is_dead:
            self.network.stopped(self, error)

    async def awake(self) -> None:
        """Returns when the process is not stopped; every wait of it ends with this."""
        while self.is_frozen:
            await self._runs.wait()

    async def pause(self, seconds: float) -> None:
        """A wait of the process."""
        await asyncio.sleep(seconds)
        await self.awake()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._runs.clear()

    def thaw(self) -> None:
        """SIGCONT."""
        self._runs.set()

    def crash(self) -> None:
        """SIGKILL: memory is gone; what is on its way may still arrive."""
        self.is_dead = True
        for handle in list(self._on_the_way):
            if self.network.rng.random() >= _SURVIVES:
                handle.cancel()
        for task in list(self._tasks):
            task.cancel()
        self.thaw()

    async def send(self, log: Log, value: bytes) -> None:
        """Returns when the broker has the record. Raises Fault when it is not known whether it has."""
        await self.sending(log, value)
        await self.awake()

    def sending(self, log: Log, value: bytes) -> asyncio.Future[None]:
        """The record on its way, in the order of the calls unless something overtakes."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        rng, doses = self.network.rng, self.network.doses
        if self.is_dead:
            return done
        at_s = loop.time() + self.network.delay_s()
        while rng.random() < doses.loss:
            at_s += rng.uniform(*_SENT_AGAIN_SECONDS)
        if rng.random() >= doses.reorder:
            at_s = max(at_s, self._last_arrival_s.get(log.name, 0.0) + _APART_SECONDS)
            self._last_arrival_s[log.name] = at_s
        if rng.random() < doses.refusal:  # half of those are there all the same
            if rng.random() < 0.5:
                self._call_at(at_s, log, value, None)
            loop.call_at(at_s + 0.5, _fail, done, f"{self.name}: no answer from {log.name}")
            return done
        self._call_at(at_s, log, value, done)
        if rng.random() < doses.duplicate:
            self._call_at(at_s + rng.random() * _COPY_SECONDS_MAX, log, value, None)
        return done

    def _call_at(self, at_s: float, log: Log, value: bytes, done: asyncio.Future[None] | None) -> None:
        loop = asyncio.get_running_loop()

        def arrive() -> None:
            self._on_the_way.discard(handle)
            log.append(value)
            if done is not None:
                loop.call_later(self.network.delay_s(), _succeed, done)

        handle = loop.call_at(at_s, arrive)
        self._on_the_way.add(handle)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], why: str) -> None:
    if not done.done():
        done.set_exception(Fault(why))
        done.exception()  # whoever does not look at it need not


def is_expected(error: BaseException) -> bool:
    """A fault or a lost ownership ends a task; anything else is a bug."""
    return isinstance(error, Fault | LostOwnership)
