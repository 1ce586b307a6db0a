"""What the ledger's application needs from the outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ballast.events.v1 import checkpoint_pb2, commands_pb2
from libs.common.chain import AcceptedFrame, ChainHead
from libs.common.errors import LostOwnership
from libs.common.trace import Trace
from services.collateral_management.domain.checkpoint import Item


class Journal(Protocol):
    """The partition's log, written by one owner at a time."""

    @property
    def input_position(self) -> tuple[int, int]:
        """(offset, index) of the last command whose frame is accepted."""

    @property
    def next_sequence(self) -> int:
        """Sequence of the next frame."""

    @property
    def run_time_ns(self) -> int:
        """Run time of the last frame."""

    @property
    def epoch(self) -> int:
        """Epoch of the claim."""

    async def take_over(
        self,
        fold: Callable[[AcceptedFrame], None],
        *,
        head: ChainHead | None = None,
        caught_up: Callable[[], None] | None = None,
    ) -> None:
        """Owns the log, all earlier frames behind the head folded; before it claims, `caught_up` may raise."""

    async def append(
        self,
        body: bytes,
        *,
        input_offset: int,
        input_index: int,
        run_time_ns: int,
        control_sequence: int,
        headers: Mapping[str, bytes],
    ) -> asyncio.Future[AcceptedFrame]:
        """Sends a frame on its way."""

    async def reclaim(self, owner: bytes) -> None:
        """Owns the log by a new claim."""

    async def drain(self) -> None:
        """Nothing is in flight."""

    async def close(self) -> None:
        """Everything is closed."""

    async def wait_lost(self) -> LostOwnership:
        """Why ownership ended."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record of the commands topic; no batch when it was poison and is put aside.

    Args:
        traces: spans by subject that its commands were sent for.
        waited_s: wall time since it was sent.
    """

    offset: int
    batch: commands_pb2.CommandBatch | None
    traces: Mapping[int, Trace] = field(default_factory=dict)
    waited_s: float = 0.0


class CheckpointStore(Protocol):
    """The sets of items that epochs have written of one partition."""

    async def newest(self) -> int | None:
        """Epoch of the newest complete set, as far as a short look tells."""

    def read(self, epoch: int | None) -> AsyncIterator[tuple[list[Item], Mapping[int, checkpoint_pb2.CheckpointItem]]]:
        """Every item of the set, in the order written, each with its version; beside them the heads read so far.

        The last time they are the heads of all complete sets, by epoch.
        """

    async def write(self, epoch: int, items: Sequence[Item], *, version: int) -> None:
        """The items are written, in order."""

    async def remove_older(self, epoch: int) -> int:
        """No set of an older epoch is left; the number of items that were there."""

    async def stop(self) -> None:
        """Everything is closed."""


class CommandSource(Protocol):
    """Records of the partition's commands from a position on."""

    async def start(self, *, after_offset: int) -> None:
        """Reads from the first record after the offset, and the record itself. Raises InputLost."""

    async def poll(self, *, timeout_s: float) -> list[Received]:
        """Records, as soon as one is there."""

    async def stop(self) -> None:
        """Everything is closed."""


class RunClock(Protocol):
    """The run clock as the marks tell it."""

    @property
    def run_time_ns(self) -> int:
        """Highest run time read."""

    @property
    def marks_alive(self) -> bool:
        """A mark heartbeat was read within the last second of wall time."""


class ControlLog(Protocol):
    """The parameters in force."""

    @property
    def sequence(self) -> int:
        """Sequence of the control log."""

    @property
    def active_hash(self) -> bytes:
        """Hash of the parameter set in force, empty if none."""

    async def wait_active(self, wanted: bytes) -> None:
        """Returns when that set is in force."""


class Commands(Protocol):
    """The way to the ledger's own commands."""

    async def send(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        """Returns when the broker has them, in order. Raises Fault; then they may be on the topic all the same."""
