"""The committed price tables: what they say, and that the published sdist still gives them."""

from __future__ import annotations

import csv
import io
import tarfile
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tools import data

DATA = Path(__file__).resolve().parent.parent / "data"
HOUR = timedelta(hours=1)

Candle = dict[str, Decimal]


def read(name: str) -> dict[datetime, Candle]:
    with (DATA / name).open(encoding="ascii", newline="") as file:
        return {
            datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%SZ"): {
                column: Decimal(row[column]) for column in data.COLUMNS
            }
            for row in csv.DictReader(file)
        }


@pytest.mark.parametrize("name", data.TABLES)
def test_table_is_ordered_whole_and_consistent(name: str) -> None:
    rows = read(name)
    step = HOUR if name.endswith("_1h.csv") else timedelta(days=1)
    times = list(rows)
    assert times[0] == datetime(2017, 12, 20)
    assert all(later - earlier == step for earlier, later in pairwise(times))
    assert times[-1] + step == datetime(2018, 2, 11)
    for row in rows.values():
        assert 0 < row["low"] <= min(row["open"], row["close"])
        assert row["high"] >= max(row["open"], row["close"])
        assert all(price == round(price, 2) for price in row.values())


@pytest.mark.parametrize(
    ("name", "column", "price"),
    [
        ("coinbase_BTCUSD_1d.csv", "open", "15758.8"),
        ("coinbase_BTCUSD_1d.csv", "close", "14210.57"),
        ("coinbase_BTCUSD_1d.csv", "low", "10400"),
        ("bitstamp_BTCUSD_1d.csv", "low", "11159.93"),
        ("coinbase_ETHUSD_1d.csv", "low", "460"),
        ("bitstamp_ETHUSD_1d.csv", "low", "501"),
    ],
)
def test_2017_12_22_is_as_recorded(name: str, column: str, price: str) -> None:
    assert read(name)[datetime(2017, 12, 22)][column] == Decimal(price)


def test_files_named_bitfinex_carry_the_hourly_coinbase_figures() -> None:
    hourly = read("coinbase_BTCUSD_1h.csv")
    for day, row in read("coinbase_BTCUSD_1d.csv").items():
        hours = [hourly[day + HOUR * hour] for hour in range(24)]
        assert row["open"] == hours[0]["open"]
        assert row["high"] == max(hour["high"] for hour in hours)
        assert row["low"] == min(hour["low"] for hour in hours)
        assert row["close"] == hours[-1]["close"]


@pytest.mark.parametrize(
    ("hour", "fall"),
    [("2017-12-22 14:00", "-0.356"), ("2018-01-16 22:00", "-0.281"), ("2018-02-06 05:00", "-0.279")],
)
def test_crash_is_as_deep_as_told_against_the_close_a_day_before(hour: str, fall: str) -> None:
    rows = read("coinbase_BTCUSD_1h.csv")
    at = datetime.fromisoformat(hour)
    assert round(rows[at]["low"] / rows[at - 24 * HOUR]["close"] - 1, 3) == Decimal(fall)


def test_other_archive_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    for path, word in ((other, "sha256"), (tmp_path / "absent.tar.gz", "absent.tar.gz")):
        assert data.main(["--sdist", str(path), "--output", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert word in said
    assert not (tmp_path / "out").exists()
