"""The marks in force: what changes in a frame, and what a takeover restores."""

from __future__ import annotations

from libs.common.config import load_parameters
from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, PriceGuard
from libs.common.units import SECOND_NS, Ppm, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.domain.guard import Quote
from services.price_ingestion.domain.marks import MarkBook
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters
RULES = PriceGuard(band=Ppm(100_000), max_age_ns=600 * SECOND_NS, slow_per_10min=Ppm(10_000))
BTC, ETH = InstrumentId(1), InstrumentId(2)
START = 1_513_900_800 * SECOND_NS


def instruments() -> list[Instrument]:
    return [one for one in PARAMETERS.instruments if one.id in (BTC, ETH)]


def quotes(now_ns: int, **prices: tuple[str, ...]) -> dict[InstrumentId, list[Quote]]:
    ids = {"btc": BTC, "eth": ETH}
    return {
        ids[name]: [Quote(f"s{index}", price, UnixNs(now_ns)) for index, price in enumerate(each)]
        for name, each in prices.items()
    }


def test_frame_holds_only_what_changed_and_slow_marks_count_as_change() -> None:
    book = MarkBook(instruments(), RULES)
    first = book.price(quotes(START, btc=("100", "102"), eth=("10", "10")), now_ns=UnixNs(START))
    assert [(row.instrument, row.mark.mark_price, row.slow_price) for row in first.changed] == [
        (BTC, 101_00, 101_00),
        (ETH, 10_000, 10_000),
    ]
    again = START + 60 * SECOND_NS
    assert book.price(quotes(again, btc=("100", "102"), eth=("10", "10")), now_ns=UnixNs(again)).changed == ()
    later = again + 60 * SECOND_NS
    moved = book.price(quotes(later, btc=("80.8", "80.8"), eth=("10", "10")), now_ns=UnixNs(later))
    assert [(row.instrument, row.mark.mark_price, row.slow_price) for row in moved.changed] == [(BTC, 80_80, 100_90)]
    still = later + 600 * SECOND_NS
    slow = book.price(quotes(still, btc=("80.8", "80.8"), eth=("10", "10")), now_ns=UnixNs(still))
    assert [(row.instrument, row.slow_price) for row in slow.changed] == [
        (BTC, 99_89)
    ]  # the tenth carried over makes it 101 steps


def test_silent_source_degrades_and_then_goes_stale() -> None:
    book = MarkBook(instruments(), RULES)
    classes = []
    for step, prices in enumerate([("100", "100"), ("100",), (), ("100", "120"), ("100", "101")]):
        now = START + step * SECOND_NS
        book.price(quotes(now, btc=prices), now_ns=UnixNs(now))
        classes.append(book.rows()[0].mark.validity)
    v = ValidityClass
    assert classes == [v.VALID, v.DEGRADED, v.STALE, v.HOLD, v.VALID]


def test_new_owner_goes_on_where_the_log_stands() -> None:
    one, other = MarkBook(instruments(), RULES), MarkBook(instruments(), RULES)
    one.price(quotes(START, btc=("100", "102")), now_ns=UnixNs(START))
    other.restore(one.rows(), at_ns=UnixNs(START))
    later = START + 600 * SECOND_NS
    given = quotes(later, btc=("50", "52"), eth=("10",))
    assert one.price(given, now_ns=UnixNs(later)) == other.price(given, now_ns=UnixNs(later))
    assert one.rows() == other.rows()
