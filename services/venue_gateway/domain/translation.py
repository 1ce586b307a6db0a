"""Decimal strings and symbols from outside into integers and ids, or a refusal; and back."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.parameters import Asset, Instrument, InstrumentKind, Venue
from libs.common.units import (
    Lots,
    MalformedNumber,
    Price,
    Units,
    from_scaled,
    from_units,
    mul_div_up,
    to_scaled,
    to_units,
)
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.refusals import Refused

BOOK_LEVELS_MAX = 200
DETAIL_MAX = 300
LOTS_MAX = 2**40


@dataclass(frozen=True, slots=True)
class Amount:
    """Units of an asset."""

    asset: Asset
    units: Units


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What an order asks for, in lots and integer prices."""

    instrument: Instrument
    venue: Venue
    lots: Lots
    limit_price: Price


@dataclass(frozen=True, slots=True)
class FillTerms:
    """A trade as a venue reports it: price in steps of the instrument, fee in units of the settlement asset."""

    price: Price
    fee_units: Units


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a book as it came."""

    price: str
    lots: int


def amount(directory: Directory, *, symbol: str, text: str) -> Amount | Refused:
    """Units of an asset; positive."""
    asset = directory.asset_by_symbol.get(symbol)
    if asset is None:
        known = ", ".join(directory.asset_by_symbol)
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, f"expected an asset of {known}, was {symbol[:40]!r}")
    try:
        units = to_units(text, asset.decimals)
    except MalformedNumber as error:
        return Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, f"amount of {symbol}: {error}")
    if units <= 0:
        return Refused(
            ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected an amount of {symbol} above 0, was {text!r}"
        )
    return Amount(asset, units)


def order_terms(
    directory: Directory, *, symbol: str, venue_name: str, quantity: str, limit_price: str
) -> OrderTerms | Refused:
    """An order in lots at an integer price; positive and within the instrument's bounds."""
    instrument = directory.instrument_by_symbol.get(symbol)
    if instrument is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_INSTRUMENT, f"expected a known instrument, was {symbol[:40]!r}")
    venue = directory.venue_by_name.get(venue_name)
    if venue is None or instrument.id not in venue.instruments:
        trading = [one.name for one in directory.parameters.venues if instrument.id in one.instruments]
        return Refused(
            ledger_pb2.REFUSAL_UNKNOWN_VENUE,
            f"expected a venue that trades {symbol} ({', '.join(trading)}), was {venue_name[:40]!r}",
        )
    lots = _lots(directory, instrument, quantity)
    if isinstance(lots, Refused):
        return lots
    try:
        price = Price(to_scaled(limit_price, instrument.price_exponent))
    except MalformedNumber as error:
        return Refused(ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE, f"limit price of {symbol}: {error}")
    if not 0 < price <= instrument.max_price:
        highest = from_scaled(instrument.max_price, instrument.price_exponent)
        return Refused(
            ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE,
            f"expected a limit price of {symbol} above 0 and at most {highest}, was {limit_price!r}",
        )
    return OrderTerms(instrument, venue, lots, price)


def _lots(directory: Directory, instrument: Instrument, quantity: str) -> Lots | Refused:
    lot, decimals = directory.lot(instrument)
    try:
        units = to_units(quantity, decimals)
    except MalformedNumber as error:
        return Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, f"quantity of {instrument.symbol}: {error}")
    lots, remainder = divmod(units, lot)
    if remainder or not 0 < lots <= instrument.max_order_lots:
        one, most = from_units(lot, decimals), from_units(lot * instrument.max_order_lots, decimals)
        return Refused(
            ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE,
            f"expected a quantity of {instrument.symbol} in whole lots of {one} up to {most}, was {quantity!r}",
        )
    return Lots(lots)


def order_words(side: int, time_in_force: int) -> Refused | None:
    """A refusal when side or time in force is not one of the known ones."""
    if side not in (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL):
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_COMMAND, f"expected side SIDE_BUY or SIDE_SELL, was {side}")
    if time_in_force not in (market_pb2.TIME_IN_FORCE_IOC, market_pb2.TIME_IN_FORCE_GTC):
        return Refused(
            ledger_pb2.REFUSAL_UNKNOWN_COMMAND, f"expected time in force IOC or GTC, was number {time_in_force}"
        )
    return None


def fill_terms(directory: Directory, instrument: Instrument, *, lots: int, price: str, fee: str) -> FillTerms:
    """A venue's trade. A fee below zero is a rebate.

    Raises:
        MalformedNumber: price or fee cannot be taken exactly, or the fee exceeds what was traded.
    """
    settlement = directory.asset_by_id[instrument.settlement]
    units = to_units(fee, settlement.decimals) if fee else Units(0)
    scaled = to_scaled(price, instrument.price_exponent)
    if not 0 < scaled <= instrument.max_price:
        raise MalformedNumber(f"expected a price of {instrument.symbol} within its bounds, was {price!r}")
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        traded = mul_div_up(lots, instrument.c_num, instrument.c_den * scaled)
    else:
        traded = mul_div_up(lots * scaled, instrument.c_num, instrument.c_den)
    if abs(units) > traded:  # nobody agreed to that: a person looks before it costs a client more than there is
        worth = from_units(traded, settlement.decimals)
        raise MalformedNumber(f"expected a fee of {instrument.symbol} of at most {worth}, was {fee!r}")
    return FillTerms(Price(scaled), units)


def book_side(instrument: Instrument, levels: list[Level], *, descending: bool) -> tuple[list[int], list[int]]:
    """Prices and lots of one side, best first.

    Raises:
        MalformedNumber: a level cannot be taken, or the side is not sorted with the best price first.
    """
    prices = [to_scaled(level.price, instrument.price_exponent) for level in levels[:BOOK_LEVELS_MAX]]
    lots = [level.lots for level in levels[:BOOK_LEVELS_MAX]]
    if any(price <= 0 for price in prices) or any(not 0 < one <= LOTS_MAX for one in lots):
        raise MalformedNumber(f"expected prices and lots of {instrument.symbol} above 0")
    if prices != sorted(prices, reverse=descending):
        raise MalformedNumber(f"expected the best price of {instrument.symbol} first")
    return prices, lots


def listing_fault(directory: Directory, venue: Venue, *, symbol: str, tick_size: str, lot_size: str) -> str | None:
    """What a venue and the house disagree on about an instrument, None when they agree."""
    instrument = directory.instrument_by_symbol.get(symbol)
    if instrument is None or instrument.id not in venue.instruments:
        return f"expected only instruments declared for {venue.name}, was {symbol[:40]!r}"
    lot, decimals = directory.lot(instrument)
    try:
        if to_scaled(tick_size, instrument.price_exponent) <= 0:
            return f"{symbol}: expected a tick above 0, was {tick_size!r}"
        if to_units(lot_size, decimals) != lot:
            return f"{symbol}: expected lots of {from_units(lot, decimals)}, was {lot_size!r}"
    except MalformedNumber as error:
        return f"{symbol}: {error}"
    return None
