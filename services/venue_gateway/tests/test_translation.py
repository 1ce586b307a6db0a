"""What comes in as text goes on as integers, or is refused with a sentence."""

import pytest

from ballast.types.v1 import ledger_pb2
from libs.common.units import MalformedNumber
from services.venue_gateway.domain import translation
from services.venue_gateway.domain.refusals import Refused, sentence
from services.venue_gateway.domain.translation import Level
from services.venue_gateway.tests.house import DIRECTORY, NORTH, PERP

INVERSE = DIRECTORY.instrument_by_symbol["BTC-USD-INV"]

UNKNOWN_ASSET = ledger_pb2.REFUSAL_UNKNOWN_ASSET
QUANTITY = ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE
PRICE = ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE
UNKNOWN_INSTRUMENT = ledger_pb2.REFUSAL_UNKNOWN_INSTRUMENT
UNKNOWN_VENUE = ledger_pb2.REFUSAL_UNKNOWN_VENUE


@pytest.mark.parametrize(
    ("symbol", "text", "units"),
    [
        ("USD", "1", 1_000_000),
        ("USD", "0.000001", 1),
        ("USD", "12.500000", 12_500_000),
        ("BTC", "0.00000001", 1),
        ("BTC", "21000000", 21_000_000 * 10**8),
    ],
)
def test_an_amount_becomes_units(symbol: str, text: str, units: int) -> None:
    amount = translation.amount(DIRECTORY, symbol=symbol, text=text)
    assert isinstance(amount, translation.Amount)
    assert amount.units == units


@pytest.mark.parametrize(
    ("symbol", "text", "reason", "says"),
    [
        ("DOGE", "1", UNKNOWN_ASSET, "expected an asset of USD, BTC, ETH, LTC, was 'DOGE'"),
        ("", "1", UNKNOWN_ASSET, "was ''"),
        ("USD", "0", QUANTITY, "expected an amount of USD above 0"),
        ("USD", "-1", QUANTITY, "expected an amount of USD above 0"),
        ("USD", "0.0000001", QUANTITY, "at most 6 digits after the point"),
        ("USD", "NaN", QUANTITY, "expected a decimal such as '12.5', was 'NaN'"),
        ("USD", "Infinity", QUANTITY, "expected a decimal"),
        ("USD", "1e6", QUANTITY, "expected a decimal"),
        ("USD", "1,000", QUANTITY, "expected a decimal"),
        ("USD", " 1", QUANTITY, "expected a decimal"),
        ("USD", "", QUANTITY, "expected a decimal"),
        ("USD", "١", QUANTITY, "expected"),
        ("USD", "99999999999999999999", QUANTITY, "below 2^63"),
    ],
)
def test_a_bad_amount_is_refused_with_a_sentence(symbol: str, text: str, reason: int, says: str) -> None:
    refused = translation.amount(DIRECTORY, symbol=symbol, text=text)
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert says in refused.detail


GOOD = {"symbol": "BTC-USD-PERP", "venue_name": "north", "quantity": "0.005", "limit_price": "60000.01"}


@pytest.mark.parametrize(
    ("changes", "lots", "price"),
    [
        ({}, 5, 6_000_001),
        ({"quantity": "0.001"}, 1, 6_000_001),
        ({"quantity": "1000"}, 1_000_000, 6_000_001),
        ({"limit_price": "10000000"}, 5, 1_000_000_000),
        ({"symbol": "BTC-USD-INV", "quantity": "250"}, 250, 6_000_001),
        ({"symbol": "ETH-USD", "venue_name": "south", "quantity": "1", "limit_price": "700.001"}, 100, 700_001),
    ],
)
def test_an_order_becomes_lots_at_an_integer_price(changes: dict[str, str], lots: int, price: int) -> None:
    terms = translation.order_terms(DIRECTORY, **{**GOOD, **changes})
    assert isinstance(terms, translation.OrderTerms)
    assert (terms.lots, terms.limit_price) == (lots, price)


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"symbol": "DOGE-USD"}, UNKNOWN_INSTRUMENT, "was 'DOGE-USD'"),
        ({"venue_name": "east"}, UNKNOWN_VENUE, "(north, south), was 'east'"),
        ({"symbol": "LTC-USD", "venue_name": "south"}, UNKNOWN_VENUE, "(north), was 'south'"),
        ({"quantity": "0.0005"}, QUANTITY, "whole lots of 0.001 up to 1000"),
        ({"quantity": "0"}, QUANTITY, "whole lots"),
        ({"quantity": "-1"}, QUANTITY, "whole lots"),
        ({"quantity": "1000.001"}, QUANTITY, "up to 1000"),
        ({"quantity": "nan"}, QUANTITY, "expected a decimal"),
        ({"symbol": "BTC-USD-INV", "quantity": "1.5"}, QUANTITY, "whole lots of 1 up to"),
        ({"limit_price": "60000.001"}, PRICE, "at most 2 digits"),
        ({"limit_price": "0"}, PRICE, "above 0 and at most 10000000"),
        ({"limit_price": "-5"}, PRICE, "above 0"),
        ({"limit_price": "10000000.01"}, PRICE, "at most 10000000"),
        ({"limit_price": "NaN"}, PRICE, "expected a decimal"),
    ],
)
def test_a_bad_order_is_refused_with_a_sentence(changes: dict[str, str], reason: int, says: str) -> None:
    refused = translation.order_terms(DIRECTORY, **{**GOOD, **changes})
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert says in refused.detail


