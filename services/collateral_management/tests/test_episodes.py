"""Liquidation episodes: opening restricts and reduces nothing, steps only reduce, closing needs the newest state."""

from __future__ import annotations

from typing import Any

import pytest

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount, account_id
from services.collateral_management.domain.state import CASH, DEBT, LOTS, RESERVED, SUPPLY
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    DOLLAR,
    NORTH,
    SELL,
    SOUTH,
    USD,
    Story,
    alerts,
    step_order,
)

PRICE = 1_500_000  # 15,000 USD
NOBODY = account_id(partition=0, entity=9_999, sub=0)
CANCELLED = words.REPORT_KIND_CANCELLED


def cite(story: Story, **changed: int) -> dict[str, Any]:
    """A citation of the state as it is, but for what is changed."""
    found = story.cite()
    for name, value in changed.items():
        setattr(found, name, value)
    return {"citation": found}


def in_trouble(story: Story) -> tuple[int, int]:
    """An account with ten lots long, and its new episode."""
    account = story.account(usd=100)
    story.trade(account, BUY, 10, PRICE)
    return account, story.episode(account)


# opening


def test_open_episode(story: Story) -> None:
    account = story.account(usd=1)
    first = story.episode(account)
    closed = story.do("close_episode", account=account, episode=first, outcome=words.EPISODE_STATE_HEALTHY,
                      citation=story.cite())  # fmt: skip
    assert not closed.refusal
    closed_at = story.sequence
    second = story.episode(account)

    def close() -> dict[str, Any]:
        story.do("close_episode", account=account, episode=second, outcome=words.EPISODE_STATE_HEALTHY,
                 citation=story.cite())  # fmt: skip
        return cite(story, journal_sequence=story.sequence)

    climb(
        story,
        "open_episode",
        {
            "account": NOBODY,
            "equity": 7,
            "maintenance_margin": 7,
            "citation": commands_pb2.Citation(journal_sequence=closed_at - 1),
        },
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"equity": 6}),
            (words.REFUSAL_CITES_EARLIER_STATE, lambda: cite(story, journal_sequence=story.sequence + 10)),
            (words.REFUSAL_CITES_EARLIER_STATE, lambda: cite(story, journal_sequence=closed_at, control_sequence=9)),
            (words.REFUSAL_CITES_OTHER_PARAMETERS, lambda: cite(story, journal_sequence=closed_at)),
            (words.REFUSAL_EPISODE_OPEN, close),
        ],
    )


def test_the_state_at_the_close_itself_opens_the_next_one(story: Story) -> None:
    account = story.account(usd=1)
    episode = story.episode(account)
    judged_before = story.cite()
    story.do("close_episode", account=account, episode=episode, outcome=words.EPISODE_STATE_HEALTHY,
             citation=story.cite())  # fmt: skip
    judged_at = story.cite()
    judged: dict[str, Any] = {"account": account, "equity": -1, "maintenance_margin": 0}
    stale = story.do("open_episode", citation=judged_before, **judged)
    assert stale.refusal == words.REFUSAL_CITES_EARLIER_STATE
    assert not story.do("open_episode", citation=judged_at, **judged).refusal


def test_opening_reduces_nothing_and_lets_nothing_more_out(story: Story) -> None:
    account = story.account(usd=100)
    story.trade(account, BUY, 10, PRICE)
    out = story.order(account, BUY, 1, PRICE)
    reducing = story.order(account, SELL, 2, PRICE, reduce_only=True)
    waiting = story.do("place_order", account=account, instrument=BTC_PERP, venue=NORTH, side=BUY, lots=1,
                       limit_price=PRICE, time_in_force=market_pb2.TIME_IN_FORCE_GTC).subject  # fmt: skip
    story.do("withdraw", account=account, asset=USD, units=40 * DOLLAR)
    opened = story.do("open_episode", account=account, equity=-5, maintenance_margin=7, citation=story.cite())
    episode = story.state.episodes[opened.subject]
    assert (episode.opened_sequence, episode.equity, episode.maintenance_margin) == (story.sequence, -5, 7)
    assert story.state.accounts[account].restricted
    assert story.balance(account, BTC_PERP, LOTS) == 10
    assert (story.balance(account, USD), story.balance(account, USD, RESERVED)) == (100 * DOLLAR, 0)
    assert [story.state.orders[one].state for one in (out, reducing)] == [words.ORDER_STATE_CANCELLING] * 2
    assert story.state.closed_orders[waiting].state == words.ORDER_STATE_VOIDED
    for name in ("withdraw", "supply"):
        refused = story.do(name, account=account, asset=USD, units=1)
        assert refused.refusal == words.REFUSAL_ACCOUNT_RESTRICTED


