"""Which checkpoint a restart takes, when it does not take it, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from ballast.events.v1 import checkpoint_pb2
from libs.common import checkpoints
from libs.common.book import PartitionBook
from libs.common.chain import ChainHead
from libs.common.errors import InvariantBroken
from libs.common.metrics import Metrics
from services.collateral_management.app.checkpointer import Checkpointer, Pace, checkpoint_gauges
from services.collateral_management.app.failpoints import Failpoint, Failpoints
from services.collateral_management.app.restore import CheckpointDiffers, Restorer
from services.collateral_management.domain.checkpoint import HEAD, Item
from services.collateral_management.domain.ledger import fold
from services.collateral_management.domain.state import State
from services.collateral_management.tests.restoring import comparable
from services.collateral_management.tests.story import Story

PACE = Pace(every_s=0.001, items_per_second_max=10**9)


@dataclass
class MemoryStore:
    """Implements CheckpointStore over a log in memory."""

    log: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    removes: bool = True

    async def newest(self) -> int | None:
        return next((epoch for epoch, name, value in reversed(self.log) if name == HEAD and value is not None), None)

    async def read(
        self, epoch: int | None
    ) -> AsyncIterator[tuple[list[Item], Mapping[int, checkpoint_pb2.CheckpointItem]]]:
        heads: dict[int, checkpoint_pb2.CheckpointItem] = {}
        for one, name, value in list(self.log):
            item = None if value is None else checkpoint_pb2.CheckpointItem.FromString(value)
            if name == HEAD:
                heads.pop(one, None)
                if item is not None:
                    heads[one] = item
            elif one == epoch:
                yield [(name, item)], {}
        yield [], heads

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        await asyncio.sleep(0)
        for name, item in items:
            if item is not None:
                item.version = version
            self.log.append((epoch, name, None if item is None else item.SerializeToString()))

    async def remove_older(self, epoch: int) -> int:
        older = {(one, name) for one, name, _ in self.log if one < epoch} if self.removes else set()
        self.log += [(one, name, None) for one, name in sorted(older)]
        return len(older)

    async def stop(self) -> None:
        """Nothing to close."""


class Desk:
    """A story's frames, folded and checkpointed."""

    def __init__(self, *, removes: bool = True) -> None:
        self.story = Story()
        self.store = MemoryStore(removes=removes)
        self.state = State(0)
        self.failed: list[str] = []
        self._folded = 0

    def play(self) -> None:
        """Some commands more."""
        account = self.story.account("ann", usd=5)
        self.story.do("confirm_deposit", sender="ann", account=account, asset=1, units=7)

    async def checkpoint(self, epoch: int, *, plan: str = "") -> None:
        """Folds what there is and writes until a head stands there, or a failpoint is reached."""
        frames = list(zip(self.story.contexts, self.story.frames, strict=True))
        for context, body in frames[self._folded :]:
            fold(self.state, body, context)
        self._folded = len(frames)
        shown = checkpoint_gauges(Metrics())
        writer = Checkpointer(
            0,
            store=self.store,
            state=self.state,
            handled=lambda: self._folded,
            pace=PACE,
            shown=shown,
            failpoints=Failpoints(plan, act=self._fail),
        )
        writer.stands_at(
            ChainHead.kept(checkpoint_pb2.CheckpointHead(sequence=self._folded, offset=self._folded)),
            self.state.fingerprint,
        )
        task = asyncio.create_task(writer.run(epoch))
        async with asyncio.timeout(5):
            while not task.done() and shown.sequence.labels(0)._value.get() < self._folded:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)  # it removes what is older
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _fail(self, deed: str) -> None:
        self.failed.append(deed)
        raise asyncio.CancelledError

    async def restored(self, restorer: Restorer) -> tuple[int, State]:
        """Epoch of the set taken, 0 for none, and the state with the tail folded."""
        state, book = State(0), PartitionBook(0)
        found = await restorer.restore(self.store, state, book)
        first = found.head.sequence if found is not None else 0
        assert book.sequence == first
        for context, body in list(zip(self.story.contexts, self.story.frames, strict=True))[first:]:
            fold(state, body, context)
        if found is not None:
            restorer.complete(found, sequence=self.story.sequence)
        return (found.epoch if found is not None else 0), state

    async def takes(self, epoch: int) -> None:
        """A restart takes that set, and comes to where the story is."""
        restorer = Restorer(0)
        try:
            found, state = await self.restored(restorer)
        except CheckpointDiffers:  # the short look told another set than the newest
            found, state = await self.restored(restorer)
        assert found == epoch
        assert comparable(state) == comparable(self.story.state)


async def _nothing(desk: Desk) -> None:
    desk.play()


async def _one_set(desk: Desk) -> None:
    desk.play()
    await desk.checkpoint(3)
    desk.play()


async def _two_owners(desk: Desk) -> None:
    await _one_set(desk)
    await desk.checkpoint(4)
    desk.play()


async def _the_second_one_dies_first(desk: Desk) -> None:
    await _one_set(desk)
    await desk.checkpoint(4, plan="checkpoint:1:kill")
    assert desk.failed == ["kill"]


async def _the_second_one_dies_before_it_removes(desk: Desk) -> None:
    await _one_set(desk)
    await desk.checkpoint(4, plan="head:1:kill")
    assert desk.failed == ["kill"]


async def _a_zombie_comes_back(desk: Desk) -> None:
    await _two_owners(desk)
    await desk.checkpoint(3)


async def _everything_is_removed(desk: Desk) -> None:
    await _two_owners(desk)
    await desk.store.remove_older(99)