@pytest.mark.parametrize(("side", "time_in_force"), [(0, 1), (3, 1), (1, 0), (1, 3)])
def test_an_order_without_side_or_time_in_force_is_refused(side: int, time_in_force: int) -> None:
    assert translation.order_words(side, time_in_force) is not None


def test_a_fill_is_taken_exactly_or_not_at_all() -> None:
    terms = translation.fill_terms(DIRECTORY, PERP, lots=1, price="60000.5", fee="0.03")
    assert (terms.price, terms.fee_units) == (6_000_050, 30_000)
    assert translation.fill_terms(DIRECTORY, PERP, lots=1, price="60000", fee="-0.5").fee_units == -500_000
    assert translation.fill_terms(DIRECTORY, INVERSE, lots=1, price="60000", fee="0.00000001").fee_units == 1
    for price, fee in (("60000.005", "0"), ("0", "0"), ("1", "0.0000001"), ("x", "0"), ("20000000", "0")):
        with pytest.raises(MalformedNumber):
            translation.fill_terms(DIRECTORY, PERP, lots=1, price=price, fee=fee)


def test_a_fee_above_the_trade_is_not_taken() -> None:
    for one, fee, beyond in ((PERP, "120", "120.000001"), (INVERSE, "0.00003334", "0.00003335")):
        assert translation.fill_terms(DIRECTORY, one, lots=2, price="60000", fee=fee).fee_units
        for sign in ("", "-"):
            with pytest.raises(MalformedNumber, match="at most"):
                translation.fill_terms(DIRECTORY, one, lots=2, price="60000", fee=sign + beyond)


def test_a_side_of_a_book_is_best_first_and_positive() -> None:
    bids = [Level("10", 3), Level("9.5", 4)]
    assert translation.book_side(PERP, bids, descending=True) == ([1000, 950], [3, 4])
    assert translation.book_side(PERP, [], descending=True) == ([], [])
    for levels in ([Level("9", 1), Level("10", 1)], [Level("10", 0)], [Level("0", 1)], [Level("10.001", 1)]):
        with pytest.raises(MalformedNumber):
            translation.book_side(PERP, levels, descending=True)


@pytest.mark.parametrize(
    ("symbol", "tick", "lot", "fault"),
    [
        ("BTC-USD-PERP", "0.01", "0.001", None),
        ("BTC-USD-PERP", "0.5", "0.001", None),
        ("BTC-USD-INV", "0.01", "1", None),
        ("BTC-USD-PERP", "0.01", "0.01", "expected lots of 0.001, was '0.01'"),
        ("BTC-USD-PERP", "0.001", "0.001", "at most 2 digits"),
        ("BTC-USD-PERP", "0", "0.001", "expected a tick above 0"),
        ("XRP-USD", "0.01", "0.001", "only instruments declared for north"),
    ],
)
def test_a_venue_must_agree_on_its_instruments(symbol: str, tick: str, lot: str, fault: str | None) -> None:
    found = translation.listing_fault(DIRECTORY, NORTH, symbol=symbol, tick_size=tick, lot_size=lot)
    assert found is None if fault is None else fault in str(found)


def test_every_refusal_has_words() -> None:
    for reason in ledger_pb2.Refusal.values():
        assert sentence(reason)
        assert "REFUSAL" not in sentence(reason)
