"""The rule of a chained log written down a second time, plainly: what every reader must come to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ballast.events.v1 import chain_pb2

_OWNER_BYTES = 16

Found = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an accepted frame stands."""

    frame: chain_pb2.Frame
    offset: int


class PlainChain:
    """One log as the design's two sentences have it; told of each record as the broker takes it.

    Args:
        found: told the invariant and what contradicts it.
        take: given each accepted frame.
    """

    def __init__(self, name: str, *, found: Found, take: Callable[[Place], None]) -> None:
        self.name = name
        self.accepted: list[bool] = []  # by offset, claims counted
        self.frames = 0
        self.epoch = 0
        self.noise = 0
        self._owner = b""
        self._head = self._before_claim = bytes(32)
        self._follows_claim = False
        self._claim_offset = -1
        self._found = found
        self._take = take
        self._last = chain_pb2.Frame(input_offset=-1)

    def append(self, offset: int, value: bytes) -> None:
        """Takes the next record."""
        record = chain_pb2.ChainRecord()
        try:
            record.ParseFromString(value)
        except DecodeError:
            record = chain_pb2.ChainRecord()
        head = hashlib.sha256(value).digest()
        is_accepted = False
        if record.HasField("claim") and len(record.claim.owner) == _OWNER_BYTES:
            is_accepted = record.claim.epoch == self.epoch + 1
            if is_accepted:
                self.epoch, self._owner = record.claim.epoch, record.claim.owner
                self._before_claim, self._claim_offset, self._follows_claim = self._head, offset, True
        elif record.HasField("frame"):
            one = record.frame
            is_accepted = (one.epoch, one.owner, one.previous_hash) == (self.epoch, self._owner, self._head)
            is_accepted &= self.epoch > 0
        self.accepted.append(is_accepted)
        self.noise += not is_accepted
        if is_accepted:
            self._head = head
            if record.HasField("frame"):
                self._frame(record.frame, offset)

    def _frame(self, one: chain_pb2.Frame, offset: int) -> None:
        last = self._last
        expected = {
            "sequence": (one.sequence, last.sequence + 1),
            "claim offset": (one.claim_offset, self._claim_offset),
            "inherited": (one.inherited, self._before_claim if self._follows_claim else b""),
        }
        for what, (was, wanted) in expected.items():
            if was != wanted:
                self._found("I8", f"{self.name} offset {offset}: expected {what} {wanted!r}, was {was!r}")
        if (one.input_offset, one.input_index) < (last.input_offset, last.input_index):
            self._found("I8", f"{self.name} offset {offset}: the input position falls")
        if one.run_time_ns < last.run_time_ns:
            self._found("I8", f"{self.name} offset {offset}: run time falls")
        self._follows_claim = False
        self._last = one
        self.frames += 1
        self._take(Place(one, offset))

    def judged(self, reader: str, offset: int, *, accepted: bool, is_whole: bool) -> None:
        """A reader has taken a record so; one that began in the middle may take less, never more."""
        ours = self.accepted[offset]
        if accepted != ours and (accepted or is_whole):
            words = {True: "accepted", False: "noise"}
            self._found("I8", f"{self.name} offset {offset} is {words[ours]}, to {reader} it is {words[accepted]}")
