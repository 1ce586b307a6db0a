"""Checkpoints on a topic that is really compacted: what they make is the journal's state, whatever stops in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from libs.common.checkpoints import CheckpointBroken
from libs.common.topics import ACCOUNTS
from services.collateral_management.adapters.checkpoints import KafkaCheckpoints
from services.collateral_management.app.restore import CheckpointDiffers, Restorer
from services.collateral_management.domain.checkpoint import HEAD, Item
from services.collateral_management.domain.state import CASH
from services.collateral_management.tests.restoring import Frames
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, NORTH, USD, Story
from tests.integration.checkpoint_desk import Desk, compact_soon, everything_of, held, until_cleaned


def _frames(partition: int, *, rounds: int = 12) -> tuple[Story, Frames, int]:
    """A story in which lines are emptied and filled again, orders come and go, keys are remembered and forgotten."""
    story = Story(partition=partition)
    accounts = [story.account(owner, usd=1_000 * each) for each, owner in enumerate(("ann", "bob", "cleo"), start=1)]
    first = accounts[0]
    for _ in range(rounds):
        for units in (1_000 * DOLLAR, -1_000 * DOLLAR):
            name = "confirm_deposit" if units > 0 else "withdraw"
            story.do(name, sender="ann", account=first, asset=USD, units=abs(units))
            pending = [one.reservation for one in story.state.reservations_of(first)]
            for reservation in pending:
                story.do("verdict", account=first, reservation=reservation, settle=True, citation=story.cite())
        story.do(
            "place_order", sender="bob", account=accounts[1], instrument=BTC_PERP, venue=NORTH, side=BUY, lots=1,
            limit_price=1_500_000, time_in_force=1,
        )  # fmt: skip
        for order in list(story.state.orders):
            story.do("verdict", account=accounts[1], order=order, settle=False, citation=story.cite())
    story.verify()
    return story, list(zip(story.contexts, story.frames, strict=True)), first


@pytest.fixture(scope="module")
def compacting(fresh_kafka: str) -> str:
    asyncio.run(compact_soon(fresh_kafka))
    return fresh_kafka


async def test_what_compaction_leaves_makes_the_state(compacting: str) -> None:
    story, frames, first = _frames(0)
    desk = Desk(compacting, 0, frames)
    async with desk.writing(3):
        await desk.go()
        await desk.until_saved()
    written = (await held(compacting, 0))[1]
    await until_cleaned(compacting, 0, at_most=written * 3 // 4)
    found = await desk.is_right(epoch=3)
    assert found is not None
    assert found.head.sequence == found.exact_from == len(frames)
    assert (desk.state.line(first, USD, CASH), story.state.line(first, USD, CASH)[1]) == (
        story.state.line(first, USD, CASH),
        max(one.posting.version for _, body in frames for each in body.outcomes for one in each.effects
            if (one.posting.account, one.posting.asset, one.posting.kind) == (first, USD, CASH)),
    )  # fmt: skip


async def test_nothing_there_and_everything_removed_is_no_checkpoint(compacting: str) -> None:
    _, frames, _ = _frames(1, rounds=2)
    desk = Desk(compacting, 1, frames)
    await desk.is_right(epoch=None)
    async with desk.writing(5):
        await desk.go()
        await desk.until_saved()
    store = desk.store()
    assert await store.remove_older(6) > 10
    await store.stop()
    await desk.is_right(epoch=None)
    await until_cleaned(compacting, 1, at_most=12)  # even the tombstones go
    await desk.is_right(epoch=None)


class _Breaking:
    """A store whose writer dies, or stands still, after so many writes."""

    def __init__(self, store: KafkaCheckpoints, writes: int) -> None:
        self._store, self._left = store, writes
        self.newest, self.read, self.remove_older, self.stop = (
            store.newest, store.read, store.remove_older, store.stop,
        )  # fmt: skip
        self.may_go_on = asyncio.Event()

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        self._left -= 1
        if self._left < 0:
            await self.may_go_on.wait()
        await self._store.write(epoch, items, version=version)


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 4, 7])
async def test_a_checkpoint_that_stops_in_the_middle_does_no_harm(compacting: str, writes: int) -> None:
    _, frames, _ = _frames(2, rounds=4)
    desk = Desk(compacting, 2, frames)
    epoch = 10 + 2 * writes
    async with desk.writing(epoch):
        await desk.go(20)
        await desk.until_saved()
    async with desk.writing(epoch + 1, store=_Breaking(desk.store(), writes)):
        await desk.go()
        await asyncio.sleep(0.3)
    found, _ = await desk.restored()
    assert found is not None
    await desk.is_right(epoch=epoch if writes < 2 else epoch + 1)


async def test_what_a_zombie_writes_later_does_no_harm(compacting: str) -> None:
    _, frames, _ = _frames(3, rounds=4)
    zombie, desk = Desk(compacting, 3, frames), Desk(compacting, 3, frames)
    asleep = _Breaking(zombie.store(), 2)
    async with zombie.writing(1, store=asleep):
        await zombie.go(15)
        await desk.go(15)
        async with desk.writing(2):
            await desk.go()
            await desk.until_saved()
            await asyncio.sleep(0.5)  # it has removed what is older
        asleep.may_go_on.set()  # wakes up in the middle of its checkpoint, and finishes it
        await zombie.until_saved()
    store = desk.store()
    assert set((await everything_of(store, None))[1]) == {1, 2}
    await store.stop()
    await desk.is_right(epoch=2)


async def test_a_set_that_lacks_something_is_not_used_again(compacting: str) -> None:
    _, frames, _ = _frames(3, rounds=3)
    desk, partition = Desk(compacting, 3, frames), 3
    for epoch, until in ((30, 12), (31, None)):
        keeps = _KeepsOlder(desk.store())
        async with desk.writing(epoch, store=keeps):
            await desk.go(until)
            await desk.until_saved()
    store = desk.store()
    gone = next(name for name, item in (await everything_of(store, 31))[0] if item is not None)
    await store.write(31, [(gone, None)], version=0)
    await store.stop()
    restorer = Restorer(partition)
    with pytest.raises(CheckpointDiffers, match="epoch 31"):
        await desk.restored(restorer)
    found, state = await desk.restored(restorer)
    assert found is not None
    assert found.epoch == 30
    assert state.fingerprint == desk.state.fingerprint


class _KeepsOlder(_Breaking):
    """A store that never removes older sets."""

    def __init__(self, store: KafkaCheckpoints) -> None:
        super().__init__(store, 10**9)
        self.remove_older = self._nothing

    async def _nothing(self, epoch: int) -> int:
        return 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (b"A1", b"torn", "checksum"),
        (b"A1", b"\x12\x00\x7d\x00\x00\x00\x00", "checksum"),
        (HEAD, b"", "checksum"),
    ],
)
async def test_a_corrupt_record_is_named_and_stops_the_restore(
    compacting: str, name: bytes, value: bytes, said: str
) -> None:
    _, frames, _ = _frames(1, rounds=1)
    desk = Desk(compacting, 1, frames)
    async with desk.writing(900):
        await desk.go()
        await desk.until_saved()
    store = desk.store()
    await store._send_all([((1).to_bytes(4, "big") + (900).to_bytes(8, "big") + name, value)])
    with pytest.raises(CheckpointBroken, match=rf"{ACCOUNTS.name}/1 at offset \d+: .*{said}"):
        await desk.restored()
    await store.write(900, [(name, None)], version=0)
    await store.stop()
