"""What-if equals the real thing, and the most that may leave is the most."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.units import INDEX_ONE
from services.risk_evaluation.domain.columns import Column, Indices
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.whatif import Candidate, OutOfRange, Trade, evaluate_candidates, free_units
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    COIN,
    DOLLAR,
    USD,
    Book,
    account,
    marks,
    model_of,
    risk,
)

MODEL = model_of(risk(BTC, half_spread=1_000, impact=50_000))
AT = marks()


def found(book: Book, *candidates: Candidate) -> list[Margins]:
    return evaluate_candidates(MODEL, book.prices(AT), book.columns, account=account(), candidates=candidates)


def published(margins: Margins, row: int = 0) -> list[int]:
    names = ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state")
    return [int(getattr(margins, name)[row]) for name in names]


def test_a_spot_trade_borrows_what_cash_lacks() -> None:
    book = Book(MODEL).cash(USD, 50_000 * DOLLAR)
    book.columns.set_indices(USD, Indices(borrow=3 * INDEX_ONE))
    (bought,) = found(book, Candidate(trades=(Trade(BTC_SPOT, 1, 60_000, 7),)))
    shares = -(-(10_000 * DOLLAR + 7) // 3)
    real = Book(MODEL).cash(BTC, COIN).line(Column.DEBT, USD, shares)
    real.columns.set_indices(USD, Indices(borrow=3 * INDEX_ONE))
    assert published(bought) == published(real.margins(AT))


@pytest.mark.parametrize(("instrument", "price"), [(BTC_PERP, 61_000), (BTC_INVERSE, 59_000)])
def test_a_margined_trade_equals_the_fill(instrument: int, price: int) -> None:
    book = Book(MODEL).cash(USD, 10**6 * DOLLAR).position(instrument, 4, -17)
    book.columns.set_funding(instrument, 123_456_789_012)
    (traded,) = found(book, Candidate(trades=(Trade(instrument, 3, price, 0),)))
    if instrument == BTC_PERP:
        change = -3 * price * DOLLAR + 3 * 123_456_789_012 // 10**9
    else:
        change = (3 * 10**10 * 10**9 + 3 * 123_456_789_012 * price) // (price * 10**9)
    real = Book(MODEL).cash(USD, 10**6 * DOLLAR).position(instrument, 7, -17 + change)
    real.columns.set_funding(instrument, 123_456_789_012)
    assert published(traded) == published(real.margins(AT))


def test_candidates_are_apart_from_each_other_and_from_the_book() -> None:
    book = Book(MODEL).cash(USD, 10**6 * DOLLAR).order(1, BTC_PERP, 5, 60_000)
    book.cash(BTC, COIN, of=account(sub=1)).cash(BTC, 3 * COIN, of=account(entity=2))
    before = published(book.margins(AT))
    nothing, without, sold = found(
        book, Candidate(), Candidate(without_orders=True), Candidate(trades=(Trade(BTC_SPOT, -1, 60_000, 0),))
    )
    assert published(nothing) == before == published(book.margins(AT))
    assert without.initial_margin[0] < nothing.initial_margin[0]
    assert without.open_orders[0] == 0
    assert sold.gross_notional[0] == 60_000 * DOLLAR


def test_a_thousand_candidates_are_evaluated_in_pieces() -> None:
    book = Book(MODEL).cash(USD, 10**6 * DOLLAR)
    for sub in range(1, 40):
        book.cash(USD, DOLLAR, of=account(sub=sub))
    margins = found(book, *(Candidate(cash=((USD, units),)) for units in range(1_000)))
    assert [int(one.equity[0]) for one in margins] == [10**6 * DOLLAR + units for units in range(1_000)]


def test_an_impossible_balance_is_refused() -> None:
    with pytest.raises(OutOfRange):
        found(Book(MODEL).cash(USD, 1), Candidate(cash=((USD, 2**62),)))


@given(cash=st.integers(0, 10**12), lots=st.integers(-50, 50), coins=st.integers(0, 100))
@settings(max_examples=60)
def test_free_units_is_the_largest_amount_that_passes(cash: int, lots: int, coins: int) -> None:
    book = Book(MODEL).cash(USD, cash).cash(BTC, coins * COIN).position(BTC_PERP, lots, -lots * 60_000 * DOLLAR)
    for asset in (USD, BTC):
        free = free_units(MODEL, book.prices(AT), book.columns, account=account(), asset=asset)
        held = book.columns.line(account(), Column.CASH, asset)
        assert 0 <= free <= held
        amounts = [free, free + 1] if free < held else [free]
        margins = found(book, *(Candidate(cash=((asset, -amount),)) for amount in amounts))
        if free:
            assert margins[0].may_withdraw[0]
        if free < held:
            assert not margins[1].may_withdraw[0]


def test_everything_may_leave_an_account_without_risk() -> None:
    book = Book(MODEL).cash(USD, 123_456_789)
    assert free_units(MODEL, book.prices(AT), book.columns, account=account(), asset=USD) == 123_456_789


def test_an_empty_partition_has_no_margins() -> None:
    assert Book(MODEL).margins(AT).equity.shape == (0,)
