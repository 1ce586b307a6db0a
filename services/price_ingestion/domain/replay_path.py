"""The reference price of each venue and asset at any run time, drawn through recorded rows.

A row is one recorded hour or day. The path goes through all four of its prices, each an exact point:

- an hour: open at its start, the two extremes after one third and two thirds, close at its end; low before high when
  the hour closes above its open, high before low otherwise;
- a day: BTC's hourly path of the same day, bent so that it goes through this day's own prices. The day is cut at the
  moments of BTC's high and low; in each piece prices are mapped by a rising broken line that takes BTC's low to this
  day's low, BTC's high to its high, and BTC's open (first piece) or close (last piece) to its open or close. So the
  high is reached exactly when BTC's is, and the path never leaves the day's own range;
- when BTC's extreme is itself the day's first or last point, this day's extreme lies `INSET_NS` inside the day;
- a day without a whole hourly shape is drawn like an hour.

A row that opens where the one before closed joins it at the boundary. Otherwise its open is reached `JUMP_NS` after the
boundary, or at its start when recorded rows are missing in between; the straight line there is the only stretch outside
the row's own range. Between points the path is straight, rounded down to the price step.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from libs.common.units import PPM, Ppm, UnixNs, mul_div_down, mul_div_up

JUMP_NS = 60 * 10**9
INSET_NS = 600 * 10**9
HOUR_NS = 3_600 * 10**9

Point = tuple[int, int]  # (run time, price)
Instrument = tuple[str, str]  # (venue, asset)


class Bridge(StrEnum):
    """How the path runs between the recorded points of a row."""

    HOUR_EXTREMES = "through the hour's extremes"
    DAY_SHAPE = "on BTC's hourly shape"
    DAY_EXTREMES = "through the day's extremes"
    GAP = "straight over missing rows"


@dataclass(frozen=True, slots=True)
class Candle:
    """One recorded row; prices are integers in the path's price step."""

    start_ns: UnixNs
    length_ns: int
    open: int
    high: int
    low: int
    close: int

    @property
    def end_ns(self) -> UnixNs:
        """First moment after the row."""
        return UnixNs(self.start_ns + self.length_ns)


