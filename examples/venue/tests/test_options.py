"""What options are worth to the venue, and quotes around it."""

import math

import pytest

from examples.venue.engine import VenueEngine
from examples.venue.listing import load_listing
from examples.venue.options import YEAR_NS, Option, Smile, Surface, black
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
