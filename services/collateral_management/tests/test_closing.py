"""Expiry, delivery, delisting and settlement over many holders: balanced, in batches, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, home_partition
from libs.common.units import SECOND_NS, UnixNs
from services.collateral_management.domain import sweeps
from services.collateral_management.domain.state import CASH, DEBT, LOTS, VARIATION
from services.collateral_management.tests.dated import (
    CALL,
    COIN_CALL,
    DELIVERED_CALL,
    DELIVERED_FUTURE,
    DELIVERED_PUT,
    EXPIRY_S,
    FUTURE,
    INVERSE_FUTURE,
    PUT,
    expire,
    with_dated,
)
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    SELL,
    USD,
    Story,
    alerts,
)

PARAMETERS = replace(with_dated(), partitions=1)
PRICE = 1_500_000
UP = 1_600_000


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger that knows what ends; checked when the test is over."""
    told = Story(PARAMETERS)
    yield told
    told.verify()


# instrument, side, lots (0.01 coins; inverse 1 USD), traded at, settled at -> change of dollars and of coin units
WORTH = [
    (FUTURE, BUY, 10, PRICE, UP, 100 * DOLLAR, 0),
    (FUTURE, SELL, 10, PRICE, UP, -100 * DOLLAR, 0),
    (INVERSE_FUTURE, BUY, 15_000, PRICE, 3_000_000, 0, COIN // 2),
    (CALL, BUY, 10, 20_000, UP, 80 * DOLLAR, 0),
    (CALL, BUY, 10, 20_000, PRICE, -20 * DOLLAR, 0),
    (CALL, SELL, 10, 20_000, UP, -80 * DOLLAR, 0),
    (PUT, BUY, 10, 20_000, 1_400_000, 80 * DOLLAR, 0),
    (COIN_CALL, BUY, 10, 1_000, 3_000_000, 0, COIN // 20 - COIN // 100),
    (DELIVERED_FUTURE, BUY, 10, PRICE, UP, -1_500 * DOLLAR, COIN // 10),
    (DELIVERED_CALL, BUY, 10, 20_000, UP, -1_520 * DOLLAR, COIN // 10),
    (DELIVERED_CALL, BUY, 10, 20_000, PRICE, -20 * DOLLAR, 0),
    (DELIVERED_CALL, SELL, 10, 20_000, UP, 1_520 * DOLLAR, -COIN // 10),
    (DELIVERED_PUT, BUY, 10, 20_000, 1_400_000, 1_480 * DOLLAR, -COIN // 10),
]


@pytest.mark.parametrize(("instrument", "side", "lots", "price", "settled", "dollars", "coins"), WORTH)
def test_a_position_becomes_what_it_is_worth(
    story: Story, instrument: int, side: Any, lots: int, price: int, settled: int, dollars: int, coins: int
) -> None:
    account = story.account(usd=10_000, btc=1)
    other = story.account("bob", usd=10_000, btc=1)
    story.trade(account, side, lots, price, instrument=instrument)
    story.trade(other, SELL if side == BUY else BUY, lots, price, instrument=instrument, sender="bob")
    assert not expire(story, instrument, settled)
    assert story.state.lines_of(account) == [(USD, CASH), (BTC, CASH)]
    assert story.balance(account, USD) - 10_000 * DOLLAR == dollars
    assert story.balance(account, BTC) - COIN == coins
    contra = story.house(SystemAccount.CONTRA, instrument)
    for asset in (USD, BTC):  # what one has won the other has lost: only roundings stay
        assert 0 <= story.balance(contra, asset, CASH) <= 4
    assert not story.balance(contra, instrument, LOTS)
    assert not story.balance(contra, instrument, VARIATION)


def test_who_must_deliver_what_he_has_not_borrows_it(story: Story) -> None:
    story.lend(btc=1)
    account = story.account(usd=10_000)
    story.trade(account, SELL, 10, PRICE, instrument=DELIVERED_FUTURE)
    expire(story, DELIVERED_FUTURE, UP)
    assert story.balance(account, BTC, DEBT) == COIN // 10
    assert story.balance(account, USD) == 11_500 * DOLLAR


def test_close_instrument(story: Story) -> None:
    story.parameters = replace(story.parameters, partitions=3)
    assert home_partition(FUTURE, partitions=3) == 1
    account = story.account(usd=1_000)
    story.trade(account, BUY, 1, PRICE, instrument=FUTURE)

    def mature() -> None:
        story.now_ns = EXPIRY_S * SECOND_NS

    climb(
        story,
        "close_instrument",
        {"instrument": BTC_PERP, "price": 0},
        [
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": FUTURE}),
            (words.REFUSAL_WRONG_PARTITION, {"home_sequence": 5}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": 2**62 + 1}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": UP}),
            (words.REFUSAL_INSTRUMENT_NOT_DUE, mature),
        ],
    )
    again = story.do("close_instrument", instrument=FUTURE, price=UP, home_sequence=5)
    assert again.refusal == words.REFUSAL_INSTRUMENT_CLOSED
    assert story.state.lifecycle.listings[FUTURE].price == UP


def test_nothing_is_traded_after_the_end_and_live_orders_end_with_it(story: Story) -> None:
    account = story.account(usd=1_000)
    out = story.order(account, BUY, 5, PRICE, instrument=FUTURE)
    waiting = story.do(
        "place_order", account=account, instrument=FUTURE, venue=NORTH, side=BUY, lots=1, limit_price=PRICE,
        time_in_force=2,
    )  # fmt: skip
    expire(story, FUTURE, UP)
    assert story.state.orders[out].state == words.ORDER_STATE_CANCELLING
    assert waiting.subject not in story.state.orders
    late = story.do(
        "place_order", account=account, instrument=FUTURE, venue=NORTH, side=BUY, lots=1, limit_price=PRICE,
        time_in_force=2,
    )  # fmt: skip
    assert late.refusal == words.REFUSAL_INSTRUMENT_CLOSED


def test_a_fill_that_comes_late_is_settled_as_it_comes(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE, instrument=FUTURE)
    expire(story, FUTURE, UP)
    story.fill(order, 10, PRICE, at_ns=EXPIRY_S * SECOND_NS - 1)
    assert story.state.lines_of(account) == [(USD, CASH)]
    assert story.balance(account, USD) == 1_100 * DOLLAR


def test_a_perpetual_that_is_delisted_settles_at_the_published_price(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 100, PRICE)
    ends = UnixNs(story.now_ns + 60 * SECOND_NS)
    instruments = tuple(replace(one, delisted_ns=ends) if one.id == BTC_PERP else one for one in PARAMETERS.instruments)
    story.parameters = replace(PARAMETERS, instruments=instruments)
    assert story.do("close_instrument", instrument=BTC_PERP, price=UP).refusal == words.REFUSAL_INSTRUMENT_NOT_DUE
    story.pass_time(60)
    assert not story.do("close_instrument", instrument=BTC_PERP, price=UP).refusal
    assert story.balance(account, USD) == 1_100 * DOLLAR
    settled = story.do("settle_variation", instrument=BTC_PERP, tick=1, price=UP)
    assert settled.refusal == words.REFUSAL_INSTRUMENT_CLOSED


def crowd(story: Story, instrument: int, count: int) -> list[int]:
    """Accounts that hold one to `count` lots."""
    accounts = [story.account(f"owner{number}", usd=1_000) for number in range(count)]
    for number, account in enumerate(accounts):
        story.trade(account, BUY, number + 1, PRICE, instrument=instrument, sender=f"owner{number}")
    return accounts


def test_many_holders_are_closed_in_batches_at_one_price(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = crowd(story, FUTURE, 7)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 3)
    assert not expire(story, FUTURE, UP)
    assert [story.balance(one, FUTURE, LOTS) for one in accounts] == [0, 0, 0, 4, 5, 6, 7]
    assert expire(story, FUTURE, UP + 1) == words.REFUSAL_OTHER_PRICE
    assert not expire(story, FUTURE, UP)
    assert not expire(story, FUTURE, UP)
    assert story.state.holders(FUTURE) == []
    assert story.state.lifecycle.sweeps == {}
    assert expire(story, FUTURE, UP) == words.REFUSAL_INSTRUMENT_CLOSED
    assert [story.balance(one, USD) for one in accounts] == [(1_000 + 10 * (n + 1)) * DOLLAR for n in range(7)]


def test_many_holders_are_settled_in_batches_of_one_tick(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = crowd(story, BTC_PERP, 5)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 2)
    tick: dict[str, Any] = {"instrument": BTC_PERP, "tick": 1}
    assert not story.do("settle_variation", price=UP, mark_sequence=3, **tick).refusal
    assert story.state.settlement_tick == {}
    assert (
        story.do("settle_variation", instrument=BTC_PERP, tick=2, price=UP).refusal == words.REFUSAL_TICK_OUT_OF_ORDER
    )
    story.trade(accounts[4], BUY, 5, UP, sender="owner4")  # between two batches
    assert not story.do("settle_variation", price=UP + 7, mark_sequence=4, **tick).refusal  # the first price holds
    done = story.do("settle_variation", price=UP, mark_sequence=5, **tick)
    (settlement,) = (one.settlement for one in done.effects if one.HasField("settlement"))
    assert (settlement.price, settlement.mark_sequence) == (UP, 3)
    assert story.state.settlement_tick == {BTC_PERP: 1}
    assert [story.balance(one, USD) for one in accounts] == [(1_000 + n + 1) * DOLLAR for n in range(5)]


def test_many_orders_are_cancelled_in_batches(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    account = story.account(usd=1_000)
    for _ in range(5):
        story.order(account, BUY, 1, PRICE, instrument=FUTURE)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 2)
    for _ in range(3):
        assert not expire(story, FUTURE, UP)
    assert {one.state for one in story.state.orders.values()} == {words.ORDER_STATE_CANCELLING}
    assert expire(story, FUTURE, UP) == words.REFUSAL_INSTRUMENT_CLOSED


def test_a_sweep_goes_on_after_a_restart_and_sent_twice_does_it_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(story, FUTURE, 4)
    monkeypatch.setattr(sweeps, "ACCOUNTS_MAX", 3)
    story.now_ns = EXPIRY_S * SECOND_NS
    command = story.command("close_instrument", instrument=FUTURE, price=UP)
    first, again = story.send(command), story.send(command)
    assert (first.repeated, again.repeated, len(again.effects)) == (False, True, 0)
    story.verify()  # the cursor is in the fold
    assert not expire(story, FUTURE, UP)
    assert story.state.holders(FUTURE) == []


def test_an_order_of_spot_is_not_touched_by_an_expiry(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 1, PRICE, instrument=BTC_SPOT)
    expire(story, FUTURE, UP)
    assert story.state.orders[order].state == words.ORDER_STATE_RELEASED
    assert alerts(story.outcomes[-1]) == []
