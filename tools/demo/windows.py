"""Where the replay clock stands among the stretches that are replayed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.units import SECOND_NS
from tools.demo.spans import moment_ns


class Windows:
    """Stretches of run time, oldest first, in ns since 1970."""

    def __init__(self, bounds: Sequence[tuple[int, int]]) -> None:
        self.bounds = tuple(bounds)
        self._total = sum(end - start for start, end in self.bounds) or 1

    @classmethod
    def parse(cls, text: str) -> Windows:
        """Of "start/end,start/end" in UTC."""
        parts = [part.strip().partition("/") for part in text.split(",")]
        return cls([(moment_ns(start), moment_ns(end)) for start, _, end in parts])

    def number(self, run_time_ns: int) -> int:
        """The window that holds the moment, from 1; between two the coming one, after all the last."""
        return min(len(self.bounds), 1 + sum(end <= run_time_ns for _, end in self.bounds))

    def has_begun(self, number: int, run_time_ns: int) -> bool:
        """Whether the moment is in or after that window."""
        return bool(self.bounds) and run_time_ns >= self.bounds[number - 1][0]

    def progress(self, run_time_ns: int) -> float:
        """Share of all windows that is behind the moment."""
        return sum(min(max(0, run_time_ns - start), end - start) for start, end in self.bounds) / self._total

    def name(self, number: int) -> str:
        """Days of a window, such as "21-22 Dec 2017"."""
        if not self.bounds:
            return ""
        start_ns, end_ns = self.bounds[number - 1]
        start = datetime.fromtimestamp(start_ns // SECOND_NS, UTC)
        last = datetime.fromtimestamp(end_ns // SECOND_NS - 1, UTC)
        if start.date() == last.date():
            return f"{start:%d %b %Y}"
        if (start.year, start.month) == (last.year, last.month):
            return f"{start:%d}-{last:%d} {last:%b %Y}"
        return f"{start:%d %b}-{last:%d %b %Y}" if start.year == last.year else f"{start:%d %b %Y}-{last:%d %b %Y}"
