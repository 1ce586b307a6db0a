"""Options under liquidation: shorts are bought back, longs sold, at marks and units of their own."""

from __future__ import annotations

import pytest

from libs.common.ids import AccountId, InstrumentId
from libs.common.units import Lots, Ppm, Price
from services.liquidation_execution.domain.catalogue import notional
from services.liquidation_execution.domain.holdings import Holdings, reducible
from services.liquidation_execution.domain.router import BUY, SELL, ladder
from services.liquidation_execution.tests.kernel import BTC, BTC_USD, CATALOGUE, NORTH, USD
from services.liquidation_execution.tests.test_router import RULES, shown

SYMBOLS = {one.symbol: one for one in CATALOGUE.parameters.instruments}
CALL, COIN_CALL = SYMBOLS["BTC-USD-20180223-16000-C"], SYMBOLS["BTC-COIN-20180330-15000-C"]
NOTE = SYMBOLS["BTC-NOTE-20180330-12000"]
MARKS = {InstrumentId(BTC_USD): Price(1_500_000), CALL.id: Price(200_000), COIN_CALL.id: Price(2_500)}


def test_shorts_are_bought_back_and_longs_sold() -> None:
    held = Holdings(AccountId(1), lots={CALL.id: -30, COIN_CALL.id: 5}, cash={USD: 10**9}, debt={}, supply={})
    found = {one.instrument.symbol: (one.direction, one.lots) for one in reducible(held, CATALOGUE)}
    assert found == {CALL.symbol: (BUY, 30), COIN_CALL.symbol: (SELL, 5)}


def test_a_package_is_sold_as_one_whatever_its_legs_are() -> None:
    held = Holdings(AccountId(1), lots={NOTE.id: 7, CALL.id: -1}, cash={USD: 10**9}, debt={}, supply={})
    found = {one.instrument.symbol: (one.direction, one.lots) for one in reducible(held, CATALOGUE)}
    assert found == {NOTE.symbol: (SELL, 7), CALL.symbol: (BUY, 1)}
    assert notional(CATALOGUE, NOTE, lots=7, marks={**MARKS, NOTE.id: Price(1_150_000)}) == 7 * 115 * 10**6


def test_no_option_is_taken_for_the_spot_market_of_its_coin() -> None:
    assert CATALOGUE.spot_of[BTC].id == BTC_USD
    held = Holdings(AccountId(1), lots={}, cash={BTC: 10**8}, debt={USD: 10**9}, supply={})
    assert [one.instrument.id for one in reducible(held, CATALOGUE)] == [BTC_USD]


# 100 lots of 0.01 BTC: at 2,000 USD a coin, and at 0.25 coins a coin with BTC at 15,000.
@pytest.mark.parametrize(("option", "usd"), [(CALL, 2_000), (COIN_CALL, 3_750)])
def test_value_and_fees_are_in_what_the_premium_is_paid_in(option: object, usd: int) -> None:
    one = CALL if option is CALL else COIN_CALL
    assert notional(CATALOGUE, one, lots=100, marks=MARKS) == usd * 10**6
    mark = MARKS[one.id]
    offers = ladder(one, BUY, mark=mark, shown=[shown(NORTH, (mark, 400))], rules=RULES, liquidation_fee=Ppm(5_000))
    trade = offers.trade(Lots(100))
    units = 100 * mark * one.c_num // one.c_den
    assert (trade.lots, trade.price) == (100, mark)
    assert trade.fee_units == -(-units * 5_500 // 10**6)
