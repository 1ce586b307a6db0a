"""A task a partition: what is lost is taken again, what is broken stays down, what nobody expects ends the process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

import pytest

from libs.common.errors import ConfigurationError, Fault, InvariantBroken, LostOwnership
from libs.common.service import Health
from services.collateral_management.app import supervisor as module
from services.collateral_management.app.owner import PartitionOwner
from services.collateral_management.app.supervisor import FAULTS_MAX, Supervisor


class Owner:
    """Ends as it is told; serves until stopped when nothing is left to tell."""

    def __init__(self, ends: list[BaseException], *, serves_first: bool) -> None:
        self.ends = ends
        self.serves_first = serves_first

    async def run(self, stopping: asyncio.Event, *, on_serving: Callable[[bool], None]) -> None:
        if self.ends and not self.serves_first:
            raise self.ends.pop(0)
        on_serving(True)
        try:
            if self.ends:
                raise self.ends.pop(0)
            await stopping.wait()
        finally:
            on_serving(False)


class House:
    """A supervisor of owners that end as told."""

    def __init__(self, *ends: BaseException, serves_first: bool = False) -> None:
        self.health = Health()
        self.bugs: list[BaseException] = []
        self.made: list[int] = []
        self.ends = list(ends)
        self.serves_first = serves_first
        self.supervisor = Supervisor(
            new_owner=self._new, health=self.health, on_bug=self.bugs.append, jitter=random.Random(1)
        )

    def _new(self, partition: int) -> PartitionOwner:
        self.made.append(partition)
        return cast(PartitionOwner, Owner(self.ends, serves_first=self.serves_first))

    def unmet(self) -> dict[str, str]:
        """Conditions that do not hold, with the reason."""
        return {one["condition"]: one["detail"] for one in self.health.unmet()}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backs off for no time."""
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.0)


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_it_is_ready_when_every_assigned_partition_serves() -> None:
    house = House()
    await house.supervisor.assign({0, 2})
    assert set(house.unmet()) == {"partition 0", "partition 2"}
    await settle()
    assert (house.unmet(), house.made) == ({}, [0, 2])
    await house.supervisor.assign({2, 3})
    await settle()
    assert (house.unmet(), house.made) == ({}, [0, 2, 3])
    await house.supervisor.stop()


async def test_lost_ownership_and_faults_are_tried_again() -> None:
    house = House(LostOwnership("claimed"), Fault("broker away"), LostOwnership("claimed"))
    await house.supervisor.assign({0})
    await settle()
    assert (house.made, house.unmet(), house.bugs) == ([0] * 4, {}, [])
    await house.supervisor.stop()


async def test_after_so_many_faults_in_a_row_the_process_begins_anew() -> None:
    fault = Fault("broker away")
    house = House(*[fault] * (FAULTS_MAX + 5))
    await house.supervisor.assign({0})
    await settle()
    assert (len(house.made), house.bugs) == (FAULTS_MAX, [fault])
    await house.supervisor.stop()


async def test_faults_between_which_it_served_are_not_in_a_row() -> None:
    house = House(*[Fault("broker away")] * (FAULTS_MAX + 5), serves_first=True)
    await house.supervisor.assign({0})
    await settle()
    assert (len(house.made), house.unmet()) == (FAULTS_MAX + 6, {})
    await house.supervisor.stop()


@pytest.mark.parametrize("error", [InvariantBroken("I1", "by the test"), ConfigurationError("another topic")])
async def test_a_broken_partition_stays_down_and_the_others_go_on(error: BaseException) -> None:
    house = House(error)
    await house.supervisor.assign({0, 1})
    await settle()
    assert (house.made, list(house.unmet())) == ([0, 1], ["partition 0"])
    assert str(error) in house.unmet()["partition 0"]
    assert house.bugs == []
    await house.supervisor.stop()


async def test_what_nobody_expects_ends_the_process() -> None:
    error = RuntimeError("by the test")
    house = House(error)
    await house.supervisor.assign({0})
    await settle()
    assert house.bugs == [error]
    await house.supervisor.stop()


async def test_an_owner_that_somebody_else_cancelled_ends_the_process() -> None:
    house = House(asyncio.CancelledError())
    await house.supervisor.assign({0})
    await settle()
    assert [str(bug) for bug in house.bugs] == ["partition 0 was cancelled"]
    await house.supervisor.stop()
