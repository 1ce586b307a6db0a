"""Settlement prices a second time, plainly, from the marks alone: the index over an instrument's last half hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import floor

from ballast.events.v1 import market_pb2
from libs.common.parameters import Instrument, Parameters
from libs.common.units import SECOND_NS
from libs.common.validity import Action, ValidityClass, permits

_WINDOW_NS = 1_800 * SECOND_NS


class PlainAverages:
    """Judges each final average that is published (I16).

    Args:
        found: told the invariant and what contradicts it.
    """

    def __init__(self, parameters: Parameters, *, found: Callable[[str, str], None]) -> None:
        self.published = 0
        self._parameters, self._found = parameters, found
        self._prices: dict[int, list[tuple[int, int]]] = {}  # index by instrument: since when, 0 while it may not count
        self._final: dict[int, int] = {}

    def take(self, run_time_ns: int, body: market_pb2.MarksBody) -> None:
        """Takes a frame of marks."""
        for instrument, index, validity in zip(body.instrument, body.index_price, body.validity, strict=True):
            counts = index > 0 and permits(ValidityClass(validity), Action.MARGIN)
            self._prices.setdefault(instrument, []).append((run_time_ns, index if counts else 0))
        for one in body.settlement_average:
            if one.is_final:
                self._judge(one.instrument, one.price, run_time_ns)

    def _judge(self, number: int, price: int, run_time_ns: int) -> None:
        instrument = self._parameters.instrument(number)
        wanted = self._price(instrument) if instrument is not None else 0
        self.published += number not in self._final
        if self._final.setdefault(number, price) != price:
            self._found("I16", f"instrument {number} has two final prices, {self._final[number]} and {price}")
        if instrument is None or run_time_ns < instrument.closes_ns or (wanted and wanted != price):
            self._found("I16", f"instrument {number}: expected a settlement price of {wanted}, was {price}")

    def _price(self, instrument: Instrument) -> int:
        """The average over the window, time in which the index may not carry margin left out; 0 when that is all."""
        asset = self._parameters.asset(instrument.underlying)
        index = self._parameters.instrument(asset.price_instrument or 0) if asset is not None else None
        if index is None:
            return 0
        ends, weighted, covered = instrument.closes_ns, 0, 0
        for price, begins_ns, ends_ns in self._stretches(index.id, until_ns=ends):
            span = max(0, ends_ns - max(begins_ns, ends - _WINDOW_NS))
            weighted, covered = weighted + price * span, covered + span * (price > 0)
        finer = Fraction(10) ** (index.price_exponent - instrument.settlement_exponent)
        return floor(Fraction(weighted, covered) * finer) if covered else 0

    def _stretches(self, index: int, *, until_ns: int) -> Iterator[tuple[int, int, int]]:
        prices = self._prices.get(index, [])
        for at, (since_ns, price) in enumerate(prices):
            upto_ns = prices[at + 1][0] if at + 1 < len(prices) else until_ns
            yield price, since_ns, min(upto_ns, until_ns)
