"""Moving and linking entities: restrict, cancel, drain, one frame out, one frame in; the old ids name the new ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ballast.types.v1 import custody_pb2 as custody
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id, partition_of
from libs.common.units import INDEX_ONE
from services.collateral_management.domain import moving
from services.collateral_management.domain.state import CASH, DEBT, LOTS, OVERDRAFT, RESERVED, SUPPLY, VARIATION
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BUY,
    DOLLAR,
    ETH,
    SELL,
    USD,
    Story,
    alerts,
)
from services.collateral_management.tests.town import Town, house, new_id

KINDS = (
    (USD, CASH),
    (BTC, CASH),
    (USD, SUPPLY),
    (USD, DEBT),
    (USD, OVERDRAFT),
    (BTC_PERP, LOTS),
    (BTC_PERP, VARIATION),
)


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions, judged at the end."""
    told = Town()
    yield told
    told.verify()


def lines(town: Town, account: int) -> dict[tuple[int, int], int]:
    """What an account has."""
    return {key: town.of(account).balance(account, *key) for key in KINDS if town.of(account).balance(account, *key)}


def rich(story: Story) -> int:
    """An account with coins, a claim, a debt, a position, and a sister account with an overdraft."""
    story.lend(usd=1_000)
    account = story.account(usd=50, btc=1)
    story.do("supply", account=account, asset=USD, units=50 * DOLLAR)
    story.trade(account, BUY, 3, 1_500_000, fee=70 * DOLLAR)
    sister = story.account(btc=2, entity=account)
    story.trade(sister, BUY, 1, 1_500_000, fee=5_000 * DOLLAR)
    assert story.balance(sister, USD, OVERDRAFT) > 0
    return account


def test_everything_goes_out_in_one_frame_and_in_in_one(town: Town) -> None:
    account = rich(town[0])
    before = [lines(town, account), lines(town, account + 1)]
    assert not town.do("move_entity", account=account, to_partition=2).refusal
    assert lines(town, account) == lines(town, account + 1) == {}
    assert [one.kind for one in town.pending()] == [words.MOVEMENT_KIND_ENTITY]
    frames = town[2].sequence
    [out] = town.pending()
    assert not town.arrive(out).refusal
    assert town[2].sequence == frames + 1
    town.relay()
    new = [new_id(town, account), new_id(town, account + 1)]
    assert [partition_of(one) for one in new] == [2, 2]
    assert [lines(town, one) for one in new] == before
    assert [town[2].state.accounts[one].restricted for one in new] == [False, True]  # an overdraft restricts
    assert [town[2].state.accounts[one].moved_from for one in new] == [account, account + 1]
    assert (town.in_transit(), town.pending()) == ({}, [])


