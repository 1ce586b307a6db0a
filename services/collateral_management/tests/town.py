"""Ledgers of several partitions and what they send one another, in one process; relayed when it is told to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, partition_of, system_account, system_kind
from libs.common.parameters import Parameters
from services.collateral_management.tests.story import PARAMETERS, Story


class Town:
    """Stories of partitions 0 to n − 1.

    Args:
        partitions: their number.
    """

    def __init__(self, partitions: int = 3, *, parameters: Parameters = PARAMETERS) -> None:
        whole = replace(parameters, partitions=partitions)
        self.stories = [Story(whole, partition=one) for one in range(partitions)]

    def __getitem__(self, partition: int) -> Story:
        return self.stories[partition]

    def of(self, account: int) -> Story:
        """The story that an account lives in."""
        return self.stories[partition_of(account)]

    def do(self, name: str, *, sender: str = "alice", **fields: Any) -> journal_pb2.Outcome:
        """Outcome of a command about an account, in its home partition."""
        return self.of(fields["account"]).do(name, sender=sender, **fields)

    def arrive(self, one: movement_pb2.Movement) -> journal_pb2.Outcome:
        """Outcome of a movement that arrives."""
        return self.stories[one.to_partition].send(arrival(one))

    def confirm(self, origin: int, to: int, sequence: int) -> journal_pb2.Outcome:
        """Outcome of a confirmation that comes back."""
        return self.stories[origin].do("confirm_movements", to_partition=to, sequence=sequence)

    def pending(self) -> list[movement_pb2.Movement]:
        """What is sent and not known to have arrived, by pair in order."""
        return [story.state.movements[key] for story in self.stories for key in sorted(story.state.movements)]

    def relay(self, *, confirm: bool = True) -> None:
        """Everything arrives, and what is sent on because of it, and is confirmed."""
        while waiting := [one for one in self.pending() if not self.has(one)]:
            for one in waiting:
                outcome = self.arrive(one)
                assert not outcome.refusal, outcome.detail
        if confirm:
            for one in self.pending():
                self.confirm(one.from_partition, one.to_partition, one.sequence)

    def has(self, one: movement_pb2.Movement) -> bool:
        """A movement has arrived."""
        return self.stories[one.to_partition].state.streams.get(stream(one.from_partition), 0) >= one.sequence

    def in_transit(self) -> dict[tuple[int, int], int]:
        """What the in-transit accounts of all partitions add up to, by (asset, kind), zero left out."""
        sums: dict[tuple[int, int], int] = {}
        for story in self.stories:
            for (account, asset, kind), balance in story.state.all_lines():
                if system_kind(account) is SystemAccount.IN_TRANSIT:
                    sums[asset, kind] = sums.get((asset, kind), 0) + balance
        return {key: total for key, total in sums.items() if total}

    def on_the_way(self) -> dict[tuple[int, int], int]:
        """What is sent and has not arrived, by (asset, kind), zero left out."""
        sums: dict[tuple[int, int], int] = {}
        for one in self.pending():
            for each in () if self.has(one) else one.lines:
                sums[each.asset, each.kind] = sums.get((each.asset, each.kind), 0) + each.units
        return {key: total for key, total in sums.items() if total}

    def verify(self) -> None:
        """Every state is its fold, and what is in transit is what is on its way, to the unit."""
        for story in self.stories:
            story.verify()
        assert self.in_transit() == self.on_the_way()

    def settle_transfer(self, account: int, to: int, asset: int, units: int, *, sender: str = "alice") -> None:
        """A transfer that risk lets go."""
        story = self.of(account)
        made = story.do("transfer", sender=sender, account=account, to_account=to, asset=asset, units=units)
        assert not made.refusal, made.detail
        judged = story.do("verdict", account=account, reservation=made.subject, settle=True, citation=story.cite())
        assert not judged.refusal, judged.detail


def stream(partition: int) -> str:
    """Name of the stream of movements from a partition."""
    return f"transit/{partition}"


def arrival(one: movement_pb2.Movement) -> commands_pb2.Command:
    """The command that the relay sends for a movement."""
    command = commands_pb2.Command(arrive=movement_pb2.Arrive(movement=one))
    command.principal.id, command.principal.role = "collateral_management", words.ROLE_SERVICE
    command.fact.stream, command.fact.sequence = stream(one.from_partition), one.sequence
    command.fact.previous = one.sequence - 1
    return command


def new_id(town: Town, old: int) -> int:
    """Where an account lives after its move."""
    return town.of(old).state.accounts[old].moved_to


def house(kind: SystemAccount, partition: int, index: int = 0) -> int:
    """Id of a house account."""
    return system_account(kind, partition=partition, index=index)
