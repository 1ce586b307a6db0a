"""Who does the least that can be done with the same records and bytes: a bare chain, and Kafka transactions.

`python -m bench.ledger.peers chain|transactions BOOTSTRAP COMMANDS OUT BODIES`: reads the commands topic without
looking into its records, writes the frames of the file when the records that they answer have come, and ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.ledger.owner import Taken, through
from bench.ledger.town import Accepted, Spent, Tail, Town
from libs.common.chain import ChainWriter
from libs.common.chain.kafka import new_consumer
from libs.common.topics import COMMANDS, FRAME_BYTES_MAX, JOURNAL, Retention, Topic
from tools.lifeline import lifeline
from tools.topics import create_topics

_HEAD = struct.Struct("<qII")
_SECONDS_MAX = 60.0

Saved = tuple[int, int, bytes]  # offset and index of the command that completes a frame, its body
Write = Callable[[bytes, int, int], Awaitable[None]]


def save(path: Path, frames: Sequence[Accepted], *, first: int) -> None:
    """Keeps bodies with offset, from `first` on, and index of the command that completes each."""
    path.write_bytes(b"".join(_HEAD.pack(one.offset - first, one.index, len(one.body)) + one.body for one in frames))


def _saved(path: Path) -> Iterator[Saved]:
    content, at = path.read_bytes(), 0
    while at < len(content):
        offset, index, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield offset, index, content[at : at + size]
        at += size


class Committed:
    """Reads committed records; each stands for the frame with its number."""

    def __init__(self, bootstrap: str, topic: str, ends: Sequence[tuple[int, int]]) -> None:
        self._ends = ends
        self._partition = TopicPartition(topic, 0)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id="bench-committed",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=250,
            max_partition_fetch_bytes=FRAME_BYTES_MAX,
        )
        self.frames: list[Accepted] = []

    async def start(self) -> None:
        """Returns when it reads."""
        await self._consumer.start()
        self._consumer.assign([self._partition])

    async def stop(self) -> None:
        """Returns when it is closed."""
        await self._consumer.stop()

    def mark(self) -> None:
        """There is nothing before."""

    async def reach(self, offset: int, index: int = 0) -> None:
        """Returns when the record of that input is committed. Raises TimeoutError."""
        async with asyncio.timeout(_SECONDS_MAX):
            while not self.frames or (self.frames[-1].offset, self.frames[-1].index) < (offset, index):
                for record in (await self._consumer.getmany(timeout_ms=500)).get(self._partition, ()):
                    at_s = time.perf_counter()
                    self.frames.append(Accepted(*self._ends[len(self.frames)], at_s, record.value))


async def run(town: Town, mode: str, records: Sequence[bytes], frames: Sequence[Accepted], *, commands: int) -> Taken:
    """What the peer takes for the records, and for writing what the ledger wrote for them."""
    name = f"bench.{mode}.{time.time_ns()}"
    fed = Topic(f"{name}.commands", 1, Retention.DELETE, COMMANDS.message, COMMANDS.retention_ms)
    out = Topic(f"{name}.out", 1, Retention.KEEP, JOURNAL.message, chained=mode == "chain")
    await create_topics(town.bootstrap, [fed, out])
    bodies = town.directory / "bodies"
    first = frames[-1].offset - len(records) + 1
    save(bodies, frames, first=first)
    command = [sys.executable, "-m", "bench.ledger.peers", mode, town.bootstrap, fed.name, out.name, str(bodies)]
    process = await asyncio.create_subprocess_exec(*lifeline(*command), stdout=asyncio.subprocess.PIPE)
    ends = [(one.offset - first, one.index) for one in frames]
    reader = Tail(town.bootstrap, out, 0) if mode == "chain" else Committed(town.bootstrap, out.name, ends)
    following = asyncio.create_task(reader.follow()) if isinstance(reader, Tail) else None
    try:
        if isinstance(reader, Committed):
            await reader.start()
        assert process.stdout is not None  # noqa: S101  it was asked for
        async with asyncio.timeout(_SECONDS_MAX):
            await process.stdout.readline()
        spent, begun = Spent({**town.pids(), "peer": process.pid}), time.perf_counter()
        latencies = await through(town.producer, fed.name, 0, records, reader=reader)
        return Taken(commands, reader.frames[-1].at_s - begun, latencies, spent.by_name())
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        if isinstance(reader, Committed):
            await reader.stop()
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _copy(bootstrap: str, commands: str, frames: Sequence[Saved], write: Write) -> None:
    partition = TopicPartition(commands, 0)
    consumer = new_consumer(bootstrap=bootstrap, client_id="bench-peer")
    await consumer.start()
    consumer.assign([partition])
    consumer.seek(partition, 0)
    print("ready", flush=True)
    waiting = iter(frames)
    offset, index, body = next(waiting)
    try:
        while True:
            for record in (await consumer.getmany(partition, timeout_ms=250, max_records=512)).get(partition, ()):
                while offset <= record.offset:
                    await write(body, offset, index)
                    offset, index, body = next(waiting, (1 << 62, 0, b""))
    finally:
        await consumer.stop()


async def _chain(bootstrap: str, commands: str, out: str, frames: Sequence[Saved]) -> None:
    topic = Topic(out, 1, Retention.KEEP, JOURNAL.message, chained=True)
    writer = ChainWriter(
        bootstrap=bootstrap, topic=topic, partition=0, owner=secrets.token_bytes(16), input_topic_id=b"",
        client_id="bench-chain", on_accepted=None,
    )  # fmt: skip
    await writer.take_over(lambda frame: None)

    async def write(body: bytes, offset: int, index: int) -> None:
        await writer.append(
            body, input_offset=offset, input_index=index, run_time_ns=offset, control_sequence=0, headers={}
        )

    await _copy(bootstrap, commands, frames, write)


async def _transactions(bootstrap: str, commands: str, out: str, frames: Sequence[Saved]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id="bench-transactions",
        transactional_id=f"bench-{os.getpid()}",
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=FRAME_BYTES_MAX,
    )
    await producer.start()

    async def write(body: bytes, offset: int, index: int) -> None:
        async with producer.transaction():
            await producer.send(out, body, partition=0)
            await producer.send_offsets_to_transaction({TopicPartition(commands, 0): offset + 1}, "bench-peer")

    await _copy(bootstrap, commands, frames, write)


if __name__ == "__main__":
    _mode, _bootstrap, _commands, _out, _bodies = sys.argv[1:]
    _work = {"chain": _chain, "transactions": _transactions}[_mode]
    uvloop.run(_work(_bootstrap, _commands, _out, list(_saved(Path(_bodies)))))
