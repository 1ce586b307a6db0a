"""Checkpoints of a story's ledger on a real topic that is compacted within seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ballast.events.v1.checkpoint_pb2 import CheckpointItem
from libs.common.book import PartitionBook
from libs.common.chain import ChainHead
from libs.common.metrics import Metrics
from libs.common.topics import ACCOUNTS
from services.collateral_management.adapters.checkpoints import KafkaCheckpoints
from services.collateral_management.app.checkpointer import Checkpointer, CheckpointGauges, Pace, checkpoint_gauges
from services.collateral_management.app.failpoints import Failpoints
from services.collateral_management.app.ports import CheckpointStore
from services.collateral_management.app.restore import Restored, Restorer
from services.collateral_management.domain.checkpoint import Item
from services.collateral_management.domain.ledger import fold
from services.collateral_management.domain.state import State
from services.collateral_management.tests.restoring import Frames, comparable

COMPACTING = {
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1000",
    "delete.retention.ms": "1000",
}
FAST = Pace(every_s=0.05, items_per_second_max=1_000_000)
SECONDS_MAX = 60.0


async def compact_soon(bootstrap: str) -> None:
    """Makes the broker compact the checkpoints' topic whenever there is anything to clean."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="test-compaction")
    await admin.start()
    try:
        wanted = ConfigResource(ConfigResourceType.TOPIC, ACCOUNTS.name, configs={**ACCOUNTS.config(), **COMPACTING})
        for answer in await admin.alter_configs([wanted]):
            assert all(code == 0 for code, *_ in answer.resources)
    finally:
        await admin.close()


async def held(bootstrap: str, partition: int) -> tuple[int, int]:
    """Records that the partition still holds, and the offset behind its last one."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", check_crcs=True)
    await consumer.start()
    try:
        where = TopicPartition(ACCOUNTS.name, partition)
        consumer.assign([where])
        end, count = (await consumer.end_offsets([where]))[where], 0
        while await consumer.position(where) < end:
            count += len((await consumer.getmany(where, timeout_ms=200)).get(where, []))
        return count, end
    finally:
        await consumer.stop()


async def until_cleaned(bootstrap: str, partition: int, *, at_most: int) -> None:
    """Returns when compaction has left no more than so many records. Only closed segments are cleaned."""
    deadline = time.monotonic() + SECONDS_MAX  # the cleaner looks every fifteen seconds
    filler = KafkaCheckpoints(bootstrap=bootstrap, client_id="test-filler", partition=partition)
    try:
        while True:
            count, end = await held(bootstrap, partition)
            if count <= at_most < end:
                return
            assert time.monotonic() < deadline, f"{count} of {end} records are left, expected at most {at_most}"
            await filler.write(0, [(b"filler", None)], version=0)  # closes the segment before it, which is then cleaned
            await asyncio.sleep(1.5)
    finally:
        await filler.stop()


class Desk:
    """Folds a story's frames and writes checkpoints of them, as one owner or several in turn."""

    def __init__(self, bootstrap: str, partition: int, frames: Frames) -> None:
        self.bootstrap = bootstrap
        self.partition = partition
        self.frames = frames
        self.state = State(partition)
        self._folded = 0
        self._shown: CheckpointGauges = checkpoint_gauges(Metrics())
        self._writer: Checkpointer | None = None

    def store(self) -> KafkaCheckpoints:
        """A store of its own."""
        return KafkaCheckpoints(
            bootstrap=self.bootstrap, client_id=f"test-checkpoints-{self.partition}", partition=self.partition
        )

    @asynccontextmanager
    async def writing(
        self, epoch: int, *, store: CheckpointStore | None = None, failpoints: Failpoints | None = None
    ) -> AsyncIterator[None]:
        """Writes for as long as it is open, then stops in the middle of whatever it does."""
        store = store or self.store()
        self._writer = Checkpointer(
            self.partition,
            store=store,
            state=self.state,
            handled=lambda: self._folded,
            pace=FAST,
            shown=self._shown,
            failpoints=failpoints or Failpoints(),
        )
        if self._folded:
            self._writer.stands_at(head_at(self.frames, self._folded), self.state.fingerprint)
        task = asyncio.create_task(self._writer.run(epoch))
        try:
            yield
        finally:
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            await store.stop()
            assert [one for one in results if isinstance(one, Exception)] == []

    async def go(self, until: int | None = None) -> None:
        """Folds up to so many frames, slowly enough for checkpoints between them."""
        for context, body in self.frames[self._folded : until]:
            fold(self.state, body, context)
            self._folded = context.sequence
            if self._writer is not None:
                self._writer.stands_at(head_at(self.frames, self._folded), body.fingerprint)
            await asyncio.sleep(0.01)

    async def until_saved(self) -> None:
        """Returns when a head at the last folded frame is written."""
        deadline = time.monotonic() + 20
        gauge = self._shown.sequence.labels(self.partition)
        while gauge._value.get() < self._folded:
            assert time.monotonic() < deadline, "no checkpoint of the last frame"
            await asyncio.sleep(0.02)

    async def restored(self, restorer: Restorer | None = None) -> tuple[Restored | None, State]:
        """What the topic makes, the frames behind its head folded."""
        state, book, store = State(self.partition), PartitionBook(self.partition), self.store()
        found = await (restorer or Restorer(self.partition)).restore(store, state, book)
        await store.stop()
        first = found.head.sequence if found is not None else 0
        for context, body in self.frames[first : self._folded]:
            fold(state, body, context)
            book.apply(sequence=context.sequence, run_time_ns=context.now_ns, body=body)
        assert book.fingerprint == state.fingerprint
        assert dict(book.lines) == {line: balance for line, balance in state.all_lines() if balance}
        assert (book.accounts, book.orders, book.streams) == (state.accounts, state.orders, state.streams)
        return found, state

    async def is_right(self, *, epoch: int | None) -> Restored | None:
        """Restores, from that epoch's set, to the very state that the frames make."""
        found, state = await self.restored()
        assert (found.epoch if found is not None else None) == epoch
        assert comparable(state) == comparable(self.state)
        return found


def head_at(frames: Frames, sequence: int) -> ChainHead:
    """A head at a frame of a story: its records are nowhere."""
    context, _ = frames[sequence - 1]
    return ChainHead(
        offset=sequence,
        epoch=1,
        owner=b"o" * 16,
        sequence=context.sequence,
        hash=b"h" * 32,
        claim_offset=0,
        input_topic_id=b"i" * 16,
        input_position=(sequence, 0),
        run_time_ns=context.now_ns,
        control_sequence=context.control_sequence,
    )


async def everything_of(store: CheckpointStore, epoch: int | None) -> tuple[list[Item], Mapping[int, CheckpointItem]]:
    """All items of a set, as they were written, and the heads of all sets."""
    found: list[Item] = []
    heads: Mapping[int, CheckpointItem] = {}
    async for items, known in store.read(epoch):
        found += items
        heads = known
    return found, heads
