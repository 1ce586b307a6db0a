"""The topics liquidation follows: journals and marks as chains, margins and depth as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from ballast.events.v1 import journal_pb2, market_pb2, risk_pb2
from libs.common.chain import AcceptedFrame, ChainFollower, LogReading, end_as_told
from libs.common.chain.kafka import new_consumer
from libs.common.codec import DeadLetters, Undecodable, decode, stamp
from libs.common.errors import Fault
from libs.common.service import Condition
from libs.common.topics import Topic
from libs.common.watch import Watch
from services.liquidation_execution.adapters.metrics import EpisodeLatency
from services.liquidation_execution.adapters.tracing import EpisodeTraces
from services.liquidation_execution.adapters.wire import checked, depth_of
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.process import Process

_POLL_SECONDS = 0.5
_FRAMES_A_TURN = 64  # folded before the event loop turns
MARGIN_RECORDS_BACK = 100  # of each partition, read again at start: enough for every account that matters now


async def follow_chain(
    follower: ChainFollower,
    take: Callable[[AcceptedFrame], None],
    caught_up: Callable[[bool], None],
    stopping: asyncio.Event,
) -> None:
    """Feeds accepted frames until asked to stop. Raises ChainBroken, Fault."""
    await follower.start()
    try:
        while not stopping.is_set():
            frames = await follower.poll(timeout_s=_POLL_SECONDS)
            for number, frame in enumerate(frames, 1):
                take(frame)
                if number % _FRAMES_A_TURN == 0:
                    await asyncio.sleep(0)
            caught_up(follower.caught_up)
    finally:
        await follower.stop()


class Feeds:
    """What comes in becomes state, and wakes the process."""

    def __init__(
        self, live: Live, process: Process, latency: EpisodeLatency | None = None, traces: EpisodeTraces | None = None
    ) -> None:
        self._latency = latency
        self._traces = traces if traces is not None and traces.on else None
        self._live = live
        self._process = process

    def journal(self, partition: int) -> Callable[[AcceptedFrame], None]:
        """Takes frames of one partition's journal."""

        def take(frame: AcceptedFrame) -> None:
            body = journal_pb2.JournalBody.FromString(frame.frame.body)
            self._live.fold(partition, sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
            if self._traces is not None:
                self._traces.frame(frame)
            if self._latency is not None:
                self._latency.frame(body, written_ns=stamp(dict(frame.headers), "wall_ns"))
            if self._live.dirty:
                self._process.wake()

        return take

    def marks(self, frame: AcceptedFrame) -> None:
        """Takes a frame of the marks log; what it changes arrives as margins."""
        body = market_pb2.MarksBody.FromString(frame.frame.body)
        self._live.marks.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)

    def margin(self, record: ConsumerRecord) -> None:
        """Takes a margin frame. Raises Undecodable."""
        self._live.add_margin(checked(decode(risk_pb2.MarginFrame, record)))
        if self._live.dirty:
            self._process.wake()

    def liquidity(self, record: ConsumerRecord) -> None:
        """Takes a venue's book. Raises Undecodable."""
        if record.value is None:  # a tombstone: the venue no longer trades it
            return
        self._live.depth.update(depth_of(decode(market_pb2.Liquidity, record)))
        self._process.depth_changed()


class Take(Protocol):
    """What is done with a record; raises Undecodable for a poisonous one."""

    def __call__(self, record: ConsumerRecord) -> None:
        """Takes it."""


async def follow_records(
    *,
    bootstrap: str,
    client_id: str,
    topic: Topic,
    partitions: Sequence[int],
    back: int | None,
    take: Take,
    dead: DeadLetters,
    condition: Condition,
    stopping: asyncio.Event,
    watch: Watch,
) -> None:
    """Feeds the records of a topic that is no chain until asked to stop; the condition holds once the end was reached.

    Args:
        back: records before the end to begin with; None begins at the beginning.
    """
    consumer = new_consumer(bootstrap=bootstrap, client_id=client_id)
    assigned = [TopicPartition(topic.name, one) for one in partitions]
    readings = {one: LogReading(one.topic, one.partition, end=end_as_told(consumer, one)) for one in assigned}
    watch.log(*readings.values())
    try:
        await consumer.start()
        ends = await _seek(consumer, assigned, back)
        for one, reading in readings.items():
            reading.position = await consumer.position(one)
        while not stopping.is_set():
            condition.set(await _reached(consumer, ends), f"{topic.name} is being read")
            for record in await _poll(consumer, assigned):
                place = TopicPartition(record.topic, record.partition)
                readings[place].took(offset=record.offset, appended_ms=record.timestamp)
                try:
                    take(record)
                except Undecodable as poison:
                    await dead.put(record, topic=topic, reason=poison.reason)
    except KafkaError as error:
        raise Fault(f"{topic.name} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _seek(
    consumer: AIOKafkaConsumer, assigned: list[TopicPartition], back: int | None
) -> dict[TopicPartition, int]:
    firsts = await consumer.beginning_offsets(assigned)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(assigned)
    consumer.assign(assigned)
    for one in assigned:
        consumer.seek(one, firsts[one] if back is None else max(firsts[one], ends[one] - back))
    return ends


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    for one in list(ends):
        if await consumer.position(one) >= ends[one]:
            del ends[one]
    return not ends


async def _poll(consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> list[ConsumerRecord]:
    try:
        found = await consumer.getmany(*assigned, timeout_ms=int(_POLL_SECONDS * 1000), max_records=500)
    except OffsetOutOfRangeError:  # retention or compaction passed us by: only what comes now matters
        await consumer.seek_to_end(*assigned)
        return []
    return [record for one in assigned for record in found.get(one, ())]
