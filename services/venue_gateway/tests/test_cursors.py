"""What may be acknowledged to a venue, and what has to be posted again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.venue_gateway.domain.cursors import OwnFacts, Posting, Receipt, ReportCursor, resume_after


@pytest.mark.parametrize(
    ("marks", "oldest", "last", "expected"),
    [
        ({0: 0, 1: 0}, 0, 0, 0),  # a first session
        ({0: 0, 1: 0}, 1, 9, 0),  # nothing on record: all of it again
        ({0: 7, 1: 9}, 1, 9, 7),  # the lowest mark
        ({0: 0, 1: 9}, 5, 9, 4),  # acknowledged ones are gone at the venue, so they are on record
        ({0: 3, 1: 9}, 5, 9, 4),
        ({0: 0, 1: 9}, 0, 9, 9),  # the venue holds none: all were acknowledged
    ],
)
def test_a_session_resumes_after_what_is_on_record(
    marks: dict[int, int], oldest: int, last: int, expected: int
) -> None:
    assert resume_after(marks, oldest=oldest, last=last) == expected


def test_reports_on_record_are_skipped_and_numbers_are_dense() -> None:
    cursor = ReportCursor(received=3, marks={0: 5, 1: 3})
    assert cursor.receive(3, partition=0) is Receipt.REPEATED
    assert cursor.receive(5, partition=0) is Receipt.OUT_OF_ORDER
    assert cursor.receive(4, partition=1) is Receipt.NEW
    assert cursor.receive(5, partition=0) is Receipt.RECORDED
    assert cursor.receive(6, partition=0) is Receipt.NEW
    assert cursor.receive(4, partition=1) is Receipt.REPEATED
    assert cursor.take(0) == [Posting(6, 5)]
    assert cursor.take(1) == [Posting(4, 3)]
    assert cursor.take(1) == []


def test_an_acknowledgement_waits_for_the_slowest_partition() -> None:
    cursor = ReportCursor(received=0, marks={0: 0, 1: 0})
    for sequence, partition in ((1, 0), (2, 1), (3, 0)):
        cursor.receive(sequence, partition=partition)
    assert cursor.take(0) == [Posting(1, 0), Posting(3, 1)]
    assert cursor.take(1) == [Posting(2, 0)]
    assert (cursor.acknowledged, cursor.unrecorded) == (0, 3)
    assert cursor.record(0, 3) == [1, 3]
    assert cursor.acknowledged == 1
    assert cursor.record(1, 2) == [2]
    assert (cursor.acknowledged, cursor.unrecorded) == (3, 0)


def test_a_gap_rewinds_to_the_mark() -> None:
    cursor = ReportCursor(received=0, marks={0: 0})
    for sequence in (1, 2, 3):
        cursor.receive(sequence, partition=0)
    cursor.take(0)
    cursor.record(0, 1)
    assert not cursor.rewind(0, sequence=3)  # falls with the one before it
    assert not cursor.rewind(0, sequence=1)  # on record
    assert cursor.rewind(0, sequence=2)
    assert cursor.take(0) == [Posting(2, 1), Posting(3, 2)]


def test_own_facts_are_numbered_densely_and_never_twice_for_an_order() -> None:
    facts = OwnFacts({0: 4})
    assert facts.post(0, 100) == Posting(5, 4)
    assert facts.post(0, 101) == Posting(6, 5)
    assert facts.post(0, 100) is None
    facts.record(0, 5)
    assert facts.post(0, 100) == Posting(7, 6)
    assert facts.rewind(0) == [101, 100]
    assert facts.post(0, 100) == Posting(6, 5)


class _Ledger:
    """One partition's rule for facts, and the orders in which a broker may deliver."""

    def __init__(self) -> None:
        self.mark = 0
        self.posted: list[int] = []

    def take(self, posting: Posting) -> str:
        if posting.sequence <= self.mark:
            return "duplicate"
        if posting.previous != self.mark:
            return "gap"
        self.mark = posting.sequence
        self.posted.append(posting.sequence)
        return "applied"


@given(
    partitions=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    restarts=st.lists(st.integers(0, 39), max_size=4),
    lost=st.sets(st.integers(0, 200), max_size=8),
)
def test_every_report_is_applied_once_in_order_and_acknowledged_only_then(
    partitions: list[int], restarts: list[int], lost: set[int]
) -> None:
    """The venue resends from the resume point after a restart; posted commands of a dead gateway may be lost."""
    ledgers = {partition: _Ledger() for partition in range(3)}
    home = dict(enumerate(partitions, start=1))
    last = len(partitions)
    acknowledged, sent = 0, 0
    for life in range(len(restarts) + 1):
        marks = {partition: ledger.mark for partition, ledger in ledgers.items()}
        oldest = acknowledged + 1 if acknowledged < last else 0
        start = resume_after(marks, oldest=oldest, last=last)
        cursor = ReportCursor(received=start, marks=marks)
        stop = start + restarts[life] if life < len(restarts) else last
        for sequence in range(start + 1, min(stop, last) + 1):
            partition = home[sequence]
            assert cursor.receive(sequence, partition=partition) is not Receipt.OUT_OF_ORDER
            for posting in cursor.take(partition):
                sent += 1
                if sent in lost and life < len(restarts):
                    continue  # the gateway died before the broker had it
                ledgers[partition].take(posting)
            cursor.record(partition, ledgers[partition].mark)
            on_record = [one for one in range(1, cursor.acknowledged + 1) if one not in ledgers[home[one]].posted]
            assert on_record == []
        acknowledged = max(acknowledged, cursor.acknowledged)
    assert acknowledged == last
    for partition, ledger in ledgers.items():
        assert ledger.posted == [sequence for sequence, where in home.items() if where == partition]