@pytest.mark.parametrize(
    ("past", "epoch"),
    [
        (_nothing,                               0),
        (_one_set,                               3),
        (_two_owners,                            4),
        (_the_second_one_dies_first,             3),
        (_the_second_one_dies_before_it_removes, 4),
        (_a_zombie_comes_back,                   4),
        (_everything_is_removed,                 0),
    ],
)  # fmt: skip
async def test_a_restart_takes_the_newest_complete_set(past: Callable[[Desk], object], epoch: int) -> None:
    desk = Desk()
    await past(desk)  # type: ignore[misc]
    await desk.takes(epoch)


async def test_what_an_older_owner_left_is_removed_once_the_new_set_is_complete() -> None:
    desk = Desk()
    await _two_owners(desk)
    alive = {}
    for epoch, name, value in desk.store.log:
        alive[epoch, name] = value
    assert {epoch for (epoch, _), value in alive.items() if value is not None} == {4}


def _without(kind: bytes) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        index = max(at for at, (epoch, name, _) in enumerate(desk.store.log) if epoch == 4 and name.startswith(kind))
        del desk.store.log[index]

    return spoil


def _other_balance(desk: Desk) -> None:
    index = max(at for at, (epoch, name, _) in enumerate(desk.store.log) if epoch == 4 and name.startswith(b"A"))
    epoch, name, value = desk.store.log[index]
    item = checkpoint_pb2.CheckpointItem.FromString(value or b"")
    lines = bytearray(item.account.lines)
    lines[5] ^= 1
    item.account.lines = bytes(lines)
    desk.store.log[index] = (epoch, name, item.SerializeToString())


@pytest.mark.parametrize("spoil", [_without(b"A"), _without(b"S"), _other_balance])
async def test_a_set_that_differs_is_not_used_again_then_the_one_before_then_the_journal(
    spoil: Callable[[Desk], None],
) -> None:
    desk = Desk(removes=False)
    await _two_owners(desk)
    spoil(desk)
    restorer = Restorer(0)
    restorer._is_careful = True
    with pytest.raises(CheckpointDiffers, match="epoch 4"):
        await desk.restored(restorer)
    epoch, state = await desk.restored(restorer)
    assert (epoch, comparable(state)) == (3, comparable(desk.story.state))
    found = await restorer.restore(desk.store, State(0), PartitionBook(0))
    assert found is not None
    with pytest.raises(CheckpointDiffers):  # as the fold of the tail would find it
        restorer.judge(found, found=b"other", expected=b"journal's")
    epoch, state = await desk.restored(restorer)
    assert (epoch, comparable(state)) == (0, comparable(desk.story.state))


@dataclass
class FleetingStore(MemoryStore):
    """A newer owner completes its set, and removes the older ones, after the first look at the heads."""

    newer: MemoryStore = field(default_factory=MemoryStore)

    async def read(
        self, epoch: int | None
    ) -> AsyncIterator[tuple[list[Item], Mapping[int, checkpoint_pb2.CheckpointItem]]]:
        async for found in super().read(epoch):
            yield found
        self.log = self.newer.log


async def test_a_set_that_goes_away_while_it_is_read_is_tried_again_with_a_new_state() -> None:
    desk = Desk()
    await _one_set(desk)
    before = list(desk.store.log)
    await desk.checkpoint(4)
    desk.store = FleetingStore(before, newer=desk.store)
    restorer = Restorer(0)
    restorer._is_careful = True
    state, book = State(0), PartitionBook(0)
    with pytest.raises(CheckpointDiffers, match="3 is gone while it was read"):
        await restorer.restore(desk.store, state, book)
    assert book.sequence == 0
    epoch, state = await desk.restored(restorer)
    assert (epoch, comparable(state)) == (4, comparable(desk.story.state))


async def test_a_journal_that_ends_before_its_checkpoint_is_refused() -> None:
    desk = Desk()
    await _one_set(desk)
    restorer = Restorer(0)
    found = await restorer.restore(desk.store, State(0), PartitionBook(0))
    assert found is not None
    restorer.complete(found, sequence=found.exact_from)
    with pytest.raises(InvariantBroken, match=f"expected sequence {found.exact_from}, was {found.exact_from - 1}"):
        restorer.complete(found, sequence=found.exact_from - 1)


@pytest.mark.parametrize("size", [1, 20, 22])
async def test_lines_that_are_no_lines_are_refused_by_name(size: int) -> None:
    desk = Desk()
    await _one_set(desk)
    torn = checkpoint_pb2.AccountItem(account=5, lines=bytes(size))
    await desk.store.write(3, [(b"A5", checkpoint_pb2.CheckpointItem(account=torn))], version=1)
    with pytest.raises(InvariantBroken, match="epoch 3, item b'A5'"):
        await desk.restored(Restorer(0))


def test_the_head_has_one_name_for_writer_and_readers() -> None:
    assert HEAD == checkpoints.HEAD


async def test_failpoints_of_a_checkpoint_are_reached_in_order() -> None:
    seen: list[Failpoint] = []

    class Seeing(Failpoints):
        def reach(self, point: Failpoint) -> None:
            seen.append(point)

    desk = Desk()
    desk.play()
    await desk.checkpoint(1)
    state = State(0)
    writer = Checkpointer(
        0, store=desk.store, state=state, handled=lambda: 1, pace=PACE, shown=checkpoint_gauges(Metrics()),
        failpoints=Seeing(),
    )  # fmt: skip
    for context, body in zip(desk.story.contexts, desk.story.frames, strict=True):
        fold(state, body, context)
    writer.stands_at(ChainHead.kept(checkpoint_pb2.CheckpointHead(sequence=1)), state.fingerprint)
    await writer.write(2, state.changes)
    assert seen == [Failpoint.CHECKPOINT, Failpoint.HEAD]
