"""The service's metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.metrics import Metrics

_SLIPPAGE_RATIO = (-0.01, -0.003, -0.001, 0.0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05)
_BP = 10_000
_HISTORY_NS = 60 * 10**9


class Meter:
    """Implements MeterPort on the process's registry."""

    def __init__(self, metrics: Metrics) -> None:
        prefix = "ballast_liquidation"
        self._open = metrics.gauge(f"{prefix}_open_episodes_count", "Episodes that are open.")
        self._waiting = metrics.gauge(
            f"{prefix}_waiting_episodes_count", "Open episodes by what they wait for.", ["reason"]
        )
        self._plans = metrics.histogram(
            f"{prefix}_plan_seconds", "Search for one plan, risk's answers included.", ["kind"]
        )
        self._decisions = metrics.counter(f"{prefix}_decisions_total", "Commands submitted to the ledger.", ["kind"])
        self._refused = metrics.counter(f"{prefix}_refused_total", "Commands that the ledger refused.", ["reason"])
        self._slippage = metrics.histogram(
            f"{prefix}_fill_slippage_ratio",
            "Fills of episodes against the mark when they were read; positive is worse.",
            buckets=_SLIPPAGE_RATIO,
        )
        self._reasons: set[str] = set()

    def episodes(self, *, open_now: int, waiting: dict[str, int]) -> None:
        """Open episodes, and how many wait for what."""
        self._open.set(open_now)
        self._reasons |= waiting.keys()
        for reason in self._reasons:
            self._waiting.labels(reason=reason).set(waiting.get(reason, 0))

    def planned(self, *, seconds: float, kind: str) -> None:
        """One plan was searched."""
        self._plans.labels(kind=kind).observe(seconds)

    def decided(self, *, kind: str) -> None:
        """One command was submitted."""
        self._decisions.labels(kind=kind).inc()

    def refused(self, *, reason: str) -> None:
        """The ledger refused a command."""
        self._refused.labels(reason=reason).inc()

    def filled(self, *, slippage_bp: float) -> None:
        """A fill of an episode against the mark."""
        self._slippage.observe(slippage_bp / _BP)


class EpisodeLatency:
    """From the frame that opened an episode to the one that let its first order out, by the ledger's wall clock.

    Args:
        wall_ns: now; what is folded at a start is long past and not measured again.
    """

    def __init__(self, metrics: Metrics, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._seconds = metrics.histogram(
            "ballast_liquidation_episode_to_order_seconds",
            "From the frame that opened an episode to the frame that released its first order.",
        )
        self._wall_ns = wall_ns
        self._opened: dict[int, int] = {}  # wall time of the opening, by episode without an order

    def frame(self, body: journal_pb2.JournalBody, *, written_ns: int) -> None:
        """Takes an accepted frame that the ledger wrote at that wall time, 0 when it does not say."""
        if not written_ns or self._wall_ns() - written_ns > _HISTORY_NS:
            return
        for outcome in body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("episode"):
                    self._episode(effect.episode, written_ns)
                elif effect.HasField("order") and effect.order.episode in self._opened:
                    self._seconds.observe((written_ns - self._opened.pop(effect.order.episode)) / 1e9)

    def _episode(self, one: journal_pb2.Episode, written_ns: int) -> None:
        if one.state != ledger_pb2.EPISODE_STATE_OPEN:
            self._opened.pop(one.episode, None)
        elif not one.step and not one.last_fill_sequence:
            self._opened.setdefault(one.episode, written_ns)
