"""Instruments, assets and venues by id, and the few conversions that liquidation needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import Asset, Instrument, InstrumentKind, Parameters, Venue
from libs.common.units import PPM, Price, Units, Usd6, mul_div_down, mul_div_up

_USD6_DECIMALS = 6
INVERSE_ONE = 1 << 64  # weights of inverse instruments are lots/price in 2^-64


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A parameter set indexed by id.

    Args:
        numeraire: the asset that is worth 1, in which accounts end.
        spot_of: spot instrument that exchanges an asset for the numeraire.
        venues_of: venues that trade an instrument, by ascending id.
    """

    parameters: Parameters
    assets: Mapping[int, Asset]
    instruments: Mapping[int, Instrument]
    venues: Mapping[int, Venue]
    numeraire: AssetId
    spot_of: Mapping[int, Instrument]
    venues_of: Mapping[int, tuple[Venue, ...]]


def catalogue_of(parameters: Parameters) -> Catalogue:
    """The parameter set indexed by id."""
    instruments: dict[int, Instrument] = {one.id: one for one in parameters.instruments}
    numeraire = next(one.id for one in parameters.assets if one.price_instrument is None)
    spots = [one for one in parameters.instruments if one.kind is InstrumentKind.SPOT and one.quote == numeraire]
    ordered = sorted(parameters.venues, key=lambda venue: venue.id)
    return Catalogue(
        parameters=parameters,
        assets={one.id: one for one in parameters.assets},
        instruments=instruments,
        venues={one.id: one for one in parameters.venues},
        numeraire=numeraire,
        spot_of={one.underlying: one for one in spots},
        venues_of={one: tuple(venue for venue in ordered if one in venue.instruments) for one in instruments},
    )


def weight(instrument: Instrument, *, lots: int, price: int, up: bool) -> int:
    """Lots times price, or lots divided by price in 2^-64 for an inverse instrument: what adds up over levels."""
    if instrument.kind is not InstrumentKind.INVERSE_PERP:
        return lots * price
    return (mul_div_up if up else mul_div_down)(lots, INVERSE_ONE, price)


def settlement_units(instrument: Instrument, weighted: int) -> Units:
    """Units of the quote or settlement asset that a weight is worth, rounded up."""
    scale = INVERSE_ONE if instrument.kind is InstrumentKind.INVERSE_PERP else 1
    return Units(mul_div_up(weighted, instrument.c_num, instrument.c_den * scale))


def usd6(catalogue: Catalogue, *, asset: int, units: int, marks: Mapping[InstrumentId, Price]) -> Usd6:
    """Value of units of an asset at the marks, 10^-6 USD, rounded up; 0 when its mark is unknown."""
    found = catalogue.assets[asset]
    if found.price_instrument is None:
        return Usd6(mul_div_up(units, 10**_USD6_DECIMALS, 10**found.decimals))
    spot, price = catalogue.instruments[found.price_instrument], marks.get(found.price_instrument)
    if price is None:
        return Usd6(0)
    quote_units = mul_div_up(units * price, spot.c_num, spot.c_den * spot.base_units_per_lot)
    return usd6(catalogue, asset=spot.quote, units=quote_units, marks=marks)


def notional(catalogue: Catalogue, instrument: Instrument, *, lots: int, marks: Mapping[InstrumentId, Price]) -> Usd6:
    """Value of lots of an instrument at its mark, 10^-6 USD, rounded up; 0 when its mark is unknown."""
    price = marks.get(instrument.id)
    if price is None:
        return Usd6(0)
    units = settlement_units(instrument, weight(instrument, lots=lots, price=price, up=True))
    return usd6(catalogue, asset=instrument.settlement, units=units, marks=marks)


def share(amount: int, part: int, *, up: bool) -> int:
    """`part` millionths of an amount, rounded as said."""
    return (mul_div_up if up else mul_div_down)(amount, part, PPM)
