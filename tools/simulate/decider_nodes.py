"""Processes of liquidation and of interest: the services' own managers over simulated logs."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from ballast.events.v1 import commands_pb2, interest_pb2, journal_pb2, market_pb2, risk_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import Fault
from libs.common.ids import AccountId, partition_of
from services.interest_accrual.app.accrual import Accrual
from services.interest_accrual.app.view import View
from services.liquidation_execution.adapters.wire import answer_of, checked, command_of, depth_of, evaluate_request
from services.liquidation_execution.app.checks import broken_by
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.ports import Answer, Decision
from services.liquidation_execution.app.process import Process
from services.liquidation_execution.domain.slices import Candidate
from services.liquidation_execution.errors import RiskBehind
from services.risk_evaluation.app.risk import Behind
from tools.simulate.chains import Follower
from tools.simulate.network import Log, Network, Node
from tools.simulate.plain_chain import PlainChain
from tools.simulate.risk_node import RiskNode
from tools.simulate.setting import Sender, Setting

_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.02
_SEND_ATTEMPTS = 5
_STEP_SECONDS = 0.4
_MARGIN_RECORDS_BACK = 20

Asked = Callable[[int], RiskNode | None]


class Following(Node):
    """A process that follows chains and knows when it has caught up."""

    def __init__(self, name: str, network: Network) -> None:
        super().__init__(name, network)
        self._followers: list[Follower] = []

    def follow(
        self, log: Log, chain: PlainChain, take: Callable[[AcceptedFrame], None], *, from_last_claim: bool = False
    ) -> None:
        """Hands on accepted frames for ever."""
        follower = Follower(self, log, chain, from_last_claim=from_last_claim)
        self._followers.append(follower)

        async def read() -> None:
            while True:
                for frame in await follower.frames():
                    take(frame)

        self.spawn(read(), log.name)

    @property
    def caught_up(self) -> bool:
        """All is read that was there at the start."""
        return all(one.caught_up for one in self._followers)


class _Meter:
    """Implements MeterPort; only what episodes wait for is kept."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}

    def episodes(self, *, open_now: int, waiting: dict[str, int]) -> None:
        """How many wait for what."""
        self.waiting = waiting

    def planned(self, *, seconds: float, kind: str) -> None:
        """Unseen."""

    def decided(self, *, kind: str) -> None:
        """Unseen."""

    def refused(self, *, reason: str) -> None:
        """Unseen."""

    def filled(self, *, slippage_bp: float) -> None:
        """Unseen."""


