"""A process of the ledger: the supervisor and owners of the service over simulated logs."""

from __future__ import annotations

import asyncio
import random
from functools import cache

from google.protobuf.message import DecodeError

from ballast.events.v1 import commands_pb2, control_pb2
from libs.common.metrics import Metrics
from libs.common.service import Health
from services.collateral_management.app.audit import Audit
from services.collateral_management.app.owner import AcceptedBooks, Gauges, PartitionOwner, gauges
from services.collateral_management.app.ports import Received
from services.collateral_management.app.restore import Restorer
from services.collateral_management.app.supervisor import Supervisor
from tools.simulate.chains import Follower, Writer
from tools.simulate.checkpoints import checkpoints_of
from tools.simulate.house import COMMANDS_TOPIC_ID
from tools.simulate.network import Node
from tools.simulate.setting import Sender, Setting

_HEARTBEAT_SECONDS_MAX = 1.0
_RECORDS_A_POLL_MAX = 4


@cache
def _shown() -> Gauges:
    return gauges(Metrics())


class _Source:
    """Implements CommandSource over the log of commands."""

    def __init__(self, node: Node, setting: Setting, partition: int) -> None:
        self._node, self._log = node, setting.commands[partition]
        self._position = 0

    async def start(self, *, after_offset: int) -> None:
        self._position = max(0, after_offset)

    async def poll(self, *, timeout_s: float) -> list[Received]:
        try:
            async with asyncio.timeout(timeout_s):
                await self._log.beyond(self._position)
        except TimeoutError:
            await self._node.awake()
            return []
        await self._node.pause(self._node.network.delay_s())
        records = self._log.records[self._position : self._position + _RECORDS_A_POLL_MAX]
        found = [Received(self._position + index, _decoded(value)) for index, value in enumerate(records)]
        self._position += len(found)
        return found

    async def stop(self) -> None:
        """Nothing to close."""


def _decoded(value: bytes) -> commands_pb2.CommandBatch | None:
    try:
        return commands_pb2.CommandBatch.FromString(value)
    except DecodeError:
        return None


class _Clock:
    """Implements RunClock by following the marks."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._node, self._setting = node, setting
        self.run_time_ns = int(setting.house.parameters.genesis_ns)
        self._beat_at_s = float("-inf")

    @property
    def marks_alive(self) -> bool:
        """A frame was read within the last second of this process's clock."""
        return self._node.monotonic() - self._beat_at_s <= _HEARTBEAT_SECONDS_MAX

    async def follow(self) -> None:
        """Reads for ever."""
        follower = Follower(self._node, self._setting.marks, self._setting.marks_chain, from_last_claim=True)
        while True:
            for frame in await follower.frames():
                self.run_time_ns = max(self.run_time_ns, frame.run_time_ns)
                if follower.caught_up:
                    self._beat_at_s = self._node.monotonic()


class _Control:
    """Implements ControlLog by following the control log."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._node, self._setting = node, setting
        self.sequence = 0
        self.active_hash = b""

    async def wait_active(self, wanted: bytes) -> None:
        """Returns when that set is in force."""
        while self.active_hash != wanted:
            await self._node.pause(0.05)

    async def follow(self) -> None:
        """Reads for ever."""
        follower = Follower(self._node, self._setting.control, self._setting.control_chain)
        while True:
            for frame in await follower.frames():
                self.sequence = frame.sequence
                body = control_pb2.ControlBody.FromString(frame.body)
                if body.WhichOneof("control") == "activate_parameters":
                    self.active_hash = body.activate_parameters.hash


class LedgerNode(Node):
    """Owns the partitions that it is assigned, as far as the chain lets it."""

    def __init__(self, name: str, setting: Setting) -> None:
        super().__init__(name, setting.network)
        self._setting = setting
        self._clock, self._control = _Clock(self, setting), _Control(self, setting)
        self._books = AcceptedBooks()
        session = setting.network.rng.randbytes(16)
        self._sender = Sender(self, setting, principal="collateral_management", session=session)
        self._restorers = [Restorer(one) for one in setting.house.partitions]
        self._leaving: asyncio.Task[None] | None = None
        self._supervisor = Supervisor(
            new_owner=self._new_owner,
            health=Health(),
            on_bug=self._on_bug,
            jitter=random.Random(setting.network.rng.random()),
            on_broken=self._on_broken,
        )
        self.spawn(self._clock.follow(), "marks")
        self.spawn(self._control.follow(), "control")

    def _on_bug(self, error: BaseException) -> None:
        if not self.is_dead:
            self.network.stopped(self, error)

    def _on_broken(self, number: str) -> None:
        if not self.is_dead:
            self._setting.checker.found(number, f"{self.name} stops: its own check of {number} is broken")

    async def assign(self, wanted: set[int]) -> None:
        """The group suggests these partitions."""
        await self._supervisor.assign(wanted)

    def crash(self) -> None:
        """SIGKILL: what the supervisor still does on its way out reaches nobody."""
        super().crash()
        self._leaving = asyncio.create_task(self._supervisor.stop())

    def _new_owner(self, partition: int) -> PartitionOwner:
        setting = self._setting
        return PartitionOwner(
            partition,
            parameters=setting.house.parameters,
            new_journal=lambda on_accepted: Writer(
                self,
                setting.journals[partition],
                setting.journal_chains[partition],
                input_topic=COMMANDS_TOPIC_ID,
                on_accepted=on_accepted,
            ),
            source=_Source(self, setting, partition),
            clock=self._clock,
            control=self._control,
            books=self._books,
            shown=_shown(),
            audit=Audit(
                partition,
                partitions=setting.house.parameters.partitions,
                found=setting.checker.found,
                paid=lambda *_: None,
            ),
            commands=self._sender,
            checkpoints=checkpoints_of(
                self, setting.checkpoints[partition], partition, self._restorers[partition], topic=COMMANDS_TOPIC_ID
            ),
        )