@pytest.mark.parametrize("reduce_only", [False, True])
def test_in_an_episode_the_owner_s_orders_are_refused_even_reducing_ones(story: Story, reduce_only: bool) -> None:
    account, _ = in_trouble(story)
    refused = story.do(
        "place_order", account=account, instrument=BTC_PERP, venue=NORTH, side=SELL, lots=1, limit_price=PRICE,
        time_in_force=market_pb2.TIME_IN_FORCE_IOC, reduce_only=reduce_only,
    )  # fmt: skip
    assert refused.refusal == words.REFUSAL_ACCOUNT_RESTRICTED


def test_an_owner_may_top_up_and_redeem_in_an_episode(story: Story) -> None:
    account = story.account(usd=100)
    story.do("supply", account=account, asset=USD, units=60 * DOLLAR)
    story.episode(account)
    assert not story.do("confirm_deposit", account=account, asset=USD, units=5 * DOLLAR).refusal
    assert story.balance(account, USD) == 105 * DOLLAR


def test_opening_brings_back_what_is_lent_as_far_as_the_pool_is_idle(story: Story) -> None:
    lender = story.account(usd=100)
    story.do("supply", account=lender, asset=USD, units=100 * DOLLAR)
    borrower = story.account(btc=1)
    story.trade(borrower, BUY, 1, 100, fee=30 * DOLLAR)
    story.episode(lender)
    assert (story.balance(lender, USD), story.balance(lender, USD, SUPPLY)) == (70 * DOLLAR, 30 * DOLLAR)


def test_what_is_lent_pays_the_lender_s_own_debt_without_idle_units(story: Story) -> None:
    account = story.account(usd=100)
    story.do("supply", account=account, asset=USD, units=100 * DOLLAR)
    story.trade(account, BUY, 1, 100, fee=100 * DOLLAR)  # borrows all that it lent itself
    assert (story.balance(account, USD, DEBT), story.balance(account, USD, SUPPLY)) == (100 * DOLLAR, 100 * DOLLAR)
    story.episode(account)
    assert [story.balance(account, USD, kind) for kind in (CASH, DEBT, SUPPLY)] == [0, 0, 0]


# steps


def test_step_episode(story: Story) -> None:
    account, episode = in_trouble(story)
    other = story.account("bob", usd=1)
    others = story.episode(other)
    opened_at = story.state.episodes[episode].opened_sequence
    [first] = story.step(account, episode, step_order(SELL, 1, PRICE))
    sell = step_order(SELL, 3, PRICE)

    def finish() -> dict[str, Any]:
        story.fill(first, 1, PRICE)
        return cite(story, journal_sequence=opened_at)

    climb(
        story,
        "step_episode",
        {"account": account, "episode": others, "step": 3, "orders": [], "citation": None},
        [
            (words.REFUSAL_UNKNOWN_EPISODE, {"episode": episode}),
            (words.REFUSAL_STEP_OUT_OF_ORDER, {"step": 1}),
            (words.REFUSAL_STEP_OUT_OF_ORDER, {"step": 2}),
            (words.REFUSAL_ORDERS_ALIVE, finish),
            (words.REFUSAL_CITES_EARLIER_STATE, lambda: cite(story, control_sequence=9)),  # the fill came after it
            (words.REFUSAL_CITES_OTHER_PARAMETERS, lambda: cite(story)),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"orders": [sell] * 33}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"orders": [sell, step_order(SELL, 1, PRICE, instrument=99)]}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"orders": [sell, step_order(SELL, 1, PRICE, venue=9)]}),
            (words.REFUSAL_UNKNOWN_VENUE, {"orders": [step_order(SELL, 0, PRICE)]}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"orders": [step_order(SELL, 1, 0)]}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"orders": [step_order(market_pb2.SIDE_UNSPECIFIED, 1, PRICE)]}),
            (words.REFUSAL_NOT_REDUCING, {"orders": [step_order(BUY, 1, PRICE)]}),
            (words.REFUSAL_NOT_REDUCING, {"orders": [step_order(SELL, 10, PRICE)]}),
            (words.REFUSAL_NOT_REDUCING, {"orders": [sell, sell, sell, step_order(SELL, 1, PRICE)]}),
            (words.REFUSAL_NOT_REDUCING, {"orders": [sell, step_order(SELL, 6, PRICE, venue=SOUTH)]}),
        ],
    )


