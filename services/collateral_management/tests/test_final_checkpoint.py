"""A planned stop leaves a checkpoint at the last frame: the next owner folds nothing, and nobody waits for it long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ballast.events.v1 import checkpoint_pb2
from libs.common.book import PartitionBook
from libs.common.chain import ChainHead
from libs.common.metrics import Metrics
from services.collateral_management.app.checkpointer import Checkpointer, Pace, checkpoint_gauges
from services.collateral_management.app.checkpoints import Checkpoints
from services.collateral_management.app.failpoints import Failpoints
from services.collateral_management.app.restore import Restorer
from services.collateral_management.domain.checkpoint import Item
from services.collateral_management.domain.ledger import fold
from services.collateral_management.domain.state import State
from services.collateral_management.tests.restoring import comparable
from services.collateral_management.tests.test_owner import House, until
from services.collateral_management.tests.test_restore import Desk, MemoryStore

NEVER = Pace(every_s=3_600.0, items_per_second_max=10**9)  # but for what is written at the end


class SilentStore(MemoryStore):
    """Takes the first set, then answers no more."""

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        if any(name == b"H" for _, name, _ in self.log):
            await asyncio.Event().wait()
        await super().write(epoch, items, version=version)


class Writing:
    """A story's frames, accepted by one owner that checkpoints them once and then hardly ever."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.state, self._folded = desk, State(0), 0
        self.writer = Checkpointer(
            0, store=desk.store, state=self.state, handled=lambda: self._folded, pace=NEVER,
            shown=checkpoint_gauges(Metrics()), failpoints=Failpoints(),
        )  # fmt: skip

    def accept(self) -> None:
        """Some commands more are handled and accepted."""
        self.desk.play()
        for context, body in list(zip(self.desk.story.contexts, self.desk.story.frames, strict=True))[self._folded :]:
            fold(self.state, body, context)
        self._folded = self.desk.story.sequence
        head = ChainHead.kept(checkpoint_pb2.CheckpointHead(sequence=self._folded, offset=self._folded))
        self.writer.stands_at(head, self.state.fingerprint)

    async def has_a_head(self) -> None:
        """The first set is complete."""
        async with asyncio.timeout(5):
            while await self.desk.store.newest() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


async def test_the_next_owner_folds_nothing() -> None:
    desk = Desk()
    owner = Writing(desk)
    owner.accept()
    running = asyncio.create_task(owner.writer.run(3))
    await owner.has_a_head()
    owner.accept()
    await owner.writer.finish(within_s=5.0)
    await running
    state, book = State(0), PartitionBook(0)
    found = await Restorer(0).restore(desk.store, state, book)
    assert found is not None
    assert (found.head.sequence, book.sequence) == (desk.story.sequence, desk.story.sequence)
    assert comparable(state) == comparable(desk.story.state)


async def test_a_stop_with_nothing_new_writes_nothing() -> None:
    desk = Desk()
    owner = Writing(desk)
    owner.accept()
    running = asyncio.create_task(owner.writer.run(3))
    await owner.has_a_head()
    before = len(desk.store.log)
    await owner.writer.finish(within_s=5.0)
    await running
    assert len(desk.store.log) == before


async def test_a_stop_before_the_first_set_is_complete_waits_for_nothing() -> None:
    owner = Writing(Desk())
    running = asyncio.create_task(owner.writer.run(3))
    async with asyncio.timeout(1):
        await owner.writer.finish(within_s=60.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_silent_broker_holds_a_stop_up_for_so_long_and_no_longer() -> None:
    desk = Desk()
    desk.store = SilentStore()
    owner = Writing(desk)
    owner.accept()
    running = asyncio.create_task(owner.writer.run(3))
    await owner.has_a_head()
    owner.accept()
    async with asyncio.timeout(2):
        await owner.writer.finish(within_s=0.05)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_owner_that_is_told_to_stop_leaves_a_checkpoint_at_its_last_frame() -> None:
    house, store = House(), MemoryStore()
    house.new_checkpoints = lambda: Checkpoints(
        0, store=store, restorer=Restorer(0), input_topic_id=b"", pace=NEVER, shown=checkpoint_gauges(Metrics()),
        failpoints=Failpoints(),
    )  # fmt: skip
    house.put(3)
    async with house.owned():
        async with asyncio.timeout(5):
            while await store.newest() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        house.put(2)
        await until(lambda: len(house.applied()) == 5)
    state, book = State(0), PartitionBook(0)
    found = await Restorer(0).restore(store, state, book)
    assert found is not None
    assert found.head.sequence == house.frames[-1].sequence
    assert len(state.accounts) == 5
