"""The state file: what was sent is known after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.venue.reports import Kind, Outbox, Report
from examples.venue.state import MalformedState, StateFile


def _report(sequence: int) -> Report:
    return Report(
        sequence=sequence, order=2**63 + 1, kind=Kind.FILL, lots=3, price="100.01", fee="0.01", trade="north-1",
        remaining=2, executed_at_ns=5, received_wall_ns=6, detail="",
    )  # fmt: skip


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "north.jsonl")
    assert state.open().reports == []
    state.record_epoch(4)
    state.record_reports([("BTC-USD", _report(1)), ("LTC-USD", _report(2))])
    state.close()
    state = StateFile(tmp_path / "north.jsonl")
    history = state.open()
    state.close()
    assert history.session_epoch == 4
    assert history.reports == [("BTC-USD", _report(1)), ("LTC-USD", _report(2))]


def test_a_torn_line_is_cut_off_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "north.jsonl"
    path.write_bytes(b'{"session_epoch": 2}\n{"session_ep')
    state = StateFile(path)
    assert state.open().session_epoch == 2
    state.record_epoch(3)
    state.close()
    assert path.read_bytes() == b'{"session_epoch": 2}\n{"session_epoch": 3}\n'


@pytest.mark.parametrize("line", [b"no json\n", b'{"symbol": "BTC-USD"}\n', b"[]\n"])
def test_a_foreign_line_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "north.jsonl"
    path.write_bytes(line)
    with pytest.raises(MalformedState, match="jsonl:1"):
        StateFile(path).open()


def test_without_a_path_nothing_is_kept() -> None:
    state = StateFile(None)
    assert state.open().reports == []
    state.record_epoch(1)
    state.close()


def test_reports_are_dense() -> None:
    outbox = Outbox()
    outbox.append(_report(1))
    with pytest.raises(ValueError, match="expected report 2"):
        outbox.append(_report(3))