def test_a_step_s_orders_are_released_by_the_frame_that_journals_them(story: Story) -> None:
    account, episode = in_trouble(story)
    [order] = story.step(account, episode, step_order(SELL, 4, PRICE))
    released = story.state.orders[order]
    assert released.state == words.ORDER_STATE_RELEASED
    assert (released.episode, released.step, released.reduce_only) == (episode, 1, True)
    assert released.time_in_force == market_pb2.TIME_IN_FORCE_IOC
    assert released.send_by_ns == story.now_ns + story.parameters.ledger.send_by_ns
    assert story.state.episodes[episode].step == 1


def test_the_first_step_may_cite_the_opening_itself_and_nothing_before(story: Story) -> None:
    account = story.account(usd=100)
    story.trade(account, BUY, 10, PRICE)
    before = story.cite()
    episode = story.episode(account)
    fields: dict[str, Any] = {
        "account": account, "episode": episode, "step": 1, "orders": [step_order(SELL, 1, PRICE)],
    }  # fmt: skip
    assert story.do("step_episode", citation=before, **fields).refusal == words.REFUSAL_CITES_EARLIER_STATE
    assert not story.do("step_episode", **cite(story, journal_sequence=story.sequence - 1), **fields).refusal


def test_a_cancelled_step_needs_no_newer_state_than_the_last_fill(story: Story) -> None:
    account, episode = in_trouble(story)
    judged = story.cite()
    [order] = story.step(account, episode, step_order(SELL, 4, PRICE))
    story.report(order, CANCELLED)
    again = story.do(
        "step_episode", account=account, episode=episode, step=2, orders=[step_order(SELL, 4, PRICE)], citation=judged
    )
    assert not again.refusal


def test_a_fill_of_an_episode_pays_the_liquidation_fee_to_the_insurance_fund(story: Story) -> None:
    account, episode = in_trouble(story)
    [order] = story.step(account, episode, step_order(SELL, 4, PRICE))
    filled = story.fill(order, 4, PRICE, fee=3)
    fee = 60 * DOLLAR * story.parameters.ledger.liquidation_fee // 10**6
    assert story.balance(account, USD) == 100 * DOLLAR - fee - 3
    assert story.balance(story.house(SystemAccount.INSURANCE), USD) == fee
    told = next(effect.fill for effect in filled.effects if effect.HasField("fill"))
    assert (told.episode, told.fee_units, told.liquidation_fee_units) == (episode, 3, fee)
    assert story.state.episodes[episode].last_fill_sequence == story.sequence


def test_a_late_fill_after_the_close_still_pays_and_touches_no_closed_episode(story: Story) -> None:
    account, episode = in_trouble(story)
    [order] = story.step(account, episode, step_order(SELL, 4, PRICE))
    story.report(order, CANCELLED)
    story.do("close_episode", account=account, episode=episode, outcome=words.EPISODE_STATE_HEALTHY,
             citation=story.cite())  # fmt: skip
    assert alerts(story.fill(order, 4, PRICE)) == ["overfill"]
    assert (story.balance(account, BTC_PERP, LOTS), story.state.episodes) == (6, {})


def test_an_owner_can_not_cancel_the_orders_of_an_episode(story: Story) -> None:
    account, episode = in_trouble(story)
    [order] = story.step(account, episode, step_order(SELL, 4, PRICE))
    assert story.do("cancel_order", account=account, order=order).refusal == words.REFUSAL_UNKNOWN_ORDER


