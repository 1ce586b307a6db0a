"""Feeds the journal to the worker: loads a partition when it is assigned, then goes on from Faust's agent."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from libs.common.chain import AcceptedFrame, ChainFollower, ChainHead, ChainRule, LogReading
from libs.common.codec import stamp
from libs.common.errors import Fault, InvariantBroken, invariant
from libs.common.service import Condition
from libs.common.topics import JOURNAL
from libs.common.watch import Watch
from services.risk_evaluation.adapters.checkpoints import read_checkpoint
from services.risk_evaluation.app.ports import Readings
from services.risk_evaluation.app.risk import Risk

_LOG = logging.getLogger("ballast.risk")
_POLL_SECONDS = 0.5
MS_NS = 1_000_000

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[Any]]


class _Feed:
    """One assignment of one partition."""

    def __init__(self, reading: LogReading) -> None:
        self.rule = ChainRule()
        self.reading = reading
        self.settled = asyncio.Event()  # loaded, or revoked before
        self.last: AcceptedFrame | None = None
        self.is_revoked = False


class JournalFeed:
    """What Faust's app calls.

    Args:
        spawn: runs a loader; an exception in it ends the process.
        caught_up: readiness: every assigned partition is loaded.

    Attributes:
        end: offset behind a partition's last record, as Faust's consumer was told.
    """

    def __init__(
        self,
        *,
        risk: Risk,
        bootstrap: str,
        client_id: str,
        spawn: Spawn,
        caught_up: Condition,
        readings: Readings,
        watch: Watch,
    ) -> None:
        self.end: Callable[[int], int | None] = lambda partition: None
        self._watch = watch
        self._risk = risk
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._spawn = spawn
        self._caught_up = caught_up
        self._readings = readings
        self._feeds: dict[int, _Feed] = {}
        self._heads: dict[int, ChainHead] = {}  # where books stand that were revoked
        self._one_at_a_time = asyncio.Lock()

    async def on_assigned(self, partitions: set[int]) -> None:
        """Starts loading what is new; the callback itself reads nothing."""
        for partition in sorted(partitions - self._feeds.keys()):
            self._begin(partition)
        self._show()

    async def on_revoked(self, partitions: set[int]) -> None:
        """Freezes what went."""
        for partition in sorted(partitions & self._feeds.keys()):
            self._drop(partition)
            self._watch.closed(partition)
        self._show()

    async def take(self, partition: int, offset: int, value: bytes, headers: Mapping[str, bytes]) -> None:
        """Folds a record once the partition is loaded; one that the loader had is dropped.

        Raises: ChainBroken, InvariantBroken.
        """
        feed = self._feeds.get(partition)
        while feed is not None:
            await feed.settled.wait()
            if feed.is_revoked:
                feed = self._feeds.get(partition)
            elif offset > feed.rule.offset + 1:
                # Another worker had the partition meanwhile and its commits are ahead of our book: load what lacks.
                self._drop(partition)
                feed = self._begin(partition)
            else:
                break
        if feed is None or offset <= feed.rule.offset:
            return
        outcome = feed.rule.take(offset=offset, value=value, headers=headers)
        written_ns = stamp(dict(headers), "wall_ns")
        feed.reading.took(offset=offset, appended_ms=written_ns // MS_NS or feed.reading.appended_ms)
        feed.reading.judged(outcome, is_history=False)
        if isinstance(outcome, AcceptedFrame):
            self._risk.take_journal(partition, outcome)
            feed.last = outcome
            if written_ns:
                self._readings.journal_lag(partition, max(0.0, (time.time_ns() - written_ns) / 1e9))

    def _begin(self, partition: int) -> _Feed:
        reading = LogReading(JOURNAL.name, partition, end=lambda: self.end(partition))
        feed = self._feeds[partition] = _Feed(reading)
        self._watch.log(reading)
        self._spawn(self._load(partition, feed), f"load journal {partition}")
        return feed

    def _drop(self, partition: int) -> None:
        feed = self._feeds.pop(partition)
        if feed.last is not None:
            self._heads[partition] = ChainHead.of(feed.last, input_topic_id=feed.rule.input_topic_id)
        feed.is_revoked = True
        feed.settled.set()
        self._risk.freeze(partition)

    async def _load(self, partition: int, feed: _Feed) -> None:
        head = self._heads.get(partition) or await self._checkpoint(partition)
        try:
            await self._follow(partition, feed, head)
        except InvariantBroken as error:
            if not self._risk.partition(partition).fold.exact_from:
                raise
            # A view of the journal was wrong; the journal is the truth.
            _LOG.error("checkpoint differs from the journal", extra={"partition": partition, "error": str(error)})
            self._risk.begin_anew(partition)
            await self._follow(partition, feed, None)
        feed.settled.set()
        self._show()

    async def _checkpoint(self, partition: int) -> ChainHead | None:
        """Head of the checkpoint that the partition's book was made of; None when the whole journal is to be folded."""
        if self._risk.partition(partition).fold.sequence:
            return None
        async with self._one_at_a_time:
            return await self._take_checkpoint(partition)

    async def _take_checkpoint(self, partition: int) -> ChainHead | None:
        began = time.monotonic()
        try:
            kept = await read_checkpoint(
                bootstrap=self._bootstrap, client_id=f"{self._client_id}-checkpoint", partition=partition
            )
        except Fault as fault:
            _LOG.warning("no checkpoint", extra={"partition": partition, "why": str(fault)})
            return None
        if kept is None:
            return None
        try:
            # Beside the event loop, which must answer the broker; nobody else looks at the book yet.
            await asyncio.to_thread(self._risk.partition(partition).fold.begin, kept)
        except InvariantBroken as error:
            _LOG.error("checkpoint not taken", extra={"partition": partition, "error": str(error)})
            self._risk.begin_anew(partition)
            return None
        took = round(time.monotonic() - began, 3)
        _LOG.info("checkpoint taken", extra={"partition": partition, "sequence": kept.head.sequence, "seconds": took})
        return kept.head

    async def _follow(self, partition: int, feed: _Feed, head: ChainHead | None) -> None:
        follower = ChainFollower(
            bootstrap=self._bootstrap, topic=JOURNAL, partition=partition, client_id=f"{self._client_id}-load"
        )
        frames = 0
        await follower.start(head=head)
        feed.rule = follower.rule
        try:
            while not feed.is_revoked and not follower.caught_up:
                for frame in await follower.poll(timeout_s=_POLL_SECONDS):
                    self._risk.take_journal(partition, frame)
                    feed.last = frame
                    frames += 1
                await asyncio.sleep(0)  # others have their turn
        finally:
            await follower.stop()
        fold = self._risk.partition(partition).fold
        lacks = not feed.is_revoked and fold.sequence < fold.exact_from
        invariant(not lacks, "I8", f"partition {partition}: the journal is shorter than its checkpoint knows")
        if not feed.is_revoked:
            feed.reading.rule = follower.rule
            feed.reading.position, feed.reading.appended_ms = follower.position, follower.reading.appended_ms
            feed.reading.accepted_ms = follower.reading.accepted_ms
            self._watch.book(self._risk.partition(partition).fold.book)
            self._risk.begin(partition)
            gc.freeze()  # a book stays: looking through it for garbage would stop the worker for hundreds of ms
            _LOG.info("partition loaded", extra={"partition": partition, "frames": frames})

    def _show(self) -> None:
        lacking = sorted(self._feeds.keys() - self._risk.live)
        self._caught_up.set(not lacking, f"partitions {lacking} are loading" if lacking else "")
