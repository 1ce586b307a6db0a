"""Recorded prices as a source of quotes: the tables of data/, one venue's figures each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, Parameters
from libs.common.units import MalformedNumber, UnixNs, from_scaled, to_scaled
from services.price_ingestion.domain.guard import Quote
from services.price_ingestion.domain.replay_path import HOUR_NS, Candle, Recording, ReferencePath
from services.price_ingestion.errors import BadRecording

DAY_NS = 24 * HOUR_NS
COLUMNS = ("time", "open", "high", "low", "close")
SHAPE = ("south", "BTC")


@dataclass(frozen=True, slots=True)
class Table:
    """A file of data/, the length of its rows, and whose figures it carries."""

    file: str
    row_ns: int
    source: str


# Which recorded figures each example venue lives by (data/NOTICE.md); south never listed LTC in this recording.
TABLES: dict[tuple[str, str], Table] = {
    ("north", "BTC"): Table("bitstamp_BTCUSD_1d.csv", DAY_NS, "Bitstamp daily"),
    ("north", "ETH"): Table("bitstamp_ETHUSD_1d.csv", DAY_NS, "Bitstamp daily"),
    ("north", "LTC"): Table("bitstamp_LTCUSD_1d.csv", DAY_NS, "Bitstamp daily"),
    ("south", "BTC"): Table("coinbase_BTCUSD_1h.csv", HOUR_NS, "Coinbase hourly"),
    ("south", "ETH"): Table("coinbase_ETHUSD_1d.csv", DAY_NS, "Coinbase daily"),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """The price an example venue quotes around, and what it rests on."""

    venue: str
    instrument: str
    price: str
    provenance: str


@dataclass(frozen=True, slots=True)
class _Listing:
    venue: str
    asset: str
    instrument: Instrument


class RecordedPrices:
    """Recorded prices at any run time: as untrusted quotes for the guard, as references for venues and screens."""

    def __init__(self, directory: Path, parameters: Parameters) -> None:
        """Reads every table that a declared venue needs. Raises BadRecording."""
        instruments = {instrument.id: instrument for instrument in parameters.instruments}
        symbols = {asset.id: asset.symbol for asset in parameters.assets}
        self._listings = tuple(
            _Listing(venue.name, symbols[instrument.underlying], instrument)
            for venue in parameters.venues
            for listed in venue.instruments
            for instrument in [instruments[listed]]
            if (venue.name, symbols[instrument.underlying]) in TABLES and not instrument.is_paid_up
        )
        exponents: dict[str, int] = {}
        for listing in self._listings:
            exponent = exponents.setdefault(listing.asset, listing.instrument.price_exponent)
            if exponent != listing.instrument.price_exponent:
                raise BadRecording(f"{listing.instrument.symbol}: expected one tick for all on {listing.asset}")
        wanted = {(listing.venue, listing.asset) for listing in self._listings} | {SHAPE}
        recordings = [
            read_table(directory, venue=venue, asset=asset, exponent=exponents[asset])
            for venue, asset in sorted(wanted)
            if asset in exponents
        ]
        try:
            self.path = ReferencePath(recordings, shape=SHAPE)
        except ValueError as error:
            raise BadRecording(str(error)) from error

    def latest(self, now_ns: UnixNs) -> Mapping[InstrumentId, Sequence[Quote]]:
        """The newest quote of each source, by instrument."""
        quotes: dict[InstrumentId, list[Quote]] = {}
        for listing in self._listings:
            price = self.path.price(now_ns, venue=listing.venue, asset=listing.asset)
            if price is not None:
                text = from_scaled(price, listing.instrument.price_exponent)
                quotes.setdefault(listing.instrument.id, []).append(Quote(listing.venue, text, now_ns))
        return quotes

    def references(self, now_ns: UnixNs) -> tuple[Reference, ...]:
        """The price of every instrument at every venue that has one recorded."""
        found: list[Reference] = []
        for listing in self._listings:
            price = self.path.price(now_ns, venue=listing.venue, asset=listing.asset)
            rests_on = self.path.provenance(now_ns, venue=listing.venue, asset=listing.asset)
            if price is not None:
                text = from_scaled(price, listing.instrument.price_exponent)
                found.append(Reference(listing.venue, listing.instrument.symbol, text, str(rests_on)))
        return tuple(found)


def read_table(directory: Path, *, venue: str, asset: str, exponent: int) -> Recording:
    """The rows of one table in integer prices. Raises BadRecording."""
    table = TABLES[venue, asset]
    candles: list[Candle] = []
    try:
        with (directory / table.file).open(encoding="ascii", newline="") as file:
            rows = csv.reader(file, strict=True)
            if tuple(next(rows, ())) != COLUMNS:
                raise BadRecording(f"{table.file}: expected columns {COLUMNS}")
            for number, row in enumerate(rows, 2):
                candles.append(_candle(row, table=table, number=number, exponent=exponent))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRecording(f"{table.file}: {error}; `make data` rebuilds it") from error
    return Recording(venue, asset, table.source, tuple(candles))


def _candle(row: list[str], *, table: Table, number: int, exponent: int) -> Candle:
    try:
        time_text, *prices = row
        started = datetime.strptime(time_text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        open_, high, low, close = (to_scaled(price, exponent) for price in prices)
    except (ValueError, MalformedNumber) as error:
        raise BadRecording(f"{table.file}, line {number}: {error}") from error
    start_ns = UnixNs(int(started.timestamp()) * 10**9)
    return Candle(start_ns, table.row_ns, open_, high, low, close)
