"""The run clock, read from the marks."""

from __future__ import annotations

import asyncio
import time

from libs.common.chain import ChainFollower, LogReading
from libs.common.service import Condition
from libs.common.topics import MARKS

HEARTBEAT_SECONDS_MAX = 1.0


class MarksClock:
    """Implements RunClock: highest run time read, and whether marks still beat."""

    def __init__(self, *, bootstrap: str, client_id: str, genesis_ns: int) -> None:
        self._follower = ChainFollower(
            bootstrap=bootstrap, topic=MARKS, partition=0, client_id=client_id, from_last_claim=True
        )
        self._run_time_ns = genesis_ns
        self._beat_at_s = float("-inf")

    @property
    def reading(self) -> LogReading:
        """Where it stands in the marks."""
        return self._follower.reading

    @property
    def run_time_ns(self) -> int:
        """Highest run time read; genesis before any."""
        return self._run_time_ns

    @property
    def marks_alive(self) -> bool:
        """A frame of the marks log was read within the last second of wall time."""
        return time.monotonic() - self._beat_at_s <= HEARTBEAT_SECONDS_MAX

    async def run(self, stopping: asyncio.Event, condition: Condition) -> None:
        """Follows the marks until asked to stop."""
        await self._follower.start()
        try:
            while not stopping.is_set():
                for frame in await self._follower.poll(timeout_s=0.25):
                    self._run_time_ns = max(self._run_time_ns, frame.run_time_ns)
                    if self._follower.caught_up:
                        self._beat_at_s = time.monotonic()
                condition.set(self._follower.caught_up, "reading marks")
        finally:
            await self._follower.stop()
