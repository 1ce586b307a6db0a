"""What the group suggests becomes running partitions once they are prepared; the last suggestion wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from libs.common.errors import InvariantBroken, LostOwnership
from libs.common.service import Condition
from services.collateral_management.app import ownership as module
from services.collateral_management.app.ownership import Ownership
from services.collateral_management.app.supervisor import Supervisor


class House:
    """A supervisor that notes what it is assigned, and parameters that come in force when the test says so."""

    def __init__(self) -> None:
        self.assigned: list[set[int]] = []
        self.prepared: list[frozenset[int]] = []
        self.faults: list[Exception] = []
        self.in_force = asyncio.Event()
        self.in_force.set()
        self.condition = Condition("partitions assigned")
        self.ownership = Ownership(cast(Supervisor, self), prepare=self._prepare, assigned=self.condition)

    async def assign(self, wanted: set[int]) -> None:
        self.assigned.append(wanted)

    async def _prepare(self, partitions: frozenset[int]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        if 0 not in partitions:  # who owns partition 0 puts them in force itself
            await self.in_force.wait()
        self.prepared.append(partitions)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        stopping = asyncio.Event()
        task = asyncio.create_task(self.ownership.run(stopping))
        yield task
        stopping.set()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 1)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backs off for no time."""
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.0)


async def test_a_suggestion_is_followed_when_it_is_prepared() -> None:
    house = House()
    house.in_force.clear()
    async with house.running():
        await house.ownership.suggest({1, 2})
        await settle()
        assert (house.assigned, house.condition.ok) == ([], False)
        house.in_force.set()
        await settle()
        assert (house.assigned, house.condition.ok) == ([{1, 2}], True)


async def test_what_is_taken_away_waits_for_nothing() -> None:
    house = House()
    house.in_force.clear()
    async with house.running():
        await house.ownership.suggest({1})
        await settle()
        await house.ownership.suggest(set())
        assert house.assigned == [set()]
        house.in_force.set()
        await settle()
        assert set() in house.assigned
        assert {1} not in house.assigned


async def test_a_new_suggestion_is_prepared_anew_even_while_the_old_one_waits() -> None:
    house = House()
    house.in_force.clear()
    async with house.running():
        await house.ownership.suggest({1, 2})
        await settle()
        await house.ownership.suggest({0, 1, 2, 3})
        await settle()
        assert (house.assigned, house.prepared) == ([{0, 1, 2, 3}], [frozenset({0, 1, 2, 3})])


async def test_a_lost_claim_is_tried_again() -> None:
    house = House()
    house.faults = [LostOwnership("others claimed first")] * 3
    async with house.running():
        await house.ownership.suggest({0})
        await settle()
        assert house.assigned == [{0}]


async def test_a_bug_ends_the_task() -> None:
    house = House()
    house.faults = [InvariantBroken("I8", "by the test")]
    async with house.running() as task:
        await house.ownership.suggest({0})
        with pytest.raises(InvariantBroken):
            await asyncio.wait_for(task, 1)


async def test_an_instance_without_partitions_is_as_ready_as_one_with() -> None:
    house = House()
    async with house.running():
        await house.ownership.suggest(set())
        await settle()
        assert house.condition.ok
