"""The venue's own files, its prices and its fees."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from examples.venue.listing import Instrument, MalformedListing, MalformedPrice, load_listing
from examples.venue.tests.listings import INVERSE, SPOT

_VENUE = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("name", "count"), [("north", 27), ("south", 18)])
def test_the_shipped_files_load(name: str, count: int) -> None:
    listing = load_listing(_VENUE / f"{name}.toml")
    assert len(listing.instruments) == count
    assert listing.taker_fee == Fraction(5, 10_000)
    assert ("LTC-USD" in listing.instruments) is (name == "north")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("levels = 0", "levels of 1 to"),
        ('tick = "0"', "tick and lot above 0"),
        ('lot = "-1"', "expected a decimal"),
        ("first_lots = 31", "first_lots <= last_lots"),
        ("half_spread_ppm = 999999", "above a price of 0"),
        ("refill_seconds = 0", "refill_seconds above 0"),
    ],
)
def test_a_malformed_file_is_refused_with_what_was_expected(tmp_path: Path, line: str, said: str) -> None:
    fields = {
        "symbol": '"A-USD"', "tick": '"0.01"', "lot": '"1"', "fee_decimals": "6", "levels": "3",
        "half_spread_ppm": "500", "step_ppm": "500", "first_lots": "1", "last_lots": "30", "jitter_ppm": "0",
        "refill_seconds": "5",
    }  # fmt: skip
    key, _, value = line.partition(" = ")
    fields[key] = value
    path = tmp_path / "venue.toml"
    body = "\n".join(f"{key} = {value}" for key, value in fields.items())
    path.write_text(f'taker_fee = "0"\nmaker_fee = "0"\n[[instruments]]\n{body}\n')
    with pytest.raises(MalformedListing, match=said):
        load_listing(path)


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "venue.toml"
    path.write_text('taker_fee = "0"\n')
    with pytest.raises(MalformedListing, match="instruments"):
        load_listing(path)


@pytest.mark.parametrize(("text", "ticks"), [("100", 10_000), ("100.01", 10_001), ("0.01", 1), ("100.010", 10_001)])
def test_a_price_is_counted_in_ticks(text: str, ticks: int) -> None:
    assert SPOT.ticks(text) == ticks
    assert SPOT.ticks(SPOT.price_text(ticks)) == ticks


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "", "1e3", "100.001", "9" * 16, " 1", "1\n"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MalformedPrice):
        SPOT.ticks(text)


def test_a_reference_price_goes_to_the_nearest_tick() -> None:
    assert SPOT.nearest_ticks("100.0149") == 10_001
    with pytest.raises(MalformedPrice):
        SPOT.nearest_ticks("0.001")


@pytest.mark.parametrize(
    ("instrument", "lots", "ticks", "fee"),
    [
        (SPOT,        1_000, 1_500_000, "7.500000"),    # 1 BTC at 15,000: 5 bp of 15,000 USD
        (SPOT,            1,         1, "0.000001"),    # rounded up to the last digit of USD
        (INVERSE,    30_000, 1_500_000, "0.00100000"),  # 30,000 USD of face at 15,000: 5 bp of 2 BTC
        (INVERSE,         1, 1_500_000, "0.00000004"),  # 3.33e-8 rounded up
    ],
)  # fmt: skip
def test_a_fee_is_a_fraction_of_the_notional_rounded_up(
    instrument: Instrument, lots: int, ticks: int, fee: str
) -> None:
    assert instrument.fee_text(lots=lots, ticks=ticks, rate=Fraction(5, 10_000)) == fee


def test_a_depth_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "venue.toml"
    path.write_text('taker_fee = "0"\nmaker_fee = "0"\n[[instruments]]\nsymbol = "X"\ndepth = "thin"\n')
    with pytest.raises(MalformedListing, match="thin"):
        load_listing(path)
