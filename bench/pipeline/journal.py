"""Plays the ledger of one partition: its chained journal with fingerprints, openings first, then what commands do."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

from ballast.events.v1 import journal_pb2
from bench.pipeline.checkpoint import Changed, Checkpoint
from bench.pipeline.town import Effect, Shard
from libs.common.book import LIVE_ORDER_STATES, Fingerprint
from libs.common.chain import AcceptedFrame, ChainWriter
from libs.common.codec import headers
from libs.common.ids import system_kind
from libs.common.topics import JOURNAL

OPENED_AT_ONCE = 1_000
_MASK = (1 << 128) - 1


class Journal:
    """The journal of one partition, and the fingerprint of what it adds up to.

    Args:
        keeps: what clients hold is remembered, so that it can change; without it a million accounts fit in memory.
    """

    def __init__(self, bootstrap: str, shard: Shard, *, run_time_ns: int, keeps: bool) -> None:
        self.shard = shard
        self.run_time_ns = run_time_ns
        self.bytes = 0
        self._keeps = keeps
        self._last: asyncio.Future[AcceptedFrame] | None = None
        self._changed = Changed()
        self._checkpoint = Checkpoint(bootstrap, shard.partition)
        self._whole = Fingerprint()
        self._rest = 0  # of what is not remembered
        self._writer = ChainWriter(
            bootstrap=bootstrap, topic=JOURNAL, partition=shard.partition, owner=secrets.token_bytes(16),
            input_topic_id=b"", client_id=f"house-{shard.partition}", on_accepted=None,
        )  # fmt: skip

    @property
    def next_sequence(self) -> int:
        """Sequence that the next frame takes."""
        return self._writer.next_sequence

    async def start(self) -> None:
        """Claims the partition."""
        await self._checkpoint.start()
        await self._writer.take_over(lambda frame: None)

    async def stop(self) -> None:
        """Returns when everything is on the log and closed."""
        await self._writer.drain()
        await self._writer.close()
        await self._checkpoint.stop()

    async def open_everyone(self) -> None:
        """The openings of all accounts, and a checkpoint of them."""
        for effects in self.shard.openings(OPENED_AT_ONCE):
            await self._checkpoint.accounts(effects)
            kept = self._whole if self._keeps else Fingerprint()
            for effect in effects:
                account = effect.posting.account
                (self._whole if account and system_kind(account) is not None else kept).apply(effect)
            if not self._keeps:
                self._rest = (self._rest + int.from_bytes(kept.digest, "big")) & _MASK
                self.shard.forget()
            await self._append([journal_pb2.Outcome(command="open_account", effects=effects)])
        if self._last is not None:
            await self._checkpoint.finish(self.shard, await self._last, fingerprint=self._digest())

    async def append(self, outcomes: Sequence[journal_pb2.Outcome]) -> None:
        """One frame of outcomes."""
        for outcome in outcomes:
            for effect in outcome.effects:
                self._whole.apply(effect)
                self._note(effect)
        await self._append(outcomes)

    async def checkpoint(self) -> None:
        """A checkpoint of what changed since the last one; nothing may be appended meanwhile."""
        if self._last is not None:
            changed, self._changed = self._changed, Changed()
            await self._checkpoint.follow(self.shard, changed, await self._last, fingerprint=self._digest())

    def _note(self, effect: Effect) -> None:
        which = effect.WhichOneof("effect")
        if which == "posting":
            self._changed.accounts.add(effect.posting.account)
        elif which == "account":
            self.shard.attributes[effect.account.account] = effect.account.SerializeToString(deterministic=True)
            self._changed.accounts.add(effect.account.account)
        elif which == "order":
            is_live = effect.order.state in LIVE_ORDER_STATES
            self._changed.effects[b"E3|%d" % effect.order.order] = effect if is_live else None
        elif which == "episode":
            self._changed.effects[b"E5|%d" % effect.episode.episode] = effect

    def _digest(self) -> bytes:
        return ((int.from_bytes(self._whole.digest, "big") + self._rest) & _MASK).to_bytes(16, "big")

    async def _append(self, outcomes: Sequence[journal_pb2.Outcome]) -> None:
        body = journal_pb2.JournalBody(outcomes=outcomes, fingerprint=self._digest()).SerializeToString()
        self.bytes += len(body)
        self._last = await self._writer.append(
            body, input_offset=-1, input_index=0, run_time_ns=self.run_time_ns, control_sequence=1,
            headers=dict(headers(wall_ns=time.time_ns())),
        )  # fmt: skip


def outcome(command: str, effects: Sequence[Effect]) -> journal_pb2.Outcome:
    """What a command did."""
    return journal_pb2.Outcome(command=command, effects=effects)