class LiquidationNode(Following):
    """Works off episodes; implements the ports of the process manager."""

    def __init__(self, name: str, setting: Setting, risk_of: Asked) -> None:
        super().__init__(name, setting.network)
        self._setting, self._risk_of = setting, risk_of
        session = setting.network.rng.randbytes(16)
        self._sender = Sender(self, setting, principal="liquidation_execution", session=session)
        self._session = session
        self._numbers: defaultdict[int, int] = defaultdict(int)
        self._queued: defaultdict[int, deque[commands_pb2.Command]] = defaultdict(deque)
        self._filled = asyncio.Event()
        self.meter = _Meter()
        self.live = Live(
            setting.house.catalogue,
            session=session,
            monotonic=self.monotonic,
            meter=self.meter,
            partitions=setting.house.partitions,
        )
        self._process = Process(
            self.live,
            risk=self,
            decisions=self,
            plans=self,
            meter=self.meter,
            monotonic=self.monotonic,
            is_ready=lambda: self.caught_up,
        )
        for one in setting.house.partitions:
            self.follow(setting.journals[one], setting.journal_chains[one], self._journal(one))
            self.spawn(self._follow_margins(one), f"margins {one}")
        self.follow(setting.marks, setting.marks_chain, self._marks, from_last_claim=True)
        self.spawn(self._follow_liquidity(), "liquidity")
        self.spawn(self._decide(), "commands")
        self.spawn(self._process.run(asyncio.Event()), "process")

    def _journal(self, partition: int) -> Callable[[AcceptedFrame], None]:
        def take(frame: AcceptedFrame) -> None:
            body = journal_pb2.JournalBody.FromString(frame.body)
            self.live.fold(partition, sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
            self._process.wake()

        return take

    def _marks(self, frame: AcceptedFrame) -> None:
        body = market_pb2.MarksBody.FromString(frame.body)
        self.live.marks.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)

    async def _follow_margins(self, partition: int) -> None:
        log = self._setting.margins[partition]
        position = max(0, len(log.records) - _MARGIN_RECORDS_BACK)
        while True:
            await log.beyond(position)
            await self.pause(self.network.delay_s())
            self.live.add_margin(checked(risk_pb2.MarginFrame.FromString(log.records[position])))
            position += 1
            if self.live.dirty:
                self._process.wake()

    async def _follow_liquidity(self) -> None:
        log, position = self._setting.liquidity, 0
        while True:
            await log.beyond(position)
            await self.pause(self.network.delay_s())
            for record in log.records[position:]:
                self.live.depth.update(depth_of(market_pb2.Liquidity.FromString(record)))
                position += 1
            self._process.depth_changed()

    @property
    def backlog(self) -> int:
        """Commands submitted and not yet with the broker."""
        return sum(map(len, self._queued.values()))

    def submit(self, decision: Decision) -> int:
        """Number of the command in the session of its partition."""
        partition = partition_of(decision.account)
        self._numbers[partition] += 1
        number, command = self._numbers[partition], command_of(decision)
        command.session.session, command.session.n = self._session, number
        self._queued[partition].append(command)
        self._filled.set()
        return number

    def publish(self, decision: Decision) -> None:
        """A reason is written down; it must hold."""
        self.network.trace(f"{self.name}: episode {decision.episode} {type(decision.what).__name__} {decision.what}")
        for number in broken_by(decision):
            self._setting.checker.found(number, f"{self.name}: step {decision.step} of episode {decision.episode}")

    async def _decide(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            await self.awake()
            for partition, queued in list(self._queued.items()):
                while queued:
                    await self._send(partition, queued.popleft())

    async def _send(self, partition: int, command: commands_pb2.Command) -> None:
        for attempt in range(_SEND_ATTEMPTS):
            try:
                await self._sender.send(partition, [command])
            except Fault:
                await self.pause(0.1 * 2**attempt)
            else:
                return

    async def evaluate(
        self, *, account: AccountId, at_least: int, candidates: Sequence[Candidate], without_orders: bool
    ) -> Answer:
        """Margins now and after each candidate. Raises RiskBehind, Fault."""
        request = evaluate_request(account, at_least, candidates, without_orders=without_orders)
        for attempt in range(_ATTEMPTS):
            node = self._risk_of(partition_of(account))
            try:
                if node is not None:
                    response = await node.answer(request)
                    await self.pause(self.network.delay_s())
                    return answer_of(response, count=len(candidates))
            except (Behind, TimeoutError) as behind:
                self.network.trace(f"{self.name}: risk is behind: {behind}")
            await self.pause(_BACK_OFF_SECONDS * 2**attempt)
        raise RiskBehind("no answer")


class InterestNode(Following):
    """Proposes and relays ticks; implements RatesPort."""

    def __init__(self, name: str, setting: Setting) -> None:
        super().__init__(name, setting.network)
        self._setting = setting
        self._view = View(setting.house.parameters)
        session = setting.network.rng.randbytes(16)
        commands = Sender(self, setting, principal="interest_accrual", session=session)
        self._accrual = Accrual(self._view, commands=commands, rates=self)
        self.follow(setting.marks, setting.marks_chain, self._marks)
        for one in setting.house.partitions:
            self.follow(setting.journals[one], setting.journal_chains[one], self._journal(one))
        self.spawn(self._step(), "accrual")

    def _marks(self, frame: AcceptedFrame) -> None:
        body = market_pb2.MarksBody.FromString(frame.body)
        self._view.fold_marks(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)

    def _journal(self, partition: int) -> Callable[[AcceptedFrame], None]:
        def take(frame: AcceptedFrame) -> None:
            body = journal_pb2.JournalBody.FromString(frame.body)
            self._view.fold_journal(partition, sequence=frame.sequence, body=body)

        return take

    async def _step(self) -> None:
        while True:
            await self.pause(_STEP_SECONDS)
            if self.caught_up:
                await self._accrual.step(now_s=self.monotonic())

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """The reasons are written down; they must hold."""
        self._setting.checker.rates(decisions)
