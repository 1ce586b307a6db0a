"""Reads the commands of one partition, from the journal's input position on."""

from __future__ import annotations

import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from ballast.events.v1 import commands_pb2
from libs.common.chain import LogReading, end_as_told
from libs.common.chain.kafka import new_consumer
from libs.common.codec import DeadLetters, Undecodable, decode, header_map
from libs.common.errors import Fault
from libs.common.topics import BATCH_BYTES_MAX, COMMANDS
from libs.common.trace import unpack
from services.collateral_management.app.ports import Received
from services.collateral_management.errors import InputLost

_RECORDS_MAX = 512


class KafkaCommands:
    """Implements CommandSource; poison goes to the dead-letter topic and is passed on as a hole."""

    def __init__(
        self, *, bootstrap: str, client_id: str, partition: int, dead_letters: DeadLetters, is_traced: bool = False
    ) -> None:
        self._is_traced = is_traced
        self._partition = TopicPartition(COMMANDS.name, partition)
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._dead_letters = dead_letters
        self._consumer: AIOKafkaConsumer | None = None
        self.reading = LogReading(COMMANDS.name, partition)

    async def start(self, *, after_offset: int) -> None:
        """Reads the record at the offset again (it may be half consumed) and what follows. Raises InputLost."""
        consumer = new_consumer(bootstrap=self._bootstrap, client_id=self._client_id)
        try:
            await consumer.start()
            self._consumer = consumer
            first = (await consumer.beginning_offsets([self._partition]))[self._partition]
            end = (await consumer.end_offsets([self._partition]))[self._partition]
        except (KafkaError, OSError) as error:
            raise Fault(f"{self._partition} cannot be read: {error!r}") from error
        if first > after_offset + 1:
            raise InputLost(f"{self._partition} begins at {first}, the journal needs {after_offset + 1}")
        if end < after_offset + 1:
            raise InputLost(f"{self._partition} ends at {end}, the journal has consumed up to {after_offset}")
        consumer.assign([self._partition])
        consumer.seek(self._partition, max(first, after_offset))
        self.reading.position, self.reading.end = max(first, after_offset), end_as_told(consumer, self._partition)

    async def poll(self, *, timeout_s: float) -> list[Received]:
        """Records, as soon as one is there. Raises Fault."""
        if self._consumer is None:
            raise Fault(f"{self._partition} is not being read")
        try:
            found = await self._consumer.getmany(
                self._partition, timeout_ms=int(timeout_s * 1000), max_records=_RECORDS_MAX
            )
        except KafkaError as error:
            raise Fault(f"{self._partition} cannot be read: {error!r}") from error
        return [await self._received(record) for record in found.get(self._partition, ())]

    async def _received(self, record: ConsumerRecord) -> Received:
        self.reading.took(offset=record.offset, appended_ms=record.timestamp)
        try:
            batch = decode(commands_pb2.CommandBatch, record, bytes_max=BATCH_BYTES_MAX)
            traces = unpack(header_map(record)) if self._is_traced else {}
            return Received(record.offset, batch, traces, waited_s=max(0.0, time.time() - record.timestamp / 1000))
        except Undecodable as poison:
            await self._dead_letters.put(record, topic=COMMANDS, reason=poison.reason)
            return Received(record.offset, None)

    async def stop(self) -> None:
        """Everything is closed."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
