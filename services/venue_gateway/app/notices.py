"""What a venue did to our account there: one notice after another, its parts given to the partitions one after another.

Each partition gets a fact of every notice, with the part that it bears and what is left for those after it; the part of
the next one is made from that journalled rest, so a restart in the middle goes on where it was. A part is what is left
times the partition's weight over the weights of those still to come: the lots that clients hold on the closed side, or
on either side, or the units they keep at the venue, or what has not come back of a loss. Of a settlement each gets what
its contra is owed. The last partition takes the rest; what is no client's, the house.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account, system_kind
from libs.common.parameters import Venue
from libs.common.units import MalformedNumber, mul_div_down, to_scaled, to_units
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.translation import DETAIL_MAX, LOTS_MAX

WAITING_MAX = 1_000  # notices of one venue that are not on record
_CLOSINGS = (kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_DELEVERAGING)
_LOSSES = (kinds.VENUE_EVENT_KIND_BUST, kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS)
_PAYMENTS = (kinds.VENUE_EVENT_KIND_RECOVERY, kinds.VENUE_EVENT_KIND_SETTLEMENT)
_PRICED = (*_CLOSINGS, kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS)
_LOTS = ledger_pb2.LINE_KIND_LOTS


def notice_stream(venue: Venue) -> str:
    """Name of the stream of a venue's notices."""
    return f"notice/{venue.name}"


@dataclass(frozen=True, slots=True)
class Part:
    """A fact for one partition."""

    partition: int
    command: commands_pb2.Command


class Notices:
    """Follows the dense notice numbers of one venue through all partitions."""

    def __init__(self, *, venue: Venue, view: LedgerView, directory: Directory) -> None:
        self._venue, self._view, self._directory = venue, view, directory
        self._waiting: deque[tuple[int, lifecycle_pb2.VenueEvent]] = deque()
        self._posted: tuple[int, int] | None = None  # number and partition of the fact that is on its way
        self._received = self.recorded

    @property
    def recorded(self) -> int:
        """Number up to which every partition has its part: the last one gets it last."""
        return self._marks()[len(self._view.books) - 1]

    def _marks(self) -> dict[int, int]:
        return self._view.marks(notice_stream(self._venue))

    @property
    def is_waiting(self) -> bool:
        """A notice is not on record everywhere."""
        return bool(self._waiting)

    def hear(self, notice: venue_pb2.VenueNotice) -> None:
        """Takes a notice. Raises MalformedNumber when it cannot be taken, or is not the next one."""
        if notice.sequence <= self._received:
            return
        if notice.sequence != self._received + 1 or len(self._waiting) >= WAITING_MAX:
            raise MalformedNumber(f"expected notice {self._received + 1}, at most {WAITING_MAX} ahead")
        self._waiting.append((notice.sequence, event_of(notice, venue=self._venue, directory=self._directory)))
        self._received = notice.sequence

    def due(self) -> Part | None:
        """The next part to post, None while one is on its way or nothing waits."""
        marks = self._marks()
        while self._waiting and marks[len(marks) - 1] >= self._waiting[0][0]:
            self._waiting.popleft()
            self._posted = None
        if not self._waiting:
            return None
        number, event = self._waiting[0]
        partition = next(one for one in sorted(marks) if marks[one] < number)
        if self._posted == (number, partition):
            return None
        self._posted = (number, partition)
        key = commands_pb2.FactKey(stream=notice_stream(self._venue), sequence=number, previous=marks[partition])
        return Part(partition, commands_pb2.Command(fact=key, venue_event=self._part(event, number, partition)))

    def again(self) -> None:
        """A part fell into a gap: it is posted again by the marks as they are."""
        self._posted = None

    def _part(self, event: lifecycle_pb2.VenueEvent, number: int, partition: int) -> lifecycle_pb2.VenueEvent:
        lots, units = event.lots, event.units
        for book in reversed(self._view.books[:partition]):  # one that could not read its part has taken none
            before = book.lifecycle.venue_shares.get(self._venue.id)
            if before is not None and before.number == number:
                lots, units = before.left_lots, before.left_units
                break
        books = self._view.books[partition:]
        weights = [self._weight(book, event) for book in books]
        one = lifecycle_pb2.VenueEvent()
        one.CopyFrom(event)
        one.lots, one.units = lots, units
        if event.kind == kinds.VENUE_EVENT_KIND_SETTLEMENT:
            one.units = weights[0] if len(books) > 1 else units
        elif len(books) > 1:
            total = sum(weights)
            one.lots = mul_div_down(lots, weights[0], total) if total else 0
            if event.kind in _CLOSINGS:  # the fee goes with the lots
                one.units = mul_div_down(units, one.lots, lots) if lots else 0
            else:
                one.units = mul_div_down(units, weights[0], total) if total else 0
        one.number, one.left_lots, one.left_units = number, lots - one.lots, units - one.units
        return one

    def _weight(self, book: PartitionBook, event: lifecycle_pb2.VenueEvent) -> int:
        if event.kind == kinds.VENUE_EVENT_KIND_BUST:
            place = (event.asset, event.venue)
            places = book.custody.places.items()
            return sum(at[place].units for account, at in places if place in at and system_kind(account) is None)
        if event.kind == kinds.VENUE_EVENT_KIND_RECOVERY:
            return sum(book.lifecycle.owed_by_venue(event.venue, event.recovers).values())
        if event.kind == kinds.VENUE_EVENT_KIND_SETTLEMENT:
            contra = system_account(SystemAccount.CONTRA, partition=book.partition, index=event.instrument)
            return -book.lines.get((contra, event.asset, ledger_pb2.LINE_KIND_CASH), 0)
        found = 0
        sign = 1 if event.side == market_pb2.SIDE_SELL else -1
        for (account, asset, kind), lots in book.lines.items():
            if kind == _LOTS and asset == event.instrument and system_kind(account) is None:
                found += max(0, sign * lots) if event.kind in _CLOSINGS else abs(lots)
        return found


