"""The guard: which quotes count, what mark they give, and what that mark may be used for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.parameters import PriceGuard
from libs.common.units import Ppm, UnixNs
from libs.common.validity import PERMITTED, Action, ValidityClass, permits, worst
from services.price_ingestion.domain.guard import (
    TEN_MINUTES_NS,
    Guarded,
    Mark,
    Quote,
    QuoteFault,
    SlowMark,
    guard,
    slow_mark,
)

NOW = UnixNs(1_513_900_800 * 10**9)
RULES = PriceGuard(band=Ppm(100_000), max_age_ns=10 * 10**9, slow_per_10min=Ppm(10_000))
LAST = Mark(100_00, 100_00, 7, ValidityClass.VALID)
V, D, H, S = ValidityClass.VALID, ValidityClass.DEGRADED, ValidityClass.HOLD, ValidityClass.STALE


def guarded(*quotes: Quote, last: Mark | None = LAST) -> Guarded:
    return guard(quotes, last=last, now_ns=NOW, rules=RULES, price_exponent=-2, max_price=10**9)


def quote(source: str, price: str, age_s: int = 0) -> Quote:
    return Quote(source, price, UnixNs(NOW - age_s * 10**9))


@pytest.mark.parametrize(
    ("prices", "last", "mark", "confidence", "validity"),
    [
        (["100", "100"], LAST, 100_00, 0, V),
        (["100", "101"], LAST, 100_50, 50, V),
        (["100", "100.01"], LAST, 100_00, 1, V),  # the middle rounds down, the confidence up
        (["95", "105"], LAST, 100_00, 500, V),  # a tenth of the middle is inside
        (["95", "105.01"], LAST, 100_00, 501, H),  # a step more is not
        (["105.01", "95"], LAST, 100_00, 501, H),
        (["95", "100", "105"], LAST, 100_00, 500, V),
        (["95", "99", "101", "104"], LAST, 100_00, 450, V),
        (["40", "100", "101"], LAST, 100_00, 3_050, H),
        (["98.5"], LAST, 98_50, 7, D),
        (["98.5"], None, 98_50, 0, D),
        ([], LAST, 100_00, 7, S),
    ],
)
def test_mark_of_the_usable_quotes(
    prices: list[str], last: Mark | None, mark: int, confidence: int, validity: ValidityClass
) -> None:
    result = guarded(*(quote(f"s{index}", price) for index, price in enumerate(prices)), last=last)
    assert result.mark == Mark(mark, mark, confidence, validity)
    assert len(result.used) == len(prices)


@pytest.mark.parametrize("prices", [[], ["50", "100"]])
def test_without_a_last_mark_there_is_none_to_keep(prices: list[str]) -> None:
    assert guarded(*(quote(price, price) for price in prices), last=None).mark is None


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (quote("bad", "NaN"), QuoteFault.MALFORMED),
        (quote("bad", "Infinity"), QuoteFault.MALFORMED),
        (quote("bad", "1e3"), QuoteFault.MALFORMED),
        (quote("bad", ""), QuoteFault.MALFORMED),
        (quote("bad", "100.001"), QuoteFault.MALFORMED),
        (quote("bad", "9" * 40), QuoteFault.MALFORMED),
        (quote("bad", "0"), QuoteFault.NOT_POSITIVE),
        (quote("bad", "-100"), QuoteFault.NOT_POSITIVE),
        (quote("bad", "10000000.01"), QuoteFault.OUT_OF_RANGE),
        (quote("bad", "1000"), QuoteFault.WRONG_UNIT),
        (quote("bad", "10"), QuoteFault.WRONG_UNIT),
        (quote("bad", "100", age_s=11), QuoteFault.TOO_OLD),
        (quote("bad", "100", age_s=-11), QuoteFault.FROM_THE_FUTURE),
    ],
)
def test_bad_quote_is_dropped_by_name_and_the_others_go_on(bad: Quote, fault: QuoteFault) -> None:
    result = guarded(bad, quote("good", "101"))
    assert [(drop.source, drop.fault) for drop in result.dropped] == [("bad", fault)]
    assert result.mark == Mark(101_00, 101_00, 7, D)
    alone = guarded(bad)
    assert alone.mark == Mark(100_00, 100_00, 7, S)


@pytest.mark.parametrize(
    ("price", "age_s"), [("999.99", 0), ("10.01", 0), ("10000000", 0), ("100", 10), ("100", -10), ("0.01", 0)]
)
def test_boundary_quote_is_used(price: str, age_s: int) -> None:
    last = None if price in ("10000000", "0.01") else LAST
    assert len(guarded(quote("edge", price, age_s), last=last).used) == 1


def test_newest_quote_of_a_source_counts_once() -> None:
    result = guarded(quote("a", "99", 1), quote("a", "101", 2), quote("a", "98", 3))
    assert result.mark == Mark(99_00, 99_00, 7, D)
    assert [drop.fault for drop in result.dropped] == [QuoteFault.SUPERSEDED] * 2


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.text(max_size=12), st.integers(-20, 20)), max_size=6))
def test_no_quote_stops_the_guard(raw: list[tuple[str, str, int]]) -> None:
    result = guarded(*(quote(*each) for each in raw))
    assert len(result.used) + len(result.dropped) == len(raw)
    assert result.mark is not None


@pytest.mark.parametrize(
    ("previous", "mark", "elapsed_ns", "expected"),
    [  # 1 % in ten minutes, up and down alike
        (SlowMark(10_000), 20_000, TEN_MINUTES_NS, 10_100),
        (SlowMark(10_000), 5_000, TEN_MINUTES_NS, 9_900),
        (SlowMark(10_000), 10_100, TEN_MINUTES_NS, 10_100),
        (SlowMark(10_000), 10_101, TEN_MINUTES_NS, 10_100),
        (SlowMark(10_000), 9_950, TEN_MINUTES_NS, 9_950),
        (SlowMark(10_000), 20_000, 0, 10_000),
        (SlowMark(10_000), 20_000, -1, 10_000),
        (SlowMark(10_000), 20_000, 10 * TEN_MINUTES_NS, 11_000),
    ],
)
def test_slow_mark_follows_no_faster_than_its_rate(
    previous: SlowMark, mark: int, elapsed_ns: int, expected: int
) -> None:
    assert slow_mark(previous, mark_price=mark, elapsed_ns=elapsed_ns, ppm_per_10min=10_000).price == expected


@pytest.mark.parametrize("mark", [100_000, 1])
def test_slow_mark_of_a_small_price_moves_in_short_steps_too(mark: int) -> None:
    slow = SlowMark(150)
    for _ in range(2_400 * 2):  # twenty minutes in steps of 250 ms, each allowance far below one price step
        slow = slow_mark(slow, mark_price=mark, elapsed_ns=250 * 10**6, ppm_per_10min=10_000)
    assert abs(slow.price - 150) == pytest.approx(3, abs=1)


@pytest.mark.parametrize(
    ("validity", "margin", "liquidation", "withdrawal", "new_risk", "relief"),
    [
        (V, True, True, True, True, True),
        (D, True, True, False, True, True),
        (H, False, False, False, False, True),
        (S, False, False, False, False, True),
    ],
)
def test_permission_table(
    validity: ValidityClass, margin: bool, liquidation: bool, withdrawal: bool, new_risk: bool, relief: bool
) -> None:
    allowed = (margin, liquidation, withdrawal, new_risk, relief)
    assert tuple(permits(validity, action) for action in Action) == allowed
    assert set(PERMITTED) == set(ValidityClass)


def test_worst_class_decides() -> None:
    assert worst([V, S, D]) == S
    assert worst([]) == V
