"""The mark in force by sequence and by run time."""

import pytest

from ballast.events.v1 import market_pb2
from libs.common.validity import ValidityClass
from tools.reconcile.marks import MarkHistory
from tools.reconcile.records import MarkFrame
from tools.reconcile.windows import Window, parse_windows

VALID, HOLD = ValidityClass.VALID, ValidityClass.HOLD


def _frame(sequence: int, at_ns: int, *rows: tuple[int, int, ValidityClass], snapshot: bool = False) -> MarkFrame:
    body = market_pb2.MarksBody(
        snapshot=snapshot,
        instrument=[one for one, _, _ in rows],
        mark_price=[price for _, price, _ in rows],
        index_price=[price for _, price, _ in rows],
        confidence=[0] * len(rows),
        slow_price=[price for _, price, _ in rows],
        validity=bytes([validity for _, _, validity in rows]),
    )
    return MarkFrame(sequence, at_ns, body)


def test_a_mark_stays_in_force_until_the_next_one() -> None:
    history = MarkHistory()
    history.take(_frame(1, 100, (1, 10, VALID), (2, 20, VALID)))
    history.take(_frame(2, 200))  # a heartbeat
    history.take(_frame(3, 300, (1, 11, HOLD)))
    history.take(_frame(5, 400, (2, 22, VALID), snapshot=True))
    prices = [(history.mark(1, number).price, history.mark(2, number).price) for number in range(4)]
    assert prices == [(10, 20), (10, 20), (11, 20), (0, 22)]
    assert [history.number_of(sequence) for sequence in (0, 1, 3, 4, 5, 6)] == [-1, 0, 2, -1, 3, -1]
    assert [history.number_at(at_ns) for at_ns in (99, 100, 250, 300, 999)] == [-1, 0, 1, 2, 3]
    assert history.mark(1, -1).validity is ValidityClass.STALE
    assert history.mark(1, 2).validity is HOLD
    assert dict(history.classes) == {"VALID": 2, "heartbeat": 1, "HOLD": 1}


@pytest.mark.parametrize("text", ["2018-01-16", "2018-01-17/2018-01-16", "a/b"])
def test_an_impossible_window_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_windows(text)


def test_windows_are_counted_without_their_end() -> None:
    (window,) = parse_windows("1970-01-01T00:00:01/1970-01-01T00:00:02")
    assert window == Window("1970-01-01", 1_000_000_000, 2_000_000_000)
    assert window.count((999_999_999, 1_000_000_000, 1_999_999_999, 2_000_000_000)) == 2
