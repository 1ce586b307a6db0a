"""Option books and dated futures by the kernel: what it publishes is what the oracle does, to the last bit (I8)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.units import Ppm
from services.risk_evaluation.app.market import settled
from services.risk_evaluation.domain.columns import Column, OpenOrder
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.settlement import Settling
from services.risk_evaluation.domain.sweep.engine import standings
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.tests.option_world import FUTURE, OPTIONS, RISK, Market, market, option_parameters
from services.risk_evaluation.tests.test_option_margin import AT, MODEL, Given, at_markets, book_of, books
from services.risk_evaluation.tests.test_sweep import assert_same
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BTC_USDC_PERP,
    ETH,
    ETH_PERP,
    USD,
    USDC,
    Book,
    account,
)

TRADED = (*OPTIONS, FUTURE, BTC_PERP, ETH_PERP, BTC_SPOT, BTC_INVERSE)
placed = st.lists(
    st.tuples(st.sampled_from(TRADED), st.integers(-60, 60).filter(bool), st.integers(1, 100_000), st.booleans()),
    max_size=5,
)


def fill(book: Book, random: np.random.Generator, of: int, *, orders: bool) -> None:
    """Holds and orders something."""
    for asset in (USD, BTC, ETH, USDC):
        if random.random() < 0.5:
            book.cash(asset, int(random.integers(-(10**11), 10**12)), of=of)
    for instrument in (BTC_PERP, ETH_PERP, BTC_INVERSE, BTC_USDC_PERP, FUTURE):
        if random.random() < 0.3:
            book.position(instrument, int(random.integers(-90, 90)), int(random.integers(-(10**9), 10**9)), of=of)
    for option in random.choice(OPTIONS, int(random.integers(0, 6)), replace=False):
        book.line(Column.LOTS, int(option), int(random.integers(-30, 30)), of=of)
    for number in range(int(random.integers(0, 5)) if orders and random.random() < 0.5 else 0):
        instrument, lots = int(random.choice(TRADED)), int(random.integers(-40, 40)) or 1
        limit, reduce_only = int(random.integers(1, 100_000)), bool(random.random() < 0.3)
        book.columns.set_order(of, OpenOrder(number, instrument, lots, limit, reduce_only=reduce_only, fee=0.0005))


def random_book(accounts: int, *, seed: int, orders: bool, of_model: Book | None = None) -> Book:
    """A book in which three accounts in ten share their entity with the one before."""
    random, book, entity = np.random.default_rng(seed), of_model or Book(MODEL), 1
    for number in range(accounts):
        entity += int(random.random() < 0.7)
        fill(book, random, account(entity=entity, sub=number), orders=orders)
    return book


@pytest.mark.parametrize("orders", [False, True], ids=["no orders", "orders"])
@pytest.mark.parametrize("seed", range(3))
def test_every_holder_is_margined_as_the_oracle_does(seed: int, orders: bool) -> None:
    book, at = random_book(1_200, seed=seed, orders=orders), market(btc=61_237, eth=2_911, vol=0.7 + seed)
    assert_same(standings(MODEL, at.prices(book), book.columns.all_rows()), at.margins(book))


@pytest.mark.parametrize("without", ["naked_short", "basis", "confidence", "skew_cap"])
def test_any_add_on_may_be_left_out(without: str) -> None:
    asked = replace(RISK, **{without: Ppm(0)})  # type: ignore[arg-type]
    model = build_model(option_parameters(option_risk=asked))
    book = random_book(400, seed=7, orders=True, of_model=Book(model))
    assert_same(standings(model, AT.prices(book), book.columns.all_rows()), AT.margins(book))


@pytest.mark.parametrize("known", [0.3, 1.0])
def test_what_is_settled_in_part_is_margined_alike(known: float) -> None:
    ending = {one: Settling(60_500, known) for one in (*OPTIONS[:3], FUTURE)}
    at = Market({**AT.marks, **settled(AT.marks, ending)}, AT.surfaces)
    book = random_book(400, seed=11, orders=True)
    assert_same(standings(MODEL, at.prices(book), book.columns.all_rows()), at.margins(book))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(given_=st.lists(st.tuples(books, placed), min_size=1, max_size=4), shared=st.booleans(), at=at_markets)
def test_any_book_at_any_market_is_margined_alike(
    given_: list[tuple[Given, list[tuple[int, int, int, bool]]]], shared: bool, at: Market
) -> None:
    book = Book(MODEL)
    for number, (one, orders) in enumerate(given_):
        of = account(entity=1 if shared else 1 + number, sub=number)
        book_of(one, book, of=of)
        for key, (instrument, lots, limit, reduce_only) in enumerate(orders):
            book.order(key, instrument, lots, limit, of=of, reduce_only=reduce_only, fee=0.0005)
    assert_same(standings(MODEL, at.prices(book), book.columns.all_rows()), at.margins(book))


@pytest.mark.parametrize("seed", range(4))
def test_the_live_book_follows_options_that_come_and_go(seed: int) -> None:
    random, book = np.random.default_rng(seed), Book(MODEL)
    live = LiveBook(MODEL, book.columns)
    for step in range(25):
        for _ in range(int(random.integers(1, 4))):
            of = account(entity=1 + int(random.integers(0, 6)), sub=int(random.integers(0, 2)))
            fill(book, random, of, orders=step % 2 == 0)
        for held in [key for key in book.columns.options.by_row if random.random() < 0.2]:
            for option in OPTIONS:  # closed: the account is a sum over lines again
                book.line(Column.LOTS, option, 0, of=book.columns.accounts[held])
        for row, orders in list(book.columns.orders.items()):
            for order in [each for each in orders if random.random() < 0.3]:
                book.columns.remove_order(book.columns.accounts[row], order)
        at = market(btc=int(random.integers(50_000, 70_000)), vol=float(random.uniform(0.4, 1.4)))
        assert_same(live.standings(at.prices(book)), at.margins(book))
