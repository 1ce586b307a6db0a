"""The topics: each declared once with its partitions, retention and message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DAY_MS = 86_400_000
_COMPACTED_SEGMENT_MS = 600_000
FRAME_BYTES_MAX = 8 * 1024 * 1024
BATCH_BYTES_MAX = 1024 * 1024


class Retention(StrEnum):
    """How a topic forgets."""

    KEEP = "keep"
    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as declared.

    Args:
        name: as on the broker.
        partitions: None takes the number of home partitions from the parameters.
        retention: how it forgets.
        retention_ms: age at which records may go, for DELETE.
        message: full name of the protobuf message of a record's value.
        chained: records are ChainRecords whose body is `message`.
    """

    name: str
    partitions: int | None
    retention: Retention
    message: str
    retention_ms: int = -1
    chained: bool = False

    @property
    def dead(self) -> str:
        """Name of the topic for its poison records."""
        return f"{self.name}.dead"

    def config(self) -> dict[str, str]:
        """Broker configuration of the topic."""
        settings = {
            "cleanup.policy": "compact" if self.retention is Retention.COMPACT else "delete",
            "max.message.bytes": str(FRAME_BYTES_MAX),
            "message.timestamp.type": "LogAppendTime",
            "unclean.leader.election.enable": "false",
        }
        if self.retention is not Retention.COMPACT:
            settings["retention.ms"] = str(self.retention_ms)
            settings["retention.bytes"] = "-1"
        else:  # only closed segments are cleaned: what is read at a restart stays near what is alive
            settings["segment.ms"] = str(_COMPACTED_SEGMENT_MS)
            settings["min.cleanable.dirty.ratio"] = "0.2"
        return settings


QUOTES = Topic("market.quotes.v1", 1, Retention.DELETE, "ballast.events.v1.QuotesFrame", DAY_MS)
MARKS = Topic("market.marks.v1", 1, Retention.DELETE, "ballast.events.v1.MarksBody", 90 * DAY_MS, chained=True)
LIQUIDITY = Topic("market.liquidity.v1", 1, Retention.COMPACT, "ballast.events.v1.Liquidity")
COMMANDS = Topic("ledger.commands.v1", None, Retention.DELETE, "ballast.events.v1.CommandBatch", 14 * DAY_MS)
JOURNAL = Topic("ledger.journal.v1", None, Retention.KEEP, "ballast.events.v1.JournalBody", chained=True)
ACCOUNTS = Topic("ledger.accounts.v1", None, Retention.COMPACT, "ballast.events.v1.CheckpointItem")
NOTARY = Topic("ledger.notary.v1", 1, Retention.KEEP, "ballast.events.v1.SignedHead")
MARGIN = Topic("risk.margin.v1", None, Retention.DELETE, "ballast.events.v1.MarginFrame", 90 * DAY_MS)
SHADOW = Topic("risk.shadow.v1", None, Retention.DELETE, "ballast.events.v1.ShadowFrame", 90 * DAY_MS)
PLANS = Topic("liquidation.plans.v1", 1, Retention.KEEP, "ballast.events.v1.LiquidationPlan")
RATES = Topic("interest.rates.v1", 1, Retention.KEEP, "ballast.events.v1.RateDecision")
CONTROL = Topic("control.v1", 1, Retention.KEEP, "ballast.events.v1.ControlBody", chained=True)

TOPICS = (QUOTES, MARKS, LIQUIDITY, COMMANDS, JOURNAL, ACCOUNTS, NOTARY, MARGIN, SHADOW, PLANS, RATES, CONTROL)
DEAD_TOPICS = tuple(Topic(topic.dead, 1, Retention.KEEP, "ballast.events.v1.DeadLetter") for topic in TOPICS)
