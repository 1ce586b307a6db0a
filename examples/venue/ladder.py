"""The market maker: a ladder of quotes around a reference price, deeper away from it, that refills with run time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from examples.venue.book import Limit, OrderBook, Side, Trade

PPM = 1_000_000
LEVELS_MAX = 50


@dataclass(frozen=True, slots=True)
class Ladder:
    """How deep one instrument is quoted, alike on both sides.

    Args:
        levels: quotes a side.
        half_spread_ppm: distance of the first quote from the reference price.
        step_ppm: distance from one quote to the next, as a fraction of the reference price.
        first_lots, last_lots: sizes of the nearest and the farthest quote; between them they grow by equal steps.
        jitter_ppm: sizes vary by up to this fraction either way from one reference update to the next.
        refill_ns: run time in which a quote that was taken whole comes back; a part comes back in that part of it.
    """

    levels: int
    half_spread_ppm: int
    step_ppm: int
    first_lots: int
    last_lots: int
    jitter_ppm: int
    refill_ns: int

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= LEVELS_MAX:
            raise ValueError(f"expected levels of 1 to {LEVELS_MAX}, was {self.levels}")
        if self.half_spread_ppm <= 0 or self.step_ppm <= 0 or self.distance_ppm(self.levels - 1) >= PPM:
            raise ValueError("expected half_spread_ppm and step_ppm above 0 and the last bid above a price of 0")
        if not 0 < self.first_lots <= self.last_lots:
            raise ValueError("expected 0 < first_lots <= last_lots")
        if not 0 <= self.jitter_ppm < PPM or self.refill_ns <= 0:
            raise ValueError("expected jitter_ppm of 0 to 999999 and refill_seconds above 0")

    def distance_ppm(self, level: int) -> int:
        """How far from the reference price a level is."""
        return self.half_spread_ppm + level * self.step_ppm

    def lots(self, level: int) -> int:
        """Size of a level before jitter; levels count from 0 at the price nearest to the reference."""
        return self.first_lots + (self.last_lots - self.first_lots) * level // max(1, self.levels - 1)


class MarketMaker:
    """Quotes one book. Depth that was taken stays away until the run clock has moved on."""

    def __init__(self, ladder: Ladder, *, seed: str) -> None:
        self._ladder = ladder
        self._seed = seed
        self._shown: dict[int, int] = {}  # quote id -> lots when it was placed
        # quote id -> lots taken from that level and not yet refilled, times refill_ns: refilling loses no fraction.
        self._missing: dict[int, int] = {}
        self._quoted_at_ns: int | None = None
        self._reference: int | None = None

    def is_current(self, *, reference: int, run_time_ns: int) -> bool:
        """The quotes are those of this moment and price: what was taken of them stays taken."""
        return self._quoted_at_ns == run_time_ns and self._reference == reference

    def requote(self, book: OrderBook, *, reference: int, run_time_ns: int) -> tuple[Trade, ...]:
        """The trades of the new quotes with clients' resting orders that the reference has moved through.

        The same seed and history give the same quotes.

        Args:
            reference: in ticks.
        """
        self._withdraw(book)
        self._refill(run_time_ns)
        self._quoted_at_ns, self._reference = run_time_ns, reference
        trades: list[Trade] = []
        for quote in self._quotes(reference, run_time_ns):
            self._shown[quote.order] = quote.lots
            trades += book.place(quote, rests=True)
        return tuple(trades)

    def _withdraw(self, book: OrderBook) -> None:
        for quote, shown in self._shown.items():
            taken = shown - book.cancel(quote)
            if taken:
                self._missing[quote] = self._missing.get(quote, 0) + taken * self._ladder.refill_ns
        self._shown.clear()

    def _refill(self, run_time_ns: int) -> None:
        elapsed_ns = 0 if self._quoted_at_ns is None else max(0, run_time_ns - self._quoted_at_ns)
        ladder = self._ladder
        for quote, missing in list(self._missing.items()):
            left = missing - ladder.lots(_level_of(quote)) * elapsed_ns
            if left > 0:
                self._missing[quote] = left
            else:
                del self._missing[quote]

    def _quotes(self, reference: int, run_time_ns: int) -> Iterator[Limit]:
        ladder = self._ladder
        # A string seed is hashed whole, so the sizes depend on nothing but seed and moment.
        random = Random(f"{self._seed}/{run_time_ns}")
        for level in range(ladder.levels):
            distance_ppm = ladder.distance_ppm(level)
            # Rounded away from the reference: the two sides never meet.
            prices = {
                Side.BUY: reference * (PPM - distance_ppm) // PPM,
                Side.SELL: -(-reference * (PPM + distance_ppm) // PPM),
            }
            for side, price in prices.items():
                factor_ppm = PPM + int(ladder.jitter_ppm * (2 * random.random() - 1))
                quote = _quote_id(side, level)
                missing = -(-self._missing.get(quote, 0) // ladder.refill_ns)
                lots = ladder.lots(level) * factor_ppm // PPM - missing
                if lots > 0 and price > 0:
                    yield Limit(order=quote, side=side, price=price, lots=lots)


def _quote_id(side: Side, level: int) -> int:
    # Below zero, where no client's order id is.
    return -(1 + 2 * level + (side is Side.SELL))


def _level_of(quote: int) -> int:
    return (-quote - 1) // 2
