"""What is measured, as processes: the ledger's instances, the gateway, the broker, and what each spends."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ballast.events.v1 import market_pb2
from bench.ledger.workload import PARTITIONS, Client
from libs.common.chain import ChainFollower, ChainWriter
from libs.common.chain.kafka import new_producer
from libs.common.commands import CommandSender
from libs.common.topics import JOURNAL, MARKS, Topic
from tools.demo.processes import Ports, Process, free_ports, readiness

_TICKS = os.sysconf("SC_CLK_TCK")
_GENESIS_NS = 1_513_641_600 * 10**9
_READY_SECONDS_MAX = 60.0


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has spent, its threads with it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def broker_pid() -> int | None:
    """Process id of the private broker, None when the cluster is another's."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text(encoding="ascii", errors="replace").partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "java" and int(rest.split()[1]) == os.getpid():
            return int(path.parent.name)
    return None


def _shown(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        return str(answer.read(), "utf-8")


class Spent:
    """CPU seconds of named processes since it was made."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._before = {name: cpu_s(pid) for name, pid in self._processes.items()}

    def by_name(self) -> dict[str, float]:
        """CPU seconds by name."""
        return {name: cpu_s(pid) - self._before[name] for name, pid in self._processes.items()}


class Town:
    """The processes of one run over a cluster whose topics are there and empty."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.directory = directory
        self.producer = new_producer(bootstrap=bootstrap, client_id="bench-load")
        self._processes: dict[str, Process] = {}
        self.clients = [Client(partition) for partition in range(PARTITIONS)]
        self.tails = [Tail(bootstrap, JOURNAL, partition) for partition in range(PARTITIONS)]

    def start(self, service: str, *, instance: str) -> None:
        """Starts an instance of a service, without waiting for it."""
        http, grpc = free_ports(2)
        name = f"{service}-{instance}"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")}
        settings = {
            "BALLAST_KAFKA_BOOTSTRAP": self.bootstrap,
            "BALLAST_HTTP_PORT": str(http),
            "BALLAST_GRPC_PORT": str(grpc),
            "BALLAST_INSTANCE": instance,
            "BALLAST_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", f"services.{service}"]
        process = Process(name, command, {**inherited, **settings}, Ports(http, grpc), self.directory / f"{name}.log")
        process.start()
        self._processes[name] = process

    async def ready(self) -> None:
        """Returns when every instance says so. Raises TimeoutError, NotReady."""
        deadline = time.monotonic() + _READY_SECONDS_MAX
        for process in self._processes.values():
            while not (await asyncio.to_thread(readiness, process.ports.url))[0]:
                process.check_alive()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{process.name} is not ready within {_READY_SECONDS_MAX:.0f} s")
                await asyncio.sleep(0.1)

    async def shared(self, *, by: int) -> None:
        """Returns when each instance of the ledger owns partitions. Raises TimeoutError."""
        ledgers = [one.ports.url for name, one in self._processes.items() if name.startswith("collateral_management")]
        async with asyncio.timeout(_READY_SECONDS_MAX):
            while True:
                shown = [await asyncio.to_thread(_shown, url) for url in ledgers]
                if sum(1 for text in shown if "ballast_ledger_epoch_count{" in text) >= by:
                    return
                await asyncio.sleep(0.25)

    @property
    def edge(self) -> str:
        """Where the gateway listens."""
        return next(one.ports.target for name, one in self._processes.items() if name.startswith("venue_gateway"))

    def pids(self) -> dict[str, int]:
        """Process ids by name; "load" is this process, which plays the clients."""
        found = {name: one.child.pid for name, one in self._processes.items() if one.child is not None}
        broker = broker_pid()
        return {**found, "load": os.getpid(), **({"broker": broker} if broker is not None else {})}

    def check_alive(self) -> None:
        """Raises NotReady when an instance has ended by itself."""
        for process in self._processes.values():
            process.check_alive()

    def stop(self) -> None:
        """Ends every instance."""
        for process in self._processes.values():
            process.ask_to_stop()
        for process in self._processes.values():
            process.wait_stopped(10.0)
        self._processes.clear()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """The tails of all partitions of the journal are read, and the producer is connected, while it is open."""
        reading = [asyncio.create_task(one.follow()) for one in self.tails]
        await self.producer.start()
        try:
            yield
        finally:
            await self.producer.stop()
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def open_accounts(self) -> None:
        """Returns when every client has its accounts and the money on them is journalled."""
        sender = CommandSender(
            bootstrap=self.bootstrap, client_id="bench-open", principal_id="bench", session=secrets.token_bytes(16)
        )
        await sender.start()
        try:
            for client in self.clients:
                opening = list(client.opening())
                await sender.send(client.partition, opening)
                await self.tails[client.partition].reach(0, len(opening) - 1)
        finally:
            await sender.stop()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted frame, read back here at a time of the monotonic clock."""

    offset: int
    index: int
    at_s: float
    body: bytes


class Tail:
    """The accepted frames of one partition since `mark`."""

    def __init__(self, bootstrap: str, topic: Topic, partition: int) -> None:
        self._follower = ChainFollower(
            bootstrap=bootstrap, topic=topic, partition=partition, client_id=f"bench-tail-{topic.name}-{partition}"
        )
        self._moved = asyncio.Event()
        self.frames: list[Accepted] = []

    async def follow(self) -> None:
        """Reads for ever."""
        await self._follower.start()
        try:
            while True:
                for frame in await self._follower.poll(timeout_s=0.5):
                    at_s, one = time.perf_counter(), frame.frame
                    self.frames.append(Accepted(one.input_offset, one.input_index, at_s, one.body))
                self._moved.set()
        finally:
            await self._follower.stop()

    def mark(self) -> None:
        """Forgets the frames so far."""
        self.frames.clear()

    async def reach(self, offset: int, index: int = 0) -> None:
        """Returns when the input is consumed up to there. Raises TimeoutError after a minute."""
        async with asyncio.timeout(60.0):
            while not self.frames or (self.frames[-1].offset, self.frames[-1].index) < (offset, index):
                self._moved.clear()
                await self._moved.wait()


@asynccontextmanager
async def heartbeat(bootstrap: str) -> AsyncIterator[None]:
    """Marks as silent as can be: what keeps the ledger's clock alive."""
    writer = ChainWriter(
        bootstrap=bootstrap,
        topic=MARKS,
        partition=0,
        owner=secrets.token_bytes(16),
        input_topic_id=b"",
        client_id="bench-marks",
        on_accepted=None,
    )
    await writer.take_over(lambda frame: None)
    body = market_pb2.MarksBody(snapshot_offset=-1).SerializeToString()

    async def beat() -> None:
        while True:
            await writer.append(
                body,
                input_offset=-1,
                input_index=0,
                run_time_ns=_GENESIS_NS,
                control_sequence=0,
                headers={"wall_ns": b"%d" % time.time_ns()},
            )
            await asyncio.sleep(0.25)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await writer.close()
