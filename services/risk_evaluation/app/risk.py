"""The worker: which partitions it has, when each may be judged, and the one loop that lets outputs out in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from libs.common.chain import AcceptedFrame
from libs.common.errors import Fault
from services.risk_evaluation.app.market import Control, Market
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.app.ports import Outlet, Output, Readings
from services.risk_evaluation.domain.model import Model

TOUCHED_EVERY_SECONDS = 0.005  # journal frames that come within it are looked at together
SENDING_TURNS = 3  # of the event loop, until what the producer took is on its way
TOGETHER_NS = 4_000_000  # partitions evaluated within it go out together: one request, and readers wake up once


class Behind(Fault):
    """The book does not have that sequence in time, or this worker does not have the partition."""


class Risk:
    """All partitions of this worker.

    Args:
        session: 16 random bytes, new for each process.
        model: of the loaded set, at its own volatilities.
        loaded_hash: of the parameter set `model` was built from; nothing is judged until it is the one in force.
        now_ns: monotonic wall clock.
        after_marks: told once the margins of a marks frame are out.
        kernel_from: accounts of a partition from which the kernel sweeps them; None: never.
    """

    def __init__(
        self,
        *,
        model: Model,
        session: bytes,
        loaded_hash: bytes,
        outlet: Outlet,
        readings: Readings,
        now_ns: Callable[[], int],
        after_marks: Callable[[Risk], None] = lambda risk: None,
        kernel_from: int | None = None,
    ) -> None:
        self.market = Market(model)
        self.control = Control()
        self.partitions: dict[int, PartitionRisk] = {}
        self.live: set[int] = set()  # assigned and caught up
        self._session = session
        self._loaded_hash = loaded_hash
        self._outlet = outlet
        self._readings = readings
        self._now_ns = now_ns
        self._after_marks = after_marks
        self._kernel_from = kernel_from
        self._frames: deque[tuple[AcceptedFrame, int, bool]] = deque()
        self._part_due = False
        self._part_of = 0  # the partition whose part of everyone went out last
        self._later: asyncio.TimerHandle | None = None
        self._marks_caught_up = False
        self._everything = False
        self._wake = asyncio.Event()
        self._folded = asyncio.Condition()

    @property
    def model(self) -> Model:
        """What accounts are judged by now: the loaded set at the volatilities of the last marks."""
        return self.market.model

    @property
    def parameters_in_force(self) -> bool:
        """Whether the control log has put the loaded set in force."""
        return self.control.active_hash == self._loaded_hash

    def partition(self, partition: int) -> PartitionRisk:
        """The partition's book, which is kept over revocations."""
        found = self.partitions.get(partition)
        if found is None:
            found = self.partitions[partition] = PartitionRisk(
                partition=partition,
                model=self.model,
                session=self._session,
                parameters_hash=self._loaded_hash,
                kernel_from=self._kernel_from,
            )
        return found

    def begin_anew(self, partition: int) -> None:
        """Forgets the partition's book."""
        self.partitions.pop(partition, None)

    def begin(self, partition: int) -> None:
        """The partition is assigned and caught up: it is evaluated from now on, first in full."""
        self.partition(partition).begin()
        self.live.add(partition)
        self._everything = True
        self._wake.set()

    def freeze(self, partition: int) -> None:
        """The partition is revoked: its columns stay as they are."""
        self.live.discard(partition)
        self._wake.set()  # whoever waits for it is told

    def take_journal(self, partition: int, frame: AcceptedFrame) -> None:
        """Folds a frame; one that was folded before is dropped. Raises InvariantBroken (I8, I13)."""
        risk = self.partition(partition)
        if frame.sequence <= risk.fold.sequence:
            return
        risk.apply(frame)
        self._wake_soon()

    def _wake_soon(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(TOUCHED_EVERY_SECONDS, self._wake_now)

    def _wake_now(self) -> None:
        self._later = None
        self._wake.set()

    def take_marks(self, frame: AcceptedFrame, *, received_wall_ns: int, is_history: bool) -> None:
        """Queues a marks frame; each with rows is evaluated in turn, but those of history are only folded."""
        self._frames.append((frame, received_wall_ns, is_history))
        self._wake.set()

    def marks_caught_up(self) -> None:
        """The marks that stood on the log at the start are taken: judging may begin."""
        self._marks_caught_up = self._everything = True
        self._wake.set()

    def take_control(self, frame: AcceptedFrame) -> None:
        """Takes a control frame."""
        was = self.parameters_in_force
        self.control.apply(frame)
        if self.parameters_in_force and not was:
            self._everything = True
        self._wake.set()

    def marks_silent(self) -> None:
        """No marks frame came for a second of wall time."""
        if not self.market.silent:
            self.market.silent = True
            self._readings.silent(True)

    async def run(self, stopping: asyncio.Event) -> None:
        """Evaluates and lets out, one thing after the other, until asked to stop."""
        asked = asyncio.ensure_future(stopping.wait())
        try:
            while not stopping.is_set():
                woken = asyncio.ensure_future(self._wake.wait())
                try:
                    await asyncio.wait({woken, asked}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    woken.cancel()
                self._wake.clear()
                await self.turn()
        finally:
            asked.cancel()

    async def turn(self) -> None:
        """Evaluates what is new and lets it out."""
        while self._frames:
            frame, received_wall_ns, is_history = self._frames.popleft()
            was_silent, model = self.market.silent, self.model
            has_rows = self.market.apply(frame, received_wall_ns=received_wall_ns)
            if self.model is not model:
                for risk in self.partitions.values():
                    risk.under(self.model)
            if is_history:
                self.market.silent = True  # until a frame is heard
                continue
            if was_silent:
                self._readings.silent(False)
            if has_rows:
                await self._evaluate_all(on_marks=True)
            elif was_silent:
                self._everything = True
        if self._everything:
            await self._evaluate_all(on_marks=False)
        self._look_again()
        for partition in sorted(self.live):
            risk = self.partitions[partition]
            if risk.is_touched and self._may_judge:
                for output in risk.on_touched(self.market, self.control, now_ns=self._now_ns()):
                    await self._let_out(risk, output)
        async with self._folded:
            self._folded.notify_all()
        await self._let_part_out()

    async def _let_part_out(self) -> None:
        """One part of everyone of one partition after each mark, the partitions in turn; or what one must prepare."""
        if not self._part_due or self._frames or not self._may_judge:
            return
        self._part_due = False
        live = sorted(self.live)
        if any(self.partitions[one].settle(self.market) for one in live):
            return
        for partition in [one for one in live if one > self._part_of] + [one for one in live if one <= self._part_of]:
            output = self.partitions[partition].next_part(self.market, self.control)
            if output is not None:
                self._part_of = partition
                await self._let_out(self.partitions[partition], output)
                return

    @property
    def _may_judge(self) -> bool:
        return self.parameters_in_force and self._marks_caught_up and self.market.is_known

    def _look_again(self) -> None:
        for partition in self.live:
            risk = self.partitions[partition]
            risk.touch(risk.decisions.due(mark_sequence=self.market.sequence, now_ns=self._now_ns()))

    async def _evaluate_all(self, *, on_marks: bool) -> None:
        if not self._may_judge:
            return
        self._everything = False
        ready: list[tuple[PartitionRisk, Output]] = []
        since_ns = self._now_ns()
        for partition in sorted(self.live):
            risk = self.partitions[partition]
            outputs = risk.on_marks(self.market, self.control, now_ns=self._now_ns())
            ready += ((risk, replace(output, on_marks=on_marks)) for output in outputs)
            if self._now_ns() - since_ns >= TOGETHER_NS:
                await self._let_all_out(ready)
                ready, since_ns = [], self._now_ns()
        await self._let_all_out(ready)
        if on_marks:
            self._after_marks(self)
            self._part_due = True

    async def _let_all_out(self, ready: list[tuple[PartitionRisk, Output]]) -> None:
        for risk, output in ready:
            await self._let_out(risk, output)
        for _ in range(SENDING_TURNS if ready else 0):
            await asyncio.sleep(0)

    async def _let_out(self, risk: PartitionRisk, output: Output) -> None:
        self._readings.partition(risk.partition, by_state=risk.by_state, sequence=risk.fold.sequence)
        for command in output.commands:
            if command.WhichOneof("body") == "open_episode":
                self._readings.decided("open_episode")
            else:
                self._readings.decided("settle" if command.verdict.settle else "void")
        await self._outlet.put(output)

    async def at_least(self, partition: int, sequence: int) -> PartitionRisk:
        """The partition once its book has that sequence; the caller bounds the wait.

        Raises:
            Behind: this worker does not have the partition, or no mark or parameter set yet.
        """
        async with self._folded:
            if partition not in self.live:
                raise Behind(f"partition {partition} is not served here now")
            if not self._may_judge:
                raise Behind("no marks, or no parameters in force yet")
            await self._folded.wait_for(
                lambda: partition not in self.live or self.partitions[partition].fold.sequence >= sequence
            )
        if partition not in self.live:
            raise Behind(f"partition {partition} is not served here any more")
        return self.partitions[partition]

    async def judged_now(self) -> list[PartitionRisk]:
        """Every partition served here, between two turns.

        Raises:
            Behind: there is none, or no mark or parameter set yet.
        """
        async with self._folded:
            if not self.live:
                raise Behind("no partition is served here now")
            if not self._may_judge:
                raise Behind("no marks, or no parameters in force yet")
            return [self.partitions[one] for one in sorted(self.live)]
