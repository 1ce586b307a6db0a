"""A distribution counts every unit once, whichever partitions it goes through before, between and after their cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2 as words
from services.collateral_management.tests.story import BTC, BUY, COIN, LTC, Story
from services.collateral_management.tests.test_conversions import FORK
from services.collateral_management.tests.town import Town, new_id

PARTITIONS = 3


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions, an account of alice's in each, three coins in the first one; judged at the end."""
    told = Town(PARTITIONS)
    for story in told.stories:
        story.account(btc=3 if story.partition == 0 else 0)
    yield told
    told.verify()


def first(story: Story) -> int:
    """The first account of a partition."""
    return next(iter(story.state.accounts))


def begin(town: Town, *partitions: int) -> None:
    """The distribution begins there."""
    for one in partitions:
        assert not town[one].do("distribute", **FORK).refusal


def credited(town: Town) -> int:
    """Units that clients hold of what is credited."""
    return sum(story.balance(account, LTC) for story in town.stories for account in story.state.accounts)


def transfer(town: Town, *, units: int = 3 * COIN, to: int = 1) -> words.Refusal:
    """Why coins may not go from the first partition; unspecified when they have left."""
    source = first(town[0])
    made = town.do("transfer", account=source, to_account=first(town[to]), asset=BTC, units=units)
    if made.refusal:
        return made.refusal
    judged = town.do("verdict", account=source, reservation=made.subject, settle=True, citation=town[0].cite())
    assert not judged.refusal
    return next(one.reservation.reason for one in judged.effects if one.HasField("reservation"))


def test_what_was_counted_here_does_not_go_where_it_would_be_counted_again(town: Town) -> None:
    begin(town, 0)
    assert transfer(town) == words.REFUSAL_SWEEP_OPEN
    town.relay()
    begin(town, 1)
    town.relay()
    assert transfer(town) == words.REFUSAL_SWEEP_OPEN  # from there it could go on to the third
    begin(town, 2)
    town.relay()
    assert transfer(town) == words.REFUSAL_UNSPECIFIED
    town.relay()
    assert credited(town) == COIN


def test_a_transfer_that_was_reserved_before_the_cut_comes_back(town: Town) -> None:
    source = first(town[0])
    made = town.do("transfer", account=source, to_account=first(town[1]), asset=BTC, units=3 * COIN)
    begin(town, 0)
    town.do("verdict", account=source, reservation=made.subject, settle=True, citation=town[0].cite())
    assert (town[0].balance(source, BTC), town[0].balance(source, LTC)) == (3 * COIN, COIN)
    begin(town, 1, 2)
    town.relay()
    assert credited(town) == COIN


def test_what_is_on_its_way_over_both_cuts_is_credited_where_it_arrives(town: Town) -> None:
    assert transfer(town) == words.REFUSAL_UNSPECIFIED
    begin(town, 0, 1, 2)
    town.relay()
    assert (credited(town), town[1].balance(first(town[1]), LTC)) == (COIN, COIN)


def test_what_comes_back_over_the_cut_is_credited_where_it_came_from(town: Town) -> None:
    town[1].do("close_account", account=first(town[1]))
    assert transfer(town) == words.REFUSAL_UNSPECIFIED
    begin(town, 1)
    town.arrive(town.pending()[0])  # to suspense, and back
    begin(town, 0, 2)
    town.relay()
    assert (credited(town), town[0].balance(first(town[0]), LTC)) == (COIN, COIN)


def test_an_entity_waits_for_the_last_partition_and_is_credited_once(town: Town) -> None:
    account = first(town[0])
    order = town[0].order(account, BUY, 1, 100)
    assert not town.do("move_entity", account=account, to_partition=2).refusal  # waits for its order
    begin(town, 0)
    town[0].report(order, words.REPORT_KIND_CANCELLED)
    town.relay()
    assert not town[0].state.accounts[account].moved_out
    begin(town, 1, 2)
    town.relay()
    assert town[2].balance(new_id(town, account), BTC) == 3 * COIN
    assert credited(town) == COIN
    begun = town.do("move_entity", account=new_id(town, account), to_partition=1)
    assert not begun.refusal


def test_an_entity_with_what_was_counted_here_does_not_begin_to_move(town: Town) -> None:
    begin(town, 0)
    assert town.do("move_entity", account=first(town[0]), to_partition=2).refusal == words.REFUSAL_SWEEP_OPEN


deeds = st.lists(
    st.tuples(
        st.sampled_from(("transfer", "move", "begin", "arrive", "arrive", "arrive")),
        st.integers(0, 8),
        st.integers(0, 8),
    ),
    max_size=40,
)


@given(deeds)
@settings(max_examples=150)
def test_i1_every_coin_is_counted_exactly_once(steps: Sequence[tuple[str, int, int]]) -> None:
    town = Town(PARTITIONS)
    for story in town.stories:
        story.account(btc=3)
    for what, a, b in steps:
        _act(town, what, a, b)
    for story in town.stories:
        if 1 not in story.state.lifecycle.distributions:
            begin(town, story.partition)
    town.relay()
    assert (credited(town), town.pending()) == (PARTITIONS * COIN, [])
    town.verify()


def _act(town: Town, what: str, a: int, b: int) -> None:
    accounts = [one for story in town.stories for one in sorted(story.state.accounts)]
    source, target = accounts[a % len(accounts)], accounts[b % len(accounts)]
    own: dict[str, Any] = {"account": source}
    match what:
        case "transfer":
            made = town.do("transfer", to_account=target, asset=BTC, units=3 * COIN, **own)
            if not made.refusal:
                cite = town.of(source).cite()
                town.do("verdict", reservation=made.subject, settle=True, citation=cite, **own)
        case "move":
            town.do("move_entity", to_partition=b % PARTITIONS, **own)
        case "begin":
            if 1 not in town[a % PARTITIONS].state.lifecycle.distributions:
                begin(town, a % PARTITIONS)
        case _:
            ready = [one for one in town.pending() if not town.has(one)]
            if ready:
                pair = (ready[a % len(ready)].from_partition, ready[a % len(ready)].to_partition)
                assert not town.arrive(
                    next(one for one in ready if (one.from_partition, one.to_partition) == pair)
                ).refusal
