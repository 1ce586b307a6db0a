"""Deleveraging over partitions: ranked together, taken once, given back what nobody can take any more (I11, I15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.deleveraging import chosen
from libs.common.ids import system_kind
from libs.common.parameters import Clearing
from services.collateral_management.domain import takeovers
from services.collateral_management.domain.draft import Context, Draft
from services.collateral_management.domain.state import LOTS, VARIATION
from services.collateral_management.tests.dated import CALL, INTERNAL, with_dated
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, SELL, USD, Story, step_order
from services.collateral_management.tests.town import Town

DATED = with_dated()
PRICE, MARK, CLOSING = 1_500_000, 1_400_000, 1_450_000
ASK, OFFER = words.MOVEMENT_KIND_DELEVERAGING_ASK, words.MOVEMENT_KIND_DELEVERAGING_OFFER
TAKE, DONE = words.MOVEMENT_KIND_DELEVERAGING_TAKE, words.MOVEMENT_KIND_DELEVERAGING_DONE
OURS = (ASK, OFFER, TAKE, DONE)


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions that trade an internal instrument; checked when the test is over."""
    told = Town(3, parameters=DATED)
    for story in told.stories:
        story.lend(usd=100_000)
    yield told
    told.verify()


def position(
    story: Story, owner: str, side: Any, lots: int, *, usd: int, instrument: int = INTERNAL, price: int = PRICE
) -> int:
    """An account with a position."""
    account = story.account(owner, usd=usd)
    story.trade(account, side, lots, price, instrument=instrument, sender=owner)
    return account


def across(story: Story, account: int, **fields: Any) -> dict[str, Any]:
    """Fields of a deleveraging over partitions."""
    basis = lifecycle_pb2.Basis(journal_sequence=story.sequence, mark_sequence=1, control_sequence=1)
    return {
        "account": account, "episode": story.state.accounts[account].episode, "step": 1, "instrument": INTERNAL,
        "lots": 100, "price": CLOSING, "mark_price": MARK, "deficit_units": 500 * DOLLAR, "basis": basis, **fields,
    }  # fmt: skip


def begin(town: Town, account: int, **fields: Any) -> None:
    """Opens an episode and asks all partitions."""
    story = town.of(account)
    story.episode(account)
    asked = story.do("deleverage_across", **across(story, account, **fields))
    assert not asked.refusal, asked.detail


def deliver(town: Town, kind: words.MovementKind) -> list[movement_pb2.Movement]:
    """Everything of a kind arrives, and what was sent before it; returns what was delivered of the kind."""
    found = []
    for one in town.pending():
        if one.kind == kind and not town.has(one):
            pair = (one.from_partition, one.to_partition)
            for before in [each for each in town.pending() if (each.from_partition, each.to_partition) == pair]:
                if before.sequence <= one.sequence and not town.has(before):
                    assert not town.arrive(before).refusal
            found.append(one)
    return found


def lots(town: Town, *accounts: int) -> list[int]:
    """Signed lots of accounts."""
    return [town.of(one).balance(one, INTERNAL, LOTS) for one in accounts]


def waterfalls(story: Story) -> list[journal_pb2.Waterfall]:
    """Steps of the waterfall that a partition has taken."""
    return [one.waterfall for body in story.frames for each in body.outcomes for one in each.effects
            if one.HasField("waterfall")]  # fmt: skip


