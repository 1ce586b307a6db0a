"""Packages in the ledger: bought and sold as one, settled leg by leg, balanced, once; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import ConfigurationError
from libs.common.ids import SystemAccount
from libs.common.parameters import Leg
from services.collateral_management.domain import positions
from services.collateral_management.domain.payoffs import paid_up_worth
from services.collateral_management.domain.state import CASH, DEBT, LOTS, VARIATION
from services.collateral_management.tests.dated import CALL, EXPIRY_S, PUT, expire
from services.collateral_management.tests.story import BTC, BUY, COIN, DOLLAR, NORTH, SELL, USD, Story
from services.collateral_management.tests.structured import (
    BLOCKS,
    COIN_MIX,
    DELIVERED,
    DIGITAL_CALL,
    DIGITAL_PUT,
    NOTE,
    NOTE_BLOCK,
    STRANGLE,
    STRANGLE_BLOCK,
    SURE,
    coins,
    leg,
    with_packages,
)  # fmt: skip

PARAMETERS = replace(with_packages(), partitions=1)
K = 1_500_000


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger that knows packages; checked when the test is over."""
    told = Story(PARAMETERS)
    yield told
    told.verify()


def test_a_package_is_lots_against_one_price(story: Story) -> None:
    account = story.account(usd=10_000)
    story.trade(account, BUY, 10, 1_200_000, instrument=STRANGLE)
    contra = story.house(SystemAccount.CONTRA, STRANGLE)
    assert story.balance(account, STRANGLE, LOTS) == 10
    assert story.balance(account, USD) == 10_000 * DOLLAR - 1_200 * DOLLAR
    assert (story.balance(contra, STRANGLE, LOTS), story.balance(contra, USD, CASH)) == (-10, 1_200 * DOLLAR)
    for other in (CALL, PUT, BTC):  # its legs are nowhere: they are what it is worth
        assert not story.balance(account, other, CASH if other == BTC else LOTS)
    story.trade(account, SELL, 10, 1_250_000, instrument=STRANGLE)
    assert story.state.lines_of(account) == [(USD, CASH)]
    assert story.balance(account, USD) == 10_050 * DOLLAR


def test_a_reduce_only_order_of_a_package_stays_within_the_position(story: Story) -> None:
    account = story.account(usd=10_000)
    story.trade(account, BUY, 5, 1_200_000, instrument=STRANGLE)
    refused = story.do(
        "place_order", account=account, instrument=STRANGLE, venue=NORTH, side=SELL, lots=6, limit_price=1,
        time_in_force=1, reduce_only=True,
    )  # fmt: skip
    assert refused.refusal == words.REFUSAL_NOT_REDUCING


