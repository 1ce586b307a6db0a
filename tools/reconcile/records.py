"""What stands on the topics, decoded; the only thing the reconciliation knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ballast.events.v1 import commands_pb2, dead_letter_pb2, journal_pb2, market_pb2, risk_pb2

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class JournalFrame:
    """An accepted frame of one partition's journal; wall_ns is when its owner wrote it, 0 if unknown."""

    partition: int
    sequence: int
    run_time_ns: int
    control_sequence: int
    body: journal_pb2.JournalBody
    wall_ns: int = 0


@dataclass(frozen=True, slots=True)
class MarkFrame:
    """An accepted frame of the marks."""

    sequence: int
    run_time_ns: int
    body: market_pb2.MarksBody


@dataclass(frozen=True, slots=True)
class MarginRecord:
    """A margin frame with its wall times: mark received, margin published."""

    frame: risk_pb2.MarginFrame
    mark_received_wall_ns: int = 0
    wall_ns: int = 0


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A batch of commands of one partition with its stamps by name."""

    partition: int
    batch: commands_pb2.CommandBatch
    stamps: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record that a service gave up on."""

    topic: str
    letter: dead_letter_pb2.DeadLetter


@dataclass(frozen=True, slots=True)
class Chain:
    """How reading one chained partition went.

    Args:
        rejected: records that are noise to every reader, by reason.
        broken: why a reader must stop, empty when it need not.
    """

    name: str
    frames: int
    claims: int
    rejected: Mapping[str, int]
    broken: str = ""


def key_of(partition: int, message: commands_pb2.Command | journal_pb2.Outcome) -> Key:
    """Identity of a command, the same on the command and on its outcome; each partition numbers by itself."""
    match message.WhichOneof("key"):
        case "session":
            return partition, "session", message.session.session, message.session.n
        case "client":
            return partition, "client", message.principal.id, message.client.key
        case "fact":
            return partition, "fact", message.fact.stream, message.fact.sequence
    return partition, "none"
