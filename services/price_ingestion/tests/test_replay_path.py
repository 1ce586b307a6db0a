"""The replay path: through every recorded price, inside every row, and honest about what it rests on."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.units import UnixNs, to_scaled
from services.price_ingestion.domain.replay_path import (
    HOUR_NS,
    INSET_NS,
    JUMP_NS,
    Bridge,
    Candle,
    Recording,
    ReferencePath,
)

DAY_NS = 24 * HOUR_NS
DATA = Path(__file__).resolve().parents[3] / "data"
BTC = ("south", "BTC")
FILES = {
    ("south", "BTC"): ("coinbase_BTCUSD_1h.csv", HOUR_NS),
    ("south", "ETH"): ("coinbase_ETHUSD_1d.csv", DAY_NS),
    ("north", "BTC"): ("bitstamp_BTCUSD_1d.csv", DAY_NS),
    ("north", "ETH"): ("bitstamp_ETHUSD_1d.csv", DAY_NS),
    ("north", "LTC"): ("bitstamp_LTCUSD_1d.csv", DAY_NS),
}


def at(text: str) -> UnixNs:
    return UnixNs(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9)


def candle(start_ns: int, length_ns: int, open_: int, high: int, low: int, close: int) -> Candle:
    return Candle(UnixNs(start_ns), length_ns, open_, high, low, close)


def recorded(venue: str, asset: str) -> Recording:
    name, length_ns = FILES[venue, asset]
    with (DATA / name).open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    return Recording(
        venue,
        asset,
        name,
        tuple(
            candle(
                at(row["time"].removesuffix("Z")),
                length_ns,
                *(to_scaled(row[c], -2) for c in ("open", "high", "low", "close")),
            )
            for row in rows
        ),
    )


@pytest.fixture(scope="module")
def path() -> ReferencePath:
    return ReferencePath([recorded(*instrument) for instrument in FILES], shape=BTC)


def two_rows(*, second_open: int, second_start: int = HOUR_NS) -> ReferencePath:
    rows = (
        candle(0, HOUR_NS, 100, 130, 90, 120),
        candle(second_start, HOUR_NS, second_open, 150, 80, 85),
    )
    return ReferencePath([Recording(*BTC, "made up", rows)], shape=BTC)


@pytest.mark.parametrize(
    ("second_open", "second_start", "moment", "price", "bridge", "is_recorded"),
    [  # a rising hour goes low first, a falling one high first
        (120, HOUR_NS, 0, 100, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 600, 95, Bridge.HOUR_EXTREMES, False),
        (120, HOUR_NS, 1_200, 90, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 2_400, 130, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 3_600, 120, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 4_800, 150, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 6_000, 80, Bridge.HOUR_EXTREMES, True),
        (120, HOUR_NS, 7_200, 85, Bridge.HOUR_EXTREMES, True),
        # an open away from the close before is reached a minute later
        (121, HOUR_NS, 3_600, 120, Bridge.HOUR_EXTREMES, True),
        (140, HOUR_NS, 3_630, 130, Bridge.HOUR_EXTREMES, False),
        (140, HOUR_NS, 3_660, 140, Bridge.HOUR_EXTREMES, True),
        # a missing hour is a straight line and says so
        (140, 2 * HOUR_NS, 5_400, 130, Bridge.GAP, False),
        (140, 2 * HOUR_NS, 7_200, 140, Bridge.HOUR_EXTREMES, True),
    ],
)
def test_path_of_hours(
    second_open: int, second_start: int, moment: int, price: int, bridge: Bridge, is_recorded: bool
) -> None:
    path = two_rows(second_open=second_open, second_start=second_start)
    moment_ns = UnixNs(moment * 10**9)
    assert path.price(moment_ns, venue="south", asset="BTC") == price
    rests_on = path.provenance(moment_ns, venue="south", asset="BTC")
    assert rests_on is not None
    assert (rests_on.bridge, rests_on.is_recorded) == (bridge, is_recorded)


def test_price_is_absent_outside_what_is_recorded(path: ReferencePath) -> None:
    first, last = path.span(venue="south", asset="BTC")
    assert (first, last) == (at("2017-12-20"), at("2018-02-11"))
    for moment, venue, asset in [(first - 1, *BTC), (last + 1, *BTC), (first, "south", "LTC"), (first, "east", "BTC")]:
        assert path.price(UnixNs(moment), venue=venue, asset=asset) is None
        assert path.provenance(UnixNs(moment), venue=venue, asset=asset) is None


@pytest.mark.parametrize("instrument", FILES)
def test_path_hits_every_recorded_price_and_stays_inside_its_row(
    path: ReferencePath, instrument: tuple[str, str]
) -> None:
    venue, asset = instrument
    previous_close = None
    for row in recorded(*instrument).candles:
        jumps = previous_close not in (None, row.open)
        open_at = row.start_ns + (JUMP_NS if jumps else 0)
        seen = [path.price(UnixNs(t), venue=venue, asset=asset) for t in range(open_at, row.end_ns + 1, 300 * 10**9)]
        hit = {
            price
            for t in range(open_at, row.end_ns + 1, 60 * 10**9)
            if (rests_on := path.provenance(UnixNs(t), venue=venue, asset=asset)) is not None and rests_on.is_recorded
            for price in [path.price(UnixNs(t), venue=venue, asset=asset)]
        }
        assert hit == {row.open, row.high, row.low, row.close}
        assert all(price is not None and row.low <= price <= row.high for price in seen)
        assert path.price(UnixNs(open_at), venue=venue, asset=asset) == row.open
        assert path.price(row.end_ns, venue=venue, asset=asset) == row.close
        previous_close = row.close


def test_day_reaches_its_extremes_when_btc_does(path: ReferencePath) -> None:
    low_at = at("2017-12-22T14:20:00")  # that hour closes above its open: its low comes first, after twenty minutes
    lows = {
        ("south", "BTC"): 10_400_00,
        ("north", "BTC"): 11_159_93,
        ("north", "ETH"): 501_00,
        ("south", "ETH"): 460_00,
        ("north", "LTC"): 173_68,
    }
    for (venue, asset), low in lows.items():
        assert path.price(low_at, venue=venue, asset=asset) == low


def day_recordings(day: Candle, hours: list[tuple[int, int, int, int]]) -> list[Recording]:
    rows = tuple(candle(index * HOUR_NS, HOUR_NS, *prices) for index, prices in enumerate(hours))
    return [Recording(*BTC, "hours", rows), Recording("north", "ETH", "day", (day,))]


PRICE = st.integers(min_value=1, max_value=10**9)


@st.composite
def prices(draw: st.DrawFn) -> tuple[int, int, int, int]:
    low, *body, high = sorted(draw(st.lists(PRICE, min_size=4, max_size=4)))
    open_, close = draw(st.permutations(body))
    return open_, high, low, close


@given(day=prices(), hours=st.lists(prices(), min_size=24, max_size=24))
def test_any_day_bends_to_any_shape(day: tuple[int, int, int, int], hours: list[tuple[int, int, int, int]]) -> None:
    path = ReferencePath(day_recordings(candle(0, DAY_NS, *day), hours), shape=BTC)
    minutes = range(0, DAY_NS + 1, 60 * 10**9)
    drawn = [path.price(UnixNs(t), venue="north", asset="ETH") or 0 for t in minutes]
    open_, high, low, close = day
    assert (drawn[0], max(drawn), min(drawn), drawn[-1]) == (open_, high, low, close)


@pytest.mark.parametrize(
    ("hours", "low_at", "high_at", "bridge"),
    [
        # BTC opens at its low and closes at its high: the day's extremes lie inside it
        ([(10, 11, 10, 11)] + [(11, 12, 11, 12)] * 23, INSET_NS, HOUR_NS + 2_400 * 10**9, Bridge.DAY_SHAPE),
        ([(10, 11, 10, 11)] * 23 + [(11, 13, 11, 13)], INSET_NS, DAY_NS - 1_200 * 10**9, Bridge.DAY_SHAPE),
        # no whole day of hours, or hours that never move: drawn like an hour
        ([(10, 11, 10, 11)] * 23, 8 * HOUR_NS, 16 * HOUR_NS, Bridge.DAY_EXTREMES),
        ([(10, 10, 10, 10)] * 24, 8 * HOUR_NS, 16 * HOUR_NS, Bridge.DAY_EXTREMES),
    ],
)
def test_day_on_an_odd_shape(hours: list[tuple[int, int, int, int]], low_at: int, high_at: int, bridge: Bridge) -> None:
    path = ReferencePath(day_recordings(candle(0, DAY_NS, 500, 900, 100, 800), hours), shape=BTC)
    assert path.price(UnixNs(0), venue="north", asset="ETH") == 500
    assert path.price(UnixNs(low_at), venue="north", asset="ETH") == 100
    assert path.price(UnixNs(high_at), venue="north", asset="ETH") == 900
    assert path.price(UnixNs(DAY_NS), venue="north", asset="ETH") == 800
    rests_on = path.provenance(UnixNs(1), venue="north", asset="ETH")
    assert rests_on is not None
    assert rests_on.bridge == bridge
    assert str(rests_on) == f"bridged (day, {bridge})"


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (candle(0, HOUR_NS, 5, 4, 3, 4),),
        (candle(0, HOUR_NS, 3, 4, 0, 4),),
        (candle(HOUR_NS, HOUR_NS, 3, 4, 3, 4), candle(0, HOUR_NS, 3, 4, 3, 4)),
        (candle(0, HOUR_NS, 3, 4, 3, 4), candle(HOUR_NS - 1, HOUR_NS, 3, 4, 3, 4)),
    ],
)
def test_impossible_rows_are_refused(rows: tuple[Candle, ...]) -> None:
    with pytest.raises(ValueError, match=r"south/BTC"):
        ReferencePath([Recording(*BTC, "made up", rows)], shape=BTC)


def test_shape_must_be_recorded() -> None:
    with pytest.raises(ValueError, match="shape"):
        ReferencePath([recorded("north", "LTC")], shape=BTC)


@pytest.mark.parametrize(
    ("since", "until", "move"),
    [  # open 100, low 90 after 1,200 s, high 130 after 2,400 s, close 120
        (0, 600, 52_632),
        (0, 1_200, 111_112),
        (600, 1_800, 222_223),  # the extreme between two steps counts
        (1_200, 2_400, 444_445),
        (600, 600, 0),
        (-100, 0, 0),
        (9_000, 9_900, 0),
    ],
)
def test_largest_move_is_the_range_of_the_widest_line(since: int, until: int, move: int) -> None:
    path = two_rows(second_open=120)
    assert path.largest_move(UnixNs(since * 10**9), UnixNs(until * 10**9)) == move


def test_path_is_continuous(path: ReferencePath) -> None:
    # No minute moves BTC more than the fastest recorded stretch, a third of an hour, or one jump, could.
    moments = range(at("2017-12-20"), at("2018-02-11"), 60 * 10**9)
    drawn = [path.price(UnixNs(t), venue="south", asset="BTC") or 0 for t in moments]
    assert max(abs(later / earlier - 1) for earlier, later in pairwise(drawn)) < 0.02
