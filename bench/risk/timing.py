"""CPU time of one thread, and figures made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from tools.report import Measure


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds that one call took."""
    began = time.process_time()
    work()
    return time.process_time() - began


def interleaved(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, in turns, so that what disturbs one round disturbs all alike."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(cpu_s(work))
    return taken


def middle(values: Sequence[float]) -> float:
    """The median."""
    return sorted(values)[len(values) // 2]


def measure(
    name: str, unit: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> Measure:
    """The median of some rounds against a goal."""
    value = middle(values)
    goal = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else None
    met = None
    if at_least is not None:
        met = value >= at_least
    elif at_most is not None:
        met = value <= at_most
    return Measure(
        name=name,
        value=_short(value),
        unit=unit,
        goal=goal,
        met=met,
        rounds=len(values),
        min=_short(min(values)),
        max=_short(max(values)),
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
