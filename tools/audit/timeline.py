"""The journal of a partition in its two times: when something happened, and when it was recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from ballast.events.v1 import journal_pb2
from libs.common.chain import AcceptedFrame, ChainBroken, ChainRule
from libs.common.topics import JOURNAL
from libs.common.units import SECOND_NS
from tools.audit.stored import Source, Torn
from tools.reconcile.reader import Unreadable
from tools.reconcile.records import JournalFrame

_FAR = 1 << 63


async def frames(source: Source, partition: int, *, recorded_ns: int = _FAR) -> AsyncIterator[JournalFrame]:
    """Frames recorded up to a run time, in order. Raises Unreadable where the chain does not hold."""
    rule = ChainRule()
    try:
        async for stored in source.records(JOURNAL, partition):
            accepted = rule.take(offset=stored.offset, value=stored.value)
            if not isinstance(accepted, AcceptedFrame):
                continue
            if accepted.run_time_ns > recorded_ns:  # run time never falls
                return
            yield JournalFrame(
                partition=partition,
                sequence=accepted.sequence,
                run_time_ns=accepted.run_time_ns,
                control_sequence=accepted.control_sequence,
                body=journal_pb2.JournalBody.FromString(accepted.body),
            )
    except (ChainBroken, Torn) as error:
        raise Unreadable(f"partition {partition}: {error}; ballast ledger verify says where") from error


def effective_ns(outcome: journal_pb2.Outcome, *, recorded_ns: int) -> int:
    """Run time at which what an outcome posts took place: of the trade or the tick, else when it was recorded."""
    for effect in outcome.effects:
        match effect.WhichOneof("effect"):
            case "fill":
                return effect.fill.executed_at_ns
            case "pool_index":
                return effect.pool_index.run_time_ns
            case "funding_index":
                return effect.funding_index.run_time_ns
    return recorded_ns


def instant(text: str) -> int:
    """Run time in ns of an ISO moment (UTC unless it says otherwise), or of a whole number of ns.

    Raises: ValueError.
    """
    if text.isdigit():
        found = int(text)
    else:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        whole = int(moment.replace(microsecond=0).timestamp())
        found = whole * SECOND_NS + moment.microsecond * 1_000
    if not 0 <= found < _FAR:
        raise ValueError(f"expected a moment from 1970 to 2262, was {text[:40]}")
    return found


def day_of(run_time_ns: int) -> str:
    """UTC day of a run time, such as 2018-01-31."""
    return datetime.fromtimestamp(run_time_ns // SECOND_NS, UTC).date().isoformat()
