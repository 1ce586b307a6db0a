"""The life of an order after it is let out: what venues report, in any order, is a fact."""

from __future__ import annotations

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain import state as ledger_state
from services.collateral_management.domain.state import LOTS, VARIATION
from services.collateral_management.tests.story import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    SELL,
    SOUTH,
    USD,
    Story,
    alerts,
)

ACCEPTED, FILL = words.REPORT_KIND_ACCEPTED, words.REPORT_KIND_FILL
CANCELLED, REJECTED = words.REPORT_KIND_CANCELLED, words.REPORT_KIND_REJECTED
PRICE = 1_500_000  # 15,000 USD


def state_of(story: Story, order: int) -> str:
    """Name of the order's state, live or closed."""
    found = story.state.orders.get(order) or story.state.closed_orders[order]
    return words.OrderState.Name(found.state).removeprefix("ORDER_STATE_")


def test_partial_fills_work_off_an_order(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.report(order, ACCEPTED)
    assert state_of(story, order) == "WORKING"
    story.fill(order, 4, PRICE)
    assert (state_of(story, order), story.state.orders[order].remaining) == ("WORKING", 6)
    story.fill(order, 6, PRICE)
    assert (state_of(story, order), story.balance(account, BTC_PERP, LOTS)) == ("FILLED", 10)
    assert not story.state.orders


def test_a_fill_before_the_acceptance_is_as_good(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.fill(order, 4, PRICE)
    assert state_of(story, order) == "WORKING"
    story.report(order, ACCEPTED)
    assert (state_of(story, order), story.state.orders[order].remaining) == ("WORKING", 6)


@pytest.mark.parametrize(("kind", "ends"), [(CANCELLED, "CANCELLED"), (REJECTED, "REJECTED")])
def test_a_terminal_report_frees_the_remainder(story: Story, kind: words.ReportKind, ends: str) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.fill(order, 4, PRICE)
    story.report(order, kind)
    assert (state_of(story, order), story.balance(account, BTC_PERP, LOTS)) == (ends, 4)
    assert not story.state.orders_of(account)


def test_only_the_venue_ends_an_order_that_is_out(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.do("cancel_order", account=account, order=order)
    assert state_of(story, order) == "CANCELLING"
    story.report(order, ACCEPTED)
    story.fill(order, 4, PRICE)
    assert state_of(story, order) == "CANCELLING"
    again = story.do("cancel_order", account=account, order=order)
    assert (again.refusal, len(again.effects)) == (0, 0)
    story.report(order, CANCELLED)
    assert state_of(story, order) == "CANCELLED"


def test_a_late_report_of_a_closed_order_is_an_alert(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.fill(order, 10, PRICE)
    for kind in (ACCEPTED, CANCELLED, REJECTED):
        assert alerts(story.report(order, kind)) == ["late_report"]
    assert state_of(story, order) == "FILLED"


def test_a_fill_after_the_end_is_posted_with_an_alert(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.report(order, CANCELLED)
    assert alerts(story.fill(order, 3, PRICE)) == ["overfill"]
    assert (state_of(story, order), story.balance(account, BTC_PERP, LOTS)) == ("CANCELLED", 3)


def test_an_overfill_is_posted_whole_with_an_alert(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    assert alerts(story.fill(order, 12, PRICE)) == ["overfill"]
    assert (state_of(story, order), story.balance(account, BTC_PERP, LOTS)) == ("FILLED", 12)


@pytest.mark.parametrize(
    ("lots", "price"), [(0, PRICE), (-1, PRICE), (1, 0), (1, -1), (10**6 + 1, PRICE), (1, 10**9 + 1)]
)
def test_an_impossible_fill_moves_nothing(story: Story, lots: int, price: int) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    before = dict(story.state.all_lines())
    assert alerts(story.fill(order, lots, price)) == ["impossible_fill"]
    assert (dict(story.state.all_lines()), story.state.orders[order].remaining) == (before, 10)


@pytest.mark.parametrize("kind", [ACCEPTED, FILL, CANCELLED, REJECTED])
def test_a_venue_that_does_not_have_the_order_moves_nothing(story: Story, kind: words.ReportKind) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    assert alerts(story.report(order, kind, lots=1, price=PRICE, venue=SOUTH)) == ["unknown_order"]
    assert (state_of(story, order), story.balance(account, BTC_PERP, LOTS)) == ("RELEASED", 0)


@pytest.mark.parametrize("kind", [0, 77])
def test_a_report_of_an_unknown_kind_is_an_alert(story: Story, kind: words.ReportKind) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    assert alerts(story.report(order, kind)) == ["unknown_report"]
    assert state_of(story, order) == "RELEASED"


@pytest.mark.parametrize("instrument", [BTC_PERP, BTC_SPOT])
def test_a_fill_of_an_order_that_never_went_out_is_the_house_s_not_the_client_s(story: Story, instrument: int) -> None:
    account = story.account(usd=1_000)
    reserved = story.do(
        "place_order", account=account, instrument=instrument, venue=NORTH, side=BUY, lots=10, limit_price=PRICE,
        time_in_force=1,
    ).subject  # fmt: skip
    before = story.state.lines_of(account)
    filled = story.report(reserved, FILL, lots=10, price=PRICE)
    assert alerts(filled) == ["unreleased_order"]
    assert story.state.lines_of(account) == before
    suspense = story.house(SystemAccount.SUSPENSE)
    held = story.balance(suspense, BTC_PERP, LOTS) if instrument == BTC_PERP else story.balance(suspense, BTC)
    assert held == (10 if instrument == BTC_PERP else COIN // 100)
    assert alerts(story.report(reserved, CANCELLED)) == ["unreleased_order"]
    assert state_of(story, reserved) == "RESERVED"


def test_closed_orders_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, story: Story) -> None:
    monkeypatch.setattr(ledger_state, "CLOSED_ORDERS_MAX", 2)
    account = story.account(usd=1_000)
    orders = [story.order(account, BUY, 1, PRICE) for _ in range(3)]
    for order in orders:
        story.fill(order, 1, PRICE)
    assert [alerts(story.fill(order, 1, PRICE)) for order in orders] == [["unknown_order"], ["overfill"], ["overfill"]]


# money


def test_a_spot_buy_pays_rounded_up_and_a_sell_gets_rounded_down(story: Story) -> None:
    story.lend(usd=100_000)
    account = story.account(usd=1_000)
    venue = story.house(SystemAccount.VENUE, NORTH)
    # a lot of LTC is 0.01 coin, a price step 0.0001 USD: one lot at one step is exactly one unit
    story.trade(account, BUY, 3, 7, instrument=3)
    assert story.balance(account, USD) == 1_000 * DOLLAR - 21
    story.trade(account, BUY, 1, 1_499_999, instrument=BTC_SPOT)
    story.trade(account, SELL, 1, 1_499_999, instrument=BTC_SPOT)
    assert story.balance(account, USD) + story.balance(venue, USD) == 1_000 * DOLLAR
    assert story.balance(account, BTC) == 0


def test_fees_are_cash_and_a_rebate_is_a_negative_fee(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, BUY, 1, PRICE, fee=5)
    story.trade(account, BUY, 1, PRICE, fee=-2)
    assert story.balance(account, USD) == 1_000 * DOLLAR - 3
    assert story.balance(story.house(SystemAccount.VENUE, NORTH), USD) == 3


def test_a_margined_trade_moves_no_cash_until_it_is_realised(story: Story) -> None:
    account = story.account(usd=1_000)
    contra = story.house(SystemAccount.CONTRA, BTC_PERP)
    story.trade(account, BUY, 10, PRICE)  # 0.01 BTC
    assert (story.balance(account, USD), story.balance(account, BTC_PERP, VARIATION)) == (1_000 * DOLLAR, -150 * DOLLAR)
    story.trade(account, SELL, 4, PRICE + 100_000)
    assert story.balance(account, USD) == 1_004 * DOLLAR
    assert story.balance(account, BTC_PERP, VARIATION) == -90 * DOLLAR
    story.trade(account, SELL, 16, PRICE + 100_000)  # through zero
    assert story.balance(account, USD) == 1_010 * DOLLAR
    assert story.balance(account, BTC_PERP, LOTS) == -10
    for kind in (LOTS, VARIATION):
        assert story.balance(contra, BTC_PERP, kind) == -story.balance(account, BTC_PERP, kind)
    assert story.balance(contra, USD) == -10 * DOLLAR


def test_an_inverse_trade_settles_in_coins(story: Story) -> None:
    story.lend(btc=1)
    account = story.account(btc=1)
    story.trade(account, BUY, 15_000, PRICE, instrument=BTC_INVERSE)  # 15,000 USD of face at 15,000
    assert story.balance(account, BTC_INVERSE, VARIATION) == COIN
    story.trade(account, SELL, 15_000, PRICE * 2, instrument=BTC_INVERSE)
    assert story.balance(account, BTC) == COIN + COIN // 2


def test_a_late_fill_takes_the_funding_of_its_execution(story: Story) -> None:
    account = story.account(usd=1_000)
    before_ns = story.now_ns
    story.trade(account, BUY, 10, PRICE)
    story.pass_time(10)
    paid = 7 * 10**9  # seven units a lot
    story.do(
        "set_funding", instrument=BTC_PERP, home_sequence=1, tick=1, run_time_ns=story.now_ns,
        cumulative_funding=paid.to_bytes(16, "big", signed=True),
    )  # fmt: skip
    late = story.order(account, SELL, 4, PRICE)
    story.fill(late, 4, PRICE, at_ns=before_ns)
    assert story.balance(account, USD) == 1_000 * DOLLAR
    story.trade(account, SELL, 6, PRICE)
    assert story.balance(account, USD) == 1_000 * DOLLAR - 42


def test_a_reducing_order_does_not_outlive_the_position_it_reduces(story: Story) -> None:
    account = story.account(usd=100_000)
    story.trade(account, BUY, 10, PRICE)
    resting = [story.order(account, SELL, lots, 2 * PRICE, reduce_only=True) for lots in (4, 6)]
    story.trade(account, SELL, 5, PRICE)
    assert [state_of(story, one) for one in resting] == ["RELEASED", "CANCELLING"]
    story.fill(resting[0], 4, 2 * PRICE)
    assert [state_of(story, one) for one in resting] == ["FILLED", "CANCELLING"]
    story.verify()


def test_coins_that_leave_take_their_reducing_order_along(story: Story) -> None:
    account = story.account(btc=1)
    resting = story.order(account, SELL, 1_000, 2 * PRICE, instrument=BTC_SPOT, reduce_only=True)
    story.do("withdraw", account=account, asset=BTC, units=1)
    assert state_of(story, resting) == "CANCELLING"


def test_a_fill_beyond_its_limit_is_posted_with_an_alert(story: Story) -> None:
    account = story.account(usd=1_000)
    for side, price in ((BUY, PRICE + 1), (SELL, PRICE - 1)):
        order = story.order(account, side, 1, PRICE)
        assert alerts(story.fill(order, 1, price)) == ["off_limit"]
