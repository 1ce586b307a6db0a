"""Symbols at the edge, ids inside: looks up assets, instruments and venues both ways."""

from __future__ import annotations

from libs.common.parameters import Asset, Instrument, InstrumentKind, Parameters, Venue


class Directory:
    """Lookups over one parameter set."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.asset_by_symbol: dict[str, Asset] = {one.symbol: one for one in parameters.assets}
        self.asset_by_id: dict[int, Asset] = {one.id: one for one in parameters.assets}
        self.instrument_by_symbol: dict[str, Instrument] = {one.symbol: one for one in parameters.instruments}
        self.instrument_by_id: dict[int, Instrument] = {one.id: one for one in parameters.instruments}
        self.venue_by_name: dict[str, Venue] = {one.name: one for one in parameters.venues}
        self.venue_by_id: dict[int, Venue] = {one.id: one for one in parameters.venues}
        self.roles: dict[str, str] = {one.id: one.role for one in parameters.principals}

    def lot(self, instrument: Instrument) -> tuple[int, int]:
        """One lot as (units, decimals) of what quantities count: the base asset, or the quote if inverse or digital."""
        if instrument.is_digital:
            return instrument.payout_units, self.asset_by_id[instrument.quote].decimals
        if instrument.kind is not InstrumentKind.INVERSE_PERP:
            return instrument.base_units_per_lot, self.asset_by_id[instrument.underlying].decimals
        # c = face · 10^(base decimals − price exponent): units of the base asset at integer price 1.
        base = self.asset_by_id[instrument.underlying].decimals
        quote = self.asset_by_id[instrument.quote].decimals
        scale = instrument.c_den * 10 ** (base - instrument.price_exponent)
        units, remainder = divmod(instrument.c_num * 10**quote, scale)
        if remainder:
            raise ValueError(f"expected a face in whole units of the quote asset, was {instrument.symbol}")
        return units, quote