def test_orders_drain_before_it_leaves(town: Town) -> None:
    story = town[0]
    account = story.account(usd=1_000)
    out_there = story.order(account, BUY, 2, 1_500_000)
    reserved = story.do(
        "place_order", account=account, instrument=BTC_PERP, venue=1, side=BUY, lots=1, limit_price=1_500_000,
        time_in_force=1,
    ).subject  # fmt: skip
    pending = story.do("withdraw", account=account, asset=USD, units=10 * DOLLAR).subject
    assert not town.do("move_entity", account=account, to_partition=1).refusal
    assert story.state.closed_orders[reserved].reason == words.REFUSAL_VOIDED_BY_MOVE
    assert story.state.orders[out_there].state == words.ORDER_STATE_CANCELLING
    assert (pending in story.state.reservations, story.balance(account, USD, RESERVED)) == (False, 0)
    assert (town.pending(), story.balance(account, USD)) == ([], 1_000 * DOLLAR)
    refused = story.do("withdraw", account=account, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_MOVING
    story.fill(out_there, 1, 1_500_000)
    assert town.pending() == []
    story.report(out_there, words.REPORT_KIND_CANCELLED)
    assert lines(town, account) == {}
    town.relay()
    new = new_id(town, account)
    assert (town[1].balance(new, BTC_PERP, LOTS), town[1].balance(new, USD)) == (1, 1_000 * DOLLAR)


def test_old_ids_name_the_new_ones(town: Town) -> None:
    account = town[0].account(usd=10)
    town.do("move_entity", account=account, to_partition=1)
    refused = town.do("withdraw", account=account, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_MOVING  # where it lives is not known here yet
    town.relay()
    refused = town.do("withdraw", account=account, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_MOVED
    assert str(new_id(town, account)) in refused.detail
    again = town.do("move_entity", account=account, to_partition=2)
    assert again.refusal == words.REFUSAL_MOVED
    more = town[0].do("open_account", owner="alice", entity=account)
    assert more.refusal == words.REFUSAL_MOVED


@pytest.mark.parametrize("relayed", [False, True])
def test_money_follows_an_account_that_has_moved(town: Town, relayed: bool) -> None:
    account = town[0].account(usd=10)
    town.do("move_entity", account=account, to_partition=1)
    if relayed:
        town.relay()
    assert not town[0].do("confirm_deposit", account=account, asset=USD, units=7).refusal
    town.relay()
    assert town[1].balance(new_id(town, account), USD) == 10 * DOLLAR + 7


def test_money_follows_through_several_moves_and_back(town: Town) -> None:
    first = town[0].account(usd=10)
    town.do("move_entity", account=first, to_partition=1)
    town.relay()
    second = new_id(town, first)
    town.do("move_entity", account=second, to_partition=0)
    town.relay()
    third = new_id(town, second)
    assert (partition_of(third), third != first) == (0, True)
    here = town[2].account(usd=5)
    town.settle_transfer(here, first, USD, 5 * DOLLAR)
    town.relay()
    assert town[0].balance(third, USD) == 15 * DOLLAR


def test_a_late_fill_follows_too(town: Town) -> None:
    story = town[0]
    account = story.account(usd=1_000)
    order = story.order(account, SELL, 2, 1_500_000)
    story.report(order, words.REPORT_KIND_CANCELLED)
    town.do("move_entity", account=account, to_partition=1)
    town.relay()
    late = story.fill(order, 2, 1_500_000, fee=3)
    assert alerts(late) == ["moved_fill"]
    town.relay()
    new = new_id(town, account)
    assert (town[1].balance(new, BTC_PERP, LOTS), town[1].balance(new, USD)) == (-2, 1_000 * DOLLAR - 3)
    assert story.balance(house(SystemAccount.SUSPENSE, 0), BTC_PERP, LOTS) == 0


def test_underwater_it_moves_and_is_liquidated_where_it_arrives(town: Town) -> None:
    story = town[0]
    story.lend(usd=10_000)
    account = story.account()
    story.trade(account, BUY, 5, 1_500_000, fee=500 * DOLLAR)
    town.do("move_entity", account=account, to_partition=1)
    refused = story.do("open_episode", account=account, equity=-1, maintenance_margin=1, citation=story.cite())
    assert refused.refusal == words.REFUSAL_MOVING
    [out] = town.pending()
    town.arrive(out)  # the halves: the origin has not heard yet
    [new] = town[1].state.accounts
    assert town[1].balance(new, USD, DEBT) == 500 * DOLLAR
    town[1].episode(new)
    town.relay()
    assert town[1].state.accounts[new].episode


def test_an_episode_calls_a_move_off_that_has_not_left(town: Town) -> None:
    story = town[0]
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 2, 1_500_000)
    town.do("move_entity", account=account, to_partition=1)
    story.episode(account)
    story.report(order, words.REPORT_KIND_CANCELLED)
    assert (town.pending(), story.balance(account, USD), story.state.moves) == ([], 1_000 * DOLLAR, {})
    assert not story.state.accounts[account].moving_to


def test_its_owner_calls_a_move_off_that_waits_for_orders(town: Town) -> None:
    story = town[0]
    account = story.account(usd=1_000)
    order = story.order(account, BUY, 2, 1_500_000)
    town.do("move_entity", account=account, to_partition=1)
    assert not town.do("move_entity", account=account, to_partition=0).refusal
    assert (story.state.moves, story.state.accounts[account].restricted) == ({}, False)
    story.report(order, words.REPORT_KIND_CANCELLED)
    assert (town.pending(), story.balance(account, USD)) == ([], 1_000 * DOLLAR)
    again = town.do("move_entity", account=account, to_partition=0)  # there is none to call off any more
    assert again.refusal == words.REFUSAL_UNKNOWN_PARTITION


def test_move_entity(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    story = town[0]
    account, stranger = story.account(usd=1), story.account("bob")
    sister = story.account(usd=1, entity=account)
    story.trade(sister, BUY, 1, 1_500_000)
    episode = story.episode(sister)
    monkeypatch.setattr(moving, "LINES_MAX", 3)

    def close() -> dict[str, object]:
        done = story.do(
            "close_episode", account=sister, episode=episode, outcome=words.EPISODE_STATE_HEALTHY, citation=story.cite()
        )
        assert not done.refusal
        story.do("restrict_account", account=sister, restricted=True, reason="check")
        return {}

    def lift() -> dict[str, object]:
        story.do("restrict_account", account=sister, restricted=False, reason="checked")
        return {}

    elsewhere = account_id(partition=1, entity=1, sub=0)
    climb(
        story,
        "move_entity",
        {"account": sister, "to_partition": 9, "into_entity": elsewhere, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"to_partition": 2}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"to_partition": 0, "into_entity": 0}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"into_entity": account}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"into_entity": account_id(partition=0, entity=99, sub=0)}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"into_entity": stranger}),
            (words.REFUSAL_OTHER_ENTITY, {"to_partition": 1, "into_entity": 0}),
            (words.REFUSAL_EPISODE_OPEN, close),
            (words.REFUSAL_ACCOUNT_RESTRICTED, lift),
            (words.REFUSAL_TOO_LARGE, lambda: monkeypatch.setattr(moving, "LINES_MAX", 4)),
        ],
    )
    town.relay()


