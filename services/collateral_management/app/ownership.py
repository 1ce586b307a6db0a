"""From what the group suggests to partitions that run: first the parameters must be in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from libs.common.errors import Fault
from libs.common.service import Condition
from services.collateral_management.app.supervisor import Supervisor

_LOG = logging.getLogger("ballast.ledger")
BACKOFF_SECONDS = 0.5


class Ownership:
    """Takes suggestions at once and follows them in a task of its own.

    A group's callback must not wait for other instances, and what it raises is swallowed by the consumer: a claim lost
    there would leave the partitions to nobody.

    Args:
        prepare: awaited with the partitions before any of them runs; may raise Fault, and is tried again.
        assigned: holds once a suggestion is followed.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        prepare: Callable[[frozenset[int]], Coroutine[Any, Any, None]],
        assigned: Condition,
    ) -> None:
        self._supervisor = supervisor
        self._prepare = prepare
        self._assigned = assigned
        self._wanted: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    async def suggest(self, partitions: set[int]) -> None:
        """Follows a suggestion soon; returns when everything that is taken away is drained."""
        self._wanted = frozenset(partitions)
        if not partitions:
            async with self._turn:
                await self._supervisor.assign(set())
        self._changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Follows suggestions until asked to stop."""
        waking = asyncio.create_task(self._wake_at(stopping))
        try:
            while not stopping.is_set():
                await self._changed.wait()
                self._changed.clear()
                if not stopping.is_set() and await self._is_prepared():
                    async with self._turn:  # what is wanted by now
                        await self._supervisor.assign(set(self._wanted))
                    self._assigned.set(True)
        finally:
            waking.cancel()

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._changed.set()

    async def _is_prepared(self) -> bool:
        """False when it must be tried again, or another suggestion came meanwhile."""
        if not self._wanted:
            return True
        tasks = [asyncio.create_task(self._prepare(self._wanted)), asyncio.create_task(self._changed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                return False
            await tasks[0]
        except Fault as fault:
            _LOG.warning("partitions not prepared", extra={"why": str(fault)})
            await asyncio.sleep(BACKOFF_SECONDS)
            self._changed.set()
            return False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True
