"""Stretches of run time that are reported one by one, such as the crashes of a replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from libs.common.units import SECOND_NS


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_ns` up to but not including `end_ns`."""

    name: str
    start_ns: int
    end_ns: int

    def count(self, moments_ns: Iterable[int]) -> int:
        """How many of the moments lie inside."""
        return sum(self.start_ns <= one < self.end_ns for one in moments_ns)


def parse_windows(text: str) -> list[Window]:
    """Windows from "start/end,start/end" in ISO moments of UTC.

    Raises: ValueError naming the part that is none.
    """
    return [_window(part.strip()) for part in text.split(",") if part.strip()]


def _window(part: str) -> Window:
    start, _, end = part.partition("/")
    try:
        moments = [datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (start, end)]
    except ValueError as error:
        raise ValueError(f"expected start/end as ISO moments, was {part!r}") from error
    if moments[0] >= moments[1]:
        raise ValueError(f"expected a start before its end, was {part!r}")
    start_ns, end_ns = (int(one.timestamp()) * SECOND_NS for one in moments)
    return Window(moments[0].date().isoformat(), start_ns, end_ns)
