"""Writes a partition's checkpoints behind its accepted frames: what has changed, then a head; first everything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from prometheus_client import Counter, Gauge

from libs.common.chain import ChainHead
from libs.common.errors import Fault
from libs.common.metrics import Metrics
from services.collateral_management.app.failpoints import Failpoint, Failpoints
from services.collateral_management.app.ports import CheckpointStore
from services.collateral_management.app.restore import head_item
from services.collateral_management.domain.changes import Changes
from services.collateral_management.domain.checkpoint import HEAD, count, everything, registers, save
from services.collateral_management.domain.state import State

_LOG = logging.getLogger("ballast.ledger")
_ITEMS_A_SLICE = 200  # some 2 ms: commands wait no longer than that


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how fast checkpoints are written.

    Args:
        every_s: wall time from one head to the next begin.
        items_per_second_max: bound of what writing costs.
    """

    every_s: float
    items_per_second_max: int


@dataclass(frozen=True, slots=True)
class CheckpointGauges:
    """What checkpoints show of themselves."""

    sequence: Gauge
    written: Gauge
    items: Counter
    restored: Gauge


def checkpoint_gauges(metrics: Metrics) -> CheckpointGauges:
    """Metrics of checkpoints."""
    return CheckpointGauges(
        metrics.gauge("ballast_ledger_checkpoint_sequence", "Journal sequence of the last checkpoint", ["partition"]),
        metrics.gauge(
            "ballast_ledger_checkpoint_time_seconds", "Wall time at which it was written, since 1970", ["partition"]
        ),
        metrics.counter("ballast_ledger_checkpoint_items_total", "Items written to checkpoints", ["partition"]),
        metrics.gauge(
            "ballast_ledger_restored_sequence", "Journal sequence that the owner was restored at, else 0", ["partition"]
        ),
    )


class Checkpointer:
    """Checkpoints of one owner; its set bears the epoch of the owner's first claim.

    Args:
        state: changed by its owner between the turns of the event loop only.
        handled: sequence of the last frame whose commands the state has.
    """

    def __init__(
        self,
        partition: int,
        *,
        store: CheckpointStore,
        state: State,
        handled: Callable[[], int],
        pace: Pace,
        shown: CheckpointGauges,
        failpoints: Failpoints,
    ) -> None:
        self._partition = partition
        self._store = store
        self._state = state
        self._handled = handled
        self._pace = pace
        self._shown = shown
        self._failpoints = failpoints
        self._accepted: tuple[ChainHead, bytes] | None = None
        self._cut = 0  # sequence of the next head
        self._at_cut: tuple[ChainHead, bytes] | None = None
        self._changed = asyncio.Event()
        self._is_complete = False  # a head of its own stands
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()

    def stands_at(self, head: ChainHead, fingerprint: bytes) -> None:
        """Notes the last accepted frame, and the fingerprint of the state after it."""
        self._accepted = (head, fingerprint)
        if head.sequence == self._cut:
            self._at_cut = self._accepted
        self._changed.set()

    async def run(self, epoch: int) -> None:
        """Writes until it is cancelled, or has written everything after `finish`. Raises InvariantBroken, Fault."""
        try:
            await self._run(epoch)
        finally:
            self._ended.set()

    async def finish(self, *, within_s: float) -> None:
        """Writes what has changed and a last head, for so long at most; nothing where no set is complete yet."""
        if not self._is_complete:
            return
        self._ending.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended.wait()

    async def _run(self, epoch: int) -> None:
        await self._until(1)
        self._state.changes = Changes()
        await self.write(epoch, everything(self._state))
        self._is_complete = True
        try:
            removed = await self._store.remove_older(epoch)
        except Fault as fault:  # the next owner removes them
            _LOG.warning("older checkpoints not removed", extra={"partition": self._partition, "why": str(fault)})
        else:
            _LOG.info("checkpoint complete", extra={"partition": self._partition, "epoch": epoch, "removed": removed})
        while True:
            done = self._cut
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.every_s):
                    await self._ending.wait()
            if self._ending.is_set() and self._accepted is not None and self._accepted[0].sequence == done:
                return
            await self._until(done + 1)
            changes, self._state.changes = self._state.changes, Changes()
            await self.write(epoch, changes)

    async def write(self, epoch: int, changes: Changes) -> None:
        """Returns when what is named is written, and a head at the last frame that was handled before."""
        self._cut, self._at_cut = self._handled(), None
        if self._accepted is not None and self._accepted[0].sequence == self._cut:
            self._at_cut = self._accepted
        now_s = asyncio.get_running_loop().time
        only, items = registers(self._state), count(self._state)
        saving = save(self._state, changes)
        while slice_ := list(islice(saving, _ITEMS_A_SLICE)):
            began_s, as_of = now_s(), self._handled()
            await self._until(as_of)
            await self._store.write(epoch, slice_, version=as_of)
            self._shown.items.labels(self._partition).inc(len(slice_))
            self._failpoints.reach(Failpoint.CHECKPOINT)
            due_s = 0.0 if self._ending.is_set() else len(slice_) / self._pace.items_per_second_max
            await asyncio.sleep(max(0.0, due_s - (now_s() - began_s)))
        await self._until(self._cut)
        head, fingerprint = self._head()
        item = head_item(head, fingerprint=fingerprint, items=items, registers=only)
        await self._store.write(epoch, [(HEAD, item)], version=self._cut)
        self._shown.sequence.labels(self._partition).set(self._cut)
        self._shown.written.labels(self._partition).set(time.time())
        self._failpoints.reach(Failpoint.HEAD)

    def _head(self) -> tuple[ChainHead, bytes]:
        if self._at_cut is None:
            raise RuntimeError(f"expected the frame of sequence {self._cut} to have been noted")
        return self._at_cut

    async def _until(self, sequence: int) -> None:
        while self._accepted is None or self._accepted[0].sequence < sequence:
            self._changed.clear()
            await self._changed.wait()
