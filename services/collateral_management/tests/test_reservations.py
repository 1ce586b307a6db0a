"""Reserve, judge, settle: withdrawals, transfers and orders wait for the verdict of risk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount, entity_of
from libs.common.units import SECOND_NS
from services.collateral_management.domain.state import CASH, DEBT, RESERVED
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC_PERP,
    BTC_SPOT,
    BUY,
    DOLLAR,
    NORTH,
    SELL,
    USD,
    Story,
)

Reserve = Callable[[Story, int], dict[str, Any]]


def withdrawal(story: Story, account: int, units: int = 40 * DOLLAR) -> dict[str, Any]:
    """Target of a verdict on a new withdrawal."""
    return {"reservation": story.do("withdraw", account=account, asset=USD, units=units, destination="bank").subject}


def transfer(story: Story, account: int) -> dict[str, Any]:
    """Target of a verdict on a new transfer."""
    to = story.account(entity=account)
    made = story.do("transfer", account=account, to_account=to, asset=USD, units=40 * DOLLAR)
    return {"reservation": made.subject}


def order(story: Story, account: int, *, reduce_only: bool = False, side: market_pb2.Side = BUY) -> dict[str, Any]:
    """Target of a verdict on a new order."""
    placed = story.do(
        "place_order", account=account, instrument=BTC_PERP, venue=NORTH, side=side, lots=2, limit_price=1_500_000,
        time_in_force=market_pb2.TIME_IN_FORCE_GTC, reduce_only=reduce_only,
    )  # fmt: skip
    assert not placed.refusal, placed.detail
    return {"order": placed.subject}


def judge(story: Story, account: int, target: dict[str, Any], **changed: Any) -> journal_pb2.Outcome:
    """Outcome of a verdict: settle on the state as it is, but for what is changed."""
    return story.do("verdict", **{"account": account, "settle": True, "citation": story.cite(), **target, **changed})


def test_a_withdrawal_leaves_cash_at_once_and_the_house_when_settled(story: Story) -> None:
    account = story.account(usd=100)
    custody = story.house(SystemAccount.CUSTODY)
    target = withdrawal(story, account)
    assert (story.balance(account, USD), story.balance(account, USD, RESERVED)) == (60 * DOLLAR, 40 * DOLLAR)
    settled = judge(story, account, target)
    assert settled.subject == target["reservation"]
    assert (story.balance(account, USD), story.balance(account, USD, RESERVED)) == (60 * DOLLAR, 0)
    assert (story.balance(custody, USD), story.balance(custody, USD, RESERVED)) == (-60 * DOLLAR, 0)
    ended = next(one.reservation for one in settled.effects if one.HasField("reservation"))
    assert (ended.state, ended.destination) == (words.RESERVATION_STATE_SETTLED, "bank")


@pytest.mark.parametrize("reserve", [withdrawal, transfer])
def test_a_voided_reservation_comes_back_with_the_reason(story: Story, reserve: Reserve) -> None:
    account = story.account(usd=100)
    target = reserve(story, account)
    voided = judge(story, account, target, settle=False, reason=words.REFUSAL_INSUFFICIENT_MARGIN)
    assert (story.balance(account, USD), story.balance(account, USD, RESERVED)) == (100 * DOLLAR, 0)
    ended = next(one.reservation for one in voided.effects if one.HasField("reservation"))
    assert (ended.state, ended.reason) == (words.RESERVATION_STATE_VOIDED, words.REFUSAL_INSUFFICIENT_MARGIN)
    assert not story.state.reservations
    assert judge(story, account, target).refusal == words.REFUSAL_UNKNOWN_RESERVATION


def test_a_settled_transfer_arrives_and_repays_what_is_owed(story: Story) -> None:
    story.lend(usd=1_000)
    account = story.account(usd=100)
    to = story.account(entity=account, btc=1)
    story.trade(to, BUY, 1, 100, fee=30 * DOLLAR)
    assert story.balance(to, USD, DEBT) == 30 * DOLLAR
    made = story.do("transfer", account=account, to_account=to, asset=USD, units=40 * DOLLAR)
    judge(story, account, {"reservation": made.subject})
    assert (story.balance(to, USD), story.balance(to, USD, DEBT)) == (10 * DOLLAR, 0)
    assert story.balance(account, USD) == 60 * DOLLAR


def test_money_that_comes_back_repays_what_was_borrowed_meanwhile(story: Story) -> None:
    story.lend(usd=1_000)
    account = story.account(usd=100)
    released = story.order(account, BUY, 1, 100)
    target = withdrawal(story, account, 100 * DOLLAR)
    story.fill(released, 1, 100, fee=30 * DOLLAR)
    assert story.balance(account, USD, DEBT) == 30 * DOLLAR
    judge(story, account, target, settle=False, reason=words.REFUSAL_INSUFFICIENT_MARGIN)
    assert (story.balance(account, USD), story.balance(account, USD, DEBT)) == (70 * DOLLAR, 0)


def test_a_settled_order_is_released_with_a_send_by_time(story: Story) -> None:
    account = story.account(usd=100)
    target = order(story, account)
    assert story.state.orders[target["order"]].state == words.ORDER_STATE_RESERVED
    story.pass_time(1)
    judge(story, account, target)
    released = story.state.orders[target["order"]]
    assert released.state == words.ORDER_STATE_RELEASED
    assert released.send_by_ns == story.now_ns + story.parameters.ledger.send_by_ns


def test_a_voided_order_is_over(story: Story) -> None:
    account = story.account(usd=100)
    target = order(story, account)
    judge(story, account, target, settle=False, reason=words.REFUSAL_MARK_NOT_USABLE)
    assert not story.state.orders
    ended = story.state.closed_orders[target["order"]]
    assert (ended.state, ended.reason) == (words.ORDER_STATE_VOIDED, words.REFUSAL_MARK_NOT_USABLE)


@pytest.mark.parametrize("reserve", [withdrawal, transfer, order])
def test_verdicts(story: Story, reserve: Reserve) -> None:
    account, other = story.account(usd=100), story.account("bob", usd=100)
    earlier = story.cite()
    target = reserve(story, account)
    story.control_sequence = 2
    story.pass_time(2)
    story.now_ns += 1
    story.marks_alive = False
    oldest_ns = story.now_ns - 2 * SECOND_NS
    missing = words.REFUSAL_UNKNOWN_ORDER if "order" in target else words.REFUSAL_UNKNOWN_RESERVATION

    def cite(**changed: int) -> dict[str, Any]:
        found = commands_pb2.Citation(journal_sequence=story.sequence, control_sequence=1,
                                      mark_run_time_ns=oldest_ns - 1)  # fmt: skip
        for name, value in changed.items():
            setattr(found, name, value)
        return {"citation": found}

    def beat() -> None:
        story.marks_alive = True

    climb(
        story,
        "verdict",
        {"account": other, "settle": True, "citation": earlier, **dict.fromkeys(target, 999)},
        [
            (missing, target),
            (missing, {"account": account}),  # it is another account's
            (words.REFUSAL_CITES_EARLIER_STATE, lambda: cite(journal_sequence=story.sequence + 100)),
            (words.REFUSAL_CITES_EARLIER_STATE, cite),
            (words.REFUSAL_CITES_OTHER_PARAMETERS, lambda: cite(control_sequence=2)),
            (
                words.REFUSAL_VERDICT_EXPIRED,
                lambda: cite(control_sequence=2, mark_run_time_ns=story.now_ns - 2 * SECOND_NS),
            ),
            (words.REFUSAL_MARKS_SILENT, beat),
        ],
    )


@pytest.mark.parametrize("reserve", [withdrawal, transfer, order])
def test_a_void_needs_neither_fresh_nor_living_marks(story: Story, reserve: Reserve) -> None:
    account = story.account(usd=100)
    target = reserve(story, account)
    cited = story.cite()
    story.pass_time(100)
    story.marks_alive = False
    assert not judge(story, account, target, settle=False, citation=cited).refusal


def test_the_state_at_the_reservation_itself_may_be_cited(story: Story) -> None:
    account = story.account(usd=100)
    target = withdrawal(story, account)
    reserved = story.state.reservations[target["reservation"]].reserved_sequence
    assert reserved == story.sequence
    assert not judge(story, account, target).refusal


def test_only_the_first_verdict_counts(story: Story) -> None:
    account = story.account(usd=100)
    target = order(story, account)
    assert not judge(story, account, target).refusal
    assert judge(story, account, target, settle=False).refusal == words.REFUSAL_UNKNOWN_ORDER


@pytest.mark.parametrize("reserve", [withdrawal, transfer, order])
def test_nothing_is_let_out_of_a_restricted_account_but_voids(story: Story, reserve: Reserve) -> None:
    account = story.account(usd=100)
    released = story.order(account, BUY, 1, 100)
    target = reserve(story, account)
    story.fill(released, 1, 100, fee=1_000 * DOLLAR)  # no pool lends it
    assert story.state.accounts[account].restricted
    assert judge(story, account, target).refusal == words.REFUSAL_ACCOUNT_RESTRICTED
    assert not judge(story, account, target, settle=False).refusal


def test_nothing_leaves_an_entity_while_one_of_its_accounts_is_liquidated(story: Story) -> None:
    winner = story.account(usd=100)
    loser = story.account(usd=100, entity=entity_of(winner))
    target = withdrawal(story, winner)
    episode = story.episode(loser)
    assert judge(story, winner, target).refusal == words.REFUSAL_ACCOUNT_RESTRICTED
    assert not judge(story, winner, target, settle=False).refusal
    again = story.do("withdraw", account=winner, asset=USD, units=DOLLAR, destination="bank")
    assert again.refusal == words.REFUSAL_ACCOUNT_RESTRICTED
    saving = story.do("transfer", account=winner, to_account=loser, asset=USD, units=DOLLAR)
    story.do("verdict", account=winner, reservation=saving.subject, settle=True, citation=story.cite())
    assert story.balance(loser, USD) == 101 * DOLLAR
    story.do(
        "close_episode", account=loser, episode=episode, outcome=words.EPISODE_STATE_HEALTHY, citation=story.cite()
    )
    assert not story.do("withdraw", account=winner, asset=USD, units=DOLLAR, destination="bank").refusal


def test_a_reducing_order_is_let_out_of_an_overdrawn_account(story: Story) -> None:
    account = story.account(usd=100)
    story.trade(account, BUY, 5, 1_500_000)
    story.trade(account, BUY, 1, 100, fee=1_000 * DOLLAR)
    target = order(story, account, reduce_only=True, side=SELL)
    assert not judge(story, account, target).refusal


def test_reducing_orders_together_never_exceed_the_position(story: Story) -> None:
    account = story.account(usd=100)
    story.trade(account, BUY, 5, 1_500_000)
    order(story, account, reduce_only=True, side=SELL)
    order(story, account, reduce_only=True, side=SELL)
    third = story.do(
        "place_order", account=account, instrument=BTC_PERP, venue=NORTH, side=SELL, lots=2, limit_price=1_500_000,
        time_in_force=market_pb2.TIME_IN_FORCE_GTC, reduce_only=True,
    )  # fmt: skip
    assert (third.refusal, "at most 1 lots" in third.detail) == (words.REFUSAL_NOT_REDUCING, True)


@pytest.mark.parametrize(("side", "lots", "ok"), [(SELL, 100, True), (SELL, 101, False), (BUY, 1, False)])
def test_reducing_a_coin_balance_is_selling_what_is_there(
    story: Story, side: market_pb2.Side, lots: int, ok: bool
) -> None:
    story.lend(usd=1_000_000)
    account = story.account(usd=1_000)
    story.trade(account, BUY, 100, 1_500_000, instrument=BTC_SPOT)
    placed = story.do(
        "place_order", account=account, instrument=BTC_SPOT, venue=NORTH, side=side, lots=lots,
        limit_price=1_500_000, time_in_force=market_pb2.TIME_IN_FORCE_IOC, reduce_only=True,
    )  # fmt: skip
    assert (not placed.refusal) is ok


def test_reducing_a_coin_debt_is_buying_it_back_to_the_last_part_of_a_lot(story: Story) -> None:
    story.lend(btc=1)
    account = story.account(usd=10_000)
    story.trade(account, SELL, 10, 1_500_000, instrument=BTC_SPOT)
    story.do("confirm_deposit", account=account, asset=2, units=1)  # ten lots less one unit
    base = {"account": account, "instrument": BTC_SPOT, "venue": NORTH, "side": BUY, "limit_price": 1_500_000,
            "time_in_force": market_pb2.TIME_IN_FORCE_IOC, "reduce_only": True}  # fmt: skip
    fields: dict[str, Any] = base
    assert story.do("place_order", lots=11, **fields).refusal == words.REFUSAL_NOT_REDUCING
    assert not story.do("place_order", lots=10, **fields).refusal
    assert story.balance(account, 2, CASH) == 0
