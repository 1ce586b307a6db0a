"""Follows every partition of the journal into the view, and knows where it ends."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.chain import ChainFollower, LogReading
from libs.common.chain.kafka import new_consumer
from libs.common.errors import Fault
from libs.common.service import Condition
from libs.common.topics import JOURNAL
from services.venue_gateway.adapters.tracing import OrderTraces
from services.venue_gateway.app.ledger_view import LedgerView

POLL_SECONDS = 1.0


class JournalReader:
    """One follower a partition; all of a partition's frames go into the view in order."""

    def __init__(
        self, *, bootstrap: str, client_id: str, view: LedgerView, caught_up: Condition, traces: OrderTraces
    ) -> None:
        self._traces = traces
        self._followers = [
            ChainFollower(bootstrap=bootstrap, topic=JOURNAL, partition=one, client_id=f"{client_id}-{one}")
            for one in range(len(view.books))
        ]
        self._bootstrap, self._client_id = bootstrap, client_id
        self._asker: AIOKafkaConsumer | None = None
        self._moved = [asyncio.Event() for _ in self._followers]  # set for a moment after each poll
        self._view = view
        self._caught_up = caught_up

    @property
    def readings(self) -> list[LogReading]:
        """Where the followers stand."""
        return [one.reading for one in self._followers]

    async def start(self) -> None:
        """Returns when the end of each partition is known. Raises Fault."""
        await asyncio.gather(*(follower.start() for follower in self._followers))
        asker = new_consumer(bootstrap=self._bootstrap, client_id=f"{self._client_id}-end")
        try:
            await asker.start()
        except KafkaError as error:
            await asker.stop()
            raise Fault(f"{JOURNAL.name} cannot be read: {error!r}") from error
        self._asker = asker

    async def stop(self) -> None:
        """Returns when every connection is closed."""
        await asyncio.gather(*(follower.stop() for follower in self._followers))
        if self._asker is not None:
            await self._asker.stop()

    async def follow(self, partition: int) -> None:
        """Applies frames as they come, for ever. Raises ChainBroken, InvariantBroken, Fault."""
        follower = self._followers[partition]
        while True:
            frames = await follower.poll(timeout_s=POLL_SECONDS)
            if self._traces.on:
                self._traces.frames(frames)
            if frames:
                self._view.apply(partition, frames)
            self._moved[partition].set()
            self._moved[partition].clear()
            if not self._caught_up.ok:
                behind = [one.name for one in self._followers if not one.caught_up]
                self._caught_up.set(not behind, f"reading {', '.join(behind)}" if behind else "")

    async def reach(self, partition: int) -> None:
        """Returns when every frame that the partition held at the call has been applied. Raises Fault."""
        if self._asker is None:
            raise Fault("the journal is not being followed")
        where = TopicPartition(JOURNAL.name, partition)
        try:
            end = (await self._asker.end_offsets([where]))[where]
        except KafkaError as error:
            raise Fault(f"the end of {JOURNAL.name}/{partition} is unknown: {error!r}") from error
        while self._followers[partition].position < end:
            await self._moved[partition].wait()
