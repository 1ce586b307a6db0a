"""The router: one wanted quantity split over venues by depth and price, within participation and collar."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from libs.common.ids import InstrumentId, VenueId
from libs.common.parameters import Instrument, InstrumentKind, LiquidationRules
from libs.common.units import PPM, Lots, Ppm, Price, Units, mul_div_down, mul_div_up
from services.liquidation_execution.domain.catalogue import INVERSE_ONE, settlement_units, share, weight

BUY, SELL = 1, -1
Levels = tuple[tuple[Price, Lots], ...]
_SLACK_OF_COLLAR = 4  # an order may fill a quarter of the collar beyond the last level planned: books move meanwhile


@dataclass(frozen=True, slots=True)
class Shown:
    """The side of a venue's book that our order would hit.

    Args:
        fee: what the venue takes, on notional.
        levels: (price, lots), best first.
        claimed: lots of this depth that orders on their way, or fills newer than the book, have taken.
        is_older: nobody knows how the mark has moved since this book: what is better than the mark is not counted on.
    """

    venue: VenueId
    fee: Ppm
    levels: Levels
    claimed: Lots
    is_older: bool = False


def carried(levels: Levels, *, mark_then: Price, mark_now: Price) -> Levels:
    """A book that is older than the mark, as it would be if it had moved along with it."""
    if mark_then == mark_now:
        return levels
    return tuple((Price(mul_div_down(price, mark_now, mark_then)), lots) for price, lots in levels)


@dataclass(frozen=True, slots=True)
class Rung:
    """Part of a level that we may take."""

    venue: VenueId
    price: Price
    lots: Lots
    fee: Ppm


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An immediate-or-cancel order."""

    instrument: InstrumentId
    venue: VenueId
    direction: int
    lots: Lots
    limit_price: Price


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade as if filled: signed lots, average price rounded against the account, all fees."""

    instrument: InstrumentId
    lots: Lots
    price: Price
    fee_units: Units


@dataclass(frozen=True, slots=True)
class Ladder:
    """What all venues together offer us in one direction, best first after fees.

    Args:
        worst_price: collar against the mark.
        upto: (rungs) lots up to and with each rung.
        weights, fees: (rungs) the same of weights, and of weights times fee in 10^-6.
    """

    instrument: Instrument
    direction: int
    worst_price: Price
    slack: Ppm
    rungs: tuple[Rung, ...]
    upto: tuple[int, ...]
    weights: tuple[int, ...]
    fees: tuple[int, ...]

    @property
    def capacity(self) -> Lots:
        """Lots that fit one step."""
        return Lots(self.upto[-1] if self.upto else 0)

    def trade(self, lots: int) -> Trade:
        """Expected result of taking the best `lots`. Raises ValueError beyond the capacity."""
        if not 0 < lots <= self.capacity:
            raise ValueError(f"expected 1 .. {self.capacity} lots, was {lots}")
        weighted, fees = self._totals(lots)
        units = settlement_units(self.instrument, mul_div_up(fees, 1, PPM))
        signed = Lots(self.direction * lots)
        return Trade(self.instrument.id, signed, _average(self.instrument, self.direction, lots, weighted), units)

    def orders(self, lots: int) -> tuple[VenueOrder, ...]:
        """One order a venue for the best `lots`, each with the worst price it may pay."""
        taken: dict[VenueId, tuple[int, Price]] = {}
        left = lots
        for rung in self.rungs:
            if left <= 0:
                break
            before, _ = taken.get(rung.venue, (0, rung.price))
            taken[rung.venue] = (before + min(left, rung.lots), rung.price)
            left -= rung.lots
        return tuple(
            VenueOrder(self.instrument.id, venue, self.direction, Lots(some), self._limit(last))
            for venue, (some, last) in sorted(taken.items())
        )

    def _totals(self, lots: int) -> tuple[int, int]:
        at = bisect_left(self.upto, lots)
        rung, before = self.rungs[at], self.upto[at - 1] if at else 0
        part = weight(self.instrument, lots=lots - before, price=rung.price, up=True)
        return (self.weights[at - 1] if at else 0) + part, (self.fees[at - 1] if at else 0) + part * rung.fee

    def _limit(self, last: Price) -> Price:
        if self.direction == SELL:
            return Price(max(self.worst_price, share(last, PPM - self.slack, up=True)))
        return Price(min(self.worst_price, share(last, PPM + self.slack, up=False)))


def _average(instrument: Instrument, direction: int, lots: int, weighted: int) -> Price:
    if instrument.kind is InstrumentKind.INVERSE_PERP:  # weights are lots/price, so the quotient is turned over
        divide = mul_div_up if direction == BUY else mul_div_down
        return Price(divide(lots, INVERSE_ONE, weighted))
    return Price((mul_div_up if direction == BUY else mul_div_down)(weighted, 1, lots))


def worst_price(mark: int, direction: int, collar: int) -> Price:
    """Worst price an order may pay against the mark, rounded toward the mark."""
    return Price(share(mark, PPM + direction * collar, up=direction == SELL))


def ladder(
    instrument: Instrument,
    direction: int,
    *,
    mark: Price,
    shown: Iterable[Shown],
    rules: LiquidationRules,
    liquidation_fee: Ppm,
) -> Ladder:
    """The levels of all venues merged, best first after fees, cut at the collar and at each venue's participation."""
    limit = worst_price(mark, direction, rules.collar)
    most = instrument.max_order_lots
    found = [(one, _taken(one, direction, limit, participation=rules.participation, most=most)) for one in shown]
    rungs = [
        Rung(one.venue, _counted_on(price, mark, direction, one), lots, Ppm(one.fee + liquidation_fee))
        for one, taken in found
        for price, lots in taken
    ]
    rungs.sort(key=lambda rung: (direction * rung.price * (PPM + direction * rung.fee), rung.venue))
    each = [weight(instrument, lots=rung.lots, price=rung.price, up=True) for rung in rungs]
    return Ladder(
        instrument=instrument,
        direction=direction,
        worst_price=limit,
        slack=Ppm(mul_div_down(rules.collar, 1, _SLACK_OF_COLLAR)),
        rungs=tuple(rungs),
        upto=tuple(accumulate(rung.lots for rung in rungs)),
        weights=tuple(accumulate(each)),
        fees=tuple(accumulate(one * rung.fee for one, rung in zip(each, rungs, strict=True))),
    )


def _taken(
    shown: Shown, direction: int, limit: Price, *, participation: int, most: int
) -> Iterator[tuple[Price, Lots]]:
    """Parts of levels within the collar that are ours to take: others have claimed the best of them already."""
    within = [(price, lots) for price, lots in shown.levels if direction * price <= direction * limit and lots > 0]
    left = min(share(sum(lots for _, lots in within), participation, up=False) - shown.claimed, most)
    skip = int(shown.claimed)
    for price, lots in within:
        taken = min(max(0, lots - skip), left)
        skip = max(0, skip - lots)
        if taken > 0:
            left -= taken
            yield price, Lots(taken)


def _counted_on(price: Price, mark: Price, direction: int, shown: Shown) -> Price:
    is_better = direction * price < direction * mark
    return mark if shown.is_older and is_better else price
