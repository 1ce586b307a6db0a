"""A place in a chained log from which a reader can go on."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.events.v1.checkpoint_pb2 import CheckpointHead
from libs.common.chain.rule import AcceptedFrame, ChainRule


@dataclass(frozen=True, slots=True)
class ChainHead:
    """An accepted frame and what the rule knew after it.

    Args:
        offset: of the frame's record.
        hash: of the frame's record.
        claim_offset: of the claim in force.
        input_topic_id: of that claim.
        input_position: (offset, index) of the last input that the frame consumed.
    """

    offset: int
    epoch: int
    owner: bytes
    sequence: int
    hash: bytes
    claim_offset: int
    input_topic_id: bytes
    input_position: tuple[int, int]
    run_time_ns: int
    control_sequence: int

    @classmethod
    def of(cls, accepted: AcceptedFrame, *, input_topic_id: bytes) -> ChainHead:
        """The head that an accepted frame made."""
        frame = accepted.frame
        return cls(
            offset=accepted.offset,
            epoch=frame.epoch,
            owner=frame.owner,
            sequence=frame.sequence,
            hash=accepted.head,
            claim_offset=frame.claim_offset,
            input_topic_id=input_topic_id,
            input_position=(frame.input_offset, frame.input_index),
            run_time_ns=frame.run_time_ns,
            control_sequence=frame.control_sequence,
        )

    @classmethod
    def kept(cls, one: CheckpointHead) -> ChainHead:
        """The head that a checkpoint names."""
        return cls(
            offset=one.offset,
            epoch=one.epoch,
            owner=one.owner,
            sequence=one.sequence,
            hash=one.hash,
            claim_offset=one.claim_offset,
            input_topic_id=one.input_topic_id,
            input_position=(one.input_offset, one.input_index),
            run_time_ns=one.run_time_ns,
            control_sequence=one.control_sequence,
        )


def rule_at(head: ChainHead) -> ChainRule:
    """The rule as it stood after the head's frame: the next record decides as for a reader of the whole log."""
    rule = ChainRule()
    rule.epoch, rule.owner, rule.head, rule.sequence = head.epoch, head.owner, head.hash, head.sequence
    rule.claim_offset, rule.input_topic_id = head.claim_offset, head.input_topic_id
    rule.input_position, rule.run_time_ns = head.input_position, head.run_time_ns
    rule.control_sequence, rule.offset = head.control_sequence, head.offset
    return rule