class TestLinking:
    """Two entities of one owner become one, margined together."""

    def test_in_one_partition(self, town: Town) -> None:
        first, second = town[0].account(usd=1), town[0].account(usd=2)
        assert not town.do("move_entity", account=second, to_partition=0, into_entity=first).refusal
        town.relay()
        assert new_id(town, second) == first + 1
        assert town[0].balance(first + 1, USD) == 2 * DOLLAR
        assert town[0].state.accounts[first + 1].entity == first

    def test_in_another_partition(self, town: Town) -> None:
        first, second = town[1].account(usd=1), town[0].account(usd=2)
        town.do("move_entity", account=second, to_partition=1, into_entity=first)
        town.relay()
        assert new_id(town, second) == first + 1

    def test_it_stays_alone_when_it_may_not_join(self, town: Town) -> None:
        stranger, account = town[1].account("bob"), town[0].account(usd=2)
        town.do("move_entity", account=account, to_partition=1, into_entity=stranger)
        [out] = town.pending()
        assert alerts(town.arrive(out)) == ["link_refused"]
        town.relay()
        new = new_id(town, account)
        assert town[1].state.accounts[new].entity == new != stranger


def test_shares_keep_their_pool_balanced_wherever_they_are_repaid(town: Town) -> None:
    story = town[0]
    story.lend(usd=1_000)
    account = story.account(btc=1)
    story.trade(account, BUY, 1, 100, fee=400 * DOLLAR)
    town.do("move_entity", account=account, to_partition=2)
    town.relay()
    for one in town.stories:
        assert not one.tick(USD, borrow_index=INDEX_ONE * 102 // 100).refusal
    new = new_id(town, account)
    assert not town[2].do("confirm_deposit", account=new, asset=USD, units=408 * DOLLAR).refusal
    assert (town[2].balance(new, USD, DEBT), town[2].balance(new, USD)) == (0, 0)
    pools = [one.balance(house(SystemAccount.POOL, one.partition, USD), USD) for one in town.stories]
    assert pools == [600 * DOLLAR, 0, 408 * DOLLAR]
    assert ETH not in town[2].state.pools


def test_consent_and_what_is_lent_under_it_go_along(town: Town) -> None:
    story = town[0]
    account = story.account(usd=100)
    terms: dict[str, Any] = {
        "account": account, "asset": USD, "mode": custody.CUSTODY_MODE_LENDABLE, "cap_units": 60 * DOLLAR,
        "document_hash": b"\x07" * 32, "consented_at_ns": story.now_ns,
    }  # fmt: skip
    assert not story.do("set_custody_terms", **terms).refusal
    assert not story.do("sweep_lendable", account=account, asset=USD).refusal
    held = story.do("restrict_account", account=account, restricted=True, reason="asked by its bank")
    assert not held.refusal, held.detail
    refused = town.do("move_entity", account=account, to_partition=1)
    assert refused.refusal == words.REFUSAL_ACCOUNT_RESTRICTED
    assert not story.do("restrict_account", account=account, restricted=False, reason="its bank is content").refusal
    town.do("move_entity", account=account, to_partition=1)
    town.relay()
    new = new_id(town, account)
    there = town[1].state.custody.terms[new][USD]
    assert (there.cap_units, there.lent_shares) == (60 * DOLLAR, 60 * DOLLAR)
    assert story.state.custody.terms[account][USD].lent_shares == 0
    assert not town[1].state.accounts[new].restricted


def test_nobody_moves_away_from_the_loss_of_a_venue(town: Town) -> None:
    story = town[0]
    account = story.account(usd=1_000)
    story.trade(account, SELL, 1, 1_500_000)
    story.do("move_location", account=account, asset=USD, venue=1, units=100 * DOLLAR)
    impaired = story.do("impair_venue", venue=1, haircut_ppm=500_000, reason="it halted payouts")
    assert not impaired.refusal, impaired.detail
    refused = town.do("move_entity", account=account, to_partition=1)
    assert refused.refusal == words.REFUSAL_LOCATION_IMPAIRED