@dataclass(frozen=True, slots=True)
class Recording:
    """The rows of one venue and asset, oldest first, and where they come from."""

    venue: str
    asset: str
    source: str
    candles: tuple[Candle, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a price rests on: recorded exactly at this moment, or bridged inside which row."""

    source: str
    row_start_ns: UnixNs
    bridge: Bridge
    is_recorded: bool

    def __str__(self) -> str:
        return f"recorded ({self.source})" if self.is_recorded else f"bridged ({self.source}, {self.bridge})"


@dataclass(frozen=True, slots=True)
class _Line:
    source: str
    times: tuple[int, ...]
    prices: tuple[int, ...]
    recorded: frozenset[int]  # times of the rows' own four prices
    row_starts: tuple[int, ...]
    rows: tuple[tuple[int, Bridge], ...]  # (end, bridge) of each row


class ReferencePath:
    """Reference prices by (venue, asset) and run time; built once, then only read."""

    __slots__ = ("_lines",)

    def __init__(self, recordings: Iterable[Recording], *, shape: Instrument) -> None:
        """Draws every line; hourly rows stand for themselves, longer ones follow the hours of `shape`.

        Raises: ValueError when rows overlap, are out of order, or hold impossible prices, or when the shape is absent.
        """
        by_instrument = {(recording.venue, recording.asset): recording for recording in recordings}
        if shape not in by_instrument:
            raise ValueError(f"expected a recording of {shape} to take the shape from, was {sorted(by_instrument)}")
        for recording in by_instrument.values():
            _check(recording)
        hours = _shape_points(by_instrument[shape].candles)
        self._lines: Mapping[Instrument, _Line] = {
            instrument: _draw(recording, hours) for instrument, recording in by_instrument.items()
        }

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Every (venue, asset) that has a path."""
        return tuple(self._lines)

    def span(self, *, venue: str, asset: str) -> tuple[UnixNs, UnixNs]:
        """First and last moment that has a price."""
        times = self._lines[venue, asset].times
        return UnixNs(times[0]), UnixNs(times[-1])

    def price(self, at_ns: UnixNs, *, venue: str, asset: str) -> int | None:
        """Price in force, None where nothing is recorded: another instrument, or outside its span."""
        line = self._lines.get((venue, asset))
        if line is None or not line.times[0] <= at_ns <= line.times[-1]:
            return None
        return _price(line, at_ns)

    def largest_move(self, since_ns: UnixNs, until_ns: UnixNs) -> Ppm:
        """Widest range of any price between two moments, of its lowest price there; 0 where nothing is recorded."""
        widest = 0
        for line in self._lines.values():
            inside = line.prices[bisect_right(line.times, since_ns) : bisect_left(line.times, until_ns)]
            ends = [_price(line, min(max(at_ns, line.times[0]), line.times[-1])) for at_ns in (since_ns, until_ns)]
            lowest, highest = min(*inside, *ends), max(*inside, *ends)
            widest = max(widest, mul_div_up(highest - lowest, PPM, lowest))
        return Ppm(widest)

    def provenance(self, at_ns: UnixNs, *, venue: str, asset: str) -> Provenance | None:
        """What the price at that moment rests on, None where there is no price."""
        line = self._lines.get((venue, asset))
        if line is None or not line.times[0] <= at_ns <= line.times[-1]:
            return None
        row = bisect_right(line.row_starts, at_ns) - 1
        end_ns, bridge = line.rows[row]
        bridge = bridge if at_ns <= end_ns else Bridge.GAP
        return Provenance(line.source, UnixNs(line.row_starts[row]), bridge, at_ns in line.recorded)


def _price(line: _Line, at_ns: int) -> int:
    after = bisect_right(line.times, at_ns)
    before_ns, before = line.times[after - 1], line.prices[after - 1]
    if before_ns == at_ns:
        return before
    rise = line.prices[after] - before
    return before + mul_div_down(rise, at_ns - before_ns, line.times[after] - before_ns)


def _check(recording: Recording) -> None:
    name = f"{recording.venue}/{recording.asset}"
    if not recording.candles:
        raise ValueError(f"expected rows of {name}, was none")
    for candle in recording.candles:
        body = (candle.open, candle.close)
        if not 0 < candle.low <= min(body) <= max(body) <= candle.high or candle.length_ns < 4 * INSET_NS:
            raise ValueError(f"expected 0 < low <= open, close <= high in {name}, was {candle}")
    for earlier, later in pairwise(recording.candles):
        if later.start_ns < earlier.end_ns:
            raise ValueError(f"expected rows of {name} oldest first and apart, was {earlier} before {later}")


def _draw(recording: Recording, hours: Mapping[int, list[Point]]) -> _Line:
    points: list[Point] = []
    recorded: set[int] = set()
    rows: list[tuple[int, Bridge]] = []
    for candle in recording.candles:
        open_at = int(candle.start_ns)
        if points and points[-1] == (open_at, candle.open):
            points.pop()
        elif points and points[-1][0] == open_at:
            open_at += JUMP_NS
        shape = _whole_day(candle, hours)
        anchors = _shaped_anchors(candle, open_at, shape) if shape else _plain_anchors(candle, open_at)
        drawn = {**_bend(candle, shape, anchors), **dict(anchors)}
        points.extend(sorted(drawn.items()))
        recorded.update(at_ns for at_ns, _ in anchors)
        hourly = candle.length_ns <= HOUR_NS
        bridge = Bridge.HOUR_EXTREMES if hourly else Bridge.DAY_SHAPE if shape else Bridge.DAY_EXTREMES
        rows.append((candle.end_ns, bridge))
    return _Line(
        source=recording.source,
        times=tuple(at_ns for at_ns, _ in points),
        prices=tuple(price for _, price in points),
        recorded=frozenset(recorded),
        row_starts=tuple(candle.start_ns for candle in recording.candles),
        rows=tuple(rows),
    )


def _plain_anchors(candle: Candle, open_at: int) -> list[Point]:
    rising = candle.close > candle.open
    first, second = (candle.low, candle.high) if rising else (candle.high, candle.low)
    third_ns = mul_div_down(candle.length_ns, 1, 3)
    return [
        (open_at, candle.open),
        (candle.start_ns + third_ns, first),
        (candle.start_ns + 2 * third_ns, second),
        (candle.end_ns, candle.close),
    ]


def _shape_points(candles: Sequence[Candle]) -> dict[int, list[Point]]:
    return {candle.start_ns: _plain_anchors(candle, candle.start_ns) for candle in candles}


def _whole_day(candle: Candle, hours: Mapping[int, list[Point]]) -> list[Point]:
    starts = range(candle.start_ns, candle.end_ns, HOUR_NS)
    if len(starts) < 2 or any(start not in hours for start in starts):
        return []
    points = [point for start in starts for point in hours[start]]
    flat = len({price for _, price in points}) == 1
    return [] if flat or points[-1][0] != candle.end_ns else points


def _shaped_anchors(candle: Candle, open_at: int, shape: list[Point]) -> list[Point]:
    # The earliest point of each extreme, moved inside the day when it is the day's own first or last point.
    def inside(at_ns: int) -> int:
        if at_ns <= open_at:
            return open_at + INSET_NS
        return at_ns if at_ns < candle.end_ns else candle.end_ns - INSET_NS

    low_at = inside(min(shape, key=lambda point: (point[1], point[0]))[0])
    high_at = inside(min(shape, key=lambda point: (-point[1], point[0]))[0])
    return sorted([(open_at, candle.open), (low_at, candle.low), (high_at, candle.high), (candle.end_ns, candle.close)])


def _bend(candle: Candle, shape: list[Point], anchors: list[Point]) -> dict[int, int]:
    if not shape:
        return {}
    shape_low, shape_high = min(price for _, price in shape), max(price for _, price in shape)
    ends = [(shape_low, candle.low), (shape_high, candle.high)]
    pieces = (
        _steps([*ends, (shape[0][1], candle.open)]),
        ends,
        _steps([*ends, (shape[-1][1], candle.close)]),
    )
    open_at, first_at, second_at = (at_ns for at_ns, _ in anchors[:3])
    bent: dict[int, int] = {}
    for at_ns, price in shape:
        if open_at < at_ns < candle.end_ns:
            piece = pieces[(at_ns > first_at) + (at_ns > second_at)]
            bent[at_ns] = _broken_line(price, piece)
    return bent


def _steps(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    # An open or close that equals BTC's extreme adds nothing: the extreme's own pair, listed first, stands.
    kept: dict[int, int] = {}
    for source, target in pairs:
        kept.setdefault(source, target)
    return sorted(kept.items())


def _broken_line(price: int, steps: list[tuple[int, int]]) -> int:
    upper = next(index for index in range(1, len(steps)) if price <= steps[index][0])
    (from_source, from_target), (to_source, to_target) = steps[upper - 1], steps[upper]
    return from_target + mul_div_down(to_target - from_target, price - from_source, to_source - from_source)
