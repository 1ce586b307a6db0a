"""I15: whatever is told twice, early, late or moved meanwhile, what leaves a partition enters the other, whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, partition_of, system_kind
from services.collateral_management.domain.state import CASH, RESERVED
from services.collateral_management.tests.places import judge_places
from services.collateral_management.tests.story import BUY, DOLLAR, USD, content
from services.collateral_management.tests.town import Town

PARTITIONS = 3
HOLDERS = (None, SystemAccount.POOL, SystemAccount.SUSPENSE)
DEEDS = (
    "deposit", "transfer", "transfer", "move", "link", "lend", "quota", "trade", "resolve", "place", "impair",
    "arrive", "arrive", "arrive", "again", "early", "confirm",
)  # fmt: skip
deeds = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=40)


class Crowd:
    """Two owners with an account in every partition, and messengers that do what the numbers say."""

    def __init__(self) -> None:
        self.town = Town(PARTITIONS)
        for story in self.town.stories:
            for owner in ("alice", "bob"):
                story.account(owner, usd=100)
        self.put_in = 2 * PARTITIONS * 100 * DOLLAR
        self.told: list[movement_pb2.Movement] = []

    @property
    def accounts(self) -> list[int]:
        """All accounts there have ever been, here or elsewhere now."""
        return [one for story in self.town.stories for one in sorted(story.state.accounts)]

    def act(self, what: str, a: int, b: int) -> None:
        """One deed, whatever the numbers make of it."""
        account = self.accounts[a % len(self.accounts)]
        story = self.town.of(account)
        own: dict[str, Any] = {"sender": story.state.accounts[account].owner, "account": account}
        match what:
            case "deposit":
                self.put_in += b
                if story.do("confirm_deposit", account=account, asset=USD, units=b).refusal:
                    self.put_in -= b
            case "transfer":
                self._transfer(own, self.accounts[b % len(self.accounts)], 1 + b)
            case "move" | "link":
                into = self.accounts[b % len(self.accounts)] & ~0xFFFF if what == "link" else 0
                to = partition_of(into) if into else b % PARTITIONS
                story.do(
                    "move_entity", sender=own["sender"], account=account & ~0xFFFF, to_partition=to, into_entity=into
                )
            case "place":
                story.do("move_location", account=account, asset=USD, venue=1, units=b % (60 * DOLLAR) - 5 * DOLLAR)
            case "impair":
                story.do("impair_venue", venue=1, loss_ppm=b % 300_000, reason="check")
            case "lend":
                story.do("supply", asset=USD, units=1 + b, **own)
            case "quota":
                number = story.state.quota_moves.get(USD, 0) + 1
                story.do("move_quota", asset=USD, number=number, to_partition=b % PARTITIONS, units=1 + a)
            case "trade":
                self._trade(own, b)
            case "resolve":
                episode = story.state.accounts[account].episode
                if not episode:
                    story.do("open_episode", account=account, equity=-1, citation=story.cite())
                story.do("resolve_shortfall", account=account, episode=story.state.accounts[account].episode)
            case _:
                self._messenger(what, a)

    def _transfer(self, own: dict[str, Any], to: int, units: int) -> None:
        story = self.town.of(own["account"])
        made = story.do("transfer", to_account=to, asset=USD, units=units, **own)
        if not made.refusal:
            story.do("verdict", account=own["account"], reservation=made.subject, settle=True, citation=story.cite())

    def _trade(self, own: dict[str, Any], fee: int) -> None:
        """A fee in a spot order's fill; beyond what there is, it is borrowed."""
        story = self.town.of(own["account"])
        placed = story.do(
            "place_order", instrument=11, venue=1, side=BUY, lots=1, limit_price=100, time_in_force=1, **own
        )
        if not placed.refusal:
            story.do("verdict", account=own["account"], order=placed.subject, settle=True, citation=story.cite())
            story.fill(placed.subject, 1, 100, fee=fee)

    def _messenger(self, what: str, a: int) -> None:
        waiting = [one for one in self.town.pending() if not self.town.has(one)]
        if what == "again" and self.told:
            assert self.town.arrive(self.told[a % len(self.told)]).repeated
        elif what == "early" and waiting:
            last = waiting[-1]
            due = self.town[last.to_partition].state.streams.get(f"transit/{last.from_partition}", 0) + 1
            if last.sequence > due:
                assert self.town.arrive(last).refusal == words.REFUSAL_GAP
        elif what == "confirm":
            for one in self.town.pending():
                if self.town.has(one):
                    self.town.confirm(one.from_partition, one.to_partition, one.sequence)
                    return
        elif waiting:
            first: dict[tuple[int, int], movement_pb2.Movement] = {}
            for one in waiting:
                first.setdefault((one.from_partition, one.to_partition), one)
            chosen = list(first.values())[a % len(first)]
            copy = movement_pb2.Movement.FromString(chosen.SerializeToString())
            assert not self.town.arrive(chosen).refusal
            self.told.append(copy)

    def check(self) -> None:
        """In transit is what is on its way, at every moment."""
        assert self.town.in_transit() == self.town.on_the_way()
        for story in self.town.stories:
            judge_places(story)


@given(deeds)
@settings(max_examples=120)
def test_i15_in_transit_is_what_is_on_its_way_and_zero_on_a_consistent_cut(
    steps: Sequence[tuple[str, int, int]],
) -> None:
    crowd = Crowd()
    for step in steps:
        crowd.act(*step)
        crowd.check()
    for story in crowd.town.stories:  # orders that a move waits for end
        for order in list(story.state.orders):
            story.report(order, words.REPORT_KIND_CANCELLED)
    crowd.town.relay()
    assert (crowd.town.in_transit(), crowd.town.pending()) == ({}, [])
    for story in crowd.town.stories:
        assert (story.state.moves, story.state.asks) == ({}, {})
        for account, attributes in story.state.accounts.items():
            assert attributes.moved_to if attributes.moving_to else not attributes.moved_out
            assert not attributes.moved_out or story.state.lines_of(account) == []
    crowd.town.verify()


@given(deeds)
@settings(max_examples=60)
def test_i1_deposits_are_all_there_is_over_all_partitions(steps: Sequence[tuple[str, int, int]]) -> None:
    crowd = Crowd()
    for step in steps:
        if step[0] not in ("trade", "resolve", "impair"):
            crowd.act(*step)
    crowd.town.relay()
    total = 0
    for story in crowd.town.stories:
        for (account, asset, kind), balance in story.state.all_lines():
            if asset == USD and kind in (CASH, RESERVED) and system_kind(account) in HOLDERS:
                total += balance
    assert total == crowd.put_in


@given(deeds)
@settings(max_examples=30)
def test_i8_a_state_made_from_the_journals_goes_on_as_the_one_that_died(steps: Sequence[tuple[str, int, int]]) -> None:
    crowd = Crowd()
    for step in steps:
        crowd.act(*step)
    before = [content(story.state) for story in crowd.town.stories]
    crowd.town.verify()  # folds every journal anew and compares all of it
    assert before == [content(story.state) for story in crowd.town.stories]
