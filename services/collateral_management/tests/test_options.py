"""Options and dated futures: lots and premium at the fill, long and short, closing; what they are worth at expiry."""

from __future__ import annotations

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain import positions
from services.collateral_management.domain.state import CASH, LOTS, VARIATION
from services.collateral_management.tests.dated import CALL, COIN_CALL, FUTURE, PUT, with_dated
from services.collateral_management.tests.story import BTC, BUY, COIN, DOLLAR, SELL, USD, Story

PARAMETERS = with_dated()


@pytest.fixture
def story() -> Story:
    """A ledger that knows options."""
    return Story(PARAMETERS)


# side, lots, premium a coin in cents -> cash of account, in units; one lot is 0.01 coins
FILLS = [
    (CALL, BUY, 10, 123_456, USD, -123_456_000),
    (CALL, SELL, 10, 123_456, USD, 123_456_000),
    (PUT, BUY, 1, 1, USD, -100),
    (PUT, SELL, 3, 1, USD, 300),
    (COIN_CALL, BUY, 10, 125, BTC, -125_000),  # 0.0125 coins a coin on 0.1 coins
    (COIN_CALL, SELL, 10, 125, BTC, 125_000),
]


@pytest.mark.parametrize(("instrument", "side", "lots", "price", "asset", "cash"), FILLS)
def test_an_option_fill_moves_lots_and_pays_its_premium_in_cash(
    story: Story, instrument: int, side: int, lots: int, price: int, asset: int, cash: int
) -> None:
    account = story.account(usd=10_000, btc=1)
    before = story.balance(account, asset)
    story.trade(account, side, lots, price, instrument=instrument)  # type: ignore[arg-type]
    traded = lots if side == BUY else -lots
    contra = story.house(SystemAccount.CONTRA, instrument)
    assert story.balance(account, instrument, LOTS) == traded
    assert story.balance(account, asset) - before == cash
    assert story.balance(account, instrument, VARIATION) == 0
    assert (story.balance(contra, instrument, LOTS), story.balance(contra, asset, CASH)) == (-traded, -cash)
    story.verify()


def test_closing_an_option_leaves_no_line_but_cash(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 10, 100_000, instrument=CALL)
    order = story.order(account, SELL, 10, 120_000, instrument=CALL, reduce_only=True)
    story.fill(order, 10, 120_000)
    assert story.state.lines_of(account) == [(USD, CASH)]
    assert story.balance(account, USD) == 1_020 * DOLLAR
    assert story.state.holders(CALL) == []


def test_a_reduce_only_order_of_an_option_stays_within_the_position(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, SELL, 5, 100_000, instrument=CALL)
    refused = story.do(
        "place_order", account=account, instrument=CALL, venue=1, side=BUY, lots=6, limit_price=1, time_in_force=1,
        reduce_only=True,
    )  # fmt: skip
    assert refused.refusal == words.REFUSAL_NOT_REDUCING


def test_the_premium_of_an_account_without_cash_is_borrowed(story: Story) -> None:
    story.lend(usd=10_000)
    account = story.account(btc=1)
    story.trade(account, BUY, 10, 100_000, instrument=CALL)
    assert story.balance(account, USD, words.LINE_KIND_DEBT_SHARES) == 100 * DOLLAR


def test_a_dated_future_fills_like_a_perpetual(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 10, 1_500_000, instrument=FUTURE)
    story.trade(account, SELL, 10, 1_510_000, instrument=FUTURE)
    assert story.balance(account, USD) == 1_010 * DOLLAR


# instrument, lots, settlement price of the underlying in cents -> units
PAYOFFS = [
    (CALL, 10, 1_600_000, 100 * DOLLAR),
    (CALL, -10, 1_600_000, -100 * DOLLAR),
    (CALL, 10, 1_500_000, 0),
    (CALL, 10, 1_400_000, 0),
    (PUT, 10, 1_400_000, 100 * DOLLAR),
    (PUT, -10, 1_500_001, 0),
    (COIN_CALL, 10, 3_000_000, COIN // 20),  # half a coin a coin
    (COIN_CALL, 10, 1_500_001, 6),  # 6.66 units
    (COIN_CALL, -10, 1_500_001, -7),
]


@pytest.mark.parametrize(("instrument", "lots", "price", "units"), PAYOFFS)
def test_an_option_is_worth_what_is_beyond_its_strike(instrument: int, lots: int, price: int, units: int) -> None:
    one = PARAMETERS.instrument(instrument)
    assert one is not None
    assert positions.option_payoff(one, lots=lots, price=price) == units
