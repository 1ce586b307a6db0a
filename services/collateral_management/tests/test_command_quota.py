"""A client's commands in a window of run time are bounded, nothing else is; the same journal gives the same count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.units import SECOND_NS
from services.collateral_management.tests.story import PARAMETERS, USD, Story

RULES = replace(PARAMETERS.ledger, command_window_ns=10 * SECOND_NS, commands_per_window_max=3)


@pytest.fixture
def bounded() -> Story:
    """A ledger that takes three commands of a client in ten seconds."""
    return Story(replace(PARAMETERS, ledger=RULES))


def withdraw(story: Story, account: int, *, sender: str = "alice") -> int:
    """Refusal of the next withdrawal."""
    return story.do("withdraw", sender=sender, account=account, asset=USD, units=1).refusal


def test_the_next_window_takes_more(bounded: Story) -> None:
    account = bounded.account(usd=1)  # one command of the client, one of the custodian
    assert [withdraw(bounded, account) for _ in range(3)] == [0, 0, words.REFUSAL_TOO_MANY_COMMANDS]
    bounded.pass_time(9)
    assert withdraw(bounded, account) == words.REFUSAL_TOO_MANY_COMMANDS
    bounded.pass_time(1)
    assert withdraw(bounded, account) == 0
    bounded.verify()


def test_refused_commands_count_and_those_beyond_the_bound_are_forgotten(bounded: Story) -> None:
    account = bounded.account(usd=1)
    for _ in range(2):
        assert bounded.do("withdraw", account=account, asset=99, units=1).refusal == words.REFUSAL_UNKNOWN_ASSET
    command = bounded.command("withdraw", account=account, asset=USD, units=1)
    assert bounded.send(command).refusal == words.REFUSAL_TOO_MANY_COMMANDS
    bounded.pass_time(10)
    again = bounded.send(command)  # the same key is free: nothing was decided
    assert (again.refusal, again.repeated) == (0, False)
    bounded.verify()


def test_repetitions_others_and_services_are_not_held_up(bounded: Story) -> None:
    account = bounded.account(usd=1)
    first = bounded.command("withdraw", account=account, asset=USD, units=1)
    bounded.send(first)
    withdraw(bounded, account)
    assert withdraw(bounded, account) == words.REFUSAL_TOO_MANY_COMMANDS
    assert bounded.send(first).repeated
    assert not bounded.do("confirm_deposit", account=account, asset=USD, units=5).refusal
    assert bounded.episode(account)
    assert not bounded.do("open_account", sender="bob", owner="bob").refusal
    bounded.verify()
