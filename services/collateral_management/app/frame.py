"""A frame of the journal being filled."""

from __future__ import annotations

from ballast.events.v1 import journal_pb2
from libs.common.errors import invariant
from libs.common.trace import Trace
from services.collateral_management.domain.draft import Context

_OUTCOMES_TAG = b"\x0a"  # field 1 of JournalBody, length-delimited
_ONE_BYTE = [bytes((byte,)) for byte in range(256)]


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    return _ONE_BYTE[number & 0x7F | 0x80] + _varint(number >> 7)


class Frame:
    """A frame being filled."""

    __slots__ = ("_encoded", "at", "context", "outcomes", "size", "traces")

    def __init__(self) -> None:
        self.outcomes: list[journal_pb2.Outcome] = []
        self.size = 0
        self.at = (-1, 0)
        self.traces: dict[int, Trace] = {}
        self.context: Context | None = None
        self._encoded: list[bytes] = []

    def opened(self) -> Context:
        """The context of all its commands."""
        invariant(self.context is not None, "I8", "a frame without context")
        assert self.context is not None  # noqa: S101  for the type checker: the line above has raised
        return self.context

    def add(self, outcome: journal_pb2.Outcome, *, at: tuple[int, int]) -> None:
        """Takes an outcome in."""
        encoded = outcome.SerializeToString()
        self._encoded.append(_OUTCOMES_TAG + _varint(len(encoded)) + encoded)
        self.outcomes.append(outcome)
        self.size += len(encoded)
        self.at = at

    def body(self, *, fingerprint: bytes) -> bytes:
        """The encoded JournalBody: the same bytes as of the message, without a copy of each outcome in it."""
        self._encoded.append(journal_pb2.JournalBody(fingerprint=fingerprint).SerializeToString())
        return b"".join(self._encoded)