def test_deleverage_across(town: Town) -> None:
    story = town[0]
    account = position(story, "alice", BUY, 100, usd=500)
    outside = position(story, "alice", BUY, 10, usd=1_000, instrument=BTC_PERP)
    story.episode(outside)
    unlike = story.do("deleverage_across", **across(story, outside, instrument=BTC_PERP, lots=10))
    assert unlike.refusal == words.REFUSAL_NOT_INTERNAL
    good = across(story, account)
    order: list[int] = []

    def open_it() -> dict[str, object]:
        return {"episode": story.episode(account)}

    def sell() -> dict[str, object]:
        episode = story.state.accounts[account].episode
        order.extend(story.step(account, episode, step_order(SELL, 1, MARK, instrument=INTERNAL)))
        return {"step": 2}

    def end() -> None:
        story.report(order[0], words.REPORT_KIND_CANCELLED)

    climb(
        story,
        "deleverage_across",
        {**good, "step": 7, "instrument": 10_000, "price": 0, "mark_price": 0, "lots": 101, "deficit_units": 0,
         "basis": lifecycle_pb2.Basis()},
        [
            (words.REFUSAL_UNKNOWN_EPISODE, open_it),
            (words.REFUSAL_STEP_OUT_OF_ORDER, sell),
            (words.REFUSAL_ORDERS_ALIVE, end),
            (words.REFUSAL_CITES_EARLIER_STATE, {"basis": lambda: across(story, account)["basis"]}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": INTERNAL}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": CLOSING}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"mark_price": MARK}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": 100}),
            (words.REFUSAL_NOT_RANKED, {"deficit_units": 500 * DOLLAR}),
        ],
    )  # fmt: skip
    again = story.do("deleverage_across", **across(story, account, step=3))
    assert again.refusal == words.REFUSAL_DELEVERAGING
    town.relay()
    assert lots(town, account) == [100]  # nobody holds the opposite
    assert story.state.lifecycle.deleveragings == {}


def test_a_house_of_one_partition_has_nobody_else_to_ask() -> None:
    story = Story(replace(DATED, partitions=1))
    account = position(story, "alice", BUY, 100, usd=5_000)
    story.episode(account)
    refused = story.do("deleverage_across", **across(story, account))
    assert refused.refusal == words.REFUSAL_UNKNOWN_PARTITION
    story.verify()


def test_holders_of_all_partitions_rank_together(town: Town) -> None:
    account = position(town[0], "alice", BUY, 100, usd=500)
    near = position(town[0], "near", SELL, 30, usd=3_000)
    thin = position(town[1], "thin", SELL, 40, usd=400)
    rich = position(town[1], "rich", SELL, 60, usd=60_000)
    far = position(town[2], "far", SELL, 45, usd=20_000)
    friend = position(town[2], "friend", BUY, 20, usd=1_000)
    begin(town, account)
    town.relay()
    assert lots(town, account, thin, near, far, rich, friend) == [0, 0, 0, -15, -60, 20]
    assert town[1].balance(thin, USD) == 600 * DOLLAR  # its profit to the price at which the account was empty
    assert town[0].balance(near, USD) == 3_150 * DOLLAR
    assert town[0].state.lines_of(account) == []
    (taken,) = waterfalls(town[0])
    assert (taken.step, taken.units) == (words.WATERFALL_STEP_ADL, 500 * DOLLAR)
    episode = town[0].state.episodes[town[0].state.accounts[account].episode]
    (ended,) = (number for number, body in enumerate(town[0].frames, 1) for each in body.outcomes
                if any(one.deleveraging.is_over for one in each.effects))  # fmt: skip
    assert (episode.step, episode.last_fill_sequence) == (1, ended)
    assert (town.in_transit(), town.pending()) == ({}, [])
    assert town[0].state.custody.gate.until_ns > town[0].now_ns


