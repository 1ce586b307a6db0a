"""Checkpoints in the life of one owner: restored from before it claims, written while it serves."""

from __future__ import annotations

import time
from collections.abc import Callable

from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame, ChainHead
from libs.common.errors import invariant
from services.collateral_management.app.checkpointer import Checkpointer, CheckpointGauges, Pace
from services.collateral_management.app.failpoints import Failpoints
from services.collateral_management.app.ports import CheckpointStore
from services.collateral_management.app.restore import Restored, Restorer
from services.collateral_management.domain.state import State

FINAL_SECONDS_MAX = 1.0  # of wall time: who takes over does not wait for it longer


class Checkpoints:
    """What an owner asks of checkpoints.

    Args:
        restorer: remembers over owners which sets were found wrong.
        input_topic_id: of the owner's claims.
    """

    def __init__(
        self,
        partition: int,
        *,
        store: CheckpointStore,
        restorer: Restorer,
        input_topic_id: bytes,
        pace: Pace,
        shown: CheckpointGauges,
        failpoints: Failpoints,
    ) -> None:
        self._partition = partition
        self._store = store
        self._restorer = restorer
        self._input_topic_id = input_topic_id
        self._pace = pace
        self._shown = shown
        self._failpoints = failpoints
        self._restored: Restored | None = None
        self._last: tuple[ChainHead, bytes] | None = None  # head of the journal as folded
        self._writer: Checkpointer | None = None

    @property
    def exact_from(self) -> int:
        """Sequence from which the state is the journal's; before it, items may be newer than what is folded."""
        return self._restored.exact_from if self._restored is not None else 0

    async def restore(self, state: State, book: PartitionBook) -> ChainHead | None:
        """Where the journal is to be folded from; None: from its beginning. Raises as `Restorer.restore`."""
        self._restored = await self._restorer.restore(self._store, state, book)
        sequence = self._restored.head.sequence if self._restored is not None else 0
        self._shown.restored.labels(self._partition).set(sequence)
        if self._restored is None:
            return None
        self._last = (self._restored.head, state.fingerprint)
        return self._restored.head

    def folded(self, frame: AcceptedFrame, *, found: bytes, expected: bytes) -> None:
        """Judges the state after a frame by its fingerprint.

        Raises: CheckpointDiffers when a checkpoint is to blame, else InvariantBroken I8.
        """
        self._last = (ChainHead.of(frame, input_topic_id=self._input_topic_id), expected)
        if frame.sequence < self.exact_from:
            return
        if self._restored is not None:
            self._restorer.judge(self._restored, found=found, expected=expected)
        invariant(found == expected, "I8", f"fold differs at {frame.sequence}")

    def caught_up(self, sequence: int) -> None:
        """The journal ends there. Raises InvariantBroken when it must go on."""
        if self._restored is not None:
            self._restorer.complete(self._restored, sequence=sequence)

    async def write(self, state: State, *, epoch: int, handled: Callable[[], int]) -> None:
        """Writes behind what is accepted, until it is cancelled."""
        self._writer = Checkpointer(
            self._partition,
            store=self._store,
            state=state,
            handled=handled,
            pace=self._pace,
            shown=self._shown,
            failpoints=self._failpoints,
        )
        if self._last is not None:
            self._writer.stands_at(*self._last)
        self._shown.sequence.labels(self._partition).set(0)
        self._shown.written.labels(self._partition).set(time.time())  # its age counts from now on
        await self._writer.run(epoch)

    async def finish(self) -> None:
        """Checkpoints everything accepted, so that the next owner folds nothing; for a second at most."""
        if self._writer is not None:
            await self._writer.finish(within_s=FINAL_SECONDS_MAX)

    def accepted(self, frame: AcceptedFrame, fingerprint: bytes) -> None:
        """A frame of this owner is accepted."""
        self._last = (ChainHead.of(frame, input_topic_id=self._input_topic_id), fingerprint)
        if self._writer is not None:
            self._writer.stands_at(*self._last)

    async def stop(self) -> None:
        """Everything is closed."""
        await self._store.stop()
        for gauge in (self._shown.sequence, self._shown.written):  # whoever owns the partition now shows them
            gauge.remove(self._partition)
