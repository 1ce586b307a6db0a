"""Metrics: constructors that hold the naming rule, on a registry that is handed around and never global."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# records: of a topic; amount: whole units of the asset that a label names.
UNITS = frozenset(
    {"seconds", "bytes", "records", "total", "count", "ratio", "ppm", "usd", "amount", "state", "sequence", "info"}
)
LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_NAME = re.compile(r"^ballast_[a-z][a-z0-9]*(_[a-z0-9]+)+_(?P<unit>[a-z]+)$")
_FORBIDDEN_LABELS = frozenset({"account", "account_id", "entity", "order", "principal"})


class Metrics:
    """Counters, gauges and histograms of one process.

    Args:
        registry: where they are registered, and what /metrics shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows; its unit is `total`. Raises ValueError when the name breaks the rule."""
        if unit_of(name, labels) != "total":
            raise ValueError(f"expected a counter's name to end in _total, was {name}")
        return Counter(name, description, labels, registry=self.registry)

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        """A number that rises and falls. Raises ValueError when the name breaks the rule."""
        if unit_of(name, labels) == "total":
            raise ValueError(f"expected only counters to end in _total, was {name}")
        return Gauge(name, description, labels, registry=self.registry)

    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = LATENCY_SECONDS
    ) -> Histogram:
        """A distribution. Raises ValueError when the name breaks the rule."""
        if unit_of(name, labels) in {"total", "count", "info"}:
            raise ValueError(f"expected a histogram's name to end in what it measures, was {name}")
        return Histogram(name, description, labels, registry=self.registry, buckets=buckets)


def unit_of(name: str, labels: Sequence[str]) -> str:
    """The unit that a metric's name ends in. Raises ValueError when name or labels break the rule."""
    match = _NAME.match(name)
    if match is None or match["unit"] not in UNITS:
        raise ValueError(f"expected ballast_<service>_<noun>_<unit> with a unit of {sorted(UNITS)}, was {name}")
    if wrong := _FORBIDDEN_LABELS & set(labels):
        raise ValueError(f"expected no label that grows with clients, was {sorted(wrong)[0]} on {name}")
    return match["unit"]
