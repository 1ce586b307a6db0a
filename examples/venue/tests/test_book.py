"""The order book: priority, conservation of lots, never crossed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.venue.book import Level, Limit, OrderBook, Side, Trade

_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(Side), st.integers(1, 8), st.integers(1, 20), st.booleans()),
        st.integers(0, 40),  # cancel the order with that number
    ),
    max_size=60,
)


def _book(*resting: tuple[int, Side, int, int]) -> OrderBook:
    book = OrderBook()
    for order, side, price, lots in resting:
        assert book.place(Limit(order=order, side=side, price=price, lots=lots), rests=True) == ()
    return book


def test_the_better_price_trades_first_and_then_the_older_order() -> None:
    book = _book((1, Side.SELL, 102, 5), (2, Side.SELL, 101, 3), (3, Side.SELL, 101, 4))
    trades = book.place(Limit(order=9, side=Side.BUY, price=102, lots=9), rests=False)
    assert trades == (
        Trade(taker=9, maker=2, price=101, lots=3),
        Trade(taker=9, maker=3, price=101, lots=4),
        Trade(taker=9, maker=1, price=102, lots=2),
    )
    assert book.resting_lots(1) == 3


def test_an_order_that_may_not_rest_leaves_nothing() -> None:
    book = _book((1, Side.BUY, 100, 5))
    assert book.place(Limit(order=2, side=Side.SELL, price=101, lots=5), rests=False) == ()
    assert book.best(Side.SELL) is None


def test_the_remainder_rests_at_its_limit() -> None:
    book = _book((1, Side.SELL, 100, 5))
    book.place(Limit(order=2, side=Side.BUY, price=100, lots=8), rests=True)
    assert book.levels(Side.BUY, depth=5) == (Level(price=100, lots=3),)
    assert book.levels(Side.SELL, depth=5) == ()


def test_a_cancel_takes_what_remains_once() -> None:
    book = _book((1, Side.BUY, 100, 5), (2, Side.BUY, 100, 4))
    assert [book.cancel(1), book.cancel(1), book.cancel(7)] == [5, 0, 0]
    assert book.levels(Side.BUY, depth=1) == (Level(price=100, lots=4),)


@pytest.mark.parametrize(("order", "price", "lots"), [(1, 100, 1), (2, 0, 1), (2, 100, 0), (2, 100, -1)])
def test_an_impossible_order_is_refused(order: int, price: int, lots: int) -> None:
    book = _book((1, Side.BUY, 100, 5))
    with pytest.raises(ValueError, match="expected a new order"):
        book.place(Limit(order=order, side=Side.BUY, price=price, lots=lots), rests=True)


@given(actions=_ACTIONS)
def test_no_lot_appears_or_vanishes_and_the_book_never_crosses(
    actions: list[tuple[Side, int, int, bool] | int],
) -> None:
    book = OrderBook()
    placed: dict[int, int] = {}
    gone: dict[int, int] = defaultdict(int)  # traded, cancelled or dropped
    for number, action in enumerate(actions):
        if isinstance(action, int):
            gone[action] += book.cancel(action)
        else:
            side, price, lots, rests = action
            placed[number] = lots
            trades = book.place(Limit(order=number, side=side, price=price, lots=lots), rests=rests)
            for trade in trades:
                assert (trade.price - price) * (1 if side is Side.BUY else -1) <= 0
                gone[trade.taker] += trade.lots
                gone[trade.maker] += trade.lots
            if not rests:
                gone[number] = lots
        bid, ask = book.best(Side.BUY), book.best(Side.SELL)
        assert bid is None or ask is None or bid < ask
        assert all(placed[each] == gone[each] + book.resting_lots(each) for each in placed)
    shown = sum(level.lots for side in Side for level in book.levels(side, depth=100))
    assert shown == sum(book.resting_lots(each) for each in placed)


@given(actions=_ACTIONS)
def test_nobody_trades_before_a_better_or_older_order(actions: list[tuple[Side, int, int, bool] | int]) -> None:
    # The model is a flat list that is searched whole for the best maker before each trade.
    book = OrderBook()
    model: dict[int, Limit] = {}
    for number, action in enumerate(actions):
        if isinstance(action, int):
            book.cancel(action)
            model.pop(action, None)
            continue
        side, price, lots, rests = action
        expected = []
        remaining = lots
        sign = 1 if side is Side.BUY else -1
        makers = sorted((sign * each.price, each.order) for each in model.values() if each.side is side.other)
        for rank, order in makers:
            if remaining == 0 or rank > sign * price:
                break
            maker = model.pop(order)
            traded = min(remaining, maker.lots)
            remaining -= traded
            expected.append(Trade(taker=number, maker=order, price=maker.price, lots=traded))
            if traded < maker.lots:
                model[order] = replace(maker, lots=maker.lots - traded)
        limit = Limit(order=number, side=side, price=price, lots=lots)
        assert list(book.place(limit, rests=rests)) == expected
        if rests and remaining:
            model[number] = replace(limit, lots=remaining)
