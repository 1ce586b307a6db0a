"""Books with options, as the worker keeps them: bits, the kernel, other sets, hypothetical trades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.risk_evaluation.domain.columns import Column, Columns
from services.risk_evaluation.domain.margin import Margins, evaluate
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.side_by_side import recast
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.domain.whatif import Candidate, Trade, evaluate_candidates, one_row
from services.risk_evaluation.tests.option_world import (
    CALL,
    COIN_PUT,
    FAR_CALL,
    FUTURE,
    OPTIONS,
    PUT,
    option_parameters,
)  # fmt: skip
from services.risk_evaluation.tests.test_option_margin import AT, MODEL, black, book_of
from services.risk_evaluation.tests.world import BTC_PERP, DOLLAR, USD, Book, account


def test_bits_depend_on_nothing_but_the_entity() -> None:
    random = np.random.default_rng(5)
    given_ = [
        ({USD: int(random.integers(0, 10**12))}, {BTC_PERP: int(random.integers(-9, 9))},
         {int(option): int(random.integers(-9, 9)) or 1 for option in random.choice(OPTIONS, 3, replace=False)})
        for _ in range(60)
    ]  # fmt: skip
    whole = Book(MODEL)
    for number, one in enumerate(given_):
        book_of(one, whole, of=account(entity=1 + number // 2, sub=number % 2))
    together = AT.margins(whole)
    for pair in range(0, 30, 7):
        alone = Book(MODEL)
        for sub in (0, 1):
            book_of(given_[2 * pair + sub], alone, of=account(entity=1 + pair, sub=sub))
        margins = AT.margins(alone)
        for name in Margins.__slots__:
            for sub in (0, 1):
                mine = getattr(one_row(margins, sub), name).tobytes()
                assert mine == getattr(one_row(together, 2 * pair + sub), name).tobytes(), name


def test_the_worker_margins_holders_of_options_by_the_oracle() -> None:
    book = Book(MODEL)
    for number in range(40):
        held = {CALL: -number, FAR_CALL: number} if number % 3 == 0 else {}
        of = account(entity=1 + number // 2, sub=number % 2)
        book_of(({USD: 10**11 * number}, {BTC_PERP: number}, held), book, of=of)
    book.order(7, PUT, -3, 100_000, of=account(entity=9, sub=1))
    book.line(Column.LOTS, FUTURE, 5, of=account(entity=11, sub=0))
    prices, oracle = AT.prices(book), AT.margins(book)
    swept = LiveBook(MODEL, book.columns).standings(prices)
    for name in ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state"):
        assert np.array_equal(getattr(swept, name), getattr(oracle, name)), name


@pytest.mark.parametrize(("lots_", "paid"), [(3, 3 * 123_450_000), (-3, -3 * 123_450_000)])
def test_a_hypothetical_trade_pays_its_premium_at_once(lots_: int, paid: int) -> None:
    book = book_of(({USD: 10**12}, {}, {}))
    trade = Candidate(trades=(Trade(CALL, lots_, 12_345, 1_000),))
    now, then = evaluate_candidates(
        MODEL, AT.prices(book), book.columns, account=account(), candidates=[Candidate(), trade]
    )
    worth = lots_ * black(60_000) * DOLLAR
    assert then.equity[0] - now.equity[0] == pytest.approx(worth - paid - 1_000, abs=2)


def test_a_book_is_read_under_a_set_that_lists_options_otherwise() -> None:
    base = option_parameters()
    other = build_model(replace(base, instruments=tuple(reversed(base.instruments))))
    book = book_of(({USD: 10**12}, {}, {CALL: -3, COIN_PUT: 2, FAR_CALL: 1}))
    there = recast(book.columns.all_rows(), book.columns, MODEL, other, venues={})
    now, then = AT.margins(book), evaluate(other, price_book(other, AT.marks, AT.surfaces), there)
    for name in ("equity", "initial_margin", "maintenance_margin"):
        assert abs(int(getattr(now, name)[0]) - int(getattr(then, name)[0])) <= 2


def test_a_position_that_is_closed_is_gone() -> None:
    columns = Columns(MODEL)
    columns.set_line(account(), Column.LOTS, CALL, 5)
    columns.set_line(account(), Column.LOTS, CALL, 0)
    assert columns.all_rows().options.is_empty
    assert columns.line(account(), Column.LOTS, CALL) == 0
