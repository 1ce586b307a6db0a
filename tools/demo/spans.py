"""What the demo replays: stretches of run time and the crashes inside them, in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from libs.common.parameters import Parameters
from libs.common.units import SECOND_NS


@dataclass(frozen=True, slots=True)
class Span:
    """`windows` are replayed, `crashes` are reported on; both "start/end,start/end"."""

    windows: str
    crashes: str

    def bounds_ns(self) -> list[tuple[int, int]]:
        """The windows in ns since 1970."""
        return [(moment_ns(part.split("/")[0]), moment_ns(part.split("/")[1])) for part in self.windows.split(",")]

    def seconds(self) -> int:
        """Length of all windows in run seconds."""
        return sum(end - start for start, end in self.bounds_ns()) // SECOND_NS

    def ends_at_s(self, parameters: Parameters) -> dict[str, int]:
        """Run seconds into the replay at which instruments end, by symbol: within a window, or -1 before the first."""
        found, before = {}, 0
        first = self.bounds_ns()[0][0]
        found.update({one.symbol: -1 for one in parameters.instruments if 0 < one.closes_ns <= first})
        for start, end in self.bounds_ns():
            ending = (one for one in parameters.instruments if start < one.closes_ns < end)
            found.update({one.symbol: before + (one.closes_ns - start) // SECOND_NS for one in ending})
            before += (end - start) // SECOND_NS
        return found


def moment_ns(text: str) -> int:
    """ns since 1970 of an ISO moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


CRASHES = "2017-12-22T00:00/2017-12-23T00:00,2018-01-16T00:00/2018-01-18T00:00,2018-02-05T00:00/2018-02-07T00:00"
SPANS = {
    "crashes": Span(
        "2017-12-21T18:00/2017-12-22T18:00,2018-01-16T02:00/2018-01-17T17:00,2018-02-05T06:00/2018-02-06T10:00",
        CRASHES,
    ),
    "all": Span("2017-12-20T01:00/2018-02-10T00:00", CRASHES),
    "expiry": Span("2018-01-16T18:00/2018-01-17T12:00", "2018-01-16T18:00/2018-01-17T12:00"),
    "first": Span("2017-12-22T04:00/2017-12-22T16:00", "2017-12-22T04:00/2017-12-22T16:00"),
}
