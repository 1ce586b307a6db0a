"""Translates between the wire contract and the venue's own words; decides nothing."""

from __future__ import annotations

from ballast.api.v1 import venue_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from examples.venue.book import Level, Side
from examples.venue.engine import DisplayedBook, OrderRequest, Status
from examples.venue.listing import Instrument, Listing
from examples.venue.reports import Kind, Outbox, Report

_SIDES: dict[int, Side] = {market_pb2.SIDE_BUY: Side.BUY, market_pb2.SIDE_SELL: Side.SELL}
_KINDS = {
    Kind.ACCEPTED: ledger_pb2.REPORT_KIND_ACCEPTED,
    Kind.FILL: ledger_pb2.REPORT_KIND_FILL,
    Kind.CANCELLED: ledger_pb2.REPORT_KIND_CANCELLED,
    Kind.REJECTED: ledger_pb2.REPORT_KIND_REJECTED,
}


def hello(*, name: str, listing: Listing, session_epoch: int, outbox: Outbox) -> venue_pb2.ConnectRequest:
    """The first message of a session."""
    return venue_pb2.ConnectRequest(
        hello=venue_pb2.VenueHello(
            venue=name,
            instruments=[
                venue_pb2.VenueInstrument(symbol=each.symbol, tick_size=f"{each.tick:f}", lot_size=f"{each.lot:f}")
                for each in listing.instruments.values()
            ],
            session_epoch=session_epoch,
            last_report=outbox.last,
            oldest_report=outbox.oldest,
        )
    )


def order_request(order: venue_pb2.NewOrder) -> OrderRequest:
    """An order in the venue's words; what does not live as GTC lives as IOC."""
    return OrderRequest(
        order=order.order,
        symbol=order.symbol,
        side=_SIDES.get(order.side),
        lots=order.lots,
        limit_price=order.limit_price,
        rests=order.time_in_force == market_pb2.TIME_IN_FORCE_GTC,
    )


def execution_report(report: Report) -> venue_pb2.ConnectRequest:
    """A report on the wire."""
    return venue_pb2.ConnectRequest(
        report=venue_pb2.ExecutionReport(
            sequence=report.sequence,
            order=report.order,
            kind=_KINDS[report.kind],
            lots=report.lots,
            price=report.price,
            fee=report.fee,
            executed_at_ns=report.executed_at_ns,
            trade=report.trade,
            detail=report.detail,
            order_received_wall_ns=report.received_wall_ns,
        )
    )


def order_status(order: int, status: Status | None) -> venue_pb2.ConnectRequest:
    """An answer to a query; None is an order never seen."""
    return venue_pb2.ConnectRequest(
        status=venue_pb2.OrderStatus(
            order=order,
            known=status is not None,
            terminal=status is not None and status.is_terminal,
            filled_lots=status.filled if status else 0,
        )
    )


def book_update(
    book: DisplayedBook, instrument: Instrument, *, sequence: int, run_time_ns: int
) -> venue_pb2.ConnectRequest:
    """A book on the wire."""
    return venue_pb2.ConnectRequest(
        book=venue_pb2.BookUpdate(
            symbol=book.symbol,
            sequence=sequence,
            run_time_ns=run_time_ns,
            bids=[_level(each, instrument) for each in book.bids],
            asks=[_level(each, instrument) for each in book.asks],
        )
    )


def heartbeat(run_time_ns: int) -> venue_pb2.ConnectRequest:
    """The venue is alive."""
    return venue_pb2.ConnectRequest(heartbeat=venue_pb2.VenueHeartbeat(run_time_ns=run_time_ns))


def _level(level: Level, instrument: Instrument) -> venue_pb2.BookLevel:
    return venue_pb2.BookLevel(price=instrument.price_text(level.price), lots=level.lots)
