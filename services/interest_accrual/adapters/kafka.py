"""Follows the journal and the marks, and publishes the reasons of rates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ballast.events.v1 import interest_pb2
from libs.common.chain import AcceptedFrame, ChainFollower, LogReading
from libs.common.codec import Publisher
from libs.common.topics import RATES, Topic

POLL_SECONDS = 0.5


class RatesPublisher:
    """Writes interest.rates.v1."""

    def __init__(self, *, bootstrap: str, client_id: str) -> None:
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """Returns when the broker has them. Raises Fault when it does not take them."""
        sent = [await self._publisher.enqueue(RATES.name, one.SerializeToString()) for one in decisions]
        await self._publisher.arrived(sent)


class Feed:
    """One partition of a chained topic, handed frame by frame to `fold`."""

    def __init__(
        self,
        *,
        bootstrap: str,
        topic: Topic,
        partition: int,
        client_id: str,
        fold: Callable[[AcceptedFrame], None],
        changed: asyncio.Event,
    ) -> None:
        self._follower = ChainFollower(bootstrap=bootstrap, topic=topic, partition=partition, client_id=client_id)
        self._fold = fold
        self._changed = changed

    @property
    def reading(self) -> LogReading:
        """Where it stands in the log."""
        return self._follower.reading

    @property
    def caught_up(self) -> bool:
        """Has read what was there when it started."""
        return self._follower.caught_up

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns when asked to stop."""
        await self._follower.start()
        try:
            while not stopping.is_set():
                for frame in await self._follower.poll(timeout_s=POLL_SECONDS):
                    self._fold(frame)
                self._changed.set()
        finally:
            await self._follower.stop()
