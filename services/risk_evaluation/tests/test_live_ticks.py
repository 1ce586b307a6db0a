"""A worker that values only whose state may have changed says of every account what the oracle says, at every mark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from libs.common.parameters import Parameters
from services.risk_evaluation.domain.columns import Column, Indices, OpenOrder
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.prices import Mark
from services.risk_evaluation.domain.sweep import live as live_book
from services.risk_evaluation.domain.sweep.layout import kernel_table
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.domain.sweep.movers import WINDOW, is_covered, reference
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BTC_USDC_PERP,
    ETH,
    ETH_PERP,
    ETH_SPOT,
    USD,
    USDC,
    USDC_SPOT,
    Book,
    account,
    marks,
    parameters,
    risk,
)

FIELDS = ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state")
CLOSE = 1.3  # of accounts' buffers, so that many are near a threshold
PRICES = {BTC_SPOT: 60_000, BTC_PERP: 60_000, BTC_INVERSE: 60_000, ETH_SPOT: 3_000, ETH_PERP: 3_000}


def covered() -> Parameters:
    """Without what settles in, or is quoted in, a coin that moves."""
    base = parameters(risk(BTC, half_spread=1_000, impact=50_000), risk(ETH, impact=90_000, participation=10_000))
    gone = (BTC_USDC_PERP, USDC_SPOT)
    assets = tuple(replace(one, price_instrument=None) if one.id == USDC else one for one in base.assets)
    return replace(base, assets=assets, instruments=tuple(one for one in base.instruments if one.id not in gone))


MODEL = build_model(covered())


def fill(book: Book, random: np.random.Generator, number: int) -> None:
    of, price = account(entity=number // 20 * 19 + number % 19 + 1, sub=number), PRICES
    lots = {BTC_PERP: 0, ETH_PERP: 0, BTC_INVERSE: 0}
    for key in lots:
        if random.random() < 0.5:
            lots[key] = int(random.integers(-200, 200)) * (100 if key == BTC_INVERSE else 1)
            paid = lots[key] * 10**10 // price[key] if key == BTC_INVERSE else -lots[key] * price[key] * 10**6
            book.columns.set_line(of, Column.LOTS, key, lots[key])
            book.columns.set_line(of, Column.VARIATION, key, paid)
    if random.random() < 0.3:
        book.columns.set_line(of, Column.CASH, BTC, int(random.integers(-(10**8), 10**9)))
    gross = abs(lots[BTC_PERP]) * 60_000 + abs(lots[ETH_PERP]) * 3_000 + abs(lots[BTC_INVERSE])
    buffer = int(gross * 1e6 * random.uniform(0.0, 0.13 * CLOSE)) + int(random.integers(-(10**9), 10**10))
    book.columns.set_line(of, Column.CASH, USD, buffer)


def at(prices: dict[int, float]) -> dict[int, Mark]:
    found = marks(btc=60_000, eth=3_000)
    one = next(iter(found.values()))
    return {key: replace(one, price=round(value), slow=round(value)) for key, value in prices.items()}


def walk(random: np.random.Generator, size: float, steps: int) -> Iterator[dict[int, float]]:
    now = {key: float(price) for key, price in PRICES.items()}
    for _ in range(steps):
        now = {key: price * (1.0 + random.normal(0.0, size)) for key, price in now.items()}
        yield now


def assert_right(live: LiveBook, book: Book, found: dict[int, Mark]) -> int:
    out, margins = live.standings(book.prices(found)), book.margins(found)
    assert np.array_equal(out.state, margins.state)
    fresh = np.flatnonzero(live.is_fresh)
    for name in FIELDS:
        assert np.array_equal(getattr(out, name)[fresh], getattr(margins, name)[fresh]), name
    if live.is_due:
        live.lay(book.prices(found))
    return int(fresh.shape[0])


@pytest.mark.parametrize("size", [0.0001, 0.0005, 0.004])
@pytest.mark.parametrize("seed", range(3))
def test_states_are_the_oracles_at_every_mark(size: float, seed: int) -> None:
    random = np.random.default_rng([seed, round(size * 1e6)])
    book = Book(MODEL)
    for number in range(1_500):
        fill(book, random, number)
    live = LiveBook(MODEL, book.columns, ticks_from=0)
    seen = [assert_right(live, book, at(prices)) for prices in walk(random, size, 25)]
    assert seen[0] == 1_500
    assert size > 0.0001 or min(seen) < 750  # the smallest moves value few


def test_the_book_may_change_in_every_way_between_marks() -> None:
    random = np.random.default_rng(7)
    book = Book(MODEL)
    for number in range(800):
        fill(book, random, number)
    live = LiveBook(MODEL, book.columns, ticks_from=0)
    for step, prices in enumerate(walk(random, 0.0003, 60)):
        for _ in range(int(random.integers(0, 6))):
            fill(book, random, int(random.integers(0, 800)))
        if random.random() < 0.5:
            fill(book, random, 800 + step)
        of = book.columns.accounts[int(random.integers(0, len(book.columns.accounts)))]
        book.columns.set_order(of, OpenOrder(step, BTC_PERP, 5, 60_000, reduce_only=False, fee=0.0005))
        if step > 3:
            for row, orders in list(book.columns.orders.items())[:1]:
                book.columns.remove_order(book.columns.accounts[row], next(iter(orders)))
        if step % 20 == 10:
            book.columns.set_indices(BTC, Indices(10**15 + step, 10**15 + 2 * step, 10**15))
        if step % 25 == 20:
            book.columns.set_funding(BTC_PERP, step * 10**9)
        assert_right(live, book, at(prices))


def test_a_mark_that_is_missing_or_jumps_far_hides_no_change() -> None:
    random = np.random.default_rng(3)
    book = Book(MODEL)
    for number in range(300):
        fill(book, random, number)
    live = LiveBook(MODEL, book.columns, ticks_from=0)
    steps = [{}, {BTC_SPOT: 0.0}, {}, {BTC_PERP: 57_000.0}, {BTC_INVERSE: 66_000.0}, {ETH_PERP: 0.0}, {}]
    for changed in steps:
        assert_right(live, book, at(PRICES | changed))


def test_another_confidence_is_another_half_spread() -> None:
    random = np.random.default_rng(5)
    book = Book(MODEL)
    for number in range(600):
        fill(book, random, number)
    live = LiveBook(MODEL, book.columns, ticks_from=0)
    for step in range(20):
        found = {key: replace(one, confidence=step * 7) for key, one in at(dict(PRICES)).items()}
        assert_right(live, book, found)


def test_what_settles_in_a_moving_coin_is_not_covered() -> None:
    assert is_covered(MODEL)
    assert not is_covered(build_model(parameters(risk(BTC), risk(ETH), risk(USDC, sigma=50_000))))


@pytest.mark.parametrize("key", [BTC_SPOT, BTC_PERP, BTC_INVERSE])
def test_slopes_hold_over_the_window(key: int) -> None:
    model: Model = MODEL
    book = Book(model)
    prices = book.prices(at(dict(PRICES)))
    start = reference(model, prices, kernel_table(model, prices))
    kinds, buckets = start.lines.shape
    width = kernel_table(model, prices).width
    lines = len(model.wide.order.bucket)
    middle = start.slopes.middle.reshape(kinds, lines, width)
    spread = start.slopes.spread.reshape(kinds, lines, width)
    moved = book.prices(at(PRICES | {key: PRICES[key] * (1.0 + WINDOW * 0.9)}))
    moves = start.moves(moved, kernel_table(model, moved))
    number = next(each for each, move in moves.items() if abs(move) > WINDOW / 2)
    kind, bucket = divmod(number, buckets)
    before, after = kernel_table(model, prices), kernel_table(model, moved)
    rows, value = model.initial_rows, sum(before.widths.lanes[:2])
    for line in (line for line in range(lines) if model.wide.order.bucket[line] == bucket):
        was, now = before.rows.reshape(lines, width)[line], after.rows.reshape(lines, width)[line]
        slope = ((now[value] - now[rows]) - (was[value] - was[rows])) / moves[number]
        room = spread[kind, line][rows] + 1e-6 * np.abs(middle[kind, line][rows]) + 1.0
        assert np.all(np.abs(slope - middle[kind, line][rows]) <= room), (line, slope)


def test_a_whole_book_is_taken_at_once_and_followed_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_book, "ROWS_AT_ONCE", 100)
    random = np.random.default_rng(11)
    book = Book(MODEL)
    for number in range(500):
        fill(book, random, number)
    live = LiveBook(MODEL, book.columns, ticks_from=0)
    for step, prices in enumerate(walk(random, 0.0005, 12)):
        assert_right(live, book, at(prices))
        for _ in range(7):
            fill(book, random, int(random.integers(0, 520)))
        if step == 6:  # everyone is touched: the book is taken whole once more
            for number in range(500):
                fill(book, random, number)
