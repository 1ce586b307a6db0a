"""Follows the journal and the marks, and publishes the reasons of rates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ballast.events.v1 import interest_pb2
from libs.common.chain import AcceptedFrame, ChainFollower, LogReading
from libs.common.codec import headers, start_producer
from libs.common.errors import Fault
from libs.common.topics import RATES, Topic

POLL_SECONDS = 0.5


class RatesPublisher:
    """Writes interest.rates.v1."""

    def __init__(self, *, bootstrap: str, client_id: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        self._producer = await start_producer(bootstrap=self._bootstrap, client_id=self._client_id)

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """Returns when the broker has them. Raises Fault when it does not take them."""
        if self._producer is None:
            raise Fault("rates: not started")
        try:
            sent = [
                await self._producer.send(
                    RATES.name, one.SerializeToString(), partition=0, headers=headers(wall_ns=time.time_ns())
                )
                for one in decisions
            ]
            await asyncio.gather(*sent)
        except KafkaError as error:
            raise Fault(f"{len(decisions)} rate decisions not sent: {error}") from error


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
