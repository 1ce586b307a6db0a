"""Settlement prices: the time-weighted average of an index over the last 30 minutes before an instrument ends.

What has passed of the window is known and changes no more; the rest will be what the index is then. The index is that
of the underlying's own price, constant between frames; time in which it may not carry margin does not count.
Once the window is over the average is final; if nothing of it counted, the first usable price after it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, Parameters
from libs.common.units import PPM, SETTLEMENT_WINDOW_NS, Ppm, UnixNs, mul_div_down
from libs.common.validity import Action, permits
from services.price_ingestion.domain.marks import MarkRow


@dataclass(frozen=True, slots=True)
class SettlementAverage:
    """What is known of an instrument's settlement price.

    Args:
        weighted: sum of index price times ns over the time that counted, index with its own instrument's exponent.
        covered_ns: time that counted.
        price: of the part that is known, integer with the instrument's settlement exponent, rounded down.
        known: share of the window that is over.
    """

    instrument: InstrumentId
    weighted: int
    covered_ns: int
    price: int
    known: Ppm
    is_final: bool


@dataclass(frozen=True, slots=True)
class _Ending:
    instrument: Instrument
    index: InstrumentId  # whose index price counts
    numerator: int  # from the index's exponent to the settlement exponent
    denominator: int


class Averages:
    """Averages of every instrument that ends; rebuilt from what stands on the log, then moved by rows."""

    def __init__(self, parameters: Parameters) -> None:
        self._endings = tuple(_endings(parameters))
        self._known: dict[InstrumentId, SettlementAverage] = {}
        self._prices: dict[InstrumentId, int] = {}  # usable index prices in force
        self._at_ns: UnixNs | None = None

    @property
    def known(self) -> tuple[SettlementAverage, ...]:
        """Every average that has begun, in the order of the parameters."""
        found = (self._known.get(one.instrument.id) for one in self._endings)
        return tuple(one for one in found if one is not None)

    def restore(self, known: Iterable[SettlementAverage], rows: Iterable[MarkRow], *, at_ns: UnixNs) -> None:
        """Takes over averages and rows as they stand on the log."""
        self._known = {one.instrument: one for one in known}
        self._prices, self._at_ns = _usable(rows), at_ns

    def take(self, rows: Iterable[MarkRow], *, now_ns: UnixNs) -> tuple[SettlementAverage, ...]:
        """The averages that have moved by `now_ns`, when these rows, all in force, begin to count."""
        fresh, moved = _usable(rows), []
        for one in self._endings:
            before = self._known.get(one.instrument.id)
            if before is None or not before.is_final:
                after = self._moved(one, before, fresh, now_ns)
                if after is not None and after != before:
                    self._known[one.instrument.id] = after
                    moved.append(after)
        self._prices, self._at_ns = fresh, now_ns
        return tuple(moved)

    def _moved(
        self, one: _Ending, before: SettlementAverage | None, fresh: Mapping[InstrumentId, int], now_ns: UnixNs
    ) -> SettlementAverage | None:
        ends = one.instrument.closes_ns
        begins = ends - SETTLEMENT_WINDOW_NS
        if now_ns <= begins:
            return None
        known = before or SettlementAverage(one.instrument.id, 0, 0, 0, Ppm(0), is_final=False)
        price = self._prices.get(one.index)
        if price is not None and self._at_ns is not None:
            span = max(0, min(now_ns, ends) - max(self._at_ns, begins))
            known = replace(known, weighted=known.weighted + price * span, covered_ns=known.covered_ns + span)
        share = mul_div_down(min(now_ns, ends) - begins, PPM, SETTLEMENT_WINDOW_NS)
        average = 0
        if known.covered_ns:
            average = mul_div_down(known.weighted, one.numerator, known.covered_ns * one.denominator)
        elif now_ns >= ends and one.index in fresh:
            average = mul_div_down(fresh[one.index], one.numerator, one.denominator)
        return replace(known, price=average, known=Ppm(share), is_final=now_ns >= ends and average > 0)


def _usable(rows: Iterable[MarkRow]) -> dict[InstrumentId, int]:
    return {
        row.instrument: row.mark.index_price
        for row in rows
        if row.mark.index_price > 0 and permits(row.mark.validity, Action.MARGIN)
    }


def _endings(parameters: Parameters) -> Iterable[_Ending]:
    for one in parameters.instruments:
        underlying = parameters.asset(one.underlying)
        index = parameters.instrument(underlying.price_instrument or 0) if underlying else None
        if one.closes_ns and index is not None:
            finer = index.price_exponent - one.settlement_exponent
            yield _Ending(one, index.id, 10 ** max(0, finer), 10 ** max(0, -finer))