def test_what_is_gone_meanwhile_is_given_back(town: Town) -> None:
    account = position(town[0], "alice", BUY, 100, usd=500)
    thin = position(town[1], "thin", SELL, 40, usd=400)
    far = position(town[2], "far", SELL, 60, usd=20_000)
    begin(town, account)
    deliver(town, ASK)
    town[1].trade(thin, BUY, 30, MARK, instrument=INTERNAL, sender="thin")  # before lots reach it
    deliver(town, OFFER)
    assert lots(town, account, thin, far) == [0, -10, -60]
    town[2].trade(far, BUY, 70, MARK, instrument=INTERNAL, sender="far")  # long now
    town.relay()
    assert lots(town, account, thin, far) == [90, 0, 10]
    (taken,) = waterfalls(town[0])
    assert taken.units == 50 * DOLLAR
    back = [one.position_closed for body in town[0].frames for each in body.outcomes for one in each.effects
            if one.position_closed.cause == kinds.CLOSING_CAUSE_GIVEN_BACK]  # fmt: skip
    assert [one.lots for one in back] == [-30, -60]
    assert town[0].balance(account, INTERNAL, VARIATION) == -90 * CLOSING * 10_000 // 100
    episode = town[0].state.accounts[account].episode
    closed = town[0].do("deleverage_across", **across(town[0], account, step=2, lots=90, episode=episode))
    assert not closed.refusal
    town.relay()
    assert lots(town, account) == [90]


def test_nothing_else_is_decided_while_lots_are_on_their_way(town: Town) -> None:
    story = town[0]
    account = position(story, "alice", SELL, 100, usd=500)
    other = position(town[1], "bob", BUY, 100, usd=900)
    begin(town, account, price=1_550_000, mark_price=1_600_000)
    own: dict[str, Any] = {"account": account, "episode": story.state.accounts[account].episode}
    for _ in range(2):
        closing = story.do("close_episode", outcome=words.EPISODE_STATE_HEALTHY, citation=story.cite(), **own)
        stepping = story.do("step_episode", step=2, citation=story.cite(), **own)
        resolving = story.do("resolve_shortfall", **own)
        assert {closing.refusal, stepping.refusal, resolving.refusal} == {words.REFUSAL_DELEVERAGING}
        deliver(town, ASK)
        deliver(town, OFFER)
    assert lots(town, account, other) == [0, 100]
    town.relay()
    assert lots(town, account, other) == [0, 0]
    closed = story.do("close_episode", outcome=words.EPISODE_STATE_EMPTIED, citation=story.cite(), **own)
    assert not closed.refusal


def test_a_premium_travels_with_an_option() -> None:
    options = tuple(replace(one, clearing=Clearing.INTERNAL) if one.id == CALL else one for one in DATED.instruments)
    town = Town(2, parameters=replace(DATED, instruments=options))
    account = position(town[0], "alice", SELL, 10, usd=100, instrument=CALL, price=50_000)
    other = position(town[1], "bob", BUY, 10, usd=1_000, instrument=CALL, price=50_000)
    begin(town, account, instrument=CALL, lots=10, price=80_000, mark_price=80_000, deficit_units=0)
    town.relay()
    assert [town.of(one).balance(one, CALL, LOTS) for one in (account, other)] == [0, 0]
    assert (town[0].balance(account, USD), town[1].balance(other, USD)) == (70 * DOLLAR, 1_030 * DOLLAR)
    assert town.in_transit() == {}
    town.verify()


