"""Which reports of a venue are received, posted to the ledger, and in accepted frames: what may be acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Receipt(Enum):
    """What a report is to the cursor."""

    NEW = "new"  # to be posted
    RECORDED = "recorded"  # in an accepted frame already
    REPEATED = "repeated"  # received before in this session
    OUT_OF_ORDER = "out of order"  # numbers are dense: one is missing


@dataclass(frozen=True, slots=True)
class Posting:
    """A report to post: its number, and the number posted to the same partition before."""

    sequence: int
    previous: int


def resume_after(marks: Mapping[int, int], *, oldest: int, last: int) -> int:
    """The number after which a venue has to send its reports again.

    A venue drops reports only once they are acknowledged, so what lies before its oldest one is on record; else it is
    the lowest number that a partition is known to have.

    Args:
        marks: by partition, number of the last report on record.
        oldest: number of the oldest report the venue still holds, 0 if none.
        last: number of the last report it has made.
    """
    acknowledged = oldest - 1 if oldest else last
    return max(acknowledged, min(marks.values(), default=0))


class ReportCursor:
    """Follows the dense report numbers of one venue through the partitions they belong to.

    Args:
        received: number up to which every report is on record.
        marks: by partition, number of the last report on record.
    """

    def __init__(self, *, received: int, marks: Mapping[int, int]) -> None:
        self._received = received
        self._marks = dict(marks)
        self._posted = dict(marks)
        self._held: dict[int, deque[int]] = {partition: deque() for partition in marks}

    @property
    def received(self) -> int:
        """Number of the last report received."""
        return self._received

    @property
    def unrecorded(self) -> int:
        """How many reports are received and not on record."""
        return sum(len(held) for held in self._held.values())

    @property
    def acknowledged(self) -> int:
        """Number up to which every report is on record."""
        waiting = [held[0] for held in self._held.values() if held]
        return min(waiting) - 1 if waiting else self._received

    def receive(self, sequence: int, *, partition: int) -> Receipt:
        """Takes the next report of the venue."""
        if sequence <= self._received:
            return Receipt.REPEATED
        if sequence != self._received + 1:
            return Receipt.OUT_OF_ORDER
        self._received = sequence
        if sequence <= self._marks[partition]:
            return Receipt.RECORDED
        self._held[partition].append(sequence)
        return Receipt.NEW

    def take(self, partition: int) -> list[Posting]:
        """The reports of a partition that are due to be posted, in order; they count as posted from now on."""
        postings = []
        for sequence in self._held[partition]:
            if sequence > self._posted[partition]:
                postings.append(Posting(sequence, self._posted[partition]))
                self._posted[partition] = sequence
        return postings

    def record(self, partition: int, mark: int) -> list[int]:
        """The reports that came on record with this mark of the journal."""
        self._marks[partition] = max(self._marks[partition], mark)
        self._posted[partition] = max(self._posted[partition], mark)
        held, recorded = self._held[partition], []
        while held and held[0] <= mark:
            recorded.append(held.popleft())
        return recorded

    def rewind(self, partition: int, *, sequence: int) -> bool:
        """Answers a gap: True when the reports of the partition are due again.

        Only the first report not on record counts: those behind it fall into the same gap and would post all again.
        What is posted twice is on record once: the ledger drops the second.
        """
        held = self._held[partition]
        if not held or held[0] != sequence:
            return False
        self._posted[partition] = self._marks[partition]
        return True


class OwnFacts:
    """Numbers of the gateway's own reports about a venue's orders, one dense stream in each partition."""

    def __init__(self, marks: Mapping[int, int]) -> None:
        self._posted = dict(marks)
        self._marks = dict(marks)
        self._waiting: dict[int, dict[int, int]] = {partition: {} for partition in marks}  # number -> order

    def post(self, partition: int, order: int) -> Posting | None:
        """The number for a report about an order, None while an earlier one about it is under way."""
        if order in self._waiting[partition].values():
            return None
        previous = self._posted[partition]
        self._posted[partition] = previous + 1
        self._waiting[partition][previous + 1] = order
        return Posting(previous + 1, previous)

    def record(self, partition: int, mark: int) -> None:
        """Takes the mark of the journal."""
        self._marks[partition] = max(self._marks[partition], mark)
        self._posted[partition] = max(self._posted[partition], mark)
        waiting = self._waiting[partition]
        for number in [number for number in waiting if number <= mark]:
            del waiting[number]

    def rewind(self, partition: int) -> list[int]:
        """Answers a gap: the orders whose reports have to be thought over again, their numbers void."""
        orders = list(self._waiting[partition].values())
        self._waiting[partition].clear()
        self._posted[partition] = self._marks[partition]
        return orders
