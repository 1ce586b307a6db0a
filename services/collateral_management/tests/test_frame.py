"""A frame's bytes are those of its message, whatever its outcomes' sizes."""

from __future__ import annotations

import pytest

from ballast.events.v1 import journal_pb2
from services.collateral_management.app.frame import Frame


@pytest.mark.parametrize("sizes", [(), (0,), (1, 100, 0), (126, 127, 128, 129), (16_380, 16_384, 3), (300_000, 1)])
def test_a_frame_is_encoded_as_its_message(sizes: tuple[int, ...]) -> None:
    frame, outcomes = Frame(), [journal_pb2.Outcome(detail="x" * size) for size in sizes]
    for at, outcome in enumerate(outcomes):
        frame.add(outcome, at=(7, at))
    whole = journal_pb2.JournalBody(outcomes=outcomes, fingerprint=b"f" * 16)
    assert frame.body(fingerprint=b"f" * 16) == whole.SerializeToString()
    assert frame.size == sum(outcome.ByteSize() for outcome in outcomes)
