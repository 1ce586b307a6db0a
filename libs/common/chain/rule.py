"""The rule by which every reader of a chained log accepts or rejects a record; pure, the same for all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from google.protobuf.message import DecodeError

from ballast.events.v1 import chain_pb2
from libs.common.errors import InvariantBroken

OWNER_BYTES = 16
GENESIS = bytes(hashlib.sha256().digest_size)  # the head before the first claim
NO_INPUT = (-1, 0)  # the input position before any input
NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})


class ChainBroken(InvariantBroken):
    """The log contradicts itself or what this reader knows of it: stop, never serve."""

    def __init__(self, detail: str) -> None:
        super().__init__("I8", detail)


class Rejection(StrEnum):
    """Why a record is noise."""

    MALFORMED = "malformed"  # not a record of a chained log
    CLAIM_NOT_NEXT = "claim_not_next"  # another claim had this epoch already
    OTHER_EPOCH = "other_epoch"  # a zombie, or a reader that joined later than this frame's claim
    OTHER_OWNER = "other_owner"  # lost the race for its epoch
    DUPLICATE = "duplicate"  # this sequence is accepted already
    GAP = "gap"  # the frame before it never arrived


@dataclass(frozen=True, slots=True)
class AcceptedClaim:
    """A claim in force from its offset on."""

    offset: int
    claim: chain_pb2.Claim
    head: bytes


@dataclass(frozen=True, slots=True)
class AcceptedFrame:
    """A frame that is part of the log.

    Args:
        offset: of its record.
        frame: as written.
        head: hash of its record.
        headers: of its record.
        size: bytes of its record's value.
    """

    offset: int
    frame: chain_pb2.Frame
    head: bytes
    headers: Mapping[str, bytes] = field(default_factory=lambda: NO_HEADERS)
    size: int = 0

    @property
    def sequence(self) -> int:
        """Number of the frame over all epochs."""
        return self.frame.sequence

    @property
    def run_time_ns(self) -> int:
        """Run time of everything the frame did."""
        return self.frame.run_time_ns

    @property
    def control_sequence(self) -> int:
        """Sequence of the control log in force."""
        return self.frame.control_sequence

    @property
    def body(self) -> bytes:
        """Content, by the log's own message."""
        return self.frame.body


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is noise to every reader."""

    offset: int
    reason: Rejection
    head: bytes


Accepted = AcceptedClaim | AcceptedFrame
Outcome = Accepted | Rejected


def record_hash(value: bytes) -> bytes:
    """Hash of a record's value as written."""
    return hashlib.sha256(value).digest()


def _decode(value: bytes) -> chain_pb2.Claim | chain_pb2.Frame | None:
    record = chain_pb2.ChainRecord()
    try:
        record.ParseFromString(value)
    except DecodeError:
        return None
    kind = record.WhichOneof("record")
    if kind == "claim":
        return record.claim if len(record.claim.owner) == OWNER_BYTES else None
    return record.frame if kind == "frame" else None


