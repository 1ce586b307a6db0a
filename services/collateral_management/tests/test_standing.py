"""Accounts that are closed, opened again and restricted; orders that are amended."""

from __future__ import annotations

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id
from services.collateral_management.domain.state import RESERVED
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, NORTH, SELL, USD, Story, alerts

NOBODY = account_id(partition=0, entity=9_999, sub=0)
PRICE = 1_500_000
WORKING, CANCELLED = words.REPORT_KIND_ACCEPTED, words.REPORT_KIND_CANCELLED


def place(story: Story, account: int, *, lots: int = 10, reduce_only: bool = False) -> int:
    """Id of an order that waits for risk."""
    placed = story.do(
        "place_order", account=account, instrument=BTC_PERP, venue=NORTH, side=BUY, lots=lots, limit_price=PRICE,
        time_in_force=2, reduce_only=reduce_only,
    )  # fmt: skip
    assert not placed.refusal, placed.detail
    return placed.subject


def test_close_account(story: Story) -> None:
    account, other = story.account(usd=100), story.account("bob")
    story.do("close_account", sender="bob", account=other)
    order = place(story, account)
    reserved = story.do("withdraw", account=account, asset=USD, units=40 * DOLLAR).subject
    episode: list[int] = []

    def heal() -> None:
        closed = story.do(
            "close_episode", account=account, episode=episode[0], outcome=words.EPISODE_STATE_HEALTHY,
            citation=story.cite(),
        )  # fmt: skip
        assert not closed.refusal

    def spend() -> None:
        done = story.do("withdraw", account=account, asset=USD, units=100 * DOLLAR).subject
        story.do("verdict", account=account, reservation=done, settle=True, citation=story.cite())

    def withdraw_order() -> None:
        story.do("cancel_order", account=account, order=order)

    def begin() -> None:
        story.do("verdict", account=account, reservation=reserved, settle=False, citation=story.cite())
        episode.append(story.episode(account))

    climb(
        story,
        "close_account",
        {"account": NOBODY, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"account": other, "sender": "bob"}),
            (words.REFUSAL_ACCOUNT_CLOSED, {"account": account, "sender": "alice"}),
            (words.REFUSAL_ORDERS_ALIVE, withdraw_order),
            (words.REFUSAL_ACCOUNT_NOT_EMPTY, begin),
            (words.REFUSAL_EPISODE_OPEN, heal),
            (words.REFUSAL_ACCOUNT_NOT_EMPTY, spend),
        ],
    )
    assert story.state.accounts[account].closed


def test_reopen_account_and_versions_go_on(story: Story) -> None:
    account, other = story.account(usd=100), story.account("bob")
    assert story.state.line(account, USD, words.LINE_KIND_CASH)[1] == 1
    done = story.do("withdraw", account=account, asset=USD, units=100 * DOLLAR).subject
    story.do("verdict", account=account, reservation=done, settle=True, citation=story.cite())
    assert story.state.line(account, USD, words.LINE_KIND_CASH) == (0, 2)
    story.do("close_account", account=account)
    assert story.do("supply", account=account, asset=USD, units=1).refusal == words.REFUSAL_ACCOUNT_CLOSED
    climb(
        story,
        "reopen_account",
        {"account": NOBODY, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"account": other, "sender": "bob"}),
            (words.REFUSAL_ACCOUNT_NOT_CLOSED, {"account": account, "sender": "alice"}),
        ],
    )
    story.do("confirm_deposit", account=account, asset=USD, units=5)
    assert story.state.line(account, USD, words.LINE_KIND_CASH) == (5, 3)


def test_money_for_a_closed_account_waits_in_suspense(story: Story) -> None:
    account = story.account()
    story.do("close_account", account=account)
    command = story.command("confirm_deposit", account=account, asset=USD, units=7)
    command.ClearField("session")
    command.fact.stream, command.fact.sequence = "custodian", 1
    outcome = story.send(command)
    assert (outcome.refusal, alerts(outcome)) == (0, ["fact_in_suspense"])
    assert story.balance(story.house(SystemAccount.SUSPENSE), USD) == 7
    assert story.balance(account, USD) == 0


def test_a_late_fill_opens_a_closed_account_again(story: Story) -> None:
    account = story.account()
    order = story.order(account, BUY, 1, PRICE)
    story.report(order, CANCELLED)
    assert not story.do("close_account", account=account).refusal
    late = story.fill(order, 1, PRICE)
    assert set(alerts(late)) == {"overfill", "reopened"}
    assert not story.state.accounts[account].closed


