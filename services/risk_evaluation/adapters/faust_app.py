"""The worker's Faust app: assignment with static membership, and an agent on journal records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP, StreamT

from libs.common.topics import FRAME_BYTES_MAX, JOURNAL

GROUP = "risk_evaluation"
COMMIT_SECONDS = 0.5
SESSION_SECONDS = 10.0
HEARTBEAT_SECONDS = 2.0
RECORDS_A_POLL_MAX = 500

Take = Callable[[int, int, bytes, Mapping[str, bytes]], Awaitable[None]]
Change = Callable[[set[int]], Awaitable[None]]


def build_app(
    *,
    bootstrap: str,
    instance: str,
    directory: Path,
    take: Take,
    on_assigned: Change,
    on_revoked: Change,
    on_failed: Callable[[BaseException], None],
) -> faust.App:
    """An app that is not started yet.

    Args:
        instance: names the static member: a restart within the session gets its partitions back without a rebalance.
        directory: Faust makes its folders there; nothing is kept in them.
        take: awaited with (partition, offset, value, headers) of each journal record, in order within a partition.
        on_assigned, on_revoked: awaited with the journal's partitions that came, or went; must return soon.
        on_failed: told what ended the agent.
    """
    app = _new_app(bootstrap=bootstrap, instance=instance, directory=directory)
    journal = app.topic(JOURNAL.name, key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw")

    async def fold(stream: StreamT[bytes]) -> None:
        try:
            async for event in stream.events():
                message = event.message
                await take(message.partition, message.offset, message.value or b"", dict(event.headers or {}))
        except BaseException as error:
            on_failed(error)
            raise

    app.agent(journal, name="fold_journal")(fold)

    async def assigned(_: faust.App, partitions: set[TP], **more: Any) -> None:
        await on_assigned(_journal_partitions(partitions))

    async def revoked(_: faust.App, partitions: set[TP], **more: Any) -> None:
        await on_revoked(_journal_partitions(partitions))

    signals: Any = app  # mode's type of a handler fits no coroutine
    signals.on_partitions_assigned.connect(assigned)
    signals.on_partitions_revoked.connect(revoked)
    return app


def end_of(app: faust.App, partition: int) -> int | None:
    """Offset behind the last record of a journal partition, as the app's consumer was told; None before that."""
    try:
        told: int | None = app.consumer.highwater(TP(JOURNAL.name, partition))
    except (KafkaError, ConsumerNotStarted):
        return None
    return told


def _new_app(*, bootstrap: str, instance: str, directory: Path) -> faust.App:
    return faust.App(
        GROUP,
        broker=[f"kafka://{one}" for one in bootstrap.split(",")],
        store="memory://",
        datadir=directory,
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        processing_guarantee="at_least_once",
        consumer_group_instance_id=f"{GROUP}-{instance}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FRAME_BYTES_MAX,
        broker_client_id=f"{GROUP}-{instance}",
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_commit_interval=COMMIT_SECONDS,
        broker_max_poll_records=RECORDS_A_POLL_MAX,
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
    )


def _journal_partitions(found: set[TP]) -> set[int]:
    return {one.partition for one in found if one.topic == JOURNAL.name}