# instrument, lots, settled at -> change of dollars and of coins, premium apart
SETTLED = [
    (DIGITAL_CALL, 10, K + 1, 10 * DOLLAR, 0),
    (DIGITAL_CALL, 10, K, 0, 0),
    (DIGITAL_PUT, 10, K, 10 * DOLLAR, 0),
    (DIGITAL_PUT, -10, K, -10 * DOLLAR, 0),
    (DIGITAL_PUT, 10, K + 1, 0, 0),
    (SURE, 10, 1, 10 * DOLLAR, 0),
    (STRANGLE, 10, K, 0, COIN // 10),
    (STRANGLE, 10, 1_600_000, -100 * DOLLAR, COIN // 10),
    (STRANGLE, 10, 1_400_000, -100 * DOLLAR, COIN // 10),
    (STRANGLE, -10, 1_400_000, 100 * DOLLAR, -COIN // 10),
    (NOTE, 10, 1_600_000, 1_550 * DOLLAR, 0),
    (NOTE, 10, K, 1_500 * DOLLAR, 0),
    (NOTE, 10, 1_200_000, 1_200 * DOLLAR, 0),
    (COIN_MIX, 10, 3_000_000, -200 * DOLLAR, 3 * COIN // 20),
    (DELIVERED, 10, 1_400_000, 0, COIN // 10),  # the dollars bought the coins at the strike
    (DELIVERED, 10, 1_600_000, 1_500 * DOLLAR, 0),
]


@pytest.mark.parametrize(("instrument", "lots", "price", "dollars", "coin_units"), SETTLED)
def test_at_its_expiry_it_becomes_what_its_legs_pay(
    story: Story, instrument: int, lots: int, price: int, dollars: int, coin_units: int
) -> None:
    account, other = story.account(usd=10_000, btc=1), story.account("bob", usd=10_000, btc=1)
    for who, signed, owner in ((account, lots, "alice"), (other, -lots, "bob")):
        story.trade(who, BUY if signed > 0 else SELL, abs(lots), 1, instrument=instrument, sender=owner)
    before = story.balance(account, USD), story.balance(account, BTC)
    assert not expire(story, instrument, price)
    assert story.state.lines_of(account) == [(USD, CASH), (BTC, CASH)]
    assert story.balance(account, USD) - before[0] == dollars
    assert story.balance(account, BTC) - before[1] == coin_units
    contra = story.house(SystemAccount.CONTRA, instrument)
    for asset in (USD, BTC):  # what one has won the other has lost: only roundings stay
        assert 0 <= story.balance(contra, asset, CASH) <= 4
    assert not story.balance(contra, instrument, LOTS)


def test_it_is_settled_once_at_one_price_and_what_comes_late_at_the_same(story: Story) -> None:
    account = story.account(usd=10_000)
    order = story.order(account, BUY, 5, 1_200_000, instrument=NOTE)
    story.fill(order, 2, 1_200_000)
    assert not expire(story, NOTE, 1_600_000)
    after = story.balance(account, USD)
    assert after == 10_000 * DOLLAR - 240 * DOLLAR + 310 * DOLLAR
    assert expire(story, NOTE, 1_600_000) == words.REFUSAL_INSTRUMENT_CLOSED
    assert story.balance(account, USD) == after
    story.fill(order, 1, 1_200_000)  # reported late
    assert story.balance(account, USD) == after - 120 * DOLLAR + 155 * DOLLAR
    assert not story.balance(account, NOTE, LOTS)


def test_who_owes_the_coins_of_a_package_borrows_them(story: Story) -> None:
    story.lend(btc=1)
    account = story.account(usd=10_000)
    story.trade(account, SELL, 10, 1_200_000, instrument=STRANGLE)
    assert not expire(story, STRANGLE, K)
    assert story.balance(account, BTC, DEBT) == COIN // 10
    assert not story.balance(account, STRANGLE, VARIATION)


@given(lots=st.integers(-10_000, 10_000), price=st.integers(1, 10**9))
@settings(max_examples=200)
def test_a_package_pays_what_its_legs_pay_one_by_one(lots: int, price: int) -> None:
    for number in (STRANGLE, NOTE, COIN_MIX):
        package = PARAMETERS.instrument(number)
        assert package is not None
        total: dict[int, int] = {}
        for one in package.legs:
            option = PARAMETERS.instrument(one.instrument)
            asset, units = one.asset, lots * one.amount
            if option is not None:
                asset = option.settlement
                units = positions.option_payoff(option, lots=lots * one.amount, price=price)
            total[asset] = total.get(asset, 0) + units
        assert paid_up_worth(PARAMETERS, package, lots=lots, price=price) == total


def test_legs_are_registered_in_units_and_lots_of_one_lot() -> None:
    strangle = PARAMETERS.instrument(STRANGLE)
    assert strangle is not None
    assert (strangle.is_package, strangle.is_paid_up, strangle.is_option) == (True, True, False)
    assert strangle.legs == (Leg(BTC, 0, COIN // 100), Leg(0, PUT, -1), Leg(0, CALL, -1))


_LATER = {**BLOCKS[0], "id": 61, "symbol": "BTC-LATER", "expiry_s": EXPIRY_S + 60}
_ETHER = {**BLOCKS[0], "id": 61, "symbol": "ETH-DIGITAL", "underlying": "ETH", "strike": "1000"}


@pytest.mark.parametrize(
    ("legs", "more", "says"),
    [
        ([leg("BTC-NONE", 1)], [], r"legs\.0\.instrument: expected a declared instrument, was BTC-NONE"),
        ([leg("BTC-CALL", 1), leg("BTC-FUTURE", 1)], [], r"legs\.1\.instrument: expected an option, was BTC-FUTURE"),
        ([leg("BTC-NOTE", 1)], [], r"legs\.0\.instrument: expected an option, was BTC-NOTE, package"),
        ([leg("BTC-LATER", 1)], [_LATER], r"legs\.0\.instrument: expected expiry_ns \d+ as of the package, was"),
        ([leg("ETH-DIGITAL", 1)], [_ETHER], r"legs\.0\.instrument: expected underlying 2 as of the package, was 3"),
        ([leg("BTC-CALL", 1), leg("BTC-CALL", 1)], [], r"legs\.1: expected each leg once"),
        ([leg("BTC-CALL", 1_000_000)], [], r"legs\.0\.lots: expected 16 such orders below 2\^62 units, was 1000000"),
        ([leg("BTC-CALL", 0)], [], r"legs\.0: expected a leg that is not zero"),
        ([coins("1")], [], r"legs: expected an option at least, was none"),
        ([coins("1", "ETH")], [], r"legs\.0\.asset: expected the package's underlying or quote, was ETH"),
        ([coins("1", "XRP")], [], r"legs\.0\.asset: expected a declared asset, was XRP"),
        ([coins("0.00000000001")], [], r"legs\.0\.amount: expected"),
        ([{"asset": "BTC", "lots": 1}], [], r"legs\.0: expected an asset with its amount, or an instrument"),
        ([], [], r"expected legs of packages, and only of them, was 0 of a package"),
    ],
)
def test_a_leg_that_is_unknown_or_does_not_fit_is_refused_with_path_and_bound(
    legs: list[dict[str, Any]], more: list[dict[str, Any]], says: str
) -> None:
    block = {**STRANGLE_BLOCK, "id": 60, "symbol": "BTC-ODD", "legs": legs}
    with pytest.raises(ConfigurationError, match=r"instruments\.\d+.*" + says):
        with_packages(*more, block)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"highest_price": "2"}, "expected highest_price 1 of a digital option, was 2"),
        ({"strike": "0"}, "expected a strike above 0, but of a digital call, was 0"),
        ({"delivery": "physical"}, "expected delivery of linear futures and options only"),
        ({"expiry_s": None}, "expected expiry_s of what ends"),
        ({"legs": [coins("1")]}, "expected legs of packages, and only of them"),
    ],
)
def test_a_digital_option_that_makes_no_sense_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        with_packages({**BLOCKS[1], "id": 60, "symbol": "BTC-ODD", **changes})


def test_a_package_cannot_be_delisted_before_its_legs() -> None:
    with pytest.raises(ConfigurationError, match="expected delisted_s of perps and futures only"):
        with_packages({**NOTE_BLOCK, "id": 60, "symbol": "BTC-ODD", "delisted_s": EXPIRY_S - 60})
