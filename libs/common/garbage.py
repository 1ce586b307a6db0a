"""Looks for garbage a little at a time: what has lived through one look is set aside until all of it is looked at."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

YOUNG_MAX = 5_000  # new objects a look: about 1 ms
NEVER = 1_000_000_000
ALL_EVERY_SECONDS = 3_600.0
SETTLING_SECONDS = 10.0


class Garbage:
    """Bounds the pauses of a process that keeps very much and makes few cycles.

    Python looks through everything that lives whenever it has grown by a quarter: tens to hundreds of ms in which no
    command is answered. Here a look goes over the newest objects only. Cycles among what was set aside go with the look
    at everything: hourly, and soon after `all_soon`.
    """

    def __init__(self) -> None:
        self._is_due = asyncio.Event()

    def begin(self) -> None:
        """Sets aside all there is, and from now on what lives through a look. For the whole process, until `end`."""
        gc.set_threshold(YOUNG_MAX, NEVER, NEVER)
        gc.callbacks.append(self._looked)
        self.look_at_all()

    def end(self) -> None:
        """Looks as Python does."""
        gc.callbacks.remove(self._looked)
        gc.set_threshold(700, 10, 10)
        gc.unfreeze()

    def look_at_all(self) -> None:
        """Frees every cycle that nothing refers to."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def all_soon(self) -> None:
        """Has everything looked at once what ends now is settled: something large is being dropped."""
        self._is_due.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Looks at everything when it is due, until asked to stop."""
        while not stopping.is_set():
            self._is_due.clear()
            if await _within(ALL_EVERY_SECONDS, self._is_due, stopping):
                await _within(SETTLING_SECONDS, stopping)
            if not stopping.is_set():
                self.look_at_all()

    def _looked(self, phase: str, _: dict[str, Any]) -> None:
        if phase == "stop":
            gc.freeze()


async def _within(seconds: float, *events: asyncio.Event) -> bool:
    """Whether one of them happened in time."""
    tasks = [asyncio.create_task(each.wait()) for each in events]
    done, late = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    return bool(done)
