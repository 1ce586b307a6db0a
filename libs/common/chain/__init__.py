"""The chained log: exactly once without Kafka transactions (docs/architecture.md, The chained log)."""

from libs.common.chain.draft import BODY_BYTES_MAX, Draft, Drafted, FrameTooLarge
from libs.common.chain.follower import ChainFollower, claim_named_by
from libs.common.chain.head import ChainHead, rule_at
from libs.common.chain.reading import LogReading, end_as_told
from libs.common.chain.rule import (
    GENESIS,
    NO_INPUT,
    OWNER_BYTES,
    Accepted,
    AcceptedClaim,
    AcceptedFrame,
    ChainBroken,
    ChainRule,
    Outcome,
    Rejected,
    Rejection,
    record_hash,
)
from libs.common.chain.writer import ChainWriter

__all__ = [
    "BODY_BYTES_MAX",
    "GENESIS",
    "NO_INPUT",
    "OWNER_BYTES",
    "Accepted",
    "AcceptedClaim",
    "AcceptedFrame",
    "ChainBroken",
    "ChainFollower",
    "ChainHead",
    "ChainRule",
    "ChainWriter",
    "Draft",
    "Drafted",
    "FrameTooLarge",
    "LogReading",
    "Outcome",
    "Rejected",
    "Rejection",
    "claim_named_by",
    "end_as_told",
    "record_hash",
    "rule_at",
]
