"""Displayed depth of every venue, less what is on its way to it: all episodes share one participation."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.ids import InstrumentId, VenueId
from libs.common.parameters import Venue
from libs.common.units import Lots, Price
from services.liquidation_execution.app.marks import Marks
from services.liquidation_execution.domain.router import BUY, Levels, Shown, VenueOrder, carried

_FILLS_MAX = 1_024  # fills newer than a book that never comes are forgotten from the oldest on

Side = tuple[int, int, int]  # venue, instrument, direction


@dataclass(frozen=True, slots=True)
class Depth:
    """A venue's book of one instrument, best first."""

    venue: VenueId
    instrument: InstrumentId
    run_time_ns: int
    bids: Levels
    asks: Levels


class DepthBook:
    """Depth by venue and instrument, and the claims of our own orders on it.

    Args:
        max_age_ns: books older than that in run time do not count.
    """

    def __init__(self, *, max_age_ns: int) -> None:
        self._max_age_ns = max_age_ns
        self._depths: dict[tuple[int, int], Depth] = {}
        self._working: dict[int, tuple[Side, int]] = {}  # by order id
        self._planned: dict[tuple[int, int], tuple[VenueOrder, ...]] = {}  # by command
        self._fills: defaultdict[Side, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=_FILLS_MAX))
        self._claims: Counter[Side] = Counter()

    def update(self, depth: Depth) -> None:
        """A venue shows this book now: fills up to its time are in it."""
        self._depths[depth.venue, depth.instrument] = depth
        for direction in (-1, 1):
            fills = self._fills.get((depth.venue, depth.instrument, direction))
            while fills and fills[0][0] <= depth.run_time_ns:
                fills.popleft()

    def plan(self, command: tuple[int, int], orders: tuple[VenueOrder, ...]) -> None:
        """Orders are on their way to the journal."""
        self._planned[command] = orders
        for order in orders:
            self._claims[order.venue, order.instrument, order.direction] += order.lots

    def unplan(self, command: tuple[int, int]) -> None:
        """They are in the journal, were refused, or are given up."""
        for order in self._planned.pop(command, ()):
            self._claims[order.venue, order.instrument, order.direction] -= order.lots

    def order(self, order: int, side: Side, *, remaining: int) -> None:
        """An episode's order has so many lots open at the venue; 0 when it is terminal."""
        _, before = self._working.pop(order, (side, 0))
        self._claims[side] += remaining - before
        if remaining:
            self._working[order] = (side, remaining)

    def fill(self, side: Side, *, lots: int, executed_at_ns: int) -> None:
        """An episode's order took so many lots of what was shown."""
        venue, instrument, _ = side
        depth = self._depths.get((venue, instrument))
        if depth is None or executed_at_ns > depth.run_time_ns:
            self._fills[side].append((executed_at_ns, lots))

    def shown(
        self, instrument: InstrumentId, direction: int, venues: Iterable[Venue], *, mark: Price, marks: Marks
    ) -> list[Shown]:
        """What each venue shows to an order in that direction, with the claims on it.

        Args:
            mark: of the instrument now; a book that is older moves along with it.
        """
        found = []
        for venue in venues:
            depth = self._depths.get((venue.id, instrument))
            if depth is None or marks.run_time_ns - depth.run_time_ns > self._max_age_ns:
                continue
            side = (venue.id, instrument, direction)
            claimed = self._claims[side] + sum(lots for _, lots in self._fills.get(side, ()))
            levels = depth.asks if direction == BUY else depth.bids
            then = marks.at(instrument, depth.run_time_ns)
            if then is not None:
                levels = carried(levels, mark_then=then, mark_now=mark)
            found.append(Shown(venue.id, venue.taker_fee, levels, Lots(max(0, claimed)), is_older=then is None))
        return found
