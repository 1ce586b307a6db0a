"""A process of risk: the worker of the service over simulated logs, and the questions that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import commands_pb2
from libs.common.errors import Fault
from libs.common.ids import partition_of
from services.risk_evaluation.app.ports import Output
from services.risk_evaluation.app.questions import Refused, what_if
from services.risk_evaluation.app.risk import Behind, Risk
from services.risk_evaluation.domain.whatif import OutOfRange
from tools.simulate.chains import Follower
from tools.simulate.house import PARAMETERS_HASH
from tools.simulate.network import Node
from tools.simulate.setting import Sender, Setting

_SILENT_AFTER_SECONDS = 1.0
_LOOK_SECONDS = 0.4
_ANSWER_SECONDS_MAX = 1.0


class _Readings:
    """Implements Readings; nobody looks."""

    def partition(self, partition: int, *, by_state: Sequence[int], sequence: int) -> None:
        """Unseen."""

    def journal_lag(self, partition: int, seconds: float) -> None:
        """Unseen."""

    def silent(self, is_silent: bool) -> None:
        """Unseen."""

    def decided(self, kind: str) -> None:
        """Unseen."""


class RiskNode(Node):
    """Judges the partitions that it is assigned; implements Outlet."""

    def __init__(self, name: str, setting: Setting) -> None:
        super().__init__(name, setting.network)
        self._setting = setting
        session = setting.network.rng.randbytes(16)
        self._commands = Sender(self, setting, principal="risk_evaluation", session=session)
        self.risk = Risk(
            model=setting.house.model,
            session=session,
            loaded_hash=PARAMETERS_HASH,
            outlet=self,
            readings=_Readings(),
            now_ns=lambda: int(self.monotonic() * 1e9),
        )
        self._heard_s = self.monotonic()
        self._wanted: set[int] = set()
        self._followed: set[int] = set()
        self._stopping = asyncio.Event()
        for work, what in (
            (self._follow_marks(), "marks"),
            (self._follow_control(), "control"),
            (self._listen(), "listens"),
            (self._run(), "risk"),
        ):
            self.spawn(work, what)

    async def _run(self) -> None:
        await self.risk.run(self._stopping)

    def assign(self, wanted: set[int]) -> None:
        """The group suggests these partitions; what is new is loaded first."""
        for one in self._wanted - wanted:
            self.risk.freeze(one)
        for one in sorted(wanted - self._wanted):
            if one in self._followed:
                self.risk.begin(one)
            else:
                self._followed.add(one)
                self.spawn(self._follow_journal(one), f"journal {one}")
        self._wanted = set(wanted)

    async def _follow_marks(self) -> None:
        follower = Follower(self, self._setting.marks, self._setting.marks_chain, from_last_claim=True)
        is_told = False
        while True:
            if follower.caught_up and not is_told:
                self.risk.marks_caught_up()
                is_told = True
            is_history = not follower.caught_up
            for frame in await follower.frames():
                wall_ns = int(self.network.now_s() * 1e9)
                self.risk.take_marks(frame, received_wall_ns=wall_ns, is_history=is_history)
                self._heard_s = self.monotonic()

    async def _follow_control(self) -> None:
        follower = Follower(self, self._setting.control, self._setting.control_chain)
        while True:
            for frame in await follower.frames():
                self.risk.take_control(frame)

    async def _follow_journal(self, partition: int) -> None:
        follower = Follower(self, self._setting.journals[partition], self._setting.journal_chains[partition])
        is_loaded = False
        while True:
            if follower.caught_up and not is_loaded:
                is_loaded = True
                if partition in self._wanted:
                    self.risk.begin(partition)
            for frame in await follower.frames():
                self.risk.take_journal(partition, frame)

    async def _listen(self) -> None:
        while True:
            await self.pause(_LOOK_SECONDS)
            if self.monotonic() - self._heard_s > _SILENT_AFTER_SECONDS:
                self.risk.marks_silent()

    async def put(self, output: Output) -> None:
        """Sends the frame and the commands on their ways."""
        await self.awake()
        if self.is_dead:
            return
        self._setting.checker.judged(output)
        if output.commands:
            self.spawn(self._decide(output.partition, output.commands), "decides")
        if output.frame is not None:
            self.sending(self._setting.margins[output.partition], output.frame.SerializeToString())

    async def _decide(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        await self._commands.send(partition, commands)

    async def answer(self, request: api.EvaluateRequest) -> api.EvaluateResponse:
        """Margins under hypothetical changes. Raises Behind, TimeoutError, Fault for a question that is refused."""
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            await self.pause(self.network.delay_s())
            found = await self.risk.at_least(partition_of(request.account), request.at_least)
            await self.awake()
        if self.is_dead:
            raise Behind(f"{self.name} is gone")
        try:
            return what_if(self.risk.model, found, self.risk.market, self.risk.control, request)
        except (Refused, OutOfRange) as refused:
            raise Fault(f"risk refused a question: {refused}") from refused
