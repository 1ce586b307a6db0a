"""Follows the ledger's journal and risk's margins, and tells the replay clock what they mean."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from ballast.events.v1 import journal_pb2, risk_pb2
from libs.common.chain import ChainFollower, LogReading, end_as_told
from libs.common.chain.kafka import new_consumer
from libs.common.codec import DeadLetters, Undecodable, decode
from libs.common.errors import Fault
from libs.common.service import Condition
from libs.common.topics import JOURNAL, MARGIN
from libs.common.watch import Watch
from services.price_ingestion.adapters.followed_events import journal_events, margin_event
from services.price_ingestion.domain.pacing_words import Event

_POLL_SECONDS = 0.25
_MARGIN_RECORDS_MAX = 500
_MARGIN_TAIL = 64  # records before the end that surely hold the newest margin frame of a partition

_LOG = logging.getLogger("ballast.price_ingestion.followers")

Tell = Callable[[Event], None]


async def follow_journal(
    *, bootstrap: str, client_id: str, partition: int, tell: Tell, is_caught_up: Condition, watch: Watch
) -> None:
    """Runs until cancelled: every accepted frame of a journal partition, from its beginning. Raises Fault."""
    follower = ChainFollower(bootstrap=bootstrap, topic=JOURNAL, partition=partition, client_id=client_id)
    watch.log(follower.reading)
    await follower.start()
    try:
        while True:
            is_caught_up.set(follower.caught_up, f"at offset {follower.position}")
            for frame in await follower.poll(timeout_s=_POLL_SECONDS):
                for event in journal_events(journal_pb2.JournalBody.FromString(frame.body)):
                    tell(event)
    finally:
        await follower.stop()


async def follow_margins(
    *,
    bootstrap: str,
    client_id: str,
    partitions: int,
    tell: Tell,
    dead: DeadLetters,
    is_caught_up: Condition,
    watch: Watch,
) -> None:
    """Runs until cancelled: margin frames of every partition, from shortly before their ends. Raises Fault."""
    consumer = new_consumer(bootstrap=bootstrap, client_id=client_id)
    assigned = [TopicPartition(MARGIN.name, partition) for partition in range(partitions)]
    readings = {one: LogReading(one.topic, one.partition, end=end_as_told(consumer, one)) for one in assigned}
    watch.log(*readings.values())
    try:
        await consumer.start()
        ends = await _begin(consumer, assigned)
        for one, reading in readings.items():
            reading.position = await consumer.position(one)
        while True:
            found = await consumer.getmany(
                *assigned, timeout_ms=int(_POLL_SECONDS * 1000), max_records=_MARGIN_RECORDS_MAX
            )
            for topic_partition, records in found.items():
                for record in records:
                    readings[topic_partition].took(offset=record.offset, appended_ms=record.timestamp)
                    await _take(record, tell=tell, dead=dead)
                    if record.offset + 1 >= ends.get(topic_partition, 0):
                        ends.pop(topic_partition, None)
            is_caught_up.set(not ends, f"{len(ends)} partitions behind")
    except KafkaError as error:
        raise Fault(f"{MARGIN.name} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _begin(consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> dict[TopicPartition, int]:
    consumer.assign(assigned)
    for topic_partition in assigned:
        consumer.seek(topic_partition, 0)
    first = await consumer.beginning_offsets(assigned)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(assigned)
    for topic_partition in assigned:
        consumer.seek(topic_partition, max(first[topic_partition], ends[topic_partition] - _MARGIN_TAIL))
    return {each: end for each, end in ends.items() if end > first[each]}


async def _take(record: ConsumerRecord, *, tell: Tell, dead: DeadLetters) -> None:
    try:
        tell(margin_event(decode(risk_pb2.MarginFrame, record)))
    except Undecodable as error:
        await dead.put(record, topic=MARGIN, reason=error.reason)
    except ValueError as error:
        await dead.put(record, topic=MARGIN, reason=f"expected columns of one length: {error}")
