"""Where a reader of one partition stands: kept by the reader, shown by whoever watches it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.chain.rule import AcceptedClaim, AcceptedFrame, ChainRule, Outcome, Rejected, Rejection


def _unknown() -> int | None:
    return None


@dataclass(slots=True, eq=False)
class LogReading:
    """One reader's place in one partition.

    Args:
        topic, partition: what is read.
        rule: of a chained log, None for any other.
        end: offset behind the last record, as the broker said in its last answer; None before one.
        position: offset of the next record to read.
        appended_ms: wall time at which the broker took the record that was read last; 0 before one.
        accepted_ms: the same of the frame that was accepted last.
        claims, rejected: seen since the reader reached the end that the log had at its start: history, which every
            start reads again, is not counted.
    """

    topic: str
    partition: int
    rule: ChainRule | None = None
    end: Callable[[], int | None] = _unknown
    position: int = 0
    appended_ms: int = 0
    accepted_ms: int = 0
    claims: int = 0
    rejected: Counter[Rejection] = field(default_factory=Counter)

    def took(self, *, offset: int, appended_ms: int) -> None:
        """A record was read."""
        self.position, self.appended_ms = offset + 1, appended_ms

    def judged(self, outcome: Outcome, *, is_history: bool) -> None:
        """The record that was read last is this to the rule."""
        if isinstance(outcome, AcceptedFrame):
            self.accepted_ms = self.appended_ms
        elif isinstance(outcome, AcceptedClaim):
            self.claims += not is_history
        elif isinstance(outcome, Rejected):
            self.rejected[outcome.reason] += not is_history

    @property
    def lag_records(self) -> int | None:
        """Records that the broker has and the reader has not taken; None before the broker's first answer."""
        end = self.end()
        return None if end is None else max(0, end - self.position)

    def lag_seconds(self, now_ms: int) -> float:
        """Age of the record read last while others wait behind it, else 0."""
        return max(0, now_ms - self.appended_ms) / 1e3 if self.lag_records and self.appended_ms else 0.0


def end_as_told(consumer: AIOKafkaConsumer, partition: TopicPartition) -> Callable[[], int | None]:
    """Asks the consumer's memory, never the broker: may be called from any thread."""

    def end() -> int | None:
        try:
            told: int | None = consumer.highwater(partition)
        except KafkaError:
            return None
        return told

    return end
