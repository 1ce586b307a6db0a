"""Reads one partition of a chained log without a group and applies the rule."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from google.protobuf.message import DecodeError

from ballast.events.v1 import chain_pb2
from libs.common.chain.head import ChainHead, rule_at
from libs.common.chain.kafka import new_consumer
from libs.common.chain.reading import LogReading, end_as_told
from libs.common.chain.rule import AcceptedFrame, ChainBroken, ChainRule, Outcome, record_hash
from libs.common.errors import Fault
from libs.common.topics import Topic

_RECORDS_MAX = 1_000  # a poll gives the event loop back after so many
_LAST_RECORD_SECONDS_MAX = 10.0


class ChainFollower:
    """Every accepted frame of the log, in order.

    Args:
        bootstrap: of the cluster.
        topic: a chained topic.
        partition: of the topic.
        client_id: shown by the broker.
        from_last_claim: begin at the claim that the last record names, not at the beginning. What was before is unknown
            then: right for a log whose owners write a full snapshot after each claim.
    """

    def __init__(
        self, *, bootstrap: str, topic: Topic, partition: int, client_id: str, from_last_claim: bool = False
    ) -> None:
        if not topic.chained:
            raise ValueError(f"expected a chained topic, was {topic.name}")
        self.name = f"{topic.name}/{partition}"
        self.rule = ChainRule()
        self.reading = LogReading(topic.name, partition, rule=self.rule)
        self._partition = TopicPartition(topic.name, partition)
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._from_last_claim = from_last_claim
        self._consumer: AIOKafkaConsumer | None = None
        self._asker: AIOKafkaConsumer | None = None
        self._position = 0
        self._end_at_start = 0

    @property
    def caught_up(self) -> bool:
        """Whether all is read that was there at the start."""
        return self._consumer is not None and self._position >= self._end_at_start

    @property
    def position(self) -> int:
        """Offset of the next record to read."""
        return self._position

    async def start(self, *, head: ChainHead | None = None) -> None:
        """Returns when the first record to read is known: the one behind the head, when one is given.

        Raises: ChainBroken when the log does not hold that head where it says, Fault.
        """
        consumer = new_consumer(bootstrap=self._bootstrap, client_id=self._client_id)
        try:
            await consumer.start()
            await self._begin(consumer, head)
        except (KafkaError, OSError) as error:
            raise Fault(f"{self.name} cannot be read: {error!r}") from error
        else:
            self._consumer = consumer
            self.reading.end = end_as_told(consumer, self._partition)
        finally:
            if self._consumer is None:
                await consumer.stop()

    async def stop(self) -> None:
        """Returns when every connection is closed."""
        for consumer in (self._consumer, self._asker):
            if consumer is not None:
                await consumer.stop()
        self._consumer = self._asker = None

    async def poll(self, *, timeout_s: float) -> list[AcceptedFrame]:
        """Accepted frames, as soon as any record is there; empty when there was none, or only claims and noise.

        Raises: ChainBroken, Fault.
        """
        return [each for each in await self.read(timeout_s=timeout_s) if isinstance(each, AcceptedFrame)]

    async def read(self, *, timeout_s: float) -> list[Outcome]:
        """What each record is, claims and noise too; else as `poll`."""
        consumer = self._started()
        try:
            found = await consumer.getmany(self._partition, timeout_ms=int(timeout_s * 1000), max_records=_RECORDS_MAX)
        except OffsetOutOfRangeError:
            await self.end_reached()
            raise Fault(f"{self.name} no longer holds offset {self._position}, which is not read yet") from None
        except KafkaError as error:
            raise Fault(f"{self.name} cannot be read: {error!r}") from error
        return [self._take(record) for record in found.get(self._partition, ())]

    async def end_reached(self) -> bool:
        """Whether everything that the log holds now has been read: one round trip.

        Raises: ChainBroken when the log is shorter than what was read of it, Fault.
        """
        self._started()
        try:
            if self._asker is None:
                # The broker answers a connection's requests in turn: this one would wait behind the open fetch.
                self._asker = new_consumer(bootstrap=self._bootstrap, client_id=f"{self._client_id}-end")
                await self._asker.start()
            end = await _end(self._asker, self._partition)
        except KafkaError as error:
            raise Fault(f"the end of {self.name} is unknown: {error!r}") from error
        if end < self._position:
            raise ChainBroken(
                f"{self.name} is shorter than its known head: expected an end of at least {self._position}, was {end}"
            )
        return end == self._position

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Fault(f"{self.name} is not being followed")
        return self._consumer

    def _take(self, record: ConsumerRecord) -> Outcome:
        self._position = record.offset + 1
        self.reading.took(offset=record.offset, appended_ms=record.timestamp)
        outcome = self.rule.take(offset=record.offset, value=record.value or b"", headers=dict(record.headers))
        self.reading.judged(outcome, is_history=record.offset < self._end_at_start)
        return outcome

    async def _begin(self, consumer: AIOKafkaConsumer, head: ChainHead | None) -> None:
        first = (await consumer.beginning_offsets([self._partition]))[self._partition]
        end = await _end(consumer, self._partition)
        if head is not None and not first <= head.offset < end:
            raise ChainBroken(
                f"{self.name} is shorter than its known head: expected offset {head.offset}, was {first} to {end}"
            )
        # A position in the same breath, or the fetcher finds none and reports that as an error.
        consumer.assign([self._partition])
        consumer.seek(self._partition, first)
        begin = first
        if head is None and self._from_last_claim and end > first:
            begin = max(first, await self._last_claim(consumer, end=end))
            consumer.seek(self._partition, begin)
        self.rule = ChainRule(from_start=begin == 0)
        if head is not None:
            begin, self.rule = await self._behind(consumer, head), rule_at(head)
        self._position, self._end_at_start = begin, end
        self.reading.rule, self.reading.position = self.rule, begin

    async def _last_claim(self, consumer: AIOKafkaConsumer, *, end: int) -> int:
        return claim_named_by((await self._record(consumer, end - 1)).value or b"")

    async def _behind(self, consumer: AIOKafkaConsumer, head: ChainHead) -> int:
        record = await self._record(consumer, head.offset)
        found = record_hash(record.value or b"")
        if (record.offset, found) != (head.offset, head.hash):
            raise ChainBroken(
                f"{self.name}: expected frame {head.sequence} with hash {head.hash.hex()} at offset {head.offset}, "
                f"was {found.hex()} at {record.offset}"
            )
        return head.offset + 1

    async def _record(self, consumer: AIOKafkaConsumer, offset: int) -> ConsumerRecord:
        consumer.seek(self._partition, offset)
        found = await consumer.getmany(self._partition, timeout_ms=int(_LAST_RECORD_SECONDS_MAX * 1000), max_records=1)
        for record in found.get(self._partition, ()):
            return record
        raise Fault(f"expected record {offset} of {self.name} within {_LAST_RECORD_SECONDS_MAX} s")


def claim_named_by(value: bytes) -> int:
    """Offset of an accepted claim from which the record's own state can be folded; 0 when it names none."""
    record = chain_pb2.ChainRecord()
    try:
        record.ParseFromString(value)
    except DecodeError:
        return 0
    # A claim at the end may itself be noise, and nothing follows it yet: go back to the one before.
    kind = record.WhichOneof("record")
    if kind == "claim":
        return max(0, record.claim.previous_claim_offset)
    return max(0, record.frame.claim_offset) if kind == "frame" else 0


async def _end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
    return ends[partition]
