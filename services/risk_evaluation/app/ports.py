"""What the application needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ballast.events.v1 import commands_pb2, risk_pb2


@dataclass(frozen=True, slots=True)
class Output:
    """What one evaluation of one partition lets out.

    Args:
        frame: to publish, None when there is nothing to say.
        commands: to send to the ledger, in order.
        received_wall_ns: when the marks it stands on were received.
        on_marks: made by a marks frame, so that its latency is counted.
    """

    partition: int
    frame: risk_pb2.MarginFrame | None
    commands: Sequence[commands_pb2.Command]
    received_wall_ns: int
    on_marks: bool


class Outlet(Protocol):
    """Where outputs go, in the order given."""

    async def put(self, output: Output) -> None:
        """Returns when the output is on its way."""


class Readings(Protocol):
    """What operators watch."""

    def partition(self, partition: int, *, by_state: Sequence[int], sequence: int) -> None:
        """Where a partition stands; accounts by MarginState number."""

    def journal_lag(self, partition: int, seconds: float) -> None:
        """How long ago the frame just folded was written, by the wall."""

    def silent(self, is_silent: bool) -> None:
        """Whether marks are missing."""

    def decided(self, kind: str) -> None:
        """A decision was sent: open_episode, settle or void."""
