"""Items of checkpoints as records, and how their topic is read to its end.

A key names partition, epoch and item, a value ends with a checksum over both (events/v1/checkpoint.proto).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from struct import Struct

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from google.protobuf.message import DecodeError

from ballast.events.v1 import checkpoint_pb2
from libs.common.chain.kafka import new_consumer
from libs.common.errors import Fault, InvariantBroken

HEAD = b"H"  # name of a set's head; a set without one is not complete
_PREFIX = Struct(">IQ")  # partition, epoch
_CHECK_TAG = b"\x7d"  # field 15, fixed32: the last field of the message, so the last five bytes of its value
_CHECK = Struct("<I")
_END = len(_CHECK_TAG) + _CHECK.size
_POLL_SECONDS = 0.5
_SILENCE_SECONDS_MAX = 10.0

Where = Callable[[], str]  # names a record, when it must be named


class CheckpointBroken(InvariantBroken):
    """A record of a checkpoint is not what a ledger wrote: stop, never guess (I8)."""

    def __init__(self, detail: str) -> None:
        super().__init__("I8", detail)


@dataclass(frozen=True, slots=True)
class Name:
    """What a record's key says."""

    partition: int
    epoch: int
    item: bytes


def seal(item: checkpoint_pb2.CheckpointItem, name: Name, *, version: int) -> tuple[bytes, bytes]:
    """Key and value of an item's record."""
    item.version = version
    key, value = key_of(name), item.SerializeToString()
    return key, value + _CHECK_TAG + _CHECK.pack(zlib.crc32(value, zlib.crc32(key)))


def key_of(name: Name) -> bytes:
    """Key of a record; with no value it says that the item is no longer there."""
    return _PREFIX.pack(name.partition, name.epoch) + name.item


def name_of(key: bytes | None, *, where: Where) -> Name:
    """What the key says. Raises CheckpointBroken."""
    if key is None or len(key) <= _PREFIX.size:
        raise CheckpointBroken(f"{where()}: expected a key of more than {_PREFIX.size} bytes, was {(key or b'').hex()}")
    partition, epoch = _PREFIX.unpack_from(key)
    return Name(partition, epoch, key[_PREFIX.size :])


def unseal(key: bytes, value: bytes, *, where: Where) -> checkpoint_pb2.CheckpointItem:
    """The item of a record. Raises CheckpointBroken."""
    bare = value[:-_END]
    if value[-_END:] != _CHECK_TAG + _CHECK.pack(zlib.crc32(bare, zlib.crc32(key))):
        raise CheckpointBroken(f"{where()}: the checksum of {key.hex()} does not fit its {len(value)} bytes")
    item = checkpoint_pb2.CheckpointItem()
    try:
        item.ParseFromString(bare)
    except DecodeError as error:
        raise CheckpointBroken(f"{where()}: {key.hex()} is no item of a checkpoint: {error}") from error
    if item.WhichOneof("item") is None:
        raise CheckpointBroken(f"{where()}: {key.hex()} holds nothing that this release knows")
    return item


async def records_of(
    *, bootstrap: str, client_id: str, place: TopicPartition, at_once_max: int, last: int | None = None
) -> AsyncIterator[list[ConsumerRecord]]:
    """All records, or the last so many offsets, to an end that was the log's when it was reached. Raises Fault."""
    consumer = new_consumer(bootstrap=bootstrap, client_id=f"{client_id}-reader")
    asker = new_consumer(bootstrap=bootstrap, client_id=f"{client_id}-end")
    try:
        await consumer.start()
        await asker.start()
        first = (await asker.beginning_offsets([place]))[place]
        end = (await asker.end_offsets([place]))[place]
        consumer.assign([place])
        consumer.seek(place, first if last is None else max(first, end - last))
        while await consumer.position(place) < end:
            async for records in _until(consumer, place, end, at_once_max):
                yield records
            # What compaction took away before it was read has a newer record, which may be behind that end.
            end = (await asker.end_offsets([place]))[place]
    except OffsetOutOfRangeError as error:
        raise Fault(f"{place.topic}/{place.partition} was cut while it was read") from error
    except (KafkaError, OSError) as error:
        raise Fault(f"{place.topic}/{place.partition} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()
        await asker.stop()


async def _until(
    consumer: AIOKafkaConsumer, place: TopicPartition, end: int, at_once_max: int
) -> AsyncIterator[list[ConsumerRecord]]:
    now_s = asyncio.get_running_loop().time
    position = await consumer.position(place)
    moved_at_s = now_s()
    while position < end:
        found = await consumer.getmany(place, timeout_ms=int(_POLL_SECONDS * 1000), max_records=at_once_max)
        before, position = position, await consumer.position(place)
        if position > before:
            moved_at_s = now_s()
        elif now_s() - moved_at_s > _SILENCE_SECONDS_MAX:
            where = f"{place.topic}/{place.partition}"
            raise Fault(f"{where}: nothing behind {position} within {_SILENCE_SECONDS_MAX} s, the end is {end}")
        records = found.get(place, [])
        if records:
            yield records
        await asyncio.sleep(0)  # what is fetched already is given without waiting
