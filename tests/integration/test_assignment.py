"""The group's word on who should own what: of two processes with one name, the later one, for as long as it lives."""

import asyncio
from contextlib import suppress

from services.collateral_management.adapters.assignment import GroupAssignment
from tests.integration.ledger_house import until

_ALL = {0, 1, 2, 3}


class _Member:
    def __init__(self, bootstrap: str, name: str) -> None:
        self.partitions: set[int] = set()
        self.changes = 0
        self._stopping = asyncio.Event()
        assignment = GroupAssignment(bootstrap=bootstrap, group="story", instance=name, on_change=self._changed)
        self._running = asyncio.create_task(assignment.run(self._stopping))

    async def _changed(self, partitions: set[int]) -> None:
        self.partitions = partitions
        self.changes += 1

    async def leave(self) -> None:
        self._stopping.set()
        with suppress(asyncio.CancelledError):
            await self._running


async def test_the_earlier_of_two_processes_with_one_name_stands_by_until_the_later_is_gone(fresh_kafka: str) -> None:
    earlier = _Member(fresh_kafka, "a")
    await until(lambda: earlier.partitions == _ALL, "its partitions")
    later = _Member(fresh_kafka, "a")
    await until(lambda: later.partitions == _ALL and not earlier.partitions, "its partitions")
    changes = earlier.changes, later.changes
    await asyncio.sleep(8)  # heartbeats, and more than a session
    assert (earlier.changes, later.changes) == changes
    await later.leave()
    await until(lambda: earlier.partitions == _ALL, "its partitions")
    await earlier.leave()
