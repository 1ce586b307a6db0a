"""Measures out of what was taken in each round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.ledger.owner import Taken, quantile
from tools.report import Measure

RATE_SINGLE, RATE_BATCHED, SHARE_OF_CHAIN, ACKNOWLEDGED_MS = 40_000.0, 150_000.0, 0.35, 25.0
_RATES = {
    "owner_single": RATE_SINGLE, "stream_single": RATE_SINGLE, "owner_batched": RATE_BATCHED,
    "stream_batched": RATE_BATCHED,
}  # fmt: skip
_PARTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_PROCESSES = ("collateral_management", "venue_gateway", "peer", "broker", "load")


class Figures:
    """What was taken, by name, one a round."""

    def __init__(self) -> None:
        self._taken: dict[str, list[Taken]] = {}

    def take(self, name: str, taken: Taken) -> None:
        """Adds a round's."""
        self._taken.setdefault(name, []).append(taken)
        print(f"{name:<40} {taken.rate:>9.0f}/s  p99 {quantile(taken.latencies_ms, 0.99):7.1f} ms", flush=True)

    def measures(self) -> list[Measure]:
        """Medians with their goals."""
        found = []
        for name, several in self._taken.items():
            if not name.endswith("_paced"):
                found.append(measure(name, "commands/s", [one.rate for one in several], at_least=_RATES.get(name)))
            for part, share in _PARTS.items():
                goal = ACKNOWLEDGED_MS if name.endswith("_paced") and part == "p99" else None
                values = [quantile(one.latencies_ms, share) for one in several]
                found.append(measure(f"{name}_{part}", "ms", values, at_most=goal))
            for process in _PROCESSES:
                spent = [one.cpu_us(process) for one in several]
                if any(spent):
                    found.append(measure(f"{name}_cpu_{process}", "us/command", spent))
        for mode in ("single", "batched"):
            pairs = zip(self._taken[f"owner_{mode}"], self._taken[f"chain_{mode}"], strict=True)
            goal = SHARE_OF_CHAIN if mode == "batched" else None
            shares = [ours.rate / bare.rate for ours, bare in pairs]
            found.append(measure(f"owner_of_chain_{mode}", "share", shares, at_least=goal))
        return found

    def details(self) -> dict[str, Any]:
        """Every round as it was."""
        return {
            name: [
                {"rate": round(one.rate), "cpu_s": {k: round(v, 3) for k, v in one.cpu_s.items()}} for one in several
            ]
            for name, several in self._taken.items()
        }


def measure(
    name: str, unit: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> Measure:
    """The median of some rounds against a goal."""
    middle = sorted(values)[len(values) // 2]
    goal = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else None
    met = None if goal is None else middle >= (at_least or 0.0) and (at_most is None or middle <= at_most)
    digits = 3 if unit == "share" else 1
    return Measure(
        name=name, value=round(middle, digits), unit=unit, goal=goal, met=met, rounds=len(values),
        min=round(min(values), digits), max=round(max(values), digits),
    )  # fmt: skip
