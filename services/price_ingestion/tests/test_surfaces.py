"""Surfaces: made from prices, guarded like prices, and what options are marked at."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.config import load_parameters
from libs.common.ids import AssetId, InstrumentId
from libs.common.option_parameters import SurfaceRule
from libs.common.units import PPM, YEAR_NS, Ppm, UnixNs
from libs.common.validity import ValidityClass
from libs.options.surface import Surface, check_surface
from libs.options.svi import SviSlice, has_butterfly
from services.price_ingestion.adapters.recorded import RecordedPrices
from services.price_ingestion.adapters.recorded_surfaces import RecordedSurfaces
from services.price_ingestion.adapters.surface_words import surface_message, surface_of
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkBook, MarkRow
from services.price_ingestion.domain.smiles import realised_variance, smile_of
from services.price_ingestion.domain.surfaces import Moved, SurfaceBook, SurfaceQuote
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters
RULE = next(one for one in PARAMETERS.surfaces if one.asset == 2)
BTC = AssetId(2)
SPOT = InstrumentId(1)
HOUR = 3_600 * 10**9
NOW = UnixNs(1_514_000_000 * 10**9)
EXPIRIES = sorted({one.expiry_ns for one in PARAMETERS.instruments if one.is_option and one.underlying == BTC})


def mark(price: int = 1_500_000, validity: ValidityClass = ValidityClass.VALID) -> list[MarkRow]:
    return [MarkRow(SPOT, Mark(price, price, 100, validity), price)]


def quote(source: str, vol: float, *, rule: SurfaceRule = RULE, now: int = NOW) -> SurfaceQuote:
    smiles = tuple((at, smile_of(rule, variance=vol**2, years=(at - now) / YEAR_NS)) for at in EXPIRIES if at > now)
    return SurfaceQuote(source, smiles)


def moved(book: SurfaceBook, *quotes: SurfaceQuote, now: int = NOW, rows: list[MarkRow] | None = None) -> Moved:
    return book.move({BTC: quotes}, marks=rows or mark(), now_ns=UnixNs(now))


def test_a_still_price_has_the_floor_and_a_jump_counts_at_once() -> None:
    still = [(at * HOUR, 1_000) for at in range(72)]
    calm = replace(RULE, long_run=RULE.floor)
    assert realised_variance(still, calm) == pytest.approx((RULE.floor / PPM) ** 2)
    jump = [*still, (72 * HOUR, 800)]
    assert realised_variance(jump, calm) > (1.5 * RULE.floor / PPM) ** 2
    assert realised_variance([*still, (72 * HOUR, 1)], calm) == (RULE.ceiling / PPM) ** 2
    assert realised_variance([], RULE) == (RULE.long_run / PPM) ** 2


def test_a_steady_volatility_is_found_again() -> None:
    step = 1.0 * math.sqrt(HOUR / YEAR_NS)  # 100 % a year
    prices = [(0, 10**9)]
    for hour in range(1, 2_000):
        prices.append((hour * HOUR, round(prices[-1][1] * math.exp(step if hour % 2 else -step))))
    assert math.sqrt(realised_variance(prices, RULE)) == pytest.approx(1.0, rel=1e-3)


@given(
    vol=st.floats(0.05, 6.0), days=st.floats(0.01, 2_000), more=st.floats(0.01, 2_000),
    rho=st.integers(-990_000, 990_000), eta=st.floats(0.05, 1.0),
)  # fmt: skip
def test_what_is_made_is_free_of_arbitrage(vol: float, days: float, more: float, rho: int, eta: float) -> None:
    rule = replace(RULE, rho=Ppm(rho), eta=Ppm(round(eta * PPM)))
    near, far = (smile_of(rule, variance=vol**2, years=one / 365) for one in (days, days + more))
    assert not has_butterfly(near)
    checked = check_surface([near, far])
    assert isinstance(checked, Surface)
    assert checked.repairs == ()


# Sources' volatilities at the money -> class, and which of them stands (0: none).
@pytest.mark.parametrize(
    ("vols", "validity", "stands"),
    [
        ((1.00, 1.05), ValidityClass.VALID, 1.05),
        ((1.00, 1.02, 1.05), ValidityClass.VALID, 1.02),
        ((1.00,), ValidityClass.DEGRADED, 1.00),
    ],
)
def test_sources_are_guarded_like_prices(vols: tuple[float, ...], validity: ValidityClass, stands: float) -> None:
    book = SurfaceBook(PARAMETERS)
    found = moved(book, *(quote(f"s{at}", vol) for at, vol in enumerate(vols))).surfaces[0]
    assert found.validity is validity
    assert found.smiles[0].smile == quote("any", stands).smiles[0][1]
    assert found.smiles[0].forward_price == 1_500_000


def test_sources_apart_or_gone_keep_the_last_good_surface_and_say_so() -> None:
    book = SurfaceBook(PARAMETERS)
    good = moved(book, quote("a", 1.0), quote("b", 1.0)).surfaces[0]
    apart = moved(book, quote("a", 1.0), quote("b", 2.0), now=NOW + HOUR)
    assert apart.surfaces[0] == replace(good, validity=ValidityClass.HOLD)
    assert {row.mark.validity for row in apart.marks} == {ValidityClass.HOLD}
    gone = moved(book, now=NOW + 2 * HOUR)
    assert gone.surfaces[0] == replace(good, validity=ValidityClass.STALE)


def test_an_arbitrageable_surface_is_mended_and_flagged_or_refused() -> None:
    (near, one), (far, other) = quote("a", 1.0).smiles[-2:]
    slightly = SurfaceQuote(
        "a", ((near, one), (far, replace(other, a=one.a - 0.004, b=one.b, m=one.m, sigma=one.sigma)))
    )
    found = moved(SurfaceBook(PARAMETERS), slightly).surfaces[0]
    assert [len(row.repairs) for row in found.smiles] == [0, 1]
    crossed = SurfaceQuote("a", ((near, one), (far, replace(other, a=0.0, b=1e-6, m=0.0, sigma=1e-3))))
    refused = moved(SurfaceBook(PARAMETERS), crossed)
    assert refused.surfaces == ()
    assert "crossed" in refused.dropped[0].reason
    steep = SurfaceQuote("a", ((near, SviSlice(0.01, 5.0, 0.0, 0.0, 0.1, 1.0, one.years)),))
    assert "butterfly" in moved(SurfaceBook(PARAMETERS), steep).dropped[0].reason
    nan = SurfaceQuote("a", ((near, replace(one, a=math.nan)),))
    assert "malformed" in moved(SurfaceBook(PARAMETERS), nan).dropped[0].reason
    assert moved(SurfaceBook(PARAMETERS), SurfaceQuote("a", ())).dropped[0].reason.startswith("empty")


def test_options_are_marked_from_the_surface_with_the_worse_trust_of_both() -> None:
    book = SurfaceBook(PARAMETERS)
    rows = moved(book, quote("a", 1.0), quote("b", 1.0), rows=mark(validity=ValidityClass.DEGRADED)).marks
    names = {one.id: one for one in PARAMETERS.instruments}
    marks = {names[row.instrument].symbol: row.mark for row in rows}
    assert {one.validity for one in marks.values()} == {ValidityClass.DEGRADED}
    call, put = marks["BTC-USD-20180223-16000-C"].mark_price, marks["BTC-USD-20180223-12000-P"].mark_price
    assert 50_000 < put < call < 1_500_000
    coin = marks["BTC-COIN-20180330-15000-C"].mark_price * 10**-4
    linear = marks["BTC-USD-20180330-14000-C"].mark_price * 10**-2 / 15_000
    assert 0.8 * linear < coin < linear


def test_an_option_past_its_expiry_is_marked_at_what_it_pays() -> None:
    book = SurfaceBook(PARAMETERS)
    moved(book, quote("a", 1.0), quote("b", 1.0))
    late = EXPIRIES[1] + HOUR
    last = quote("a", 1.0, now=late)
    rows = moved(book, last, now=late, rows=mark(1_700_000)).marks
    names = {one.id: one.symbol for one in PARAMETERS.instruments}
    assert {names[row.instrument]: row.mark.mark_price for row in rows}["BTC-USD-20180223-16000-C"] == 100_000


def test_packages_are_marked_at_what_their_legs_are_worth() -> None:
    book = SurfaceBook(PARAMETERS)
    rows = moved(book, quote("a", 1.0), quote("b", 1.0)).marks
    names = {one.id: one.symbol for one in PARAMETERS.instruments}
    usd = {names[row.instrument]: row.mark.mark_price / 100 for row in rows}
    strangle = 15_000 - usd["BTC-USD-20180117-14000-P"] - usd["BTC-USD-20180117-18000-C"]
    assert usd["BTC-STRANGLE-20180117"] == pytest.approx(strangle, abs=0.02)
    sure, coupon = usd["BTC-DIGITAL-20180330-0-C"] / 100, usd["BTC-DIGITAL-20180330-12000-C"] / 100
    assert sure == 1.0  # no rate
    assert 0.5 < coupon < 1.0
    note = 12_000 * sure - usd["BTC-USD-20180330-12000-P"] + 600 * coupon
    assert usd["BTC-NOTE-20180330-12000"] == pytest.approx(note, abs=0.05)
    apart = moved(book, quote("a", 1.0), quote("b", 3.0), now=NOW + HOUR).marks
    classes = {names[row.instrument]: row.mark.validity for row in apart}
    assert classes["BTC-NOTE-20180330-12000"] is ValidityClass.HOLD


def test_a_new_owner_goes_on_from_the_log() -> None:
    first = SurfaceBook(PARAMETERS)
    told = moved(first, quote("a", 1.0), quote("b", 1.0))
    again = SurfaceBook(PARAMETERS)
    again.restore([surface_of(surface_message(one)) for one in told.surfaces], told.marks)
    assert again.rows() == first.rows()
    kept = moved(again, now=NOW + HOUR).surfaces[0]
    assert (kept.made_at_ns, kept.validity) == (NOW, ValidityClass.STALE)
    assert [one.smile.a for one in kept.smiles] == [one.smile.a for one in told.surfaces[0].smiles]


def test_the_level_follows_the_recorded_prices_of_each_venue() -> None:
    prices = RecordedPrices(REPOSITORY / "data", PARAMETERS)
    source, marks = RecordedSurfaces(prices.path, PARAMETERS), MarkBook(PARAMETERS.instruments, PARAMETERS.prices)
    book, levels = SurfaceBook(PARAMETERS), []
    for day in ("2018-01-10", "2018-02-06"):  # before and after the falls of January and February
        at = UnixNs(int(datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()) * 10**9)
        marks.price(prices.latest(at), now_ns=at)
        quotes = source.latest(at)
        assert [one.source for one in quotes[BTC]] == ["north", "south"]
        found = book.move(quotes, marks=marks.rows(), now_ns=at)
        assert found.dropped == ()
        smile = found.surfaces[0].smiles[0].smile
        levels.append(math.sqrt(smile.at_the_money() / smile.years))
        assert RecordedSurfaces(prices.path, PARAMETERS).latest(at) == quotes  # a restart makes them again
    assert 1.5 * levels[0] < levels[1]
    assert book.surfaces[0].validity is ValidityClass.VALID
