"""A client that tries everything: nothing leaves twice, nothing is made, and nobody else's is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import custody_pb2 as custody
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, partition_of, system_kind
from services.collateral_management.domain.state import CASH, RESERVED
from services.collateral_management.tests.story import DOLLAR, USD, Story
from services.collateral_management.tests.town import Town

PARTITIONS = 3
OWNERS = ("mallory", "victim")
HOLDERS = (None, SystemAccount.POOL, SystemAccount.SUSPENSE)
DEEDS = (
    "withdraw", "withdraw", "transfer", "transfer", "move", "link", "open", "close", "reopen", "supply", "redeem",
    "terms", "judge", "judge", "judge", "again", "again", "again", "other key", "arrive", "arrive", "arrive", "confirm",
)  # fmt: skip
deeds = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=50)


class Attack:
    """Three partitions; mallory sends whatever the numbers say, for any account there is, under keys old and new."""

    def __init__(self) -> None:
        self.town = Town(PARTITIONS)
        for story in self.town.stories:
            for owner in OWNERS:
                story.account(owner, usd=100)
        self.before = {one: self._lines(one) for one in self._of("victim")}
        self.left = 0  # units that were paid out
        self.sent: list[tuple[Story, commands_pb2.Command]] = []
        self._n = 0

    def _of(self, owner: str) -> list[int]:
        every = (one for story in self.town.stories for one in story.state.accounts.values())
        return sorted(one.account for one in every if one.owner == owner)

    def _lines(self, account: int) -> dict[tuple[int, int], int]:
        story = self.town.of(account)
        return {key: story.balance(account, *key) for key in story.state.lines_of(account)}

    def act(self, what: str, a: int, b: int) -> None:
        """One deed."""
        accounts = self._of("mallory") + self._of("victim")
        account, other = accounts[a % len(accounts)], accounts[b % len(accounts)]
        first, into = account & ~0xFFFF, other & ~0xFFFF
        named: dict[str, dict[str, Any]] = {
            "withdraw": {"account": account, "asset": USD, "units": 1 + b % (150 * DOLLAR)},
            "transfer": {"account": account, "to_account": other, "asset": USD, "units": 1 + b % (150 * DOLLAR)},
            "supply": {"account": account, "asset": USD, "units": 1 + b % (150 * DOLLAR)},
            "redeem": {"account": account, "asset": USD, "units": b % (150 * DOLLAR)},
        }
        match what:
            case "withdraw" | "transfer" | "supply" | "redeem":
                self._send(account, what, **named[what])
            case "move":
                self._send(account, "move_entity", account=first, to_partition=b % PARTITIONS)
            case "link":
                self._send(account, "move_entity", account=first, to_partition=partition_of(into), into_entity=into)
            case "open":
                self._send(account, "open_account", owner=OWNERS[b % 2], entity=first if b % 3 else 0)
            case "close" | "reopen":
                self._send(account, f"{what}_account", account=account)
            case "terms":
                mode = custody.CUSTODY_MODE_LENDABLE if b % 2 else custody.CUSTODY_MODE_SEGREGATED
                consent: dict[str, Any] = {"cap_units": 1 + b, "document_hash": b"d" * 32, "consented_at_ns": 1}
                consent = consent if b % 2 else {}
                self._send(account, "set_custody_terms", account=account, asset=USD, mode=mode, **consent)
            case "again" | "other key" if self.sent:
                self._again(what, a)
            case _:
                self._others(what, a)

    def _send(self, at: int, name: str, **fields: Any) -> None:
        story = self.town.of(at)
        command = story.command(name, sender="mallory", **fields)
        self._n += 1
        command.session.session, command.session.n = b"m" * 16, self._n
        if self._n % 2:
            command.client.key, command.client.issued_at_ns = f"k{self._n}", story.now_ns
        self.sent.append((story, command))
        self._do(story, command)

    def _again(self, what: str, a: int) -> None:
        """The very same once more, or another command under its key."""
        story, command = self.sent[a % len(self.sent)]
        copy = commands_pb2.Command.FromString(command.SerializeToString())
        if what == "other key":
            _, last = self.sent[-1]
            copy = commands_pb2.Command.FromString(last.SerializeToString())
            if command.HasField("client"):
                copy.client.CopyFrom(command.client)
            else:
                copy.session.CopyFrom(command.session)
        outcome = self._do(story, copy)
        assert not outcome.effects or what == "other key"

    def _do(self, story: Story, command: commands_pb2.Command) -> journal_pb2.Outcome:
        return story.send(command)

    def _others(self, what: str, a: int) -> None:
        """What risk, relay and custodian do meanwhile."""
        if what == "judge":
            waiting = [(story, one) for story in self.town.stories for one in story.state.reservations.values()]
            if waiting:
                story, one = waiting[a % len(waiting)]
                judged = story.do(
                    "verdict", account=one.account, reservation=one.reservation, settle=a % 4 != 0,
                    citation=story.cite(),
                )  # fmt: skip
                for effect in judged.effects:
                    settled = effect.reservation.state == words.RESERVATION_STATE_SETTLED
                    if effect.HasField("reservation") and settled and not effect.reservation.to_account:
                        self.left += effect.reservation.units
            return
        moving = [one for one in self.town.pending() if self.town.has(one) == (what == "confirm")]
        if moving and what == "confirm":
            self.town.confirm(moving[0].from_partition, moving[0].to_partition, moving[0].sequence)
        elif moving:
            assert not self.town.arrive(moving[0]).refusal

    def total(self) -> int:
        """Units that clients, pools and suspense hold."""
        return sum(
            balance
            for story in self.town.stories
            for (account, asset, kind), balance in story.state.all_lines()
            if asset == USD and kind in (CASH, RESERVED) and system_kind(account) in HOLDERS
        )


@given(deeds)
@settings(max_examples=150)
def test_i10_nothing_leaves_twice_nothing_is_made_and_nobody_else_is_touched(
    steps: Sequence[tuple[str, int, int]],
) -> None:
    attack = Attack()
    for step in steps:
        attack.act(*step)
    attack.town.relay()
    put_in = PARTITIONS * len(OWNERS) * 100 * DOLLAR
    assert attack.total() + attack.left == put_in
    assert {one: attack._lines(one) for one in attack._of("victim")} == attack.before
    attack.town.verify()