def test_a_step_buys_a_coin_debt_back_and_sells_coins(story: Story) -> None:
    story.lend(btc=1, usd=100_000)
    short, long = story.account(usd=100), story.account("bob", usd=100)
    story.trade(short, SELL, 10, PRICE, instrument=BTC_SPOT)
    story.trade(long, BUY, 10, PRICE, instrument=BTC_SPOT, sender="bob")
    for account, side in ((short, BUY), (long, SELL)):
        episode = story.episode(account)
        [order] = story.step(account, episode, step_order(side, 10, PRICE, instrument=BTC_SPOT))
        story.fill(order, 10, PRICE)
        assert (story.balance(account, BTC), story.balance(account, BTC, DEBT)) == (0, 0)


# closing


def test_close_episode(story: Story) -> None:
    account, episode = in_trouble(story)
    story.do("confirm_deposit", account=account, asset=BTC, units=1)
    opened_at = story.state.episodes[episode].opened_sequence
    [order] = story.step(account, episode, step_order(SELL, 10, PRICE))

    def finish() -> dict[str, Any]:
        story.fill(order, 10, PRICE)
        return cite(story, journal_sequence=opened_at)

    climb(
        story,
        "close_episode",
        {"account": account, "episode": 999, "outcome": words.EPISODE_STATE_OPEN, "citation": None},
        [
            (words.REFUSAL_UNKNOWN_EPISODE, {"episode": episode}),
            (words.REFUSAL_ORDERS_ALIVE, finish),
            (words.REFUSAL_CITES_EARLIER_STATE, lambda: cite(story, control_sequence=9)),
            (words.REFUSAL_CITES_OTHER_PARAMETERS, lambda: cite(story)),
            (words.REFUSAL_UNKNOWN_EPISODE, {"outcome": words.EPISODE_STATE_EMPTIED}),
            (words.REFUSAL_ASSETS_LEFT, {"outcome": words.EPISODE_STATE_HEALTHY}),
        ],
    )  # fmt: skip
    attributes = story.state.accounts[account]
    assert (attributes.episode, attributes.restricted) == (0, False)
    assert story.state.closed_sequence[account] == story.sequence


def test_a_closed_episode_takes_no_more_steps(story: Story) -> None:
    account, episode = in_trouble(story)
    close: dict[str, Any] = {"account": account, "episode": episode, "outcome": words.EPISODE_STATE_HEALTHY}
    assert not story.do("close_episode", citation=story.cite(), **close).refusal
    assert story.do("close_episode", citation=story.cite(), **close).refusal == words.REFUSAL_UNKNOWN_EPISODE
    late = story.do("step_episode", account=account, episode=episode, step=1, orders=[step_order(SELL, 1, PRICE)],
                    citation=story.cite())  # fmt: skip
    assert late.refusal == words.REFUSAL_UNKNOWN_EPISODE
    shortfall = story.do("resolve_shortfall", account=account, episode=episode)
    assert shortfall.refusal == words.REFUSAL_UNKNOWN_EPISODE


def test_an_overdrawn_account_stays_restricted_when_its_episode_closes(story: Story) -> None:
    account = story.account(usd=1)
    story.trade(account, BUY, 1, 100, fee=100 * DOLLAR)
    episode = story.episode(account)
    story.do("close_episode", account=account, episode=episode, outcome=words.EPISODE_STATE_HEALTHY,
             citation=story.cite())  # fmt: skip
    assert story.state.accounts[account].restricted
    story.do("confirm_deposit", account=account, asset=USD, units=100 * DOLLAR)
    assert not story.state.accounts[account].restricted


def test_repaying_an_overdraft_in_an_episode_does_not_lift_the_restriction(story: Story) -> None:
    account = story.account(usd=1)
    story.trade(account, BUY, 1, 100, fee=100 * DOLLAR)
    story.episode(account)
    story.do("confirm_deposit", account=account, asset=USD, units=100 * DOLLAR)
    assert story.state.accounts[account].restricted
