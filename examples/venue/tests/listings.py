"""A small listing whose numbers are easy to follow: price 100.00, quotes at 10, 20, 30 bp with 10, 20, 30 lots."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from examples.venue.ladder import Ladder
from examples.venue.listing import SECOND_NS, Instrument, Listing

LADDER = Ladder(
    levels=3,
    half_spread_ppm=1_000,
    step_ppm=1_000,
    first_lots=10,
    last_lots=30,
    jitter_ppm=0,
    refill_ns=10 * SECOND_NS,
)
SPOT = Instrument(
    symbol="BTC-USD", reference="BTC-USD", tick=Decimal("0.01"), lot=Decimal("0.001"), is_inverse=False,
    fee_decimals=6, ladder=LADDER,
)  # fmt: skip
PERP = Instrument(
    symbol="BTC-USD-PERP", reference="BTC-USD", tick=Decimal("0.01"), lot=Decimal("0.001"), is_inverse=False,
    fee_decimals=6, ladder=LADDER,
)  # fmt: skip
LTC = Instrument(
    symbol="LTC-USD", reference="LTC-USD", tick=Decimal("0.0001"), lot=Decimal("0.01"), is_inverse=False,
    fee_decimals=6, ladder=LADDER,
)  # fmt: skip
INVERSE = Instrument(
    symbol="BTC-USD-INV", reference="BTC-USD", tick=Decimal("0.01"), lot=Decimal(1), is_inverse=True,
    fee_decimals=8, ladder=LADDER,
)  # fmt: skip
LISTING = Listing(
    taker_fee=Fraction(5, 10_000),
    maker_fee=Fraction(2, 10_000),
    instruments={each.symbol: each for each in (SPOT, PERP, LTC, INVERSE)},
)
