"""What operators watch of risk_evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from libs.common.metrics import Metrics
from services.risk_evaluation.domain.margin import State


class Meters:
    """Implements Readings over the process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._latency = metrics.histogram(
            "ballast_risk_mark_to_margin_seconds", "From a marks frame received to its margin frame acknowledged"
        )
        self._accounts = metrics.gauge(
            "ballast_risk_accounts_count", "Accounts by margin state", ("partition", "state")
        )
        self._sequence = metrics.gauge("ballast_risk_journal_sequence", "Journal sequence evaluated", ("partition",))
        self._lag = metrics.gauge("ballast_risk_journal_lag_seconds", "Age of the frame folded last", ("partition",))
        self._frames = metrics.counter("ballast_risk_margin_frames_total", "Margin frames published", ("partition",))
        self._silent = metrics.gauge("ballast_risk_marks_silent_state", "1 while no mark heartbeat is heard")
        self._decisions = metrics.counter("ballast_risk_decisions_total", "Decisions sent to the ledger", ("kind",))
        self._silent.set(1)

    def published(self, seconds: float) -> None:
        """A margin frame made by marks was acknowledged."""
        self._latency.observe(seconds)

    def partition(self, partition: int, *, by_state: Sequence[int], sequence: int) -> None:
        """Where a partition stands; accounts by MarginState number."""
        for state in State:
            self._accounts.labels(str(partition), state.name.lower()).set(by_state[state])
        self._sequence.labels(str(partition)).set(sequence)
        self._frames.labels(str(partition)).inc()

    def journal_lag(self, partition: int, seconds: float) -> None:
        """How long ago the frame just folded was written, by the wall."""
        self._lag.labels(str(partition)).set(seconds)

    def silent(self, is_silent: bool) -> None:
        """Whether marks are missing."""
        self._silent.set(int(is_silent))

    def decided(self, kind: str) -> None:
        """A decision was sent: open_episode, settle or void."""
        self._decisions.labels(kind).inc()
