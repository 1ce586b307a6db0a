"""The owner of a partition over a journal and a source in memory: resumes exactly, lets out only what is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from ballast.events.v1 import chain_pb2, commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.chain import AcceptedFrame, ChainHead
from libs.common.errors import Fault, InvariantBroken, LostOwnership
from libs.common.metrics import Metrics
from services.collateral_management.app import owner as owner_module
from services.collateral_management.app.checkpoints import Checkpoints
from services.collateral_management.app.owner import AcceptedBooks, PartitionOwner, gauges
from services.collateral_management.app.ports import Received
from services.collateral_management.tests.story import PARAMETERS

GENESIS = int(PARAMETERS.genesis_ns)


class MemoryJournal:
    """Implements Journal; frames are accepted when the test says so."""

    def __init__(self, frames: list[AcceptedFrame], on_accepted: Callable[[AcceptedFrame], None]) -> None:
        self.frames = frames
        self.on_accepted = on_accepted
        self.in_flight: list[AcceptedFrame] = []
        self.holds_back = False
        self.is_closed = False
        self.epoch = 1
        self._lost: asyncio.Future[LostOwnership] = asyncio.get_running_loop().create_future()

    @property
    def input_position(self) -> tuple[int, int]:
        last = self.frames[-1].frame if self.frames else None
        return (last.input_offset, last.input_index) if last else (-1, 0)

    @property
    def next_sequence(self) -> int:
        return len(self.frames) + len(self.in_flight) + 1

    @property
    def run_time_ns(self) -> int:
        every = [*self.frames, *self.in_flight]
        return every[-1].run_time_ns if every else 0

    async def take_over(
        self,
        fold: Callable[[AcceptedFrame], None],
        *,
        head: ChainHead | None = None,
        caught_up: Callable[[], None] | None = None,
    ) -> None:
        for frame in self.frames:
            if head is None or frame.sequence > head.sequence:
                fold(frame)
        if caught_up is not None:
            caught_up()

    async def append(
        self, body: bytes, *, input_offset: int, input_index: int, run_time_ns: int, control_sequence: int,
        headers: Mapping[str, bytes],
    ) -> asyncio.Future[AcceptedFrame]:  # fmt: skip
        assert b"wall_ns" not in body
        assert headers["wall_ns"]
        frame = chain_pb2.Frame(
            sequence=self.next_sequence, input_offset=input_offset, input_index=input_index, body=body,
            run_time_ns=run_time_ns, control_sequence=control_sequence,
        )  # fmt: skip
        self.in_flight.append(AcceptedFrame(offset=frame.sequence, frame=frame, head=b""))
        if not self.holds_back:
            self.accept()
        return asyncio.get_running_loop().create_future()

    def accept(self) -> None:
        while self.in_flight:
            self.frames.append(self.in_flight.pop(0))
            self.on_accepted(self.frames[-1])

    async def reclaim(self, owner: bytes) -> None:
        assert len(owner) == 16
        self.epoch += 1

    async def drain(self) -> None:
        self.accept()

    async def close(self) -> None:
        self.is_closed = True

    def lose(self, why: LostOwnership) -> None:
        self._lost.set_result(why)

    async def wait_lost(self) -> LostOwnership:
        return await asyncio.shield(self._lost)


class MemorySource:
    """Implements CommandSource over a list of records."""

    def __init__(self, records: list[Received]) -> None:
        self.records = records
        self.started_after = -2
        self.is_stopped = False
        self._next = 0

    async def start(self, *, after_offset: int) -> None:
        self.started_after = after_offset
        self._next = max(0, after_offset)

    async def poll(self, *, timeout_s: float) -> list[Received]:
        await asyncio.sleep(0.001)
        found, self._next = self.records[self._next :], len(self.records)
        return found

    async def stop(self) -> None:
        self.is_stopped = True


class Clock:
    """Implements RunClock and ControlLog."""

    run_time_ns = GENESIS
    marks_alive = True
    sequence = 3
    active_hash = b""

    async def wait_active(self, wanted: bytes) -> None:
        """At once."""


class House:
    """Everything around one owner; what is journalled survives it."""

    def __init__(self) -> None:
        self.records: list[Received] = []
        self.frames: list[AcceptedFrame] = []
        self.books = AcceptedBooks()
        self.clock = Clock()
        self.serving: list[bool] = []
        self.journal: MemoryJournal | None = None
        self.source = MemorySource(self.records)
        self.new_checkpoints: Callable[[], Checkpoints] | None = None
        self._n = 0
        self._shown = gauges(Metrics())

    def put(self, count: int) -> None:
        """One record with so many openings of accounts."""
        batch = commands_pb2.CommandBatch()
        for _ in range(count):
            self._n += 1
            one = batch.commands.add()
            one.open_account.owner = "alice"
            one.principal.id, one.principal.role = "alice", words.ROLE_CLIENT
            one.session.session, one.session.n = b"s" * 16, self._n
        self.records.append(Received(len(self.records), batch))

    def owner(self) -> PartitionOwner:
        """A new owner, as after a restart."""
        self.source = MemorySource(self.records)

        def new_journal(on_accepted: Callable[[AcceptedFrame], None]) -> MemoryJournal:
            self.journal = MemoryJournal(self.frames, on_accepted)
            return self.journal

        return PartitionOwner(
            0, parameters=PARAMETERS, new_journal=new_journal, source=self.source, clock=self.clock,
            control=self.clock, books=self.books, shown=self._shown,
            checkpoints=self.new_checkpoints() if self.new_checkpoints is not None else None,
        )  # fmt: skip

    @asynccontextmanager
    async def owned(self) -> AsyncIterator[MemoryJournal]:
        """Owned as long as it is open, and drained at the end."""
        stopping = asyncio.Event()
        running = asyncio.create_task(self.owner().run(stopping, on_serving=self.serving.append))
        await until(lambda: bool(self.serving) and self.serving[-1])
        assert self.journal is not None
        try:
            yield self.journal
        finally:
            stopping.set()
            await running

    def bodies(self) -> list[journal_pb2.JournalBody]:
        """Bodies of the accepted frames."""
        return [journal_pb2.JournalBody.FromString(frame.body) for frame in self.frames]

    def applied(self) -> list[int]:
        """Numbers of the commands, in the order in which they were applied."""
        return [one.session.n for body in self.bodies() for one in body.outcomes]


async def until(true: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while not true():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


async def test_commands_become_frames_and_the_accepted_book() -> None:
    house = House()
    house.put(3)
    async with house.owned():
        await until(lambda: len(house.applied()) == 3)
        book = await house.books.at_least(0, 1)
        assert book is not None
        assert len(book.accounts) == 3
    assert house.serving == [True, False]
    assert (house.source.is_stopped, await house.books.at_least(0, 1)) == (True, None)
    assert [(one.frame.input_offset, one.frame.input_index) for one in house.frames] == [(0, 2)]
    assert (house.frames[0].control_sequence, house.frames[0].run_time_ns) == (3, GENESIS)


async def test_a_frame_is_closed_at_its_bound_and_a_restart_resumes_in_the_middle_of_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner_module, "FRAME_COMMANDS_MAX", 4)
    house = House()
    house.put(3)
    house.put(7)
    async with house.owned():
        await until(lambda: len(house.applied()) == 10)
    assert [len(body.outcomes) for body in house.bodies()] == [4, 4, 2]
    for kept in range(4):
        again = House()
        again.records[:] = house.records
        again.frames[:] = house.frames[:kept]
        async with again.owned():
            assert again.source.started_after == ([-1, 1, 1, 1][kept])
            await until(lambda again=again: len(again.applied()) == 10)  # type: ignore[misc]
        assert again.applied() == list(range(1, 11))
        assert again.bodies()[-1].fingerprint == house.bodies()[-1].fingerprint


async def test_poison_is_a_hole_that_moves_nothing() -> None:
    house = House()
    house.put(1)
    house.records.append(Received(1, None))
    house.put(1)
    async with house.owned():
        await until(lambda: len(house.applied()) == 2)
    assert house.frames[-1].frame.input_offset == 2


async def test_a_read_waits_for_the_tail_at_its_arrival_to_be_accepted() -> None:
    house = House()
    house.put(1)
    async with house.owned() as journal:
        await until(lambda: len(house.applied()) == 1)
        journal.holds_back = True
        house.records.append(Received(1, house.records[0].batch))  # a repetition is journalled too
        await until(lambda: bool(journal.in_flight))
        reading = asyncio.create_task(house.books.at_least(0, 0))
        await asyncio.sleep(0.01)
        assert not reading.done()
        journal.accept()
        book = await asyncio.wait_for(reading, 5)
        assert book is not None
        assert book.sequence == 2


async def test_the_run_time_of_frames_never_falls() -> None:
    house = House()
    house.clock.run_time_ns = GENESIS + 50
    house.put(1)
    async with house.owned():
        await until(lambda: len(house.applied()) == 1)
    house.clock.run_time_ns = GENESIS  # a restart that has not read the marks again yet
    house.put(1)
    async with house.owned():
        await until(lambda: len(house.applied()) == 2)
    assert [frame.run_time_ns for frame in house.frames] == [GENESIS + 50] * 2


async def test_lost_ownership_ends_serving_and_closes_everything() -> None:
    house = House()
    running = asyncio.create_task(house.owner().run(asyncio.Event(), on_serving=house.serving.append))
    await until(lambda: house.serving == [True])
    journal = house.journal
    assert journal is not None
    journal.lose(LostOwnership("another claimed"))
    with pytest.raises(LostOwnership):
        await running
    assert (house.serving, journal.is_closed, house.source.is_stopped) == ([True, False], True, True)
    assert await house.books.at_least(0, 0) is None


async def test_a_broken_invariant_behind_lost_ownership_is_told() -> None:
    house = House()
    running = asyncio.create_task(house.owner().run(asyncio.Event(), on_serving=house.serving.append))
    await until(lambda: house.serving == [True])
    lost = LostOwnership("read back failed")
    lost.__cause__ = InvariantBroken("I13", "by the test")
    assert house.journal is not None
    house.journal.lose(lost)
    with pytest.raises(InvariantBroken, match="I13"):
        await running


async def test_a_journal_that_does_not_add_up_is_never_served() -> None:
    house = House()
    house.put(2)
    async with house.owned():
        await until(lambda: len(house.applied()) == 2)
    body = house.bodies()[0]
    body.fingerprint = bytes(16)
    house.frames[0].frame.body = body.SerializeToString()
    house.serving.clear()
    with pytest.raises(InvariantBroken, match=r"I(8|13)"):
        await house.owner().run(asyncio.Event(), on_serving=house.serving.append)
    assert house.serving == [False]


async def test_commands_that_are_gone_are_a_fault() -> None:
    house = House()

    async def gone(*, after_offset: int) -> None:
        raise Fault(f"begins after {after_offset}")

    owner = house.owner()
    house.source.start = gone  # type: ignore[method-assign]
    with pytest.raises(Fault, match="begins after -1"):
        await owner.run(asyncio.Event(), on_serving=house.serving.append)


async def test_an_owner_claims_anew_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "RECLAIM_SECONDS", 0.01)
    house = House()
    async with house.owned() as journal:
        await until(lambda: journal.epoch > 2)
        assert house.books.epochs[0] in (journal.epoch, journal.epoch - 1)
