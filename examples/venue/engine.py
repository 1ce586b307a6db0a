"""The venue itself: books, market makers, clients' orders and what is reported about them. Time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from examples.venue.book import Level, Limit, OrderBook, Side, Trade
from examples.venue.ladder import MarketMaker
from examples.venue.listing import Instrument, Listing, MalformedPrice, decimal
from examples.venue.options import Option, Package, Surface
from examples.venue.reports import Kind, Outbox, Report

LOTS_MAX = 10**12


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the venue keeps.

    Args:
        open_orders: clients' orders on the books; beyond, an order that would rest is rejected.
        terminal_orders: terminal orders it remembers once every report on them is acknowledged.
        unacknowledged: held reports beyond which new orders are left unanswered, as if they never came.
    """

    open_orders: int = 50_000
    terminal_orders: int = 100_000
    unacknowledged: int = 100_000


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A client's order as received; the price is the decimal string of the wire."""

    order: int
    symbol: str
    side: Side | None
    lots: int
    limit_price: str
    rests: bool


@dataclass(frozen=True, slots=True)
class Status:
    """What the venue knows of an order."""

    filled: int
    is_terminal: bool


@dataclass(frozen=True, slots=True)
class DisplayedBook:
    """A book as it is now, best prices first."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(slots=True)
class _Order:
    symbol: str
    received_wall_ns: int
    filled: int
    remaining: int
    last_report: int


class VenueEngine:
    """A venue's whole state: the same calls in the same order give the same books and reports."""

    def __init__(self, *, name: str, listing: Listing, seed: int, bounds: Bounds | None = None) -> None:
        self._name = name
        self._listing = listing
        self._bounds = bounds or Bounds()
        self._books = {symbol: OrderBook() for symbol in listing.instruments}
        self._makers = {
            symbol: MarketMaker(each.ladder, seed=f"{seed}/{name}/{symbol}")
            for symbol, each in listing.instruments.items()
        }
        self._references: dict[str, int] = {}
        self._orders: dict[int, _Order] = {}
        self._open: set[int] = set()
        self._settled: deque[int] = deque()  # terminal with every report acknowledged, oldest first
        self._changed: set[str] = set()
        self._delisted: set[str] = set()
        self.outbox = Outbox()
        self.run_time_ns = 0

    def move(
        self, *, run_time_ns: int, prices: Mapping[str, str], surfaces: Mapping[int, Surface] | None = None
    ) -> tuple[str, ...]:
        """Takes the run clock and the reference prices; quotes around them and fills what they moved through.

        Args:
            run_time_ns: an earlier one than known does not move the clock back.
            prices: decimal strings by symbol; an instrument without a price keeps the one it had. One that never had
                a price, nor its reference symbol, is not quoted.
            surfaces: by underlying; options are quoted around what these and the venue's own spot price make of them.
        Returns: what could not be taken, in words.
        """
        self.run_time_ns = max(self.run_time_ns, run_time_ns)
        faults = []
        for symbol, instrument in self._listing.instruments.items():
            if instrument.has_ended(self.run_time_ns):
                self._delist(symbol)
                continue
            text = prices.get(symbol) or prices.get(instrument.reference)
            if text:
                try:
                    if instrument.option is None:
                        self._references[symbol] = instrument.nearest_ticks(text)
                    else:
                        self._value(instrument, instrument.option, text, surfaces or {})
                except MalformedPrice as error:
                    faults.append(f"{symbol}: {error}")
            if symbol in self._references:
                self._requote(symbol)
        return tuple(faults)

    def _value(
        self, instrument: Instrument, option: Option | Package, spot: str, surfaces: Mapping[int, Surface]
    ) -> None:
        """The reference price of an option or package: its worth here, at least a tick; else the last one stands."""
        surface = surfaces.get(option.underlying)
        if surface is None:
            return
        value = option.price(spot=float(decimal(spot)), surface=surface, run_time_ns=self.run_time_ns)
        if value is not None:
            self._references[instrument.symbol] = max(1, round(value / float(instrument.tick)))

    def _delist(self, symbol: str) -> None:
        """Takes everything off the book of an instrument that has ended, once."""
        if symbol in self._delisted:
            return
        self._delisted.add(symbol)
        self._references.pop(symbol, None)
        for number in sorted(one for one in self._open if self._orders[one].symbol == symbol):
            self._end(number, Kind.CANCELLED, detail=f"{symbol} has ended")
        self._books[symbol] = OrderBook()
        self._changed.add(symbol)

    def place(self, request: OrderRequest, *, received_wall_ns: int) -> bool:
        """Whether the order is taken or was taken before; the same id again is the same order.

        False: too much is unacknowledged, so the order is left as if it never came, and a query will say so.
        """
        if request.order in self._orders:
            return True
        if len(self.outbox) >= self._bounds.unacknowledged:
            return False
        instrument = self._listing.instruments.get(request.symbol)
        order = _Order(request.symbol, received_wall_ns, filled=0, remaining=max(0, request.lots), last_report=0)
        self._orders[request.order] = order
        limit = self._limit(request, instrument)
        if isinstance(limit, str):
            self._end(request.order, Kind.REJECTED, detail=limit)
            return True
        if request.rests:
            self._report(request.order, Kind.ACCEPTED)
            self._open.add(request.order)
            self._changed.add(request.symbol)
        trades = self._books[request.symbol].place(limit, rests=request.rests)
        self._fill(request.symbol, trades)
        if order.remaining and not request.rests:
            self._end(request.order, Kind.CANCELLED)
        return True

    def cancel(self, order: int, *, detail: str = "") -> Status | None:
        """State of the order after what remained of it is cancelled, None when it is unknown."""
        known = self._orders.get(order)
        if known is not None and known.remaining:
            self._books[known.symbol].cancel(order)
            self._changed.add(known.symbol)
            self._end(order, Kind.CANCELLED, detail=detail)
        return self.status(order)

    def status(self, order: int) -> Status | None:
        """State of the order, None when the venue has never seen it or has forgotten it."""
        known = self._orders.get(order)
        return Status(filled=known.filled, is_terminal=known.remaining == 0) if known else None

    def acknowledge(self, up_to: int) -> None:
        """Drops the reports up to there, and remembers at most so many of the orders that are done with."""
        for report in self.outbox.acknowledge(up_to):
            order = self._orders.get(report.order)
            if order is not None and order.remaining == 0 and order.last_report == report.sequence:
                self._settled.append(report.order)
        while len(self._settled) > self._bounds.terminal_orders:
            self._orders.pop(self._settled.popleft(), None)

    def restore(self, history: Iterable[tuple[str, Report]]) -> int:
        """Number of orders cancelled because they rested when the venue went down.

        Args:
            history: every report made before, in order, each with the symbol of its order.
        """
        for symbol, report in history:
            order = self._orders.get(report.order)
            if order is None:
                order = self._orders[report.order] = _Order(symbol, report.received_wall_ns, 0, 0, 0)
            order.filled += report.lots
            order.remaining = report.remaining
            order.last_report = report.sequence
            self.outbox.append(report)
            self.run_time_ns = max(self.run_time_ns, report.executed_at_ns)
        resting = [number for number, order in self._orders.items() if order.remaining]
        for number in resting:
            self._end(number, Kind.CANCELLED, detail="the venue restarted and its books are empty")
        return len(resting)

    def displayed(self, symbol: str, *, depth: int) -> DisplayedBook:
        """The best `depth` levels of both sides."""
        book = self._books[symbol]
        return DisplayedBook(symbol, book.levels(Side.BUY, depth=depth), book.levels(Side.SELL, depth=depth))

    def take_changed(self) -> list[str]:
        """Symbols whose books changed since the last call, in the order of the listing."""
        changed = [symbol for symbol in self._books if symbol in self._changed]
        self._changed.clear()
        return changed

    def symbol_of(self, order: int) -> str:
        """Symbol of a known order."""
        return self._orders[order].symbol

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol listed."""
        return tuple(self._books)

    @property
    def quoted(self) -> tuple[str, ...]:
        """The symbols that have a reference price."""
        return tuple(self._references)

    @property
    def open_orders(self) -> int:
        """Clients' orders on the books."""
        return len(self._open)

    def _requote(self, symbol: str) -> None:
        maker, reference = self._makers[symbol], self._references[symbol]
        if not maker.is_current(reference=reference, run_time_ns=self.run_time_ns):
            self._changed.add(symbol)
            trades = maker.requote(self._books[symbol], reference=reference, run_time_ns=self.run_time_ns)
            self._fill(symbol, trades)

    def _limit(self, request: OrderRequest, instrument: Instrument | None) -> Limit | str:
        if instrument is None:
            return f"expected an instrument traded here, was {request.symbol[:40]!r}"
        if instrument.has_ended(self.run_time_ns):
            return f"{instrument.symbol} has ended"
        if request.side is None:
            return "expected a side, buy or sell"
        if not 0 < request.lots <= LOTS_MAX:
            return f"expected 1 to {LOTS_MAX} lots, was {request.lots}"
        if request.rests and len(self._open) >= self._bounds.open_orders:
            return f"expected at most {self._bounds.open_orders} resting orders"
        try:
            price = instrument.ticks(request.limit_price)
        except MalformedPrice as error:
            return str(error)
        return Limit(order=request.order, side=request.side, price=price, lots=request.lots)

    def _fill(self, symbol: str, trades: Iterable[Trade]) -> None:
        instrument = self._listing.instruments[symbol]
        for trade in trades:
            self._changed.add(symbol)
            # Both sides of a trade carry one id: the number of its first report.
            trade_id = f"{self._name}-{self.outbox.last + 1}"
            for number, rate in ((trade.taker, self._listing.taker_fee), (trade.maker, self._listing.maker_fee)):
                if number < 0:  # the market maker's own quote
                    continue
                order = self._orders[number]
                order.filled += trade.lots
                order.remaining -= trade.lots
                if order.remaining == 0:
                    self._open.discard(number)
                fee = instrument.fee_text(lots=trade.lots, ticks=trade.price, rate=rate)
                price = instrument.price_text(trade.price)
                self._report(number, Kind.FILL, lots=trade.lots, price=price, fee=fee, trade=trade_id)

    def _end(self, number: int, kind: Kind, *, detail: str = "") -> None:
        self._orders[number].remaining = 0
        self._open.discard(number)
        self._report(number, kind, detail=detail)

    def _report(
        self,
        number: int,
        kind: Kind,
        *,
        lots: int = 0,
        price: str = "",
        fee: str = "",
        trade: str = "",
        detail: str = "",
    ) -> None:
        order = self._orders[number]
        order.last_report = self.outbox.last + 1
        self.outbox.append(
            Report(
                sequence=order.last_report,
                order=number,
                kind=kind,
                lots=lots,
                price=price,
                fee=fee,
                trade=trade,
                remaining=order.remaining,
                executed_at_ns=self.run_time_ns,
                received_wall_ns=order.received_wall_ns,
                detail=detail,
            )
        )
