"""The meters of the service, as Prometheus sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from libs.common.ids import InstrumentId
from libs.common.metrics import Metrics
from libs.common.units import SECOND_NS, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.domain.marks import MarkRow, Priced
from services.price_ingestion.domain.pacing_words import HoldReason, Overdue


class Meters:
    """Implements the replay's Observer on a registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._frames = metrics.counter(
            "ballast_price_frames_total", "Frames of marks, by worst validity class", ["validity"]
        )
        self._marks = metrics.gauge("ballast_price_marks_count", "Instruments by validity class now", ["validity"])
        self._ages = metrics.gauge(
            "ballast_price_mark_age_seconds", "Run time since the oldest quote in use, by validity class", ["validity"]
        )
        self._sourced_ns: dict[InstrumentId, int] = {}
        self._dropped = metrics.counter("ballast_price_dropped_quotes_total", "Quotes not used", ["source", "fault"])
        self._used = metrics.counter("ballast_price_quotes_total", "Quotes used", ["source"])
        self._accepted = metrics.histogram(
            "ballast_price_frame_accepted_seconds", "From handing a frame to the log to reading it back accepted"
        )
        self._run_time = metrics.gauge("ballast_price_run_time_seconds", "Run time of the last frame, since 1970")
        self._held = metrics.counter("ballast_price_clock_held_seconds_total", "Wall time held", ["reason"])
        self._overdue = metrics.counter("ballast_price_clock_overdue_total", "Waits that hit their bound", ["what"])
        self._counted_held_ns: Counter[HoldReason] = Counter()
        self._counted_overdue: Counter[Overdue] = Counter()
        for reason in HoldReason:
            self._held.labels(reason.value)
        for what in Overdue:
            self._overdue.labels(what.value)

    def framed(self, priced: Priced, rows: Sequence[MarkRow], *, run_time_ns: UnixNs, accepted_seconds: float) -> None:
        """A frame was accepted; `rows` are all marks in force."""
        by_class = Counter(row.mark.validity for row in rows)
        for instrument, quote in priced.used:
            newest = max(self._sourced_ns.get(instrument, 0), quote.source_time_ns)
            self._sourced_ns[instrument] = newest
        ages = dict.fromkeys(ValidityClass, 0)
        for row in rows:
            age = run_time_ns - self._sourced_ns.get(row.instrument, run_time_ns)
            ages[row.mark.validity] = max(ages[row.mark.validity], age)
        for validity in ValidityClass:
            self._marks.labels(validity.name).set(by_class[validity])
            self._ages.labels(validity.name).set(max(0, ages[validity]) / SECOND_NS)
        if rows:
            self._frames.labels(max(by_class).name).inc()
        for _, quote in priced.used:
            self._used.labels(quote.source).inc()
        for _, dropped in priced.dropped:
            self._dropped.labels(dropped.source, dropped.fault.name).inc()
        self._accepted.observe(accepted_seconds)
        self._run_time.set(run_time_ns / SECOND_NS)

    def paced(self, *, held_ns: Mapping[HoldReason, int], overdue: Mapping[Overdue, int]) -> None:
        """How long the clock has been held so far, and what outlasted its bound."""
        for reason, ns in held_ns.items():
            if ns > self._counted_held_ns[reason]:
                self._held.labels(reason.value).inc((ns - self._counted_held_ns[reason]) / SECOND_NS)
                self._counted_held_ns[reason] = ns
        for what, count in overdue.items():
            if count > self._counted_overdue[what]:
                self._overdue.labels(what.value).inc(count - self._counted_overdue[what])
                self._counted_overdue[what] = count
