"""The meters: frames by worst class, dropped quotes by fault, held time counted once."""

from __future__ import annotations

from libs.common.ids import InstrumentId
from libs.common.metrics import Metrics
from libs.common.units import SECOND_NS, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.adapters.meters import Meters
from services.price_ingestion.domain.guard import DroppedQuote, Mark, QuoteFault, UsableQuote
from services.price_ingestion.domain.marks import MarkRow, Priced
from services.price_ingestion.domain.pacing_words import HoldReason, Overdue


def test_meters() -> None:
    metrics = Metrics()
    meters = Meters(metrics)
    rows = tuple(
        MarkRow(InstrumentId(number), Mark(1, 1, 0, validity), 1)
        for number, validity in enumerate([ValidityClass.VALID, ValidityClass.DEGRADED])
    )
    priced = Priced(
        rows,
        ((InstrumentId(1), UsableQuote("north", 1, UnixNs(0))),),
        ((InstrumentId(1), DroppedQuote("south", QuoteFault.MALFORMED)),),
    )
    meters.framed(priced, rows, run_time_ns=UnixNs(7 * SECOND_NS), accepted_seconds=0.004)
    for held_ms in (1_500, 1_500, 2_000):  # running totals, told again and again
        held = {HoldReason.RISK_BEHIND: held_ms * 10**6}
        meters.paced(held_ns=held, overdue={Overdue.ORDER: held_ms // 1_000})

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("ballast_price_frames_total", validity="DEGRADED") == 1
    assert value("ballast_price_marks_count", validity="VALID") == 1
    assert value("ballast_price_marks_count", validity="STALE") == 0
    assert value("ballast_price_dropped_quotes_total", source="south", fault="MALFORMED") == 1
    assert value("ballast_price_run_time_seconds") == 7
    assert value("ballast_price_clock_held_seconds_total", reason="risk_behind") == 2
    assert value("ballast_price_clock_held_seconds_total", reason="speed_limit") == 0
    assert value("ballast_price_clock_overdue_total", what="order") == 2
