"""Movements between partitions: transfers, forwarding, returns; in-transit is what is on its way, to the unit (I15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ballast.events.v1 import movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id
from services.collateral_management.domain.state import CASH, RESERVED
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import DOLLAR, USD, alerts
from services.collateral_management.tests.town import Town, arrival, house


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions, judged at the end."""
    told = Town()
    yield told
    told.verify()


def kinds(town: Town) -> list[int]:
    """What is pending, by kind."""
    return [one.kind for one in town.pending()]


def test_a_transfer_leaves_with_its_verdict_and_arrives(town: Town) -> None:
    here, there = town[0].account(usd=100), town[1].account()
    town.settle_transfer(here, there, USD, 30 * DOLLAR)
    assert (town[0].balance(here, USD), town[0].balance(here, USD, RESERVED)) == (70 * DOLLAR, 0)
    assert town.in_transit() == {(USD, CASH): 30 * DOLLAR}
    assert kinds(town) == [words.MOVEMENT_KIND_TRANSFER]
    town.relay()
    assert town[1].balance(there, USD) == 30 * DOLLAR
    assert (town.in_transit(), town.pending()) == ({}, [])


def test_what_is_told_twice_arrives_once_and_what_is_told_early_waits(town: Town) -> None:
    here, there = town[0].account(usd=100), town[1].account()
    town.settle_transfer(here, there, USD, 1)
    town.settle_transfer(here, there, USD, 2)
    first, second = town.pending()
    assert town.arrive(second).refusal == words.REFUSAL_GAP
    assert not town.arrive(first).refusal
    assert town.arrive(first).repeated
    town.relay(confirm=False)
    assert town[1].balance(there, USD) == 3
    assert len(town.pending()) == 2
    assert not town.confirm(0, 1, 2).refusal
    assert town.pending() == []
    again = town.confirm(0, 1, 1)
    assert (again.refusal, list(again.effects)) == (0, [])


@pytest.mark.parametrize("who", ["nobody", "another owner"])
def test_what_nobody_there_can_take_comes_back(town: Town, who: str) -> None:
    here, stranger = town[0].account(usd=100), town[1].account("bob")
    to = stranger if who == "another owner" else account_id(partition=1, entity=77, sub=0)
    town.settle_transfer(here, to, USD, 30 * DOLLAR)
    [out] = town.pending()
    assert alerts(town.arrive(out)) == ["transfer_returned"]
    assert town.in_transit() == {(USD, CASH): 30 * DOLLAR}
    town.relay()
    assert town[0].balance(here, USD) == 100 * DOLLAR
    assert town[1].balance(house(SystemAccount.SUSPENSE, 1), USD) == 0


def test_what_comes_back_for_nobody_stays_in_suspense_with_an_alert(town: Town) -> None:
    lost = account_id(partition=0, entity=9, sub=0)
    line = movement_pb2.MovedLine(asset=USD, kind=CASH, units=5)
    back = movement_pb2.Movement(
        from_partition=1, to_partition=0, sequence=1, kind=words.MOVEMENT_KIND_RETURN, to_account=lost, lines=[line]
    )
    town[1].state.movements[0, 1] = back  # as if it had been sent; partition 1 is not judged
    assert alerts(town[0].send(arrival(back))) == ["fact_in_suspense"]
    assert town[0].balance(house(SystemAccount.SUSPENSE, 0), USD) == 5
    town.stories = [town[0]]
    town[0].verify()
    town.stories = []


def test_an_arrival_that_no_build_knows_stays_in_suspense(town: Town) -> None:
    here, there = town[0].account(usd=1), town[1].account()
    town.settle_transfer(here, there, USD, 7)
    [pending] = town.pending()
    out = movement_pb2.Movement.FromString(pending.SerializeToString())
    out.kind = 99  # type: ignore[assignment]
    assert alerts(town.arrive(out)) == ["fact_in_suspense"]
    assert town[1].balance(house(SystemAccount.SUSPENSE, 1), USD) == 7
    assert town.in_transit() == {}


def test_transfer_to_another_partition(town: Town) -> None:
    story = town[0]
    account, sibling = story.account(usd=100), 0
    sibling = story.account(entity=account)
    opened = story.episode(sibling)

    def close() -> None:
        done = story.do(
            "close_episode", account=sibling, episode=opened, outcome=words.EPISODE_STATE_HEALTHY, citation=story.cite()
        )
        assert not done.refusal

    climb(
        story,
        "transfer",
        {"account": account, "asset": USD, "units": 1, "to_account": account_id(partition=3, entity=1, sub=0)},
        [
            (words.REFUSAL_UNKNOWN_PARTITION, {"to_account": house(SystemAccount.INSURANCE, 1)}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"to_account": account_id(partition=1, entity=1, sub=0)}),
            (words.REFUSAL_ACCOUNT_RESTRICTED, close),
        ],
    )


def test_confirm_movements(town: Town) -> None:
    here, there = town[0].account(usd=100), town[1].account()
    town.settle_transfer(here, there, USD, 1)
    town.relay(confirm=False)
    climb(
        town[0],
        "confirm_movements",
        {"to_partition": 2, "sequence": 1},
        [
            (words.REFUSAL_UNKNOWN_MOVEMENT, {"to_partition": 1, "sequence": 2}),
            (words.REFUSAL_UNKNOWN_MOVEMENT, {"sequence": 0}),
            (words.REFUSAL_UNKNOWN_MOVEMENT, {"sequence": 1}),
        ],
    )


def test_a_voided_transfer_never_leaves(town: Town) -> None:
    here, there = town[0].account(usd=100), town[1].account()
    made = town.do("transfer", account=here, to_account=there, asset=USD, units=5)
    town.do("verdict", account=here, reservation=made.subject, settle=False, citation=town[0].cite(),
            reason=words.REFUSAL_INSUFFICIENT_MARGIN)  # fmt: skip
    assert (town.pending(), town[0].balance(here, USD)) == ([], 100 * DOLLAR)


class TestHouseCapital:
    """Insurance fund, first-loss and second capital move, and leave."""

    def test_it_goes_to_its_shard_elsewhere(self, town: Town) -> None:
        fund = house(SystemAccount.INSURANCE, 0)
        town[0].fund(SystemAccount.INSURANCE, usd=100)
        done = town[0].do("move_capital", account=fund, to_partition=2, asset=USD, units=60 * DOLLAR)
        assert not done.refusal
        town.relay()
        assert town[2].balance(house(SystemAccount.INSURANCE, 2), USD) == 60 * DOLLAR

    def test_move_capital(self, town: Town) -> None:
        town[0].fund(SystemAccount.INSURANCE, usd=100)
        fields: dict[str, Any] = {
            "account": house(SystemAccount.TREASURY, 0), "asset": 99, "units": 0, "to_partition": 9,
        }  # fmt: skip
        rungs: list[tuple[words.Refusal, dict[str, object]]] = [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": house(SystemAccount.INSURANCE, 0)}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 100 * DOLLAR + 1}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"to_partition": 0}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": 100 * DOLLAR}),
        ]
        for refusal, mend in rungs:
            assert town[0].do("move_capital", **fields).refusal == refusal
            fields.update(mend)
        assert not town[0].do("move_capital", **fields).refusal  # out of the house
        assert town[0].balance(house(SystemAccount.INSURANCE, 0), USD) == 0
        assert town[0].balance(house(SystemAccount.CUSTODY, 0), USD) == 0