class Crowd:
    """An account that must go, holders of the opposite everywhere, and messengers that do what the numbers say."""

    def __init__(self, sizes: Sequence[int], *, is_long: bool) -> None:
        self.town = Town(3, parameters=DATED)
        for story in self.town.stories:
            story.lend(usd=50_000)
        self.side, self.other = (BUY, SELL) if is_long else (SELL, BUY)
        self.mark = MARK if is_long else 1_600_001
        self.price = 1_450_001 if is_long else 1_550_003
        self.account = position(self.town[0], "alice", self.side, 100, usd=500)
        self.parties = [
            position(self.town[number % 3], f"p{number}", self.other, size, usd=50 * size + 7 * number)
            for number, size in enumerate(sizes)
        ]
        self.told: list[movement_pb2.Movement] = []
        begin(self.town, self.account, price=self.price, mark_price=self.mark)

    def act(self, what: str, a: int) -> None:
        """One deed."""
        waiting = [one for one in self.town.pending() if not self.town.has(one)]
        if what == "trade":
            party = self.parties[a % len(self.parties)]
            owner = self.town.of(party).state.accounts[party].owner
            self.town.of(party).trade(party, self.side, 1 + a % 30, PRICE, instrument=INTERNAL, sender=owner)
        elif what == "again" and self.told:
            assert self.town.arrive(self.told[a % len(self.told)]).repeated
        elif waiting:
            first: dict[tuple[int, int], movement_pb2.Movement] = {}
            for one in waiting:
                first.setdefault((one.from_partition, one.to_partition), one)
            chosen = list(first.values())[a % len(first)]
            self.told.append(movement_pb2.Movement.FromString(chosen.SerializeToString()))
            assert not self.town.arrive(chosen).refusal

    @property
    def held(self) -> int:
        """Lots of all clients and on their way, that deals of the crowd itself have left."""
        clients = sum(
            balance
            for story in self.town.stories
            for (account, asset, kind), balance in story.state.all_lines()
            if (asset, kind) == (INTERNAL, LOTS) and system_kind(account) is None
        )
        return clients + self.town.on_the_way().get((INTERNAL, LOTS), 0)


@given(
    st.lists(st.integers(1, 80), min_size=1, max_size=7),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["arrive", "arrive", "arrive", "again", "trade"]), st.integers(0, 10**6)),
             max_size=30),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_i11_lots_are_closed_once_by_who_has_them_and_never_for_more_than_is_lacking(
    sizes: list[int], is_long: bool, deeds: list[tuple[str, int]]
) -> None:
    crowd = Crowd(sizes, is_long=is_long)
    town = crowd.town
    for what, a in deeds:
        before = crowd.held
        crowd.act(what, a)
        assert town.in_transit() == town.on_the_way()
        assert what == "trade" or crowd.held == before
    town.relay()
    assert (town.in_transit(), town.pending()) == ({}, [])
    sign = 1 if is_long else -1
    assert 0 <= sign * lots(town, crowd.account)[0] <= 100
    for story in town.stories:
        assert story.state.lifecycle.deleveragings == {}
        for body in story.frames:
            for outcome in body.outcomes:
                _only_shrinks(outcome)
    lot = crowd.mark * 10_000 // 100
    assert sum(one.units for one in waterfalls(town[0])) <= 500 * DOLLAR + lot
    town.verify()


def _only_shrinks(outcome: journal_pb2.Outcome) -> None:
    parties = [one.position_closed.account for one in outcome.effects
               if one.position_closed.cause == kinds.CLOSING_CAUSE_DELEVERAGED]  # fmt: skip
    for one in (each.posting for each in outcome.effects if each.HasField("posting")):
        if one.kind == LOTS and one.account in parties:
            before = one.balance - one.delta
            assert abs(one.balance) < abs(before)
            assert one.balance * before >= 0


@given(st.lists(st.tuples(st.integers(1, 80), st.integers(1, 5_000)), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_i11_the_choice_is_the_one_that_a_single_ledger_would_make(crowd: list[tuple[int, int]]) -> None:
    town = Town(3, parameters=DATED)
    account = position(town[0], "alice", BUY, 100, usd=5_000)
    for number, (size, usd) in enumerate(crowd):
        position(town[number % 3], f"p{number}", SELL, size, usd=usd + 200 * size)
    instrument = DATED.instrument(INTERNAL)
    assert instrument is not None
    everybody = []
    for story in town.stories:
        context = Context(story.parameters, story.sequence + 1, story.now_ns, 1, marks_alive=True)
        everybody += takeovers.opposite(Draft(story.state, context), instrument, is_long=True, mark_price=MARK)
    wanted = dict(chosen(everybody, lots=100))
    before = {one.account: one.lots for one in everybody}
    begin(town, account, deficit_units=10**9)
    town.relay()
    left = {one: -lots(town, one)[0] for one in before}
    assert {one: before[one] - left[one] for one in before if left[one] != before[one]} == wanted
