"""A venue's messages into the ledger's words and back; decides nothing."""

from __future__ import annotations

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.parameters import Venue
from libs.common.units import MalformedNumber, from_scaled
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.translation import (
    BOOK_LEVELS_MAX,
    DETAIL_MAX,
    LOTS_MAX,
    Level,
    book_side,
    fill_terms,
)

_KINDS = frozenset(
    (
        ledger_pb2.REPORT_KIND_ACCEPTED,
        ledger_pb2.REPORT_KIND_FILL,
        ledger_pb2.REPORT_KIND_CANCELLED,
        ledger_pb2.REPORT_KIND_REJECTED,
    )
)


def new_order(order: journal_pb2.Order, directory: Directory) -> venue_pb2.ConnectResponse:
    """The order as it goes out."""
    instrument = directory.instrument_by_id[order.instrument]
    return venue_pb2.ConnectResponse(
        order=venue_pb2.NewOrder(
            order=order.order,
            symbol=instrument.symbol,
            side=order.side,
            lots=order.lots,
            limit_price=from_scaled(order.limit_price, instrument.price_exponent),
            time_in_force=order.time_in_force,
        )
    )


def order_report(
    report: venue_pb2.ExecutionReport, *, venue: Venue, instrument_id: int | None, directory: Directory
) -> commands_pb2.OrderReport:
    """A report as the ledger takes it.

    A fill of an order unknown here has no instrument to scale its price by: it goes without, for the ledger to alert.

    Raises:
        MalformedNumber: kind, lots, price or fee cannot be taken.
    """
    if report.kind not in _KINDS:
        raise MalformedNumber(f"expected a kind of report known here, was {report.kind}")
    posted = commands_pb2.OrderReport(
        venue=venue.id,
        order=report.order,
        kind=report.kind,
        executed_at_ns=report.executed_at_ns,
        detail=report.detail[:DETAIL_MAX],
    )
    if report.kind != ledger_pb2.REPORT_KIND_FILL:
        return posted
    if not 0 < report.lots <= LOTS_MAX:
        raise MalformedNumber(f"expected a fill of 1 to {LOTS_MAX} lots, was {report.lots}")
    posted.lots = report.lots
    instrument = directory.instrument_by_id.get(instrument_id or 0)
    if instrument is None:
        posted.detail = f"price {report.price[:40]}, fee {report.fee[:40]}, trade {report.trade[:40]}"
        return posted
    terms = fill_terms(directory, instrument, lots=report.lots, price=report.price, fee=report.fee)
    posted.price, posted.fee_units = terms.price, terms.fee_units
    return posted


def given_up(order: int, *, venue: Venue, run_time_ns: int) -> commands_pb2.OrderReport:
    """The gateway's own report of an order that the venue has not got."""
    return commands_pb2.OrderReport(
        venue=venue.id,
        order=order,
        kind=ledger_pb2.REPORT_KIND_CANCELLED,
        executed_at_ns=run_time_ns,
        detail=f"{venue.name} has not got this order and cannot get it any more",
    )


def liquidity(book: venue_pb2.BookUpdate, *, venue: Venue, directory: Directory) -> market_pb2.Liquidity:
    """Displayed depth in integers.

    Raises:
        MalformedNumber: unknown symbol, or a side that cannot be taken.
    """
    instrument = directory.instrument_by_symbol.get(book.symbol)
    if instrument is None or instrument.id not in venue.instruments:
        raise MalformedNumber(f"expected a book of an instrument {venue.name} trades, was {book.symbol[:40]!r}")
    if max(len(book.bids), len(book.asks)) > BOOK_LEVELS_MAX:
        raise MalformedNumber(f"expected at most {BOOK_LEVELS_MAX} levels of {book.symbol}")
    bids = book_side(instrument, [Level(one.price, one.lots) for one in book.bids], descending=True)
    asks = book_side(instrument, [Level(one.price, one.lots) for one in book.asks], descending=False)
    return market_pb2.Liquidity(
        venue=venue.id,
        instrument=instrument.id,
        run_time_ns=book.run_time_ns,
        bid_price=bids[0],
        bid_lots=bids[1],
        ask_price=asks[0],
        ask_lots=asks[1],
        sequence=book.sequence,
    )


def same_depth(one: market_pb2.Liquidity, other: market_pb2.Liquidity) -> bool:
    """True when two books of one instrument show the same levels."""
    return (
        one.bid_price == other.bid_price
        and one.bid_lots == other.bid_lots
        and one.ask_price == other.ask_price
        and one.ask_lots == other.ask_lots
    )
