"""Plays the ledger's checkpoints of one partition: every account and a head, then what changed and a head."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from ballast.events.v1 import checkpoint_pb2
from bench.pipeline.town import Effect, Shard
from libs.common.accounts import Key, Value, pack_lines
from libs.common.chain import AcceptedFrame, ChainHead
from libs.common.chain.kafka import new_producer
from libs.common.checkpoints import Name, key_of, seal
from libs.common.ids import system_kind
from libs.common.topics import ACCOUNTS
from services.collateral_management.app.restore import head_item

EPOCH = 1
Item = tuple[bytes, checkpoint_pb2.CheckpointItem]


@dataclass(slots=True)
class Changed:
    """What changed since the last checkpoint: accounts, and other items by name, None for what is gone."""

    accounts: set[int] = field(default_factory=set)
    effects: dict[bytes, Effect | None] = field(default_factory=dict)


class Checkpoint:
    """The set of a partition, written as accounts come."""

    def __init__(self, bootstrap: str, partition: int) -> None:
        self._bootstrap = bootstrap
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None
        self._sequence = 0
        self._items = 0

    async def start(self) -> None:
        """Returns when the broker is reached."""
        producer = new_producer(bootstrap=self._bootstrap, client_id=f"house-checkpoint-{self._partition}")
        await producer.start()
        self._producer = producer

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        if self._producer is not None:
            await self._producer.stop()

    async def accounts(self, effects: Sequence[Effect]) -> None:
        """Clients' accounts that these effects open."""
        self._sequence += 1
        lines: defaultdict[int, dict[Key, Value]] = defaultdict(dict)
        attributes: dict[int, bytes] = {}
        for effect in effects:
            if effect.HasField("account"):
                attributes[effect.account.account] = effect.account.SerializeToString(deterministic=True)
            elif system_kind(effect.posting.account) is None:
                one = effect.posting
                lines[one.account][one.asset, one.kind] = one.balance, one.version
        await self._write([_account(account, lines[account], attributes[account]) for account in attributes])

    async def finish(self, shard: Shard, last: AcceptedFrame, *, fingerprint: bytes) -> None:
        """The house's own accounts, then the head."""
        lines: defaultdict[int, dict[Key, Value]] = defaultdict(dict)
        for line, balance in shard.balances.items():
            if system_kind(line[0]) is not None:
                lines[line[0]][line[1], line[2]] = balance, shard.versions[line]
        await self._write([_account(account, found, b"") for account, found in lines.items()])
        head = ChainHead.of(last, input_topic_id=b"")
        registers = checkpoint_pb2.Registers()
        await self._write([(b"H", head_item(head, fingerprint=fingerprint, items=self._items, registers=registers))])

    async def follow(self, shard: Shard, changed: Changed, last: AcceptedFrame, *, fingerprint: bytes) -> None:
        """What changed up to this frame, then a head: items are as of the frame."""
        self._sequence = last.sequence
        lines: defaultdict[int, dict[Key, Value]] = defaultdict(dict)
        for account in changed.accounts | {one for one, _, _ in shard.balances if system_kind(one) is not None}:
            for asset, kind in shard.lines_of(account):
                line = account, asset, kind
                lines[account][asset, kind] = shard.balances[line], shard.versions[line]
        items: list[tuple[bytes, checkpoint_pb2.CheckpointItem | None]] = [
            _account(account, found, shard.attributes.get(account, b"")) for account, found in lines.items()
        ]
        for name, effect in changed.effects.items():
            item = checkpoint_pb2.EffectItem(effect=effect) if effect is not None else None
            items.append((name, None if item is None else checkpoint_pb2.CheckpointItem(effect=item)))
        await self._write(items)
        head = ChainHead.of(last, input_topic_id=b"")
        registers = checkpoint_pb2.Registers()
        await self._write([(b"H", head_item(head, fingerprint=fingerprint, items=0, registers=registers))])

    async def _write(self, items: Sequence[tuple[bytes, checkpoint_pb2.CheckpointItem | None]]) -> None:
        if self._producer is None:
            raise RuntimeError("expected a checkpoint that was started")
        self._items += len(items)
        sent: list[asyncio.Future[object]] = []
        for name, item in items:
            whole = Name(self._partition, EPOCH, name)
            key, value = (key_of(whole), None) if item is None else seal(item, whole, version=self._sequence)
            sent.append(await self._producer.send(ACCOUNTS.name, value, key=key, partition=self._partition))
        await asyncio.gather(*sent)


def _account(account: int, lines: Mapping[Key, Value], attributes: bytes) -> Item:
    item = checkpoint_pb2.AccountItem(account=account, attributes=attributes, lines=pack_lines(lines))
    return b"A%d" % account, checkpoint_pb2.CheckpointItem(account=item)
