"""Reads the ledger's checkpoints of a partition, so that a worker need not fold the journal from its first frame."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping
from struct import Struct

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError

from ballast.events.v1 import checkpoint_pb2
from libs.common.chain import ChainHead
from libs.common.chain.kafka import new_consumer
from libs.common.errors import Fault
from libs.common.topics import ACCOUNTS
from services.risk_evaluation.app.kept import Kept

HEAD = b"H"
RECORDS_A_POLL_MAX = 4_000
POLL_SECONDS = 0.5
SILENCE_SECONDS_MAX = 10.0
_PREFIX = Struct(">IQ")  # partition, epoch; the item's name follows (proto/ballast/events/v1/checkpoint.proto)
_CHECK = Struct("<I")
_END = 1 + _CHECK.size  # the tag of the last field, and the checksum


class NotKept(Fault):
    """A checkpoint that is not whole: the journal is folded from its first frame instead."""


async def read_checkpoint(*, bootstrap: str, client_id: str, partition: int) -> Kept | None:
    """The newest set that has a head; None where there is none. Raises: NotKept, Fault."""
    sets: dict[int, dict[bytes, tuple[bytes, bytes]]] = {}
    async for records in _records(bootstrap=bootstrap, client_id=client_id, partition=partition):
        for record in records:
            key, value = record.key or b"", record.value
            if len(key) <= _PREFIX.size or _PREFIX.unpack_from(key)[0] != partition:
                raise NotKept(f"partition {partition}: record {record.offset} is no item of its checkpoints")
            items = sets.setdefault(_PREFIX.unpack_from(key)[1], {})
            if value is None:
                items.pop(key[_PREFIX.size :], None)
            else:
                items[key[_PREFIX.size :]] = key, value
    complete = [epoch for epoch, items in sets.items() if HEAD in items]
    return kept_of(sets[max(complete)]) if complete else None


def kept_of(items: Mapping[bytes, tuple[bytes, bytes]]) -> Kept:
    """A set as the worker needs it.

    Args:
        items: key and value of each record, by what it is. Raises NotKept.
    """
    accounts: list[tuple[int, bytes, bytes]] = []
    effects: list[checkpoint_pb2.EffectItem] = []
    head, newest = checkpoint_pb2.CheckpointHead(), 0
    for key, value in items.values():
        item = _item(key, value)
        which = item.WhichOneof("item")
        if which == "account":
            accounts.append((item.account.account, item.account.attributes, item.account.lines))
        elif which == "effect":
            effects.append(item.effect)
        elif which == "head":
            head = item.head
            continue
        newest = max(newest, item.version)
    effects.sort(key=lambda one: one.place)
    exact_from = max(newest, head.sequence)
    return Kept(_head(head), head.fingerprint, exact_from, accounts, [one.effect for one in effects])


def _item(key: bytes, value: bytes) -> checkpoint_pb2.CheckpointItem:
    if _CHECK.unpack_from(value, len(value) - _CHECK.size)[0] != zlib.crc32(value[:-_END], zlib.crc32(key)):
        raise NotKept(f"the checksum of {key.hex()} does not fit its {len(value)} bytes")
    try:
        return checkpoint_pb2.CheckpointItem.FromString(value)
    except DecodeError as error:
        raise NotKept(f"{key.hex()} is no item of a checkpoint: {error}") from error


def _head(one: checkpoint_pb2.CheckpointHead) -> ChainHead:
    return ChainHead(
        offset=one.offset,
        epoch=one.epoch,
        owner=one.owner,
        sequence=one.sequence,
        hash=one.hash,
        claim_offset=one.claim_offset,
        input_topic_id=one.input_topic_id,
        input_position=(one.input_offset, one.input_index),
        run_time_ns=one.run_time_ns,
        control_sequence=one.control_sequence,
    )


async def _records(*, bootstrap: str, client_id: str, partition: int) -> AsyncIterator[list[ConsumerRecord]]:
    place = TopicPartition(ACCOUNTS.name, partition)
    consumer: AIOKafkaConsumer = new_consumer(bootstrap=bootstrap, client_id=client_id)
    try:
        await consumer.start()
        position = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        consumer.assign([place])
        consumer.seek(place, position)
        silent = 0.0
        while position < end:
            found = await consumer.getmany(place, timeout_ms=int(POLL_SECONDS * 1000), max_records=RECORDS_A_POLL_MAX)
            records = found.get(place, [])
            if records:
                position, silent = records[-1].offset + 1, 0.0
                yield records
                continue
            now = await consumer.position(place)
            silent = 0.0 if now > position else silent + POLL_SECONDS
            position = now
            if silent > SILENCE_SECONDS_MAX:
                raise NotKept(f"{ACCOUNTS.name}/{partition}: nothing behind {position}, the end is {end}")
    except (KafkaError, OSError) as error:
        raise NotKept(f"{ACCOUNTS.name}/{partition} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()
