"""From what is checkpointed to a state and a book that go on at its head; the newest head that nobody distrusts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import error as StructError

from google.protobuf.message import DecodeError

from ballast.events.v1 import checkpoint_pb2
from libs.common.book import PartitionBook
from libs.common.chain import ChainHead
from libs.common.errors import Fault, InvariantBroken, invariant
from services.collateral_management.app.ports import CheckpointStore
from services.collateral_management.domain.checkpoint import Loading, count
from services.collateral_management.domain.state import State

_LOG = logging.getLogger("ballast.ledger")


class CheckpointDiffers(Fault):
    """A checkpoint does not make the journal's state: its set is not used again, an older one or the journal is."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a state stands that was made from a checkpoint.

    Args:
        epoch: of the set.
        head: of the journal; the frames behind it are to be folded.
        exact_from: journal sequence from which the state is the journal's: items may be newer than the head.
    """

    epoch: int
    head: ChainHead
    exact_from: int


@dataclass(slots=True)
class _Reading:
    """What was read of a topic: a set, its newest item's version, and the head of each set."""

    loading: Loading
    newest: int = 0
    heads: Mapping[int, checkpoint_pb2.CheckpointItem] = field(default_factory=dict)


class Restorer:
    """Restores one partition, remembering which sets were found wrong."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._distrusted: set[int] = set()  # epochs
        self._is_careful = False  # reads all heads before the first item

    async def restore(self, store: CheckpointStore, state: State, book: PartitionBook) -> Restored | None:
        """Where the state stands; None when there is no set to use and both are as they were.

        Args:
            state, book: new ones.

        Raises: CheckpointDiffers, after which another set is tried with a new state; InvariantBroken when a record is
        not what a ledger wrote; Fault.
        """
        guess = None if self._is_careful else await store.newest()
        if guess in self._distrusted:
            guess = None
        reading = await self._read(store, state, guess)
        epoch = max((one for one in reading.heads if one not in self._distrusted), default=None)
        if epoch != guess:
            if guess is not None:  # the state has items of another set than the right one
                self._is_careful = True
                raise CheckpointDiffers(f"checkpoint of partition {self._partition}: {epoch} is newer than {guess}")
            if epoch is None:
                return None
            reading = await self._read(store, state, epoch)
        if epoch is None:
            return None
        if epoch not in reading.heads:  # a newer owner removed the set in between: the state has what was left of it
            raise CheckpointDiffers(f"checkpoint of partition {self._partition}: {epoch} is gone while it was read")
        return self._finished(reading, epoch, state, book)

    def _finished(self, reading: _Reading, epoch: int, state: State, book: PartitionBook) -> Restored:
        top = reading.heads[epoch].head
        reading.loading.finish(top.registers)
        restored = Restored(epoch, ChainHead.kept(top), exact_from=max(reading.newest, top.sequence))
        self.judge(restored, found="torn" if reading.loading.is_torn else "whole", expected="whole")
        if reading.newest <= top.sequence:
            self.judge(restored, found=(state.fingerprint, count(state)), expected=(top.fingerprint, top.items))
        state.begin_book(book, reading.loading.effects)
        book.sequence, book.run_time_ns = top.sequence, top.run_time_ns
        return restored

    async def _read(self, store: CheckpointStore, state: State, epoch: int | None) -> _Reading:
        reading = _Reading(Loading(state))
        async for items, reading.heads in store.read(epoch):
            for name, item in items:
                try:
                    reading.loading.take(name, item)
                except (StructError, DecodeError) as error:
                    raise InvariantBroken(
                        "I8", f"checkpoint of partition {self._partition}, epoch {epoch}, item {name!r}: {error}"
                    ) from error
                reading.newest = max(reading.newest, item.version if item is not None else 0)
            await asyncio.sleep(0)  # other partitions have their turn
        return reading

    def judge(self, restored: Restored, *, found: object, expected: object) -> None:
        """Raises CheckpointDiffers when a state made from the set is not the journal's."""
        if found != expected:
            self._distrusted.add(restored.epoch)
            raise CheckpointDiffers(
                f"checkpoint of partition {self._partition} by epoch {restored.epoch} at sequence "
                f"{restored.head.sequence}: expected {expected!r}, was {found!r}"
            )

    def complete(self, restored: Restored, *, sequence: int) -> None:
        """Raises InvariantBroken when the journal ends before what the checkpoint knows of it."""
        invariant(
            sequence >= restored.exact_from,
            "I8",
            f"journal of partition {self._partition} is shorter than its checkpoint by epoch {restored.epoch} knows: "
            f"expected sequence {restored.exact_from}, was {sequence}",
        )


def head_item(
    head: ChainHead, *, fingerprint: bytes, items: int, registers: checkpoint_pb2.Registers
) -> checkpoint_pb2.CheckpointItem:
    """A set's head."""
    return checkpoint_pb2.CheckpointItem(
        head=checkpoint_pb2.CheckpointHead(
            offset=head.offset,
            epoch=head.epoch,
            owner=head.owner,
            sequence=head.sequence,
            hash=head.hash,
            claim_offset=head.claim_offset,
            input_topic_id=head.input_topic_id,
            input_offset=head.input_position[0],
            input_index=head.input_position[1],
            run_time_ns=head.run_time_ns,
            control_sequence=head.control_sequence,
            fingerprint=fingerprint,
            items=items,
            registers=registers,
        )
    )
