"""Keeps an owner running for each partition that the group suggests; the chain decides who really owns."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from libs.common.errors import ConfigurationError, Fault, InvariantBroken, LostOwnership
from libs.common.service import Health
from services.collateral_management.app.owner import PartitionOwner

_LOG = logging.getLogger("ballast.ledger")
BACKOFF_SECONDS = 0.2
FAULTS_MAX = 20


class Supervisor:
    """One task a partition.

    Args:
        new_owner: makes an owner of a partition, new for each try.
        on_broken: told the number of an invariant that stopped a partition.
        on_bug: told what none of the tasks expects, or the last of too many faults: the process ends and begins anew.
        jitter: spreads the tries of instances that race.
    """

    def __init__(
        self,
        *,
        new_owner: Callable[[int], PartitionOwner],
        health: Health,
        on_bug: Callable[[BaseException], None],
        jitter: random.Random,
        on_broken: Callable[[str], None] | None = None,
    ) -> None:
        self._new_owner = new_owner
        self._health = health
        self._on_broken = on_broken
        self._on_bug = on_bug
        self._jitter = jitter
        self._tasks: dict[int, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def assign(self, wanted: set[int]) -> None:
        """Starts what is new, drains and ends what is gone."""
        gone = [self._end(partition) for partition in set(self._tasks) - wanted]
        await asyncio.gather(*gone)
        for partition in sorted(wanted - set(self._tasks)):
            stopping = asyncio.Event()
            self._health.condition(f"partition {partition}").set(False, "taking over")
            task = asyncio.create_task(self._keep(partition, stopping), name=f"partition {partition}")
            task.add_done_callback(self._ended)
            self._tasks[partition] = (task, stopping)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._on_bug(error)
        elif any(task is kept for kept, _ in self._tasks.values()):  # by none of us: nobody would own it any more
            self._on_bug(RuntimeError(f"{task.get_name()} was cancelled"))

    async def stop(self) -> None:
        """Drains and ends everything."""
        await self.assign(set())

    async def _end(self, partition: int) -> None:
        task, stopping = self._tasks.pop(partition)
        stopping.set()
        await asyncio.wait([task], timeout=5.0)
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=2.0)
        self._health.condition(f"partition {partition}").set(True, "not assigned")

    async def _keep(self, partition: int, stopping: asyncio.Event) -> None:
        condition = self._health.condition(f"partition {partition}")
        faults = 0

        def on_serving(ok: bool) -> None:
            nonlocal faults
            faults = 0 if ok else faults
            condition.set(ok, "" if ok else "taking over")

        while not stopping.is_set():
            try:
                await self._new_owner(partition).run(stopping, on_serving=on_serving)
            except LostOwnership as lost:
                _LOG.warning("ownership lost", extra={"partition": partition, "why": str(lost)})
            except ConfigurationError as error:
                condition.set(False, str(error))
                _LOG.error("partition refused", extra={"partition": partition, "why": str(error)})
                return
            except Fault as fault:
                faults += 1
                _LOG.warning("partition failed", extra={"partition": partition, "why": str(fault), "faults": faults})
                if (
                    faults >= FAULTS_MAX
                ):  # the process begins anew: down for good, a broker's restart would end the house
                    raise
            except InvariantBroken as broken:
                if self._on_broken is not None:
                    self._on_broken(broken.number)
                condition.set(False, str(broken))
                _LOG.critical(
                    "partition stopped",
                    extra={"partition": partition, "invariant": broken.number, "why": str(broken)},
                    exc_info=broken,
                )
                return
            if not stopping.is_set():
                await asyncio.sleep(BACKOFF_SECONDS * (1 + self._jitter.random()))
