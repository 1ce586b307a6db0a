"""The bench's own part: marks and control, and what comes back of them, each with the moment it came."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from ballast.events.v1 import commands_pb2, control_pb2, market_pb2, risk_pb2
from ballast.types.v1 import market_pb2 as words
from bench.pipeline.town import FALL, SEED
from libs.common.chain import ChainWriter
from libs.common.chain.kafka import new_consumer
from libs.common.codec import Publisher, header_map, headers, stamp
from libs.common.topics import COMMANDS, CONTROL, MARGIN, MARKS

JITTER = 1e-4
MARK_NS = 50_000_000


class Market:
    """Writes marks and control, and notes when each mark went out.

    Attributes: sent: (mark sequence) → seconds when it was handed to the producer.
    """

    def __init__(self, bootstrap: str, *, marks: Mapping[int, int], run_time_ns: int) -> None:
        self.sent: dict[int, float] = {}
        self.run_time_ns = run_time_ns
        self._start = marks
        self._random = np.random.default_rng(SEED)
        self._stack = AsyncExitStack()
        self._marks, self._control = (
            ChainWriter(
                bootstrap=bootstrap, topic=topic, partition=0, owner=secrets.token_bytes(16), input_topic_id=b"",
                client_id=f"bench-{topic.name}", on_accepted=None,
            )
            for topic in (MARKS, CONTROL)
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        for writer in (self._marks, self._control):
            await writer.take_over(lambda frame: None)
            self._stack.push_async_callback(writer.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def activate(self, parameters_hash: bytes) -> None:
        """Puts the parameters in force."""
        pointer = control_pb2.ActivateParameters(hash=parameters_hash)
        await self._append(self._control, control_pb2.ControlBody(activate_parameters=pointer).SerializeToString())

    async def mark(self, fallen: float) -> int:
        """A frame of all instruments when `fallen` of the whole fall is over; returns its sequence."""
        self.run_time_ns += MARK_NS
        noise = self._random.normal(0.0, JITTER, len(self._start))
        falls = [1.0 - FALL * fallen + one for one in noise]
        prices = [round(price * fall) for price, fall in zip(self._start.values(), falls, strict=True)]
        rows = list(self._start)
        body = market_pb2.MarksBody(
            snapshot=True, snapshot_offset=-1, instrument=rows, mark_price=prices, index_price=prices,
            confidence=[0] * len(rows), slow_price=prices,
            validity=bytes([words.VALIDITY_CLASS_VALID] * len(rows)),
        ).SerializeToString()  # fmt: skip
        sequence = self._marks.next_sequence
        self.sent[sequence] = time.perf_counter()
        await self._append(self._marks, body)
        return sequence

    async def _append(self, writer: ChainWriter, body: bytes) -> None:
        await writer.append(
            body, input_offset=-1, input_index=0, run_time_ns=self.run_time_ns, control_sequence=0,
            headers=dict(headers(wall_ns=time.time_ns())),
        )  # fmt: skip


class Reader:
    """Reads topics without a group from their ends on, and notes when each record came."""

    def __init__(self, bootstrap: str, topics: Sequence[str], *, partitions: int) -> None:
        self.margins: list[tuple[float, risk_pb2.MarginFrame, int]] = []  # when, what, bytes
        self.stages: dict[tuple[int, int], tuple[float, float]] = {}  # (mark, partition) → mark received, frame made
        self.openings: list[tuple[float, commands_pb2.OpenEpisode]] = []
        self.bare: list[tuple[float, int]] = []  # when, number
        self._places = [TopicPartition(topic, each) for topic in topics for each in range(partitions)]
        self._consumer: AIOKafkaConsumer = new_consumer(bootstrap=bootstrap, client_id="bench-reader")
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Condition()

    async def until_all(self, partitions: int) -> None:
        """Returns when every partition has published margins."""
        async with self._came:
            await self._came.wait_for(lambda: len({frame.partition for _, frame, _ in self.margins}) >= partitions)

    async def start(self) -> None:
        """Begins at the ends."""
        await self._consumer.start()
        ends = await self._consumer.end_offsets(self._places)
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, ends[place])
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Raises what broke."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=500)
            came = time.perf_counter()
            for place, records in found.items():
                for record in records:
                    self._take(place.topic, came, record)
            async with self._came:
                self._came.notify_all()

    def _take(self, topic: str, came: float, record: ConsumerRecord) -> None:
        value = record.value
        if topic == MARGIN.name:
            frame, stamps = risk_pb2.MarginFrame.FromString(value), header_map(record)
            self.margins.append((came, frame, len(value)))
            walls = stamp(stamps, "mark_received_wall_ns"), stamp(stamps, "wall_ns")
            self.stages.setdefault((frame.mark_sequence, frame.partition), (_monotonic(walls[0]), _monotonic(walls[1])))
        elif topic == COMMANDS.name:
            for command in commands_pb2.CommandBatch.FromString(value).commands:
                if command.WhichOneof("body") == "open_episode":
                    self.openings.append((came, command.open_episode))
        else:
            self.bare.append((came, int(value.split(b" ", 1)[0])))


def _monotonic(wall_ns: int) -> float:
    """A wall time of this machine on the clock that the bench measures by."""
    return wall_ns / 1e9 - time.time() + time.perf_counter()


class Bare:
    """Sends what the echo answers. Attributes: sent: (number) → seconds when it was handed to the producer."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.sent: dict[int, float] = {}
        self._topic = topic
        self._publisher = Publisher(bootstrap=bootstrap, client_id="bench-bare")

    async def start(self) -> None:
        """Returns when the broker is reached."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is closed."""
        await self._publisher.stop()

    async def send(self, *, size: int, answers: Sequence[int]) -> None:
        """One record of this size, to be answered by records of those sizes."""
        number = len(self.sent)
        self.sent[number] = time.perf_counter()
        await self._publisher.enqueue(self._topic, b" ".join(b"%d" % one for one in (number, *answers, 0)).ljust(size))
