"""The marks in force: what the guard last said of every instrument, with its rate-limited mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, PriceGuard
from libs.common.units import UnixNs
from services.price_ingestion.domain.guard import (
    DroppedQuote,
    Mark,
    Quote,
    SlowMark,
    UsableQuote,
    guard,
    slow_mark,
)


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One instrument's row of a frame of marks."""

    instrument: InstrumentId
    mark: Mark
    slow_price: int


@dataclass(frozen=True, slots=True)
class Priced:
    """What a moment's quotes came to: the rows that changed, and the fate of each quote by instrument."""

    changed: tuple[MarkRow, ...]
    used: tuple[tuple[InstrumentId, UsableQuote], ...]
    dropped: tuple[tuple[InstrumentId, DroppedQuote], ...]


class MarkBook:
    """Marks of every instrument but options and packages; rebuilt from the rows on the log, then moved by quotes."""

    __slots__ = ("_at_ns", "_instruments", "_marks", "_rules", "_slow")

    def __init__(self, instruments: Iterable[Instrument], rules: PriceGuard) -> None:
        self._instruments = tuple(one for one in instruments if not one.is_paid_up)
        self._rules = rules
        self._marks: dict[InstrumentId, Mark] = {}
        self._slow: dict[InstrumentId, SlowMark] = {}
        self._at_ns: UnixNs | None = None

    def restore(self, rows: Iterable[MarkRow], *, at_ns: UnixNs) -> None:
        """Takes over rows as they stand on the log."""
        for row in rows:
            self._marks[row.instrument] = row.mark
            self._slow[row.instrument] = SlowMark(row.slow_price)
        self._at_ns = at_ns

    def price(self, quotes: Mapping[InstrumentId, Sequence[Quote]], *, now_ns: UnixNs) -> Priced:
        """Moves every mark to `now_ns` by these quotes, and the slow marks with them."""
        before = {row.instrument: row for row in self.rows()}
        used: list[tuple[InstrumentId, UsableQuote]] = []
        dropped: list[tuple[InstrumentId, DroppedQuote]] = []
        for instrument in self._instruments:
            result = guard(
                quotes.get(instrument.id, ()),
                last=self._marks.get(instrument.id),
                now_ns=now_ns,
                rules=self._rules,
                price_exponent=instrument.price_exponent,
                max_price=instrument.max_price,
            )
            used.extend((instrument.id, quote) for quote in result.used)
            dropped.extend((instrument.id, quote) for quote in result.dropped)
            if result.mark is not None:
                self._marks[instrument.id] = result.mark
                self._slow[instrument.id] = self._follow(instrument.id, result.mark, now_ns)
        self._at_ns = now_ns
        changed = tuple(row for row in self.rows() if before.get(row.instrument) != row)
        return Priced(changed, tuple(used), tuple(dropped))

    def rows(self) -> tuple[MarkRow, ...]:
        """Every instrument that has a mark, in the order of the parameters."""
        return tuple(
            MarkRow(instrument.id, self._marks[instrument.id], self._slow[instrument.id].price)
            for instrument in self._instruments
            if instrument.id in self._marks
        )

    def _follow(self, instrument: InstrumentId, mark: Mark, now_ns: UnixNs) -> SlowMark:
        slow = self._slow.get(instrument)
        if slow is None or self._at_ns is None:
            return SlowMark(mark.mark_price)
        return slow_mark(
            slow,
            mark_price=mark.mark_price,
            elapsed_ns=now_ns - self._at_ns,
            ppm_per_10min=self._rules.slow_per_10min,
        )
