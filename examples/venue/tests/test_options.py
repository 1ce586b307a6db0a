"""What options are worth to the venue, and quotes around it."""

import math

import pytest

from examples.venue.engine import VenueEngine
from examples.venue.listing import load_listing
from examples.venue.options import YEAR_NS, Option, Smile, Surface, black, digital
from examples.venue.tests.test_listing import _VENUE

FLAT = Smile(a=0.25, b=0.0, rho=0.0, m=0.0, sigma=1.0)  # total variance 0.25: 50 % for a year


# Haug (1998), "The Complete Guide to Option Pricing Formulas", page 5: Black-76, futures 19, strike 19, 9 months, 28 %.
@pytest.mark.parametrize(("is_call", "value"), [(True, 1.7011), (False, 1.7011)])
def test_black(is_call: bool, value: float) -> None:
    total = 0.28 * math.sqrt(0.75)
    assert math.exp(-0.1 * 0.75) * black(19.0, 19.0, total, is_call=is_call) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(
    ("left", "bias", "vol"),
    [(YEAR_NS, 0, 0.5), (YEAR_NS, 10_000, 0.505), (YEAR_NS // 4, 0, 0.5), (0, 0, 0.0), (-1, 0, 0.0)],
)
def test_time_that_passes_after_the_surface_was_made_counts(left: int, bias: int, vol: float) -> None:
    option = Option(2, is_call=True, strike=90.0, expiry_ns=2 * YEAR_NS, in_coins=False, vol_bias_ppm=bias)
    surface = Surface(made_at_ns=YEAR_NS, smiles={2 * YEAR_NS: FLAT})
    found = option.price(spot=100.0, surface=surface, run_time_ns=2 * YEAR_NS - left)
    assert found == pytest.approx(black(100.0, 90.0, vol * math.sqrt(max(0, left) / YEAR_NS), is_call=True))


def test_an_expiry_without_a_smile_has_no_price() -> None:
    option = Option(2, is_call=True, strike=90.0, expiry_ns=2 * YEAR_NS, in_coins=False, vol_bias_ppm=0)
    assert option.price(spot=100.0, surface=Surface(0, {}), run_time_ns=0) is None


def test_options_are_quoted_once_there_is_a_surface() -> None:
    listing = load_listing(_VENUE / "north.toml")
    call = "BTC-COIN-20180330-15000-C"
    engine = VenueEngine(name="north", listing=listing, seed=1)
    now = listing.instruments[call].option.expiry_ns - YEAR_NS  # type: ignore[union-attr]
    engine.move(run_time_ns=now, prices={"BTC-USD": "15000"})
    assert not engine.displayed(call, depth=1).bids
    assert engine.move(run_time_ns=now, prices={"BTC-USD": "half"}, surfaces={}) != ()
    expiry = now + YEAR_NS
    engine.move(run_time_ns=now, prices={"BTC-USD": "15000"}, surfaces={2: Surface(now, {expiry: FLAT})})
    book = engine.displayed(call, depth=1)
    fair = 10_000 * black(1.0, 1.0, 0.5 * 1.004, is_call=True)  # ticks of 0.0001 coins a coin
    assert book.bids[0].price < fair < book.asks[0].price
    assert book.asks[0].price - book.bids[0].price < 0.03 * fair


def test_a_digital_is_quoted_as_a_narrow_spread() -> None:
    surface = Surface(0, {YEAR_NS: FLAT})
    for is_call in (True, False):
        option = Option(2, is_call=is_call, strike=90.0, expiry_ns=YEAR_NS, in_coins=False, vol_bias_ppm=0)
        found = [
            sum(
                each * (one.price(spot=spot, surface=surface, run_time_ns=at) or 0.0)
                for each, one in digital(6, option)
            )
            for spot, at in ((100.0, 0), (80.0, YEAR_NS), (100.0, YEAR_NS))
        ]
        d2 = math.log(100 / 90) / 0.5 - 0.25
        inside = 0.5 * math.erfc((-d2 if is_call else d2) / math.sqrt(2.0))
        assert found == pytest.approx([6 * inside, 0.0 if is_call else 6.0, 6.0 if is_call else 0.0], abs=1e-5)


def test_packages_are_quoted_around_the_worth_of_their_legs() -> None:
    listings = {name: load_listing(_VENUE / f"{name}.toml") for name in ("north", "south")}
    near, far = 1_516_176_000 * 10**9, 1_522_396_800 * 10**9
    now = near - YEAR_NS
    engines = {name: VenueEngine(name=name, listing=each, seed=1) for name, each in listings.items()}
    surface = Surface(now, {near: FLAT, far: FLAT})
    for each in engines.values():
        each.move(run_time_ns=now, prices={"BTC-USD": "15000"}, surfaces={2: surface})
    total = 0.5 * 1.004
    put, call = (black(15_000.0, strike, total, is_call=strike > 15_000) for strike in (14_000.0, 18_000.0))
    d2 = math.log(15_000 / 12_000) / total - 0.5 * total
    sure = 12_000 + 600 * 0.5 * math.erfc(-d2 / math.sqrt(2.0)) - black(15_000.0, 12_000.0, total, is_call=False)
    strangle, note = "BTC-STRANGLE-20180117", "BTC-NOTE-20180330-12000"
    for venue, symbol, worth in (("north", strangle, 15_000 - put - call), ("south", note, sure)):
        book = engines[venue].displayed(symbol, depth=1)
        bid, ask = book.bids[0].price / 100, book.asks[0].price / 100
        assert bid < worth < ask
        assert ask - bid < 0.012 * worth
