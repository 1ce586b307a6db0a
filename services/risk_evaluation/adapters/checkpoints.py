"""Reads the ledger's checkpoints of a partition, so that a worker need not fold the journal from its first frame."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import ConsumerRecord, TopicPartition

from ballast.events.v1 import checkpoint_pb2
from libs.common.chain import ChainHead
from libs.common.checkpoints import HEAD, CheckpointBroken, Name, name_of, records_of, unseal
from libs.common.errors import Fault
from libs.common.topics import ACCOUNTS
from services.risk_evaluation.app.kept import Kept

RECORDS_A_POLL_MAX = 4_000


class NotKept(Fault):
    """A checkpoint that is not whole: the journal is folded from its first frame instead."""


async def read_checkpoint(*, bootstrap: str, client_id: str, partition: int) -> Kept | None:
    """The newest set that has a head; None where there is none. Raises: NotKept, Fault."""
    sets: dict[int, dict[bytes, tuple[bytes, bytes]]] = {}
    place = TopicPartition(ACCOUNTS.name, partition)
    reading = records_of(bootstrap=bootstrap, client_id=client_id, place=place, at_once_max=RECORDS_A_POLL_MAX)
    async for records in reading:
        for record in records:
            name = _name(record, partition)
            items = sets.setdefault(name.epoch, {})
            if record.value is None:
                items.pop(name.item, None)
            else:
                items[name.item] = record.key, record.value
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
    return Kept(ChainHead.kept(head), head.fingerprint, exact_from, accounts, [one.effect for one in effects])


def _name(record: ConsumerRecord, partition: int) -> Name:
    where = f"{ACCOUNTS.name}/{partition} at offset {record.offset}"
    try:
        name = name_of(record.key, where=lambda: where)
    except CheckpointBroken as error:
        raise NotKept(str(error)) from error
    if name.partition != partition:
        raise NotKept(f"{where}: an item of partition {name.partition}")
    return name


def _item(key: bytes, value: bytes) -> checkpoint_pb2.CheckpointItem:
    try:
        return unseal(key, value, where=lambda: ACCOUNTS.name)
    except CheckpointBroken as error:
        raise NotKept(str(error)) from error
