"""Asks the consumer group which partitions this instance should own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from libs.common.chain.kafka import Consumer
from libs.common.errors import Fault
from libs.common.topics import COMMANDS

SESSION_MS = 6_000
_LOOK_SECONDS = 1.0
_UUID_LENGTH = 36
_LOG = logging.getLogger("ballast.ledger")


class GroupAssignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no type for it
    """A member of the group that reads nothing: it only learns its partitions.

    Of two processes with one name the later one has its place. The earlier one stands by until that one has left the
    group; joining again at once, as the library does, each would put the other out before it has read its partitions.

    Args:
        instance: name that survives a restart, so that the group waits for it instead of moving its partitions.
        on_change: awaited with the partitions that are ours from now on.
    """

    def __init__(
        self, *, bootstrap: str, group: str, instance: str, on_change: Callable[[set[int]], Awaitable[None]]
    ) -> None:
        self._on_change = on_change
        self._bootstrap = bootstrap
        self._group = group
        self._name = f"{group}-{instance}"
        self._member_id = ""  # of our last place in the group
        self._is_leaving = False
        self._consumer = Consumer(
            bootstrap_servers=bootstrap,
            client_id=f"{self._name}-group",
            group_id=group,
            group_instance_id=self._name,
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
            self._is_leaving = True
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Drains what is taken away; then waits while another process of this name is in the group."""
        if revoked:
            await self._on_change(set())
        if self._member_id:
            await self._stand_by()

    async def _stand_by(self) -> None:
        is_told = False
        while not self._is_leaving and (other := await self._namesake()):
            if not is_told:
                _LOG.warning("standing by: a later process of this name is in the group", extra={"other": other})
                is_told = True
            await asyncio.sleep(_LOOK_SECONDS)

    async def _namesake(self) -> str:
        """Member id of another process of this name in the group; empty when there is none, or nobody answers.

        The broker leaves a name's client id and host as they were and gives it a new member id: the name and a UUID.
        """
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id=f"{self._name}-look")
        try:
            await admin.start()
            (answer,) = await admin.describe_consumer_groups([self._group])
        except (KafkaError, OSError):
            return ""
        finally:
            await admin.close()
        members = (member[0] for group in answer.groups for member in group[5])
        named = (one for one in members if one[:-_UUID_LENGTH] == f"{self._name}-")
        return next((one for one in named if one != self._member_id), "")

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Takes over what is given."""
        self._member_id = self._consumer._coordinator.member_id  # the library tells it nowhere else
        if assigned:
            self._consumer.pause(*assigned)
        await self._on_change({one.partition for one in assigned})
