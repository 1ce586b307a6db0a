"""The run clock of the gateway: the journal may be quiet for long, the marks never are."""

from __future__ import annotations

from libs.common.chain import ChainFollower, LogReading
from libs.common.service import Condition
from libs.common.topics import MARKS
from services.venue_gateway.app.ledger_view import LedgerView

POLL_SECONDS = 1.0


class RunClock:
    """Moves the view's run time on with each frame of marks. Without it a first key would be issued at no time."""

    def __init__(self, *, bootstrap: str, client_id: str, view: LedgerView, read: Condition) -> None:
        self._follower = ChainFollower(
            bootstrap=bootstrap, topic=MARKS, partition=0, client_id=client_id, from_last_claim=True
        )
        self._view = view
        self._read = read

    @property
    def reading(self) -> LogReading:
        """Where it stands in the marks."""
        return self._follower.reading

    async def start(self) -> None:
        """Returns when the end of the marks is known. Raises Fault."""
        await self._follower.start()

    async def stop(self) -> None:
        """Returns when the connection is closed."""
        await self._follower.stop()

    async def follow(self) -> None:
        """Reads marks as they come, for ever. Raises ChainBroken, Fault."""
        while True:
            for frame in await self._follower.poll(timeout_s=POLL_SECONDS):
                self._view.run_time_ns = max(self._view.run_time_ns, frame.run_time_ns)
            if not self._read.ok:
                self._read.set(self._follower.caught_up, "reading marks")