class ChainRule:
    """Folds records into the state that decides the next one.

    A reader that does not begin at the first record (`from_start=False`) cannot know the epoch it is in. It takes a
    claim whose epoch is above all it has seen, on trial: writers send frames only after their claim was accepted, so a
    frame chained on the claim proves it, and a frame of the same or a later epoch by another owner refutes it.
    """

    def __init__(self, *, from_start: bool = True) -> None:
        self.epoch = 0
        self.owner = b""
        self.head = GENESIS
        self.inherited = GENESIS  # the head before the claim in force
        self.sequence = 0
        self.claim_offset = -1
        self.input_topic_id = b""
        self.input_position = NO_INPUT
        self.run_time_ns = 0
        self.control_sequence = 0
        self.offset = -1  # of the last record taken, accepted or not
        self.rejected: Counter[Rejection] = Counter()
        self.torn_at: int | None = (
            None  # offset of a record that is unreadable, yet the owner in force went on behind it
        )
        self.is_proven = from_start
        self._claim_head = b""
        self._unreadable: int | None = None  # offset, since the last accepted record

    def take(self, *, offset: int, value: bytes, headers: Mapping[str, bytes] = NO_HEADERS) -> Outcome:
        """What the record is to every reader. Raises ChainBroken where a reader must stop."""
        if offset <= self.offset:
            raise ChainBroken(f"expected an offset above {self.offset}, was {offset}")
        self.offset = offset
        head = record_hash(value)
        record = _decode(value)
        if isinstance(record, chain_pb2.Claim):
            return self._take_claim(record, offset=offset, head=head)
        if record is None:
            return self._reject(Rejection.MALFORMED, offset=offset, head=head)
        reason = self._reason_against(record, offset=offset)
        if reason is not None:
            return self._reject(reason, offset=offset, head=head)
        if self.is_proven:
            self._check(record, offset=offset)
        self._advance(record, head=head)
        return AcceptedFrame(offset=offset, frame=record, head=head, headers=headers, size=len(value))

    def _reject(self, reason: Rejection, *, offset: int, head: bytes) -> Rejected:
        self.rejected[reason] += 1
        if reason is Rejection.MALFORMED:
            self._unreadable = offset
        elif reason is Rejection.GAP and self._unreadable is not None:
            self.torn_at = self._unreadable
        return Rejected(offset=offset, reason=reason, head=head)

    def _take_claim(self, claim: chain_pb2.Claim, *, offset: int, head: bytes) -> Outcome:
        is_next = claim.epoch == self.epoch + 1 if self.is_proven else claim.epoch > self.epoch
        if not is_next:
            return self._reject(Rejection.CLAIM_NOT_NEXT, offset=offset, head=head)
        self._unreadable = None
        self.epoch = claim.epoch
        self.owner = claim.owner
        self.inherited = self.head
        self.head = self._claim_head = head
        self.claim_offset = offset
        self.input_topic_id = claim.input_topic_id
        return AcceptedClaim(offset=offset, claim=claim, head=head)

    def _reason_against(self, frame: chain_pb2.Frame, *, offset: int) -> Rejection | None:
        if not self.is_proven and (frame.epoch, frame.owner) != (self.epoch, self.owner) and frame.epoch >= self.epoch:
            self.epoch, self.owner = frame.epoch, b""
        if frame.epoch != self.epoch:
            return Rejection.OTHER_EPOCH
        if frame.owner != self.owner or not self.owner:
            return Rejection.OTHER_OWNER
        if frame.previous_hash == self.head and (self.is_proven or frame.claim_offset == self.claim_offset):
            return None
        if not self.is_proven or frame.sequence > self.sequence + 1:
            return Rejection.GAP
        if frame.sequence <= self.sequence:
            return Rejection.DUPLICATE
        raise ChainBroken(
            f"frame {frame.sequence} of epoch {self.epoch} at offset {offset}: expected previous hash "
            f"{self.head.hex()}, was {frame.previous_hash.hex()}"
        )

    def _check(self, frame: chain_pb2.Frame, *, offset: int) -> None:
        def stop(what: str, expected: object, was: object) -> ChainBroken:
            return ChainBroken(f"frame at offset {offset}: expected {what} {expected}, was {was}")

        position = (frame.input_offset, frame.input_index)
        if frame.claim_offset != self.claim_offset:
            raise stop("claim offset", self.claim_offset, frame.claim_offset)
        if self.head == self._claim_head and frame.inherited != self.inherited:
            raise stop("inherited head", self.inherited.hex(), frame.inherited.hex())
        if frame.sequence != self.sequence + 1:
            raise stop("sequence", self.sequence + 1, frame.sequence)
        if position < self.input_position:
            raise stop("input position at or after", self.input_position, position)
        if frame.run_time_ns < self.run_time_ns:
            raise stop("run time at or after", self.run_time_ns, frame.run_time_ns)

    def _advance(self, frame: chain_pb2.Frame, *, head: bytes) -> None:
        self.is_proven = True
        self._unreadable = self.torn_at = None  # who wrote this took it for noise as well
        self.head = head
        self.sequence = frame.sequence
        self.input_position = (frame.input_offset, frame.input_index)
        self.run_time_ns = frame.run_time_ns
        self.control_sequence = frame.control_sequence
