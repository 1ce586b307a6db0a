"""Every mark that was ever in force, by sequence and by run time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

from libs.common.validity import ValidityClass
from services.risk_evaluation.app.market import levels_of, settlements_of
from services.risk_evaluation.domain.settlement import Settling
from services.risk_evaluation.domain.surfaces import VolatilitySurface, surface_of
from services.risk_evaluation.domain.volatility import Sigmas
from tools.reconcile.records import MarkFrame


@dataclass(frozen=True, slots=True)
class Mark:
    """One instrument's mark; prices with the instrument's exponent."""

    price: int
    index_price: int
    confidence: int
    slow_price: int
    validity: ValidityClass


NEVER = Mark(0, 0, 0, 0, ValidityClass.STALE)


class MarkHistory:
    """Marks in columns: a frame says what moved, everything else stays in force."""

    def __init__(self) -> None:
        self.sequences = array("Q")
        self.run_times = array("q")
        self.instruments: set[int] = set()
        self.classes: Counter[str] = Counter()  # frames by the worst class they publish; heartbeats apart
        self.by_instrument: Counter[tuple[int, str]] = Counter()  # published marks by instrument and class
        self._level_frames = array("Q")  # frame numbers at which volatilities moved
        self._levels: list[dict[int, Sigmas]] = []
        self._surface_frames: dict[int, array[int]] = {}  # underlying -> frame numbers
        self._surfaces: dict[int, list[VolatilitySurface | None]] = {}
        self._settling: list[tuple[int, dict[int, Settling]]] = []  # frame numbers from which averages stand
        self._settlements: dict[int, tuple[int, int]] = {}  # instrument -> final price, first frame that has it
        self._frames: dict[int, array[int]] = {}  # instrument -> frame numbers at which its mark was published
        self._marks: dict[int, list[Mark]] = {}

    def take(self, frame: MarkFrame) -> None:
        """Adds the next frame."""
        number = len(self.sequences)
        self.sequences.append(frame.sequence)
        self.run_times.append(frame.run_time_ns)
        body = frame.body
        if body.snapshot:  # what a snapshot does not name has no mark any more
            for instrument in self.instruments.difference(body.instrument):
                self._put(instrument, number, NEVER)
        self.classes[ValidityClass(max(body.validity)).name if body.validity else "heartbeat"] += 1
        known = settlements_of(body)
        if known or (body.snapshot and self._settling):
            before = self._settling[-1][1] if self._settling and not body.snapshot else {}
            self._settling.append((number, {**before, **known}))
        for average in body.settlement_average:
            if average.is_final:
                self._settlements.setdefault(average.instrument, (average.price, number))
        for row, instrument in enumerate(body.instrument):
            mark = Mark(
                body.mark_price[row],
                body.index_price[row],
                body.confidence[row],
                body.slow_price[row],
                ValidityClass(body.validity[row]),
            )
            self._put(instrument, number, mark)
            self.by_instrument[instrument, mark.validity.name] += 1

        levels = {} if body.snapshot else dict(self.levels(number))
        levels.update(levels_of(body))
        if levels != self.levels(number):
            self._level_frames.append(number)
            self._levels.append(levels)

        if body.snapshot:
            for underlying in self._surfaces.keys() - {one.underlying for one in body.surfaces}:
                self._put_surface(underlying, number, None)
        for one in body.surfaces:
            self._put_surface(one.underlying, number, surface_of(one))

    def _put_surface(self, underlying: int, number: int, surface: VolatilitySurface | None) -> None:
        self._surface_frames.setdefault(underlying, array("Q")).append(number)
        self._surfaces.setdefault(underlying, []).append(surface)

    def surfaces(self, number: int) -> dict[int, VolatilitySurface]:
        """The volatility surfaces in force at a frame, by underlying."""
        found: dict[int, VolatilitySurface] = {}
        for underlying, frames in self._surface_frames.items():
            at = bisect_right(frames, number) - 1
            surface = self._surfaces[underlying][at] if at >= 0 else None
            if surface is not None:
                found[underlying] = surface
        return found

    def settling(self, number: int) -> dict[int, Settling]:
        """What is known of settlement prices at a frame, by instrument."""
        found = bisect_right(self._settling, number, key=lambda each: each[0]) - 1
        return self._settling[found][1] if found >= 0 else {}

    def levels(self, number: int) -> dict[int, Sigmas]:
        """The volatilities in force at a frame, by asset; none before the first."""
        found = bisect_right(self._level_frames, number) - 1
        return self._levels[found] if found >= 0 else {}

    def _put(self, instrument: int, number: int, mark: Mark) -> None:
        if instrument not in self.instruments:
            self.instruments.add(instrument)
            self._frames[instrument], self._marks[instrument] = array("Q"), []
        if not self._marks[instrument] or self._marks[instrument][-1] != mark:
            self._frames[instrument].append(number)
            self._marks[instrument].append(mark)

    def number_of(self, sequence: int) -> int:
        """Number of the frame with that sequence, -1 when there is none."""
        number = bisect_right(self.sequences, sequence) - 1
        return number if number >= 0 and self.sequences[number] == sequence else -1

    def settlement_price(self, instrument: int, sequence: int) -> int | None:
        """The settlement price that was final at the frame of that sequence."""
        price, number = self._settlements.get(instrument, (None, 0))
        return price if 0 <= number <= self.number_of(sequence) else None

    def number_at(self, run_time_ns: int) -> int:
        """Number of the last frame at or before a run time, -1 when there is none."""
        return bisect_right(self.run_times, run_time_ns) - 1

    def mark(self, instrument: int, number: int) -> Mark:
        """The mark in force at a frame; price 0 and STALE before the first."""
        if number < 0 or instrument not in self.instruments:
            return NEVER
        found = bisect_right(self._frames[instrument], number) - 1
        return self._marks[instrument][found] if found >= 0 else NEVER
