"""Checkpoints of the ledger in a simulated process: written record by record, so that it may die in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from ballast.events.v1.checkpoint_pb2 import CheckpointItem
from libs.common.metrics import Metrics
from services.collateral_management.app.checkpointer import Pace, checkpoint_gauges
from services.collateral_management.app.checkpoints import Checkpoints
from services.collateral_management.app.failpoints import Failpoints
from services.collateral_management.app.restore import Restorer
from services.collateral_management.domain.checkpoint import HEAD, Item
from tools.simulate.network import Node

PACE = Pace(every_s=1.5, items_per_second_max=2_000)
_PAUSE_SHARE = 0.1  # of records before which the process waits, and may die
_ITEMS_A_READ = 20


class CheckpointLog:
    """The compacted topic of one partition: the last value under each key, in the order written."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, bytes], bytes] = {}

    def put(self, epoch: int, name: bytes, value: bytes | None) -> None:
        """Writes a record; no value removes what is there."""
        self.records.pop((epoch, name), None)
        if value is not None:
            self.records[epoch, name] = value


class Store:
    """Implements CheckpointStore for a process."""

    def __init__(self, node: Node, log: CheckpointLog) -> None:
        self._node, self._log = node, log

    async def newest(self) -> int | None:
        """Epoch of the head that was written last."""
        await self._node.pause(self._node.network.delay_s())
        return next((epoch for epoch, name in reversed(self._log.records) if name == HEAD), None)

    async def read(self, epoch: int | None) -> AsyncIterator[tuple[list[Item], Mapping[int, CheckpointItem]]]:
        """The set, a few items at a time, while others write; and the heads."""
        names = [name for one, name in self._log.records if one == epoch and name != HEAD]
        for start in range(0, len(names), _ITEMS_A_READ):
            await self._node.pause(self._node.network.delay_s())
            found: list[Item] = []
            for name in names[start : start + _ITEMS_A_READ]:
                value = self._log.records.get((epoch or 0, name))
                found.append((name, None if value is None else CheckpointItem.FromString(value)))
            yield found, {}
        heads = {one: value for (one, name), value in self._log.records.items() if name == HEAD}
        yield [], {one: CheckpointItem.FromString(value) for one, value in heads.items()}

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        """Writes in order; a process that dies or stands still has written what came before."""
        for name, item in items:
            await self._may_pause()
            if item is not None:
                item.version = version
            self._log.put(epoch, name, None if item is None else item.SerializeToString())

    async def remove_older(self, epoch: int) -> int:
        """Removes older sets, heads first."""
        older = sorted((name != HEAD, one, name) for one, name in self._log.records if one < epoch)
        for _, one, name in older:
            await self._may_pause()
            self._log.put(one, name, None)
        return len(older)

    async def stop(self) -> None:
        """Nothing to close."""

    async def _may_pause(self) -> None:
        if self._node.network.rng.random() < _PAUSE_SHARE:
            await self._node.pause(self._node.network.delay_s())
        if self._node.is_dead:
            await asyncio.Event().wait()  # what a dead process still does reaches nobody


def checkpoints_of(node: Node, log: CheckpointLog, partition: int, restorer: Restorer, *, topic: bytes) -> Checkpoints:
    """What an owner in a simulated process asks of checkpoints."""
    return Checkpoints(
        partition,
        store=Store(node, log),
        restorer=restorer,
        input_topic_id=topic,
        pace=PACE,
        shown=checkpoint_gauges(Metrics()),
        failpoints=Failpoints(),
    )
