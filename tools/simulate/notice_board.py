"""What a venue out there does to our account, and tells again until every partition has it on record."""

from __future__ import annotations

import random
from collections import defaultdict

from ballast.api.v1 import venue_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from ballast.types.v1 import market_pb2
from libs.common.parameters import Instrument, InstrumentKind, Venue
from libs.common.units import from_scaled, from_units
from tools.simulate.house import BTC, USD, House
from tools.simulate.market import Market

CLOSINGS = (kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_DELEVERAGING)
_LOSSES = (kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS, kinds.VENUE_EVENT_KIND_BUST)


class NoticeBoard:
    """The notices of one venue.

    Attributes:
        said: every notice there ever was, in order.
    """

    def __init__(self, venue: Venue, house: House, market: Market, rng: random.Random) -> None:
        self.said: list[venue_pb2.VenueNotice] = []
        self._venue, self._house, self._market, self._rng = venue, house, market, rng
        self._held: defaultdict[int, int] = defaultdict(int)  # instrument -> our lots, as the venue has them
        self._acknowledged = self._told = 0

    @property
    def waiting(self) -> int:
        """Notices that are not on record everywhere."""
        return len(self.said) - self._acknowledged

    def traded(self, instrument: Instrument, lots: int) -> None:
        """We have bought so many lots, or sold them."""
        self._held[instrument.id] += 0 if instrument.kind is InstrumentKind.SPOT else lots

    def resume(self, after: int) -> None:
        """A session begins: up to that number all is on record, what follows is told again."""
        self.acknowledge(after)
        self._told = after

    def acknowledge(self, up_to: int) -> None:
        """Notices up to there are on record in every partition."""
        self._acknowledged = max(self._acknowledged, up_to)

    def due(self, *, again: bool) -> list[venue_pb2.VenueNotice]:
        """Notices to send now; `again` tells all that is not acknowledged once more."""
        first, self._told = self._acknowledged if again else self._told, len(self.said)
        return self.said[first:]

    def act(self, *, now_ns: int) -> venue_pb2.VenueNotice:
        """Closes some of our position, or takes some of our money."""
        rng = self._rng
        notice = venue_pb2.VenueNotice(sequence=len(self.said) + 1, executed_at_ns=now_ns, detail="it says so")
        held = [self._house.instrument(one) for one, lots in sorted(self._held.items()) if lots]
        held = [one for one in held if not 0 < one.closes_ns <= now_ns]
        notice.kind = rng.choice((*CLOSINGS, *_LOSSES) if held else (kinds.VENUE_EVENT_KIND_BUST,))
        if notice.kind == kinds.VENUE_EVENT_KIND_BUST:
            self._lose(notice, rng.choice((USD, USD, BTC)))
        else:
            instrument = rng.choice(held)
            notice.symbol = instrument.symbol
            notice.price = from_scaled(self._market.price_of(instrument, now_ns), instrument.price_exponent)
            if notice.kind in CLOSINGS:
                self._close(notice, instrument)
            else:
                self._lose(notice, instrument.settlement)
        self.said.append(notice)
        return notice

    def _close(self, notice: venue_pb2.VenueNotice, instrument: Instrument) -> None:
        lots = self._held[instrument.id]
        notice.side = market_pb2.SIDE_SELL if lots > 0 else market_pb2.SIDE_BUY
        notice.lots = self._rng.randint(1, abs(lots))
        self._held[instrument.id] -= notice.lots if lots > 0 else -notice.lots
        decimals = self._house.directory.asset_by_id[instrument.settlement].decimals
        notice.amount = from_units(self._rng.choice((0, self._rng.randint(1, 10_000))), decimals)

    def _lose(self, notice: venue_pb2.VenueNotice, number: int) -> None:
        asset = self._house.directory.asset_by_id[number]
        most = 10 ** (asset.decimals + 3) if number == USD else 10 ** (asset.decimals - 1)
        notice.asset, notice.amount = asset.symbol, from_units(self._rng.randint(1, most), asset.decimals)
