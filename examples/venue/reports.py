"""What the venue has to say about orders: reports in a dense sequence, kept until they are acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import islice


class Kind(Enum):
    """What happened to an order."""

    ACCEPTED = "accepted"  # it rests on the book
    FILL = "fill"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Report:
    """One execution report.

    Args:
        sequence: dense from 1.
        lots, price, fee, trade: of a fill, as on the wire; otherwise 0 and empty.
        remaining: lots that go on after it; the order is terminal at 0.
        executed_at_ns: run time.
        received_wall_ns: wall time at which the order was first received.
        detail: in words, for rejections and cancellations the client did not ask for.
    """

    sequence: int
    order: int
    kind: Kind
    lots: int
    price: str
    fee: str
    trade: str
    remaining: int
    executed_at_ns: int
    received_wall_ns: int
    detail: str


class Outbox:
    """The reports that are not acknowledged, oldest first."""

    def __init__(self) -> None:
        self._held: deque[Report] = deque()
        self.last = 0  # sequence of the last report made

    def append(self, report: Report) -> None:
        """Holds the next report. Raises ValueError when the sequence has a hole."""
        if report.sequence != self.last + 1:
            raise ValueError(f"expected report {self.last + 1}, was {report.sequence}")
        self._held.append(report)
        self.last = report.sequence

    def acknowledge(self, up_to: int) -> tuple[Report, ...]:
        """The reports dropped because they are on record; a number beyond the last one counts as the last one."""
        dropped = []
        while self._held and self._held[0].sequence <= up_to:
            dropped.append(self._held.popleft())
        return tuple(dropped)

    def after(self, sequence: int, *, limit: int) -> tuple[Report, ...]:
        """Up to `limit` held reports that follow `sequence`, in order."""
        if not self._held:
            return ()
        start = max(0, sequence + 1 - self._held[0].sequence)
        return tuple(islice(self._held, start, start + limit))

    @property
    def oldest(self) -> int:
        """Sequence of the oldest report held, 0 if none."""
        return self._held[0].sequence if self._held else 0

    def __len__(self) -> int:
        return len(self._held)
