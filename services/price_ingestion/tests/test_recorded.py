"""Recorded prices as quotes and references: what each venue shows, and tables that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from libs.common.config import load_parameters
from libs.common.units import UnixNs
from services.price_ingestion.adapters.recorded import RecordedPrices
from services.price_ingestion.errors import BadRecording
from services.price_ingestion.settings import CRASHES, Settings, parse_urls, parse_windows
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters
LOWEST = UnixNs(1_513_952_400 * 10**9)  # 2017-12-22 14:20 UTC


@pytest.fixture(scope="module")
def prices() -> RecordedPrices:
    return RecordedPrices(REPOSITORY / "data", PARAMETERS)


def test_every_declared_listing_is_quoted_around_its_own_recording(prices: RecordedPrices) -> None:
    shown = {(one.venue, one.instrument): (one.price, one.provenance) for one in prices.references(LOWEST)}
    paid_up = {one.id for one in PARAMETERS.instruments if one.is_paid_up}  # marked from surfaces
    assert len(shown) == sum(len(set(venue.instruments) - paid_up) for venue in PARAMETERS.venues)
    assert shown["south", "BTC-USD"] == ("10400", "recorded (Coinbase hourly)")
    assert shown["south", "BTC-USD-PERP"] == ("10400", "recorded (Coinbase hourly)")
    assert shown["north", "BTC-USD"] == ("11159.93", "recorded (Bitstamp daily)")
    assert shown["south", "ETH-USD"] == ("460", "recorded (Coinbase daily)")
    assert shown["north", "ETH-USD-PERP"] == ("501", "recorded (Bitstamp daily)")
    assert shown["north", "LTC-USD"] == ("173.68", "recorded (Bitstamp daily)")
    later = {(one.venue, one.instrument): one.provenance for one in prices.references(UnixNs(LOWEST + 60 * 10**9))}
    assert later["north", "ETH-USD"] == "bridged (Bitstamp daily, on BTC's hourly shape)"
    assert later["south", "BTC-USD"] == "bridged (Coinbase hourly, through the hour's extremes)"


def test_quotes_come_from_each_venue_that_lists_the_instrument(prices: RecordedPrices) -> None:
    quotes = {instrument: [quote.source for quote in each] for instrument, each in prices.latest(LOWEST).items()}
    names = {one.id: one.symbol for one in PARAMETERS.instruments if not one.is_paid_up}
    assert {names[instrument]: sources for instrument, sources in quotes.items()} == {
        symbol: ["north"] if symbol.startswith("LTC") else ["north", "south"] for symbol in names.values()
    }
    assert prices.latest(UnixNs(0)) == {}
    assert prices.references(UnixNs(0)) == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("time,open", "date,open", "columns"),
        ("2017-12-20T00:00:00Z", "2017-12-20", "line 2"),
        ("346.0,", "NaN,", "line 2"),
        ("346.0,", "-346.0,", "north/LTC"),
        ("346.0,", "346.00001,", "line 2"),
        ("346.0,", "", "line 2"),
        ("346.0,348.31", "349.0,348.31", "low <= open"),
        ("2017-12-21T", "2017-12-20T", "oldest first"),
    ],
)
def test_impossible_table_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    shutil.copytree(REPOSITORY / "data", tmp_path / "data")
    table = tmp_path / "data" / "bitstamp_LTCUSD_1d.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(BadRecording, match=words):
        RecordedPrices(tmp_path / "data", PARAMETERS)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="make data"):
        RecordedPrices(tmp_path, PARAMETERS)


def test_default_windows_lie_inside_the_recording(prices: RecordedPrices) -> None:
    first, last = prices.path.span(venue="south", asset="BTC")
    windows = parse_windows(CRASHES)
    assert len(windows) == 3
    assert first < windows[0].start_ns < windows[-1].end_ns < last


@pytest.mark.parametrize(
    "text",
    ["", "2017-12-21", "2017-12-22/2017-12-21", "2017-12-21/x", "2017-12-21/2017-12-22,2017-12-21/2017-12-23"],
)
def test_malformed_windows_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Invalid"):
        parse_windows(text)
    with pytest.raises(ValueError, match="replay_windows"):
        Settings(kafka_bootstrap="127.0.0.1:9092", replay_windows=text)


def test_addresses_of_services() -> None:
    text = "risk_evaluation=http://127.0.0.1:8001/readyz, venue_gateway=http://127.0.0.1:8002/readyz"
    assert parse_urls(text) == {
        "risk_evaluation": "http://127.0.0.1:8001/readyz",
        "venue_gateway": "http://127.0.0.1:8002/readyz",
    }
    assert parse_urls("") == {}
    for wrong in ("http://127.0.0.1:1/readyz", "risk=https://127.0.0.1/readyz", "risk=127.0.0.1"):
        with pytest.raises(ValueError, match="expected name="):
            parse_urls(wrong)
