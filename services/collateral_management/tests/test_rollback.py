"""A command that raises leaves no trace but its outcome, and the partition goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import InvariantBroken
from libs.common.ids import SystemAccount, system_account
from libs.common.parameters import GuardRules
from services.collateral_management.domain import ledger
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, SUPPLY
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, USD, Story, alerts, content

HUGE = 2**62


def held(story: Story) -> dict[str, object]:
    """Everything but what keys remember."""
    found = content(story.state)
    for name in ("sessions", "client_keys", "streams", "windows"):
        del found[name]
    return {name: repr(value) for name, value in found.items()}


def test_a_line_beyond_63_bits_refuses_the_intent_and_rolls_it_back(story: Story) -> None:
    account, other = story.account(), story.account("bob")
    assert not story.do("confirm_deposit", account=account, asset=USD, units=HUGE).refusal
    before = held(story)
    refused = story.do("confirm_deposit", account=other, asset=USD, units=HUGE)
    assert refused.refusal == words.REFUSAL_INTERNAL
    assert "OverflowError" in refused.detail
    assert held(story) == before
    assert not story.do("confirm_deposit", account=other, asset=USD, units=5).refusal


def test_a_fact_beyond_63_bits_is_parked_and_its_stream_goes_on(story: Story) -> None:
    account = story.account(usd=10)
    order = story.order(account, BUY, 5, 100)
    before = held(story)
    parked = story.fill(order, 1, 100, fee=-(2**63))
    assert (parked.refusal, alerts(parked)) == (0, ["fact_in_suspense"])
    assert all(word in parked.effects[0].alert.detail for word in ("venue/north/1", "INTERNAL"))
    assert held(story) == before
    story.fill(order, 5, 100)
    assert story.state.streams == {"venue/north": 2}
    assert story.balance(account, BTC_PERP, 6) == 5


def test_a_deposit_that_not_even_suspense_can_hold_is_an_alert(story: Story) -> None:
    account = story.account()
    story.do("confirm_deposit", account=account, asset=USD, units=HUGE)
    command = story.command("confirm_deposit", account=account, asset=USD, units=HUGE)
    command.fact.stream, command.fact.sequence = "bank", 1
    assert alerts(story.send(command)) == ["fact_in_suspense"]
    assert story.balance(story.house(SystemAccount.SUSPENSE), USD) == 0


@pytest.mark.parametrize("error", [OverflowError, KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError])
def test_whatever_a_handler_raises_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch, story: Story, error: type[Exception]
) -> None:
    def broken(draft: Draft, body: commands_pb2.Supply, _: commands_pb2.Principal) -> int | Refused:
        draft.post(body.account, body.asset, CASH, -1)
        draft.new_id()
        raise error("by the test")

    account = story.account(usd=1)
    before = held(story)
    monkeypatch.setitem(ledger.HANDLERS, "supply", (broken, frozenset(("client",))))
    refused = story.do("supply", account=account, asset=USD, units=1)
    assert (refused.refusal, refused.detail) == (words.REFUSAL_INTERNAL, f"{error.__name__}: {error('by the test')}")
    assert held(story) == before
    assert not story.do("withdraw", account=account, asset=USD, units=1).refusal


def test_postings_that_do_not_cancel_stop_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(draft: Draft, body: commands_pb2.Supply, _: commands_pb2.Principal) -> int | Refused:
        draft.post(body.account, body.asset, CASH, -1)
        return body.account

    story = Story()
    account = story.account(usd=1)
    before = held(story)
    monkeypatch.setitem(ledger.HANDLERS, "supply", (broken, frozenset(("client",))))
    with pytest.raises(InvariantBroken, match="I1"):
        story.do("supply", account=account, asset=USD, units=1)
    assert held(story) == before


@pytest.mark.parametrize("lacking", [1, 2])
def test_a_pool_that_gives_what_it_has_not_stops_the_partition(monkeypatch: pytest.MonkeyPatch, lacking: int) -> None:
    def broken(draft: Draft, body: commands_pb2.Supply, _: commands_pb2.Principal) -> int | Refused:
        pool = system_account(SystemAccount.POOL, partition=0, index=USD)
        draft.move(debit=pool, credit=body.account, asset=USD, kind=CASH, units=body.units)
        if lacking == 2:  # the claim covers it, but the pool is not idle
            draft.move(debit=body.account, credit=pool, asset=USD, kind=SUPPLY, units=body.units)
        return body.account

    story = Story()
    lender = story.lend(usd=10)
    story.trade(story.account(btc=1), BUY, 1, 100, fee=6 * DOLLAR)
    monkeypatch.setitem(ledger.HANDLERS, "supply", (broken, frozenset(("client",))))
    with pytest.raises(InvariantBroken, match="I2"):
        story.do("supply", sender="lender", account=lender, asset=USD, units=(4 if lacking == 1 else 5) * DOLLAR)


def test_effects_that_no_frame_holds_are_refused(monkeypatch: pytest.MonkeyPatch, story: Story) -> None:
    for _ in range(5):
        story.trade(story.account(usd=10), BUY, 1, 1_500_000)
    monkeypatch.setattr(ledger, "EFFECTS_BYTES_MAX", 500)
    before = held(story)
    refused = story.do("settle_variation", instrument=BTC_PERP, tick=1, price=1_000_000)
    assert refused.refusal == words.REFUSAL_TOO_LARGE
    assert held(story) == before


def test_what_is_said_of_a_refusal_is_bounded(story: Story) -> None:
    refused = story.do("open_account", owner="o" * 60, sender="s" * 5_000)
    assert refused.refusal == words.REFUSAL_NOT_AUTHORISED
    assert len(refused.detail) <= 300


def test_balances_up_to_the_edge_are_exact(story: Story) -> None:
    story.parameters = replace(story.parameters, guards=GuardRules())
    account = story.account()
    story.do("confirm_deposit", account=account, asset=USD, units=2**63 - 1)
    assert story.balance(account, USD) == 2**63 - 1
    story.do("withdraw", account=account, asset=USD, units=2**63 - 1)
    assert story.balance(account, USD) == 0
