"""The owner of a partition by itself: records on the commands topic, until the frame that answers them is accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import AIOKafkaProducer

from ballast.events.v1 import commands_pb2
from bench.ledger.town import Accepted, Spent, Town
from libs.common.topics import COMMANDS


@dataclass(slots=True)
class Taken:
    """What some commands took.

    Args:
        seconds: from the first sent to the last accepted.
        latencies_ms: of each record, from sent (paced: from due) to accepted.
        cpu_s: by process.
    """

    commands: int
    seconds: float
    latencies_ms: list[float]
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Commands a second."""
        return self.commands / self.seconds

    def cpu_us(self, process: str) -> float:
        """CPU microseconds of a kind of process a command."""
        return sum(spent for name, spent in self.cpu_s.items() if name.startswith(process)) / self.commands * 1e6


class Reader(Protocol):
    """Where the output of who is measured is read."""

    frames: list[Accepted]

    def mark(self) -> None:
        """Forgets the frames so far."""

    async def reach(self, offset: int, index: int = 0) -> None:
        """Returns when the input is consumed up to there."""


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def drive(town: Town, partitions: Mapping[int, Sequence[bytes]], *, commands: int, pace_s: float = 0.0) -> Taken:
    """Sends records by partition, and waits until all are accepted."""
    spent = Spent(town.pids())
    begun = time.perf_counter()
    each = [
        through(town.producer, COMMANDS.name, one, records, reader=town.tails[one], pace_s=pace_s)
        for one, records in partitions.items()
    ]
    latencies = [latency for found in await asyncio.gather(*each) for latency in found]
    ended = max(town.tails[one].frames[-1].at_s for one in partitions)
    town.check_alive()
    return Taken(commands, ended - begun, latencies, spent.by_name())


async def through(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[bytes],
    *,
    reader: Reader,
    pace_s: float = 0.0,
) -> list[float]:
    """Milliseconds of each record from sent to read back."""
    reader.mark()
    due = await _send(producer, topic, partition, records, pace_s=pace_s)
    ends = [len(commands_pb2.CommandBatch.FromString(record).commands) - 1 for record in records]
    await reader.reach(max(due), ends[-1])
    found = []
    frames = iter(reader.frames)
    frame = next(frames)
    for (record, sent_s), end in zip(sorted(due.items()), ends, strict=True):
        while (frame.offset, frame.index) < (record, end):
            frame = next(frames)
        found.append((frame.at_s - sent_s) * 1_000)
    return found


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[bytes], *, pace_s: float
) -> dict[int, float]:
    due: list[float] = []
    futures = []
    begun = time.perf_counter()
    for number, record in enumerate(records):
        at = begun + number * pace_s
        if pace_s and (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.append(at if pace_s else time.perf_counter())
        futures.append(await producer.send(topic, record, partition=partition))
    sent = await asyncio.gather(*futures)
    return {one.offset: at for one, at in zip(sent, due, strict=True)}
