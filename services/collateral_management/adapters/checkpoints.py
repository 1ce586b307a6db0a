"""Checkpoints of one partition on their compacted topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from itertools import count

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from ballast.events.v1.checkpoint_pb2 import CheckpointItem
from libs.common.chain.kafka import abandon, new_producer
from libs.common.checkpoints import HEAD, CheckpointBroken, Name, key_of, name_of, records_of, seal, unseal
from libs.common.topics import ACCOUNTS, Topic
from services.collateral_management.domain.checkpoint import Item

_LOG = logging.getLogger("ballast.ledger")
_RECORDS_A_POLL_MAX = 500  # a few ms: heartbeats and other partitions have their turn
_LAST_RECORDS = 2_000
_RETRY_SECONDS = 1.0
_REMOVALS_A_WRITE = 1_000
_HEAD_KEY_BYTES = len(key_of(Name(0, 0, HEAD)))


class KafkaCheckpoints:
    """Reads the sets that epochs have written, and writes one of them; implements CheckpointStore.

    Args:
        topic: the checkpoints' topic.
    """

    def __init__(self, *, bootstrap: str, client_id: str, partition: int, topic: Topic = ACCOUNTS) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._topic = topic.name
        self._partition = TopicPartition(topic.name, partition)
        self._producer: AIOKafkaProducer | None = None
        self._heads: frozenset[int] | None = None  # epochs, as last read

    async def newest(self) -> int | None:
        """Highest epoch of the heads among the last records, None when there is none: a good guess, no more."""
        found: set[int] = set()
        async for records in self._records(last=_LAST_RECORDS):
            for one in filter(self._is_head, records):
                (found.discard if one.value is None else found.add)(self._name(one).epoch)
        return max(found, default=None)

    async def read(self, epoch: int | None) -> AsyncIterator[tuple[list[Item], dict[int, CheckpointItem]]]:
        """Every item that the epoch has written, in the order written: a later one takes an earlier one's place.

        Beside them the head of each set, by epoch, as far as it is read: all of them, the last time.

        Raises: CheckpointBroken, Fault.
        """
        heads: dict[int, CheckpointItem] = {}
        prefix = None if epoch is None else key_of(Name(self._partition.partition, epoch, b""))
        async for records in self._records():
            found: list[Item] = []
            for record in records:
                if self._is_head(record):
                    name = self._name(record)
                    heads.pop(name.epoch, None)
                    if record.value is not None:
                        heads[name.epoch] = self._item(record)
                elif prefix is not None and record.key is not None and record.key.startswith(prefix):
                    name_ = record.key[len(prefix) :]
                    found.append((name_, None if record.value is None else self._item(record)))
                else:
                    self._name(record)
            yield found, heads
        self._heads = frozenset(heads)
        yield [], heads

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        """Returns when the broker has the items, in this order; what fails is tried again until it is cancelled."""
        records = [self._record(epoch, name, item, version=version) for name, item in items]
        await self._send_all(records)

    async def remove_older(self, epoch: int) -> int:
        """Returns how many items of older epochs were there, when they are gone: their heads first. Raises Fault."""
        if self._heads is None:
            async for _ in self.read(None):
                pass
        # Heads first: a set that lacks items must not look complete.
        heads = [one for one in self._heads or () if one < epoch]
        due = dict.fromkeys(key_of(Name(self._partition.partition, one, HEAD)) for one in heads)
        removed = 0
        while due:
            removed += await self._remove(due)
        async for records in self._records():
            for record in records:
                if record.key is not None and self._name(record).epoch < epoch:
                    due.pop(record.key, None) if record.value is None else due.setdefault(record.key)
            while len(due) >= _REMOVALS_A_WRITE:
                removed += await self._remove(due)
        while due:
            removed += await self._remove(due)
        return removed

    async def stop(self) -> None:
        """Returns when everything is closed; what is not sent yet is dropped."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await abandon(producer)

    async def _remove(self, due: dict[bytes, None]) -> int:
        keys = list(due)[:_REMOVALS_A_WRITE]
        await self._send_all([(key, None) for key in keys])
        for key in keys:
            del due[key]
        return len(keys)

    def _record(
        self, epoch: int, name: bytes, item: CheckpointItem | None, *, version: int
    ) -> tuple[bytes, bytes | None]:
        whole = Name(self._partition.partition, epoch, name)
        return (key_of(whole), None) if item is None else seal(item, whole, version=version)

    async def _send_all(self, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        for _ in count():
            if await self._sent(records):
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _sent(self, records: Sequence[tuple[bytes, bytes | None]]) -> bool:
        try:
            if self._producer is None:
                producer = new_producer(bootstrap=self._bootstrap, client_id=self._client_id)
                await producer.start()
                self._producer = producer
            batch = self._producer.create_batch()
            waiting = []
            for key, value in records:
                if batch.append(key=key, value=value, timestamp=None) is None:
                    waiting.append(await self._send(self._producer, batch))
                    batch = self._producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            waiting.append(await self._send(self._producer, batch))
            await asyncio.gather(*waiting)
        except (KafkaError, OSError) as error:
            _LOG.warning("checkpoint not written", extra={"partition": self._partition.partition, "why": repr(error)})
            await self.stop()  # a producer that has failed keeps its error
            return False
        return True

    async def _send(self, producer: AIOKafkaProducer, batch: object) -> asyncio.Future[object]:
        batch.close()  # type: ignore[attr-defined]
        sent: asyncio.Future[object] = await producer.send_batch(
            batch, self._topic, partition=self._partition.partition
        )
        return sent

    def _records(self, *, last: int | None = None) -> AsyncIterator[list[ConsumerRecord]]:
        return records_of(
            bootstrap=self._bootstrap, client_id=self._client_id, place=self._partition,
            at_once_max=_RECORDS_A_POLL_MAX, last=last,
        )  # fmt: skip

    def _where(self, record: ConsumerRecord) -> str:
        return f"{self._topic}/{self._partition.partition} at offset {record.offset}"

    def _is_head(self, record: ConsumerRecord) -> bool:
        return record.key is not None and len(record.key) == _HEAD_KEY_BYTES and record.key.endswith(HEAD)

    def _name(self, record: ConsumerRecord) -> Name:
        name = name_of(record.key, where=lambda: self._where(record))
        if name.partition != self._partition.partition:
            raise CheckpointBroken(f"{self._where(record)}: a checkpoint of partition {name.partition}")
        return name

    def _item(self, record: ConsumerRecord) -> CheckpointItem:
        return unseal(record.key or b"", record.value or b"", where=lambda: self._where(record))
