"""Asks the consumer group which partitions this instance should own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.errors import Fault
from libs.common.topics import COMMANDS

SESSION_MS = 6_000


class GroupAssignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no type for it
    """A member of the group that reads nothing: it only learns its partitions.

    Args:
        instance: name that survives a restart, so that the group waits for it instead of moving its partitions.
        on_change: awaited with the partitions that are ours from now on.
    """

    def __init__(
        self, *, bootstrap: str, group: str, instance: str, on_change: Callable[[set[int]], Awaitable[None]]
    ) -> None:
        self._on_change = on_change
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id=f"{group}-{instance}-group",
            group_id=group,
            group_instance_id=f"{group}-{instance}",
            enable_auto_commit=False,
            auto_offset_reset="latest",  # never read: the position is the journal's
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 4,
            max_poll_interval_ms=300_000,
            request_timeout_ms=10_000,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Stays in the group until asked to stop. Raises Fault."""
        try:
            await self._consumer.start()
            self._consumer.subscribe([COMMANDS.name], listener=self)
            while not stopping.is_set():
                await self._consumer.getmany(timeout_ms=500)  # every partition is paused: this only keeps us alive
        except (KafkaError, OSError) as error:
            raise Fault(f"the group is lost: {error!r}") from error
        finally:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Drains what is taken away."""
        if revoked:
            await self._on_change(set())

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Takes over what is given."""
        if assigned:
            self._consumer.pause(*assigned)
        await self._on_change({one.partition for one in assigned})
