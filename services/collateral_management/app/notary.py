"""How far each owned journal has come, published at a cadence: a history that was changed later does not fit it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from ballast.events.v1 import journal_pb2, notary_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import Fault

_LOG = logging.getLogger("ballast.ledger")

Publish = Callable[[list[notary_pb2.JournalHead]], Awaitable[None]]


class Notary:
    """Keeps the last accepted frame of each partition and lets its head out when it is due.

    Args:
        publish: returns when the heads are on the topic; raises Fault when they are not, and is tried again.
        every_s: wall time between two heads of a partition that goes on.
        published: counts heads.
    """

    def __init__(self, *, publish: Publish, every_s: float, published: Counter) -> None:
        self._publish = publish
        self._every_s = every_s
        self._published = published
        self._latest: dict[int, AcceptedFrame] = {}  # by partition, not published yet

    def accepted(self, partition: int, frame: AcceptedFrame) -> None:
        """Notes a frame of ours that was read back accepted."""
        self._latest[partition] = frame

    async def run(self, stopping: asyncio.Event) -> None:
        """Publishes until asked to stop."""
        while not stopping.is_set():
            try:
                async with asyncio.timeout(self._every_s):
                    await stopping.wait()
            except TimeoutError:
                await self.publish_latest()

    async def publish_latest(self) -> None:
        """Publishes what is not published yet; what the broker does not take waits for the next time."""
        due, self._latest = self._latest, {}
        if not due:
            return
        try:
            await self._publish([_head(partition, frame) for partition, frame in sorted(due.items())])
        except Fault as fault:
            _LOG.warning("heads not published", extra={"why": str(fault), "partitions": sorted(due)})
            self._latest = {**due, **self._latest}
            return
        self._published.inc(len(due))


def _head(partition: int, accepted: AcceptedFrame) -> notary_pb2.JournalHead:
    return notary_pb2.JournalHead(
        partition=partition,
        epoch=accepted.frame.epoch,
        sequence=accepted.sequence,
        offset=accepted.offset,
        hash=accepted.head,
        fingerprint=journal_pb2.JournalBody.FromString(accepted.body).fingerprint,
        run_time_ns=accepted.run_time_ns,
    )
