"""Builds the records of one writer, each chained on the one before; pure."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.events.v1 import chain_pb2
from libs.common.chain.rule import NO_INPUT, OWNER_BYTES, ChainRule, record_hash
from libs.common.errors import BallastError, invariant
from libs.common.topics import FRAME_BYTES_MAX

_ENVELOPE_BYTES_MAX = 64 * 1024  # the frame's other fields, its headers, Kafka's own
BODY_BYTES_MAX = FRAME_BYTES_MAX - _ENVELOPE_BYTES_MAX


class FrameTooLarge(BallastError):
    """The body exceeds BODY_BYTES_MAX; nothing was appended."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A record ready to be sent."""

    value: bytes
    head: bytes
    sequence: int
    input_position: tuple[int, int]
    run_time_ns: int


def _checked(owner: bytes) -> bytes:
    if len(owner) != OWNER_BYTES:
        raise ValueError(f"expected an owner of {OWNER_BYTES} bytes, was {len(owner)}")
    return owner


class Draft:
    """Where the next frame goes, as if all frames before it were accepted."""

    def __init__(self, *, owner: bytes, input_topic_id: bytes) -> None:
        self.owner = _checked(owner)
        self.epoch = 0
        self.sequence = 0
        self.input_position = NO_INPUT
        self.run_time_ns = 0
        self._input_topic_id = input_topic_id
        self._head = b""
        self._inherited = b""
        self._claim_offset = -1

    def claim(self, rule: ChainRule, *, owner: bytes | None = None) -> Drafted:
        """The claim that takes the log over from whoever has it, under another owner when one is given."""
        self.owner = self.owner if owner is None else _checked(owner)
        claim = chain_pb2.Claim(
            epoch=rule.epoch + 1,
            owner=self.owner,
            previous_claim_offset=rule.claim_offset,
            input_topic_id=self._input_topic_id,
        )
        value = chain_pb2.ChainRecord(claim=claim).SerializeToString(deterministic=True)
        return Drafted(value, record_hash(value), rule.sequence, rule.input_position, rule.run_time_ns)

    def begin(self, rule: ChainRule) -> None:
        """Stands on the claim of this writer, which the rule has just accepted."""
        self.epoch = rule.epoch
        self.sequence = rule.sequence
        self.input_position = rule.input_position
        self.run_time_ns = rule.run_time_ns
        self._head = rule.head
        self._inherited = rule.inherited
        self._claim_offset = rule.claim_offset

    def frame(
        self, body: bytes, *, input_position: tuple[int, int], run_time_ns: int, control_sequence: int
    ) -> Drafted:
        """The next frame; it counts once `commit` has been called with it.

        Raises: FrameTooLarge, InvariantBroken when the input position falls.
        """
        if len(body) > BODY_BYTES_MAX:
            raise FrameTooLarge(f"expected a body of at most {BODY_BYTES_MAX} bytes, was {len(body)}")
        invariant(
            input_position >= self.input_position,
            "I8",
            f"expected an input position at or after {self.input_position}, was {input_position}",
        )
        run_time_ns = max(run_time_ns, self.run_time_ns)
        frame = chain_pb2.Frame(
            epoch=self.epoch,
            owner=self.owner,
            sequence=self.sequence + 1,
            previous_hash=self._head,
            inherited=self._inherited,
            claim_offset=self._claim_offset,
            input_offset=input_position[0],
            input_index=input_position[1],
            run_time_ns=run_time_ns,
            control_sequence=control_sequence,
            body=body,
        )
        value = chain_pb2.ChainRecord(frame=frame).SerializeToString(deterministic=True)
        return Drafted(value, record_hash(value), self.sequence + 1, input_position, run_time_ns)

    def commit(self, drafted: Drafted) -> None:
        """The frame is on its way: the next one is chained on it."""
        self.sequence = drafted.sequence
        self.input_position = drafted.input_position
        self.run_time_ns = drafted.run_time_ns
        self._head = drafted.head
        self._inherited = b""
