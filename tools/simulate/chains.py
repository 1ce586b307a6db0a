"""Reading and writing chained logs in a simulated process, through the very rule and draft of the library."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from libs.common.chain import (
    OWNER_BYTES,
    AcceptedClaim,
    AcceptedFrame,
    ChainHead,
    ChainRule,
    Draft,
    Drafted,
    Outcome,
    claim_named_by,
    rule_at,
)
from libs.common.errors import LostOwnership
from tools.simulate.network import Log, Node
from tools.simulate.plain_chain import PlainChain

_RECORDS_MAX = 100
_PATIENCE_SECONDS = 5.0
_CLAIM_ATTEMPTS_MAX = 8
_WINDOW = 4

Fold = Callable[[AcceptedFrame], None]


class Follower:
    """What ChainFollower does, with a witness that knows what each record is.

    Args:
        from_last_claim: begin at the claim that the last record names.
    """

    def __init__(self, node: Node, log: Log, witness: PlainChain, *, from_last_claim: bool = False) -> None:
        self._node, self._log, self._witness = node, log, witness
        self.position = 0
        if from_last_claim and log.records:
            self.position = claim_named_by(log.records[-1])
        self.rule = ChainRule(from_start=self.position == 0)
        self._is_whole = self.position == 0
        self._end_at_start = len(log.records)

    def begin_at(self, head: ChainHead) -> None:
        """Reads on behind a head."""
        self.rule, self.position = rule_at(head), head.offset + 1
        self._is_whole = False
        self._end_at_start = len(self._log.records)  # asked for once the checkpoint is read, as ChainFollower does

    @property
    def caught_up(self) -> bool:
        """Whether all is read that was there at the start."""
        return self.position >= self._end_at_start

    def read(self) -> list[Outcome]:
        """What is there now, without waiting. Raises ChainBroken."""
        outcomes: list[Outcome] = []
        for value in self._log.records[self.position : self.position + _RECORDS_MAX]:
            outcome = self.rule.take(offset=self.position, value=value)
            accepted = isinstance(outcome, AcceptedClaim | AcceptedFrame)
            self._witness.judged(self._node.name, self.position, accepted=accepted, is_whole=self._is_whole)
            self.position += 1
            outcomes.append(outcome)
        return outcomes

    async def wait(self) -> list[Outcome]:
        """What each record is, once there is any, and a while later."""
        await self._log.beyond(self.position)
        await self._node.pause(self._node.network.delay_s())
        return self.read()

    async def frames(self) -> list[AcceptedFrame]:
        """Accepted frames as they come; may be empty."""
        return [one for one in await self.wait() if isinstance(one, AcceptedFrame)]


@dataclass(slots=True)
class _Flight:
    drafted: Drafted
    acknowledged: asyncio.Future[None]
    done: asyncio.Future[AcceptedFrame]
    accepted: AcceptedFrame | None = None


class Writer:
    """What ChainWriter does, over the simulated ways; implements the ledger's Journal.

    Args:
        on_accepted: given each frame of this writer once it is done, in order.
    """

    def __init__(self, node: Node, log: Log, witness: PlainChain, *, input_topic: bytes, on_accepted: Fold) -> None:
        self._node, self._log = node, log
        self._follower = Follower(node, log, witness)
        self._draft = Draft(owner=self._new_owner(), input_topic_id=input_topic)
        self._on_accepted = on_accepted
        self._flights: deque[_Flight] = deque()
        self._claim: tuple[bytes, asyncio.Future[None]] | None = None
        self._changed = asyncio.Event()
        self._progress_s = 0.0
        self._lost: LostOwnership | None = None
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _new_owner(self) -> bytes:
        return self._node.network.rng.randbytes(OWNER_BYTES)

    @property
    def input_position(self) -> tuple[int, int]:
        """(offset, index) of the last input whose frame is accepted."""
        return self._follower.rule.input_position

    @property
    def next_sequence(self) -> int:
        """Sequence that the next append takes."""
        return self._draft.sequence + 1

    @property
    def run_time_ns(self) -> int:
        """Run time of the last frame, in flight or accepted."""
        return self._draft.run_time_ns

    @property
    def epoch(self) -> int:
        """Epoch of this writer's claim."""
        return self._draft.epoch

    async def take_over(
        self, fold: Fold, *, head: ChainHead | None = None, caught_up: Callable[[], None] | None = None
    ) -> None:
        """Owns the log, every earlier frame behind the head folded. Raises LostOwnership."""
        if head is not None:
            self._follower.begin_at(head)
        while not self._follower.caught_up:
            _fold(await self._follower.wait(), fold)
        if caught_up is not None:
            caught_up()
        for attempt in range(_CLAIM_ATTEMPTS_MAX):
            if attempt:
                await self._node.pause(self._node.network.rng.uniform(0.05, 0.1) * 2.0**attempt)
                _fold(self._follower.read(), fold)
            if await self._claim_once(fold):
                self._draft.begin(self._follower.rule)
                self._tasks = [
                    self._node.spawn(work, f"{self._log.name} {name}")
                    for name, work in (("reads back", self._read_back()), ("watches", self._watch()))
                ]
                return
        raise LostOwnership(f"{self._log.name}: others claimed first")

    async def _claim_once(self, fold: Fold) -> bool:
        drafted = self._draft.claim(self._follower.rule, owner=self._new_owner())
        await self._node.send(self._log, drafted.value)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    outcomes = await self._follower.wait()
                    _fold(outcomes, fold)
                    found = next((one for one in outcomes if one.head == drafted.head), None)
                    if found is not None:
                        return isinstance(found, AcceptedClaim) and self._follower.rule.head == drafted.head
        except TimeoutError:
            raise LostOwnership(f"{self._log.name}: claim not read back") from None

    async def append(
        self,
        body: bytes,
        *,
        input_offset: int,
        input_index: int,
        run_time_ns: int,
        control_sequence: int,
        headers: Mapping[str, bytes],
    ) -> asyncio.Future[AcceptedFrame]:
        """The frame on its way. Raises LostOwnership."""
        await self._until(lambda: len(self._flights) < _WINDOW)
        drafted = self._draft.frame(
            body, input_position=(input_offset, input_index), run_time_ns=run_time_ns, control_sequence=control_sequence
        )
        self._draft.commit(drafted)
        if not self._flights:
            self._progress_s = self._node.monotonic()
        flight = _Flight(
            drafted, self._node.sending(self._log, drafted.value), asyncio.get_running_loop().create_future()
        )
        self._flights.append(flight)
        flight.acknowledged.add_done_callback(self._on_acknowledged)
        return flight.done

    def _on_acknowledged(self, sent: asyncio.Future[None]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lose(f"not acknowledged: {error}")
        self._changed.set()
        self._finish()

    async def reclaim(self, owner: bytes) -> None:
        """Owns the log by a new claim. Raises LostOwnership."""
        await self.drain()
        drafted = self._draft.claim(self._follower.rule, owner=self._new_owner())
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._claim = (drafted.head, accepted)
        await self._node.send(self._log, drafted.value)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await accepted
        except TimeoutError:
            self._lose("claim not accepted")
        self._claim = None
        self._refuse_when_lost()
        self._draft.begin(self._follower.rule)

    async def drain(self) -> None:
        """Nothing is in flight. Raises LostOwnership."""
        await self._until(lambda: not self._flights)

    async def close(self) -> None:
        """Over for good; what is in flight stays on its way."""
        self._lose("closed")

    async def wait_lost(self) -> LostOwnership:
        """Why ownership ended, once it has."""
        await self._ended.wait()
        return self._lost or LostOwnership(self._log.name)

    async def _until(self, holds: Callable[[], bool]) -> None:
        await self._node.awake()
        while self._lost is None and not holds():
            self._changed.clear()
            await self._changed.wait()
            await self._node.awake()
        self._refuse_when_lost()

    def _refuse_when_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    async def _watch(self) -> None:
        while self._lost is None:
            await self._node.pause(1.0)
            if self._flights and self._node.monotonic() - self._progress_s > _PATIENCE_SECONDS:
                self._lose("no frame accepted for too long")

    async def _read_back(self) -> None:
        while self._lost is None:
            for outcome in await self._follower.wait():
                self._judge(outcome)
            self._finish()

    def _judge(self, outcome: Outcome) -> None:
        if self._claim is not None and outcome.head == self._claim[0] and isinstance(outcome, AcceptedClaim):
            if not self._claim[1].done():
                self._claim[1].set_result(None)
        elif isinstance(outcome, AcceptedClaim):
            self._lose(f"epoch {outcome.claim.epoch} is another's")
        elif isinstance(outcome, AcceptedFrame):
            flight = next((one for one in self._flights if one.accepted is None), None)
            if flight is None or flight.drafted.head != outcome.head:
                self._lose(f"sequence {outcome.sequence} was not in flight")
            else:
                flight.accepted = outcome
        elif any(flight.drafted.head == outcome.head and flight.accepted is None for flight in self._flights):
            self._lose(f"own record at {outcome.offset} is {outcome.reason}")

    def _finish(self) -> None:
        while (
            self._lost is None and self._flights and self._flights[0].accepted and self._flights[0].acknowledged.done()
        ):
            flight = self._flights.popleft()
            self._progress_s = self._node.monotonic()
            if flight.accepted is not None:
                self._on_accepted(flight.accepted)
                flight.done.set_result(flight.accepted)
            self._changed.set()

    def _lose(self, why: str) -> None:
        if self._lost is not None:
            return
        self._lost = LostOwnership(f"{self._log.name}: {why}")
        for flight in self._flights:
            flight.done.cancel()
        self._flights.clear()
        self._changed.set()
        self._ended.set()
        for task in self._tasks:
            task.cancel()


def _fold(outcomes: list[Outcome], fold: Fold) -> None:
    for outcome in outcomes:
        if isinstance(outcome, AcceptedFrame):
            fold(outcome)