def event_of(notice: venue_pb2.VenueNotice, *, venue: Venue, directory: Directory) -> lifecycle_pb2.VenueEvent:
    """A notice in the ledger's words.

    Raises:
        MalformedNumber: kind, symbol, lots, price or amount cannot be taken.
    """
    event = lifecycle_pb2.VenueEvent(
        venue=venue.id, kind=notice.kind, executed_at_ns=notice.executed_at_ns, detail=notice.detail[:DETAIL_MAX]
    )
    if notice.kind not in (kinds.VENUE_EVENT_KIND_BUST, kinds.VENUE_EVENT_KIND_RECOVERY):
        instrument = directory.instrument_by_symbol.get(notice.symbol)
        if instrument is None or instrument.id not in venue.instruments:
            raise MalformedNumber(f"expected an instrument that {venue.name} trades, was {notice.symbol[:40]!r}")
        event.instrument = instrument.id
        settlement = directory.asset_by_id[instrument.settlement]
        assets = {directory.asset_by_id[one].symbol for one in (instrument.settlement, instrument.underlying)}
        if notice.kind == kinds.VENUE_EVENT_KIND_SETTLEMENT and notice.asset not in assets:
            raise MalformedNumber(f"expected an asset that {notice.symbol} settles in, was {notice.asset[:40]!r}")
        if notice.kind in _PRICED:
            event.price = to_scaled(notice.price, instrument.price_exponent)
            if not 0 < event.price <= instrument.max_price:
                raise MalformedNumber(f"expected a price of {notice.symbol} in its bounds, was {notice.price[:40]!r}")
        if notice.kind in _CLOSINGS:
            return _closing(event, notice, decimals=settlement.decimals)
    asset = directory.asset_by_symbol.get(notice.asset)
    if asset is None or notice.kind not in (*_LOSSES, *_PAYMENTS):
        raise MalformedNumber(f"expected a known kind and asset, was {notice.kind} and {notice.asset[:40]!r}")
    event.asset, event.units = asset.id, to_units(notice.amount, asset.decimals)
    event.whole = event.units
    if notice.kind in _PAYMENTS:
        return _payment(event, notice)
    if event.units <= 0:
        raise MalformedNumber(f"expected a loss of {notice.asset} above 0, was {notice.amount[:40]!r}")
    return event


def _payment(event: lifecycle_pb2.VenueEvent, notice: venue_pb2.VenueNotice) -> lifecycle_pb2.VenueEvent:
    event.is_final, event.to_vault = notice.is_final, notice.to_vault
    if notice.kind == kinds.VENUE_EVENT_KIND_RECOVERY:
        event.recovers = notice.recovers
        if event.units < 0 or not 0 < notice.recovers < notice.sequence:
            raise MalformedNumber(f"expected an amount of an earlier notice, was {notice.amount[:40]!r}")
    return event


def _closing(
    event: lifecycle_pb2.VenueEvent, notice: venue_pb2.VenueNotice, *, decimals: int
) -> lifecycle_pb2.VenueEvent:
    if notice.side not in (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL) or not 0 < notice.lots <= LOTS_MAX:
        raise MalformedNumber(f"expected a side and 1 to {LOTS_MAX} lots, was {notice.side} and {notice.lots}")
    event.side, event.lots, event.whole = notice.side, notice.lots, notice.lots
    event.units = to_units(notice.amount, decimals) if notice.amount else 0
    if event.units < 0:
        raise MalformedNumber(f"expected a fee of at least 0, was {notice.amount[:40]!r}")
    return event
