"""Keys: a repetition gets the first outcome and changes nothing; sessions, unary keys and facts each by their rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common import commands as edge
from libs.common.ids import SystemAccount
from services.collateral_management.domain.ledger import request_hash
from services.collateral_management.domain.remembered import SESSIONS_MAX
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, USD, Story, alerts, content

HOUR = 3_600
SESSION = b"k" * 16


def on_session(story: Story, n: int, *, session: bytes = SESSION, owner: str = "alice") -> commands_pb2.Command:
    """An opening of an account under a session key."""
    command = story.command("open_account", sender=owner, owner=owner)
    command.session.session, command.session.n = session, n
    return command


def unary(story: Story, key: str, *, issued_at_ns: int | None = None, owner: str = "alice") -> commands_pb2.Command:
    """An opening of an account under a unary key."""
    command = story.command("open_account", sender=owner, owner=owner)
    command.client.key = key
    command.client.issued_at_ns = story.now_ns if issued_at_ns is None else issued_at_ns
    return command


def deposit_fact(
    story: Story, account: int, sequence: int, previous: int, *, units: int = DOLLAR, stream: str = "bank"
) -> commands_pb2.Command:
    """A confirmed deposit as a fact."""
    command = story.command("confirm_deposit", account=account, asset=USD, units=units)
    command.fact.stream, command.fact.sequence, command.fact.previous = stream, sequence, previous
    return command


def small(story: Story, **rules: Any) -> None:
    """Gives the story smaller bounds."""
    story.parameters = replace(story.parameters, ledger=replace(story.parameters.ledger, **rules))


# every kind of key


@pytest.mark.parametrize("kind", ["session", "client", "fact"])
def test_a_repetition_gets_the_first_outcome_and_changes_nothing(story: Story, kind: str) -> None:
    account = story.account()
    command = {
        "session": on_session(story, 1),
        "client": unary(story, "k"),
        "fact": deposit_fact(story, account, 1, 0),
    }[kind]
    first = story.send(command)
    before = content(story.state)["accounts"], story.balance(account, USD)
    again = story.send(command)
    assert (first.repeated, again.repeated) == (False, True)
    assert not again.effects
    assert kind == "fact" or again.subject == first.subject
    assert before == (content(story.state)["accounts"], story.balance(account, USD))


def test_a_repeated_refusal_is_the_first_refusal_even_when_it_would_now_be_accepted(story: Story) -> None:
    account = story.account()
    withdrawal = story.command("withdraw", account=account, asset=USD, units=5)
    first = story.send(withdrawal)
    story.do("confirm_deposit", account=account, asset=USD, units=5)
    again = story.send(withdrawal)
    assert first.refusal == again.refusal == words.REFUSAL_INSUFFICIENT_BALANCE
    assert (again.detail, again.repeated) == (first.detail, True)


def test_two_in_one_frame_are_one(story: Story) -> None:
    command = on_session(story, 1)
    again = story.send(command, command)
    assert again.repeated
    assert len(story.state.accounts) == 1


@pytest.mark.parametrize("kind", ["session", "client"])
def test_a_key_with_another_request_is_refused(story: Story, kind: str) -> None:
    first = on_session(story, 1) if kind == "session" else unary(story, "k")
    other = on_session(story, 1) if kind == "session" else unary(story, "k")
    other.open_account.entity = 5
    story.send(first)
    assert story.send(other).refusal == words.REFUSAL_KEY_REUSED
    assert story.send(first).repeated


def test_a_command_without_key_is_refused(story: Story) -> None:
    command = commands_pb2.Command(open_account=commands_pb2.OpenAccount(owner="alice"))
    command.principal.id, command.principal.role = "alice", words.ROLE_CLIENT
    assert story.send(command).refusal == words.REFUSAL_KEY_EXPIRED


def test_the_hash_of_a_request_is_the_edge_s(story: Story) -> None:
    account = story.account()
    for command in (on_session(story, 1), unary(story, "k"), deposit_fact(story, account, 1, 0)):
        assert request_hash(command) == edge.request_hash(command)
        assert story.send(command).request_hash == edge.request_hash(command)


# sessions


def test_a_session_s_numbers_may_leave_gaps_but_never_go_back(story: Story) -> None:
    assert not story.send(on_session(story, 10)).refusal
    assert not story.send(on_session(story, 30)).refusal
    assert story.send(on_session(story, 20)).refusal == words.REFUSAL_KEY_EXPIRED
    assert len(story.state.accounts) == 2


def test_outcomes_below_the_window_are_expired_not_applied_again(story: Story) -> None:
    small(story, session_outcomes=16)
    sent = [on_session(story, n) for n in range(1, 21)]
    for command in sent:
        story.send(command)
    assert [story.send(command).repeated for command in sent] == [False] * 4 + [True] * 16
    assert [story.send(command).refusal for command in sent[:4]] == [words.REFUSAL_KEY_EXPIRED] * 4
    assert len(story.state.accounts) == 20


@pytest.mark.parametrize(("session", "n"), [(b"short", 1), (b"l" * 17, 1), (b"", 1), (SESSION, 0)])
def test_a_malformed_session_key_is_refused(story: Story, session: bytes, n: int) -> None:
    assert story.send(on_session(story, n, session=session)).refusal == words.REFUSAL_KEY_EXPIRED


def test_sessions_of_one_principal_never_push_out_another_s(story: Story) -> None:
    alice = on_session(story, 1)
    story.send(alice)
    for each in range(SESSIONS_MAX + 5):
        story.send(on_session(story, 1, session=each.to_bytes(16, "big"), owner="mallory"))
    assert story.send(alice).repeated
    assert len(story.state.sessions["mallory"]) == SESSIONS_MAX


def test_the_same_session_of_two_principals_is_two_sessions(story: Story) -> None:
    story.send(on_session(story, 5))
    assert not story.send(on_session(story, 1, owner="bob")).refusal


# unary keys


def test_unary_keys_live_for_the_horizon(story: Story) -> None:
    command = unary(story, "k")
    story.send(command)
    story.pass_time(24 * HOUR)
    assert story.send(command).repeated
    story.pass_time(1)
    assert story.send(command).refusal == words.REFUSAL_KEY_EXPIRED
    assert len(story.state.accounts) == 1
    assert not story.send(unary(story, "k")).refusal  # a new request under an old name


def test_a_unary_key_issued_far_ahead_is_refused(story: Story) -> None:
    horizon_ns = story.parameters.ledger.key_horizon_ns
    assert not story.send(unary(story, "k", issued_at_ns=story.now_ns + horizon_ns)).refusal
    refused = story.send(unary(story, "l", issued_at_ns=story.now_ns + horizon_ns + 1))
    assert refused.refusal == words.REFUSAL_KEY_EXPIRED


@pytest.mark.parametrize(("key", "ok"), [("", False), ("k" * 64, True), ("k" * 65, False), ("ö" * 33, False)])
def test_a_unary_key_has_1_to_64_bytes(story: Story, key: str, ok: bool) -> None:
    assert (not story.send(unary(story, key)).refusal) is ok


def test_live_unary_keys_are_bounded_by_principal(story: Story) -> None:
    small(story, client_keys_max=3)
    keys = [unary(story, str(n)) for n in range(3)]
    for command in keys:
        assert not story.send(command).refusal
    story.pass_time(HOUR)
    assert story.send(unary(story, "more")).refusal == words.REFUSAL_TOO_MANY_KEYS
    assert story.send(keys[0]).repeated
    assert not story.send(unary(story, "more", owner="bob")).refusal
    story.pass_time(24 * HOUR)
    assert not story.send(unary(story, "more")).refusal
    assert list(story.state.client_keys["alice"]) == ["more"]


def test_an_expired_key_issued_anew_is_the_youngest(story: Story) -> None:
    small(story, client_keys_max=3)
    for key in "abc":
        story.send(unary(story, key))
        story.pass_time(12 * HOUR)
    assert list(story.state.client_keys["alice"]) == ["a", "b", "c"]
    assert not story.send(unary(story, "a")).refusal
    assert list(story.state.client_keys["alice"]) == ["b", "c", "a"]


# facts


def test_facts_apply_in_order_without_a_gap(story: Story) -> None:
    account = story.account()
    assert not story.send(deposit_fact(story, account, 7, 0)).refusal  # numbers of one partition may leave gaps
    gap = story.send(deposit_fact(story, account, 12, 9))
    assert gap.refusal == words.REFUSAL_GAP
    assert not story.send(deposit_fact(story, account, 9, 7)).refusal
    assert not story.send(deposit_fact(story, account, 12, 9)).refusal
    assert story.send(deposit_fact(story, account, 8, 7)).repeated
    assert story.balance(account, USD) == 3 * DOLLAR
    assert story.state.streams == {"bank": 12}


def test_streams_do_not_disturb_each_other(story: Story) -> None:
    account = story.account()
    story.send(deposit_fact(story, account, 3, 0))
    assert not story.send(deposit_fact(story, account, 1, 0, stream="other bank")).refusal


def test_a_fact_that_cannot_be_applied_is_parked_and_its_stream_goes_on(story: Story) -> None:
    account = story.account()
    parked = story.send(deposit_fact(story, account + 77, 1, 0))
    assert not parked.refusal
    assert alerts(parked) == ["fact_in_suspense"]
    assert str(account + 77) in parked.effects[-1].alert.detail
    assert story.balance(story.house(SystemAccount.SUSPENSE), USD) == DOLLAR
    assert not story.send(deposit_fact(story, account, 2, 1)).refusal
    assert story.send(deposit_fact(story, account + 77, 1, 0)).repeated
    assert story.balance(story.house(SystemAccount.SUSPENSE), USD) == DOLLAR


@pytest.mark.parametrize("fault", [{"asset": 99}, {"units": 0}, {"units": -5}])
def test_a_parked_deposit_that_is_no_amount_moves_nothing(story: Story, fault: dict[str, int]) -> None:
    account = story.account()
    command = deposit_fact(story, account, 1, 0)
    for name, value in fault.items():
        setattr(command.confirm_deposit, name, value)
    assert alerts(story.send(command)) == ["fact_in_suspense"]
    assert not [one for _, one in story.state.all_lines() if one]


def test_who_may_not_post_a_fact_does_not_move_its_stream(story: Story) -> None:
    account = story.account()
    forged = deposit_fact(story, account, 10**15, 0)
    forged.principal.id, forged.principal.role = "mallory", words.ROLE_CLIENT
    assert story.send(forged).refusal == words.REFUSAL_NOT_AUTHORISED
    assert not story.send(deposit_fact(story, account, 1, 0)).refusal
    assert story.state.streams == {"bank": 1}


@pytest.mark.parametrize("name", ["supply", "withdraw", "move_capital"])
@pytest.mark.parametrize("stream", ["transit/1", "venue/north", "bank"])
def test_no_intent_moves_the_mark_of_a_stream(story: Story, name: str, stream: str) -> None:
    account = story.account(usd=10)
    story.fund(SystemAccount.INSURANCE, usd=10)
    account = story.house(SystemAccount.INSURANCE) if name == "move_capital" else account
    command = story.command(name, account=account, asset=USD, units=5)
    command.fact.stream, command.fact.sequence = stream, 10**9
    assert story.send(command).refusal == words.REFUSAL_NOT_AUTHORISED
    assert story.state.streams == {}


@pytest.mark.parametrize("stream", ["transit/1", "venue/north", "gateway/north", "notice/north"])
def test_the_custodian_does_not_move_the_mark_of_another_service_s_stream(story: Story, stream: str) -> None:
    forged = deposit_fact(story, story.account(), 10**9, 0, stream=stream)
    assert story.send(forged).refusal == words.REFUSAL_NOT_AUTHORISED
    assert story.state.streams == {}


def test_a_venue_s_report_for_an_unknown_order_is_kept_as_an_alert(story: Story) -> None:
    unknown = story.report(12_345, words.REPORT_KIND_FILL, lots=3, price=100)
    assert alerts(unknown) == ["unknown_order"]
    assert "12345" in unknown.effects[0].alert.detail
    account = story.account(usd=10)
    assert alerts(story.trade(account, BUY, 1, 100, instrument=BTC_PERP)) == []
    assert story.state.streams == {"venue/north": 2}