def test_restrict_account(story: Story) -> None:
    account = story.account(usd=100)
    order, waiting = story.order(account, BUY, 1, PRICE), place(story, account)
    story.do("withdraw", account=account, asset=USD, units=40 * DOLLAR)
    outcome = climb(
        story,
        "restrict_account",
        {"account": NOBODY, "restricted": True},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_REASON_MISSING, {"reason": "x" * 257}),
            (words.REFUSAL_REASON_MISSING, {"reason": "court order 17"}),
        ],
    )
    assert "court order 17" in next(one.alert.detail for one in outcome.effects if one.HasField("alert"))
    assert story.state.orders[order].state == words.ORDER_STATE_CANCELLING
    assert waiting not in story.state.orders
    assert story.balance(account, USD, RESERVED) == 0
    withdraw = story.do("withdraw", account=account, asset=USD, units=1)
    assert withdraw.refusal == words.REFUSAL_ACCOUNT_RESTRICTED
    story.do("confirm_deposit", account=account, asset=USD, units=1)  # what straightens an account lifts nothing here
    assert story.state.accounts[account].restricted
    story.do("restrict_account", account=account, restricted=False, reason="court order 18")
    assert not story.state.accounts[account].restricted


def test_an_operators_restriction_outlives_an_episode(story: Story) -> None:
    account = story.account(usd=100)
    story.do("restrict_account", account=account, restricted=True, reason="unclear source of funds")
    episode = story.episode(account)
    healthy = words.EPISODE_STATE_HEALTHY
    story.do("close_episode", account=account, episode=episode, outcome=healthy, citation=story.cite())
    assert story.state.accounts[account].restricted


def test_amend_order(story: Story) -> None:
    account, other = story.account(usd=1_000), story.account("bob")
    story.trade(account, SELL, 11, PRICE)
    beyond = story.order(account, BUY, 5, PRICE, reduce_only=True)
    order = story.order(account, BUY, 10, PRICE)
    story.fill(order, 4, PRICE)

    climb(
        story,
        "amend_order",
        {"account": NOBODY, "order": 1, "lots": 0, "limit_price": 0, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"account": other, "sender": "bob", "order": order}),
            (words.REFUSAL_UNKNOWN_ORDER, {"account": account, "sender": "alice"}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": 4}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"limit_price": PRICE + 1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": 12, "order": beyond, "limit_price": 1}),
            (words.REFUSAL_NOT_REDUCING, {"order": order}),
        ],
    )


def test_an_order_that_waits_is_amended_in_its_place_and_judged_anew(story: Story) -> None:
    account = story.account(usd=1_000)
    order = place(story, account)
    before = story.cite()
    story.do("amend_order", account=account, order=order, lots=3, limit_price=PRICE - 1)
    amended = story.state.orders[order]
    assert (amended.lots, amended.remaining, amended.limit_price) == (3, 3, PRICE - 1)
    judged = story.do("verdict", account=account, order=order, settle=True, citation=before)
    assert judged.refusal == words.REFUSAL_CITES_EARLIER_STATE
    assert not story.do("verdict", account=account, order=order, settle=True, citation=story.cite()).refusal


def test_an_order_that_is_out_is_cancelled_and_then_replaced(story: Story) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.fill(order, 4, PRICE)
    story.do("amend_order", account=account, order=order, lots=12, limit_price=PRICE + 5)
    assert story.state.orders[order].state == words.ORDER_STATE_CANCELLING
    story.fill(order, 1, PRICE)  # while the cancel is on its way
    outcome = story.report(order, CANCELLED)
    (fresh,) = (one.order for one in outcome.effects if one.HasField("order") and one.order.replaces)
    assert (fresh.lots, fresh.limit_price, fresh.replaces) == (7, PRICE + 5, order)
    assert fresh.state == words.ORDER_STATE_RESERVED
    assert sum(one.remaining for one in story.state.orders_of(account)) == 7  # never more than what was asked for


@pytest.mark.parametrize("ends", ["filled", "cancelled", "episode"])
def test_nothing_replaces_an_order_that_is_no_longer_wanted(story: Story, ends: str) -> None:
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 10, PRICE)
    story.do("amend_order", account=account, order=order, lots=12, limit_price=PRICE)
    if ends == "filled":
        story.fill(order, 10, PRICE)
    elif ends == "cancelled":
        story.do("cancel_order", account=account, order=order)
        story.report(order, CANCELLED)
    else:
        story.episode(account)
        story.report(order, CANCELLED)
    assert story.state.orders_of(account) == []


def test_a_replacement_that_no_longer_reduces_is_voided(story: Story) -> None:
    account = story.account(usd=1_000)
    story.trade(account, SELL, 10, PRICE)
    order = story.order(account, BUY, 5, PRICE, reduce_only=True)
    story.do("amend_order", account=account, order=order, lots=10, limit_price=PRICE)
    story.trade(account, BUY, 6, PRICE)
    story.report(order, CANCELLED)
    assert story.state.orders_of(account) == []
