"""What all simulated processes share: the logs with their witnesses, and the way of commands to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ballast.events.v1 import commands_pb2
from libs.common.commands import CommandEncoder
from tools.simulate.checker import Checker
from tools.simulate.checkpoints import CheckpointLog
from tools.simulate.house import House
from tools.simulate.network import Log, Network, Node
from tools.simulate.plain_chain import PlainChain


@dataclass(slots=True)
class Setting:
    """The broker and those who watch it."""

    house: House
    network: Network
    checker: Checker
    journals: list[Log]
    commands: list[Log]
    margins: list[Log]
    marks: Log
    control: Log
    liquidity: Log
    journal_chains: list[PlainChain]
    marks_chain: PlainChain
    control_chain: PlainChain
    checkpoints: list[CheckpointLog]


def new_setting(house: House, network: Network, checker: Checker) -> Setting:
    """A broker with empty logs, each chained one with its witness."""
    numbers = house.partitions
    journals = [Log(f"journal {one}") for one in numbers]
    commands = [Log(f"commands {one}") for one in numbers]
    marks, control = Log("marks"), Log("control")
    chains = [
        PlainChain(log.name, found=checker.found, take=partial(checker.journal, one))
        for one, log in enumerate(journals)
    ]
    marks_chain = PlainChain("marks", found=checker.found, take=checker.marks)
    control_chain = PlainChain("control", found=checker.found, take=checker.control)
    watched = [*zip(journals, chains, strict=True), (marks, marks_chain), (control, control_chain)]
    for log, chain in watched:
        log.watchers.append(chain.append)
    for one, log in enumerate(commands):
        log.watchers.append(partial(checker.commands, one))
    return Setting(
        house, network, checker, journals, commands, [Log(f"margins {one}") for one in numbers], marks, control,
        Log("liquidity"), chains, marks_chain, control_chain, [CheckpointLog() for _ in numbers],
    )  # fmt: skip


class Sender:
    """What CommandSender does for a service; implements the ports of gateway and interest."""

    def __init__(self, node: Node, setting: Setting, *, principal: str, session: bytes) -> None:
        self._node, self._setting = node, setting
        self._encoder = CommandEncoder(principal_id=principal, session=session)

    async def send(
        self, partition: int, commands: Sequence[commands_pb2.Command], *, stamps: dict[str, int] | None = None
    ) -> None:
        """Returns when the broker has the commands. Raises Fault when it may not have them."""
        records = self._encoder.records(partition, commands)
        for command in commands:
            self._setting.checker.sent(partition, command, by=self._node.name)
        waiting = [self._node.sending(self._setting.commands[partition], record) for record in records]
        for each in waiting:
            await each
        await self._node.awake()
