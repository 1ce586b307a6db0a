"""Owns one partition of a chained log: claims it, appends frames in order, and knows when that is over."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from libs.common.chain.draft import Draft, Drafted
from libs.common.chain.flight import Flight
from libs.common.chain.follower import ChainFollower
from libs.common.chain.head import ChainHead
from libs.common.chain.kafka import abandon, new_producer
from libs.common.chain.reading import LogReading
from libs.common.chain.rule import NO_HEADERS, AcceptedClaim, AcceptedFrame, ChainBroken, ChainRule, Outcome
from libs.common.errors import ConfigurationError, Fault, LostOwnership
from libs.common.topics import Topic

CLAIM_ATTEMPTS_MAX = 8
_BACKOFF_SECONDS_FIRST = 0.1
_BACKOFF_SECONDS_MAX = 2.0
_READ_SECONDS = 0.25
_CLOSE_SECONDS_MAX = 2.0

Fold = Callable[[AcceptedFrame], None]


class ChainWriter:
    """One owner of one partition: `take_over` once, then `append`; over for good when ownership is lost.

    Args:
        bootstrap: of the cluster.
        topic: a chained topic.
        partition: of the topic.
        owner: 16 random bytes, new for each writer.
        input_topic_id: identity of the topic that feeds the writer, empty if none.
        client_id: shown by the broker.
        on_accepted: called with each frame of this writer, in order, when it is done, before its future resolves.
        on_acknowledged: called when the broker has a frame and this writer has not read it back yet.
        window: frames in flight at most.
        acceptance_timeout_s: so long without a frame done while frames are in flight ends ownership.
        jitter: spreads the claims of writers that race.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        topic: Topic,
        partition: int,
        owner: bytes,
        input_topic_id: bytes,
        client_id: str,
        on_accepted: Callable[[AcceptedFrame], None] | None,
        on_acknowledged: Callable[[], None] | None = None,
        window: int = 4,
        acceptance_timeout_s: float = 5.0,
        jitter: random.Random | None = None,
    ) -> None:
        self.name = f"{topic.name}/{partition}"
        self._topic = topic.name
        self._partition = partition
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._input_topic_id = input_topic_id
        self._on_accepted = on_accepted
        self._on_appended = on_acknowledged
        self._window = window
        self._patience_s = acceptance_timeout_s
        self._jitter = jitter or random.SystemRandom()
        self._follower = ChainFollower(
            bootstrap=bootstrap, topic=topic, partition=partition, client_id=f"{client_id}-reader"
        )
        self._draft = Draft(owner=owner, input_topic_id=input_topic_id)
        self._producer: AIOKafkaProducer | None = None
        self._flights: deque[Flight] = deque()
        self._claim: tuple[bytes, asyncio.Future[None]] | None = None
        self._appending = asyncio.Lock()
        self._changed = asyncio.Event()
        self._progress_at_s = 0.0
        self._lost: LostOwnership | None = None
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._release: asyncio.Task[None] | None = None

    @property
    def rule(self) -> ChainRule:
        """State of the log as read back."""
        return self._follower.rule

    @property
    def reading(self) -> LogReading:
        """Where the reading back stands."""
        return self._follower.reading

    @property
    def input_position(self) -> tuple[int, int]:
        """(offset, index) of the last input whose frame is accepted, (-1, 0) if none."""
        return self._follower.rule.input_position

    @property
    def next_sequence(self) -> int:
        """Sequence that the next append takes."""
        return self._draft.sequence + 1

    @property
    def run_time_ns(self) -> int:
        """Run time of the last frame, in flight or accepted; an earlier one given to `append` is raised to it."""
        return self._draft.run_time_ns

    @property
    def epoch(self) -> int:
        """Epoch of this writer's claim, 0 before it."""
        return self._draft.epoch

    async def take_over(
        self, fold: Fold, *, head: ChainHead | None = None, caught_up: Callable[[], None] | None = None
    ) -> None:
        """Returns when this writer owns the log and `fold` has had every frame accepted before its claim.

        Args:
            head: fold only what stands behind it.
            caught_up: called when the end is reached, before the claim: what it raises keeps this writer from claiming.

        Raises: LostOwnership when others keep claiming, ConfigurationError when another topic fed the log,
        ChainBroken, Fault. The writer is closed then.
        """
        try:
            await self._open(head)
            while not self._follower.caught_up:
                _fold_frames(await self._follower.read(timeout_s=_READ_SECONDS), fold)
            self._refuse_torn()
            if caught_up is not None:
                caught_up()
            await self._win(fold)
            self._draft.begin(self.rule)
            self._tasks = [asyncio.create_task(work) for work in (self._read_back(), self._finish())]
        finally:
            if not self._tasks:
                await self.close()
        for task in self._tasks:
            task.add_done_callback(self._on_task_ended)

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
        """The frame on its way, once fewer than `window` are: its future resolves when acknowledged and read back.

        Raises: LostOwnership, which futures in flight get too; FrameTooLarge, after which the writer goes on.
        """
        async with self._appending:
            await self._until(lambda: len(self._flights) < self._window)
            self._refuse_when_lost()
            drafted = self._draft.frame(
                body,
                input_position=(input_offset, input_index),
                run_time_ns=run_time_ns,
                control_sequence=control_sequence,
            )
            # A send that was cancelled or failed has put nothing on the way: the draft stays as it was.
            acknowledged = await self._send(drafted, headers)
            self._refuse_when_lost()
            self._draft.commit(drafted)
            if not self._flights:
                self._progress_at_s = _now_s()
            flight = Flight(drafted, asyncio.get_running_loop().create_future())
            self._flights.append(flight)
        acknowledged.add_done_callback(lambda sent: self._on_acknowledged(flight, sent))
        return flight.done

    async def reclaim(self, owner: bytes) -> None:
        """Returns when nothing is in flight and this writer owns the log by a new claim. Raises: LostOwnership."""
        async with self._appending:
            await self.drain()
            drafted = self._draft.claim(self.rule, owner=owner)
            accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._claim = (drafted.head, accepted)
            try:
                async with asyncio.timeout(self._patience_s):
                    await (await self._send(drafted, NO_HEADERS))
                    await accepted
            except (TimeoutError, KafkaError) as error:
                self._lose(f"claim not accepted: {error!r}", error)
            finally:
                self._claim = None
            self._refuse_when_lost()
            self._draft.begin(self.rule)

    async def drain(self) -> None:
        """Returns when nothing is in flight. Raises: LostOwnership."""
        await self._until(lambda: not self._flights)
        self._refuse_when_lost()

    async def close(self) -> None:
        """Returns when every connection is closed. What is in flight is dropped: drain first."""
        self._lose("closed")
        if self._release is not None:
            await _ended(self._release)

    async def wait_lost(self) -> LostOwnership:
        """Why ownership ended, once it has. Raises instead what broke, when that was a bug and no fault."""
        await self._ended.wait()
        lost = self._lost or LostOwnership(self.name)
        cause = lost.__cause__
        if cause is not None and not isinstance(cause, (Fault, KafkaError, TimeoutError)):
            raise cause
        return lost

    async def _open(self, head: ChainHead | None) -> None:
        self._producer = new_producer(bootstrap=self._bootstrap, client_id=self._client_id)
        try:
            await self._producer.start()
            await self._producer.partitions_for(self._topic)
        except (KafkaError, OSError) as error:
            raise Fault(f"{self.name} cannot be written: {error!r}") from error
        await self._follower.start(head=head)

    async def _win(self, fold: Fold) -> None:
        for attempt in range(CLAIM_ATTEMPTS_MAX):
            if attempt:
                await self._back_off(attempt, fold)
            self._check_input()
            if await self._claim_once(fold):
                self._check_input()
                return
        raise LostOwnership(f"{self.name}: others claimed first in {CLAIM_ATTEMPTS_MAX} attempts")

    async def _claim_once(self, fold: Fold) -> bool:
        drafted = self._draft.claim(self.rule)
        deadline = _now_s() + self._patience_s
        acknowledged = await self._send(drafted, NO_HEADERS)
        found: Outcome | None = None
        while found is None or not acknowledged.done():
            if _now_s() > deadline:
                raise LostOwnership(f"{self.name}: claim not read back within {self._patience_s} s")
            outcomes = await self._follower.read(timeout_s=_READ_SECONDS)
            _fold_frames(outcomes, fold)
            found = next((each for each in outcomes if each.head == drafted.head), found)
        if (error := acknowledged.exception()) is not None:
            raise LostOwnership(f"{self.name}: claim not acknowledged: {error!r}") from error
        # Another claim may already stand on ours.
        return isinstance(found, AcceptedClaim) and self.rule.head == drafted.head

    async def _back_off(self, attempt: int, fold: Fold) -> None:
        longest_s = min(_BACKOFF_SECONDS_FIRST * 2.0**attempt, _BACKOFF_SECONDS_MAX)
        deadline = _now_s() + self._jitter.uniform(0.5, 1.0) * longest_s
        while (left_s := deadline - _now_s()) > 0:
            _fold_frames(await self._follower.read(timeout_s=left_s), fold)

    def _refuse_torn(self) -> None:
        if self.rule.torn_at is not None:  # a claim would turn frames that were accepted into noise
            raise ChainBroken(f"{self.name}: the record at offset {self.rule.torn_at} is unreadable, others follow it")

    def _check_input(self) -> None:
        known = self.rule.input_topic_id
        if self.rule.epoch and known != self._input_topic_id:
            raise ConfigurationError(
                f"{self.name} was fed by topic {known.hex() or 'none'}, this writer reads "
                f"{self._input_topic_id.hex() or 'none'}: positions would mean other commands"
            )

    async def _send(self, drafted: Drafted, headers: Mapping[str, bytes]) -> asyncio.Future[object]:
        if self._producer is None:
            raise Fault(f"{self.name} is not taken over yet")
        try:
            sent: asyncio.Future[object] = await self._producer.send(
                self._topic, drafted.value, partition=self._partition, headers=list(headers.items())
            )
        except KafkaError as error:
            self._lose(f"sequence {drafted.sequence} could not be sent: {error!r}", error)
            raise self._lost or error from error
        return sent

    async def _until(self, holds: Callable[[], bool]) -> None:
        while self._lost is None and not holds():
            self._changed.clear()
            await self._changed.wait()

    async def _read_back(self) -> None:
        while self._lost is None:
            for outcome in await self._follower.read(timeout_s=_READ_SECONDS):
                self._judge(outcome)
            if self._flights and _now_s() - self._progress_at_s > self._patience_s:
                self._lose(f"no frame accepted for {self._patience_s} s with {len(self._flights)} in flight")

    def _judge(self, outcome: Outcome) -> None:
        if self._claim is not None and outcome.head == self._claim[0] and isinstance(outcome, AcceptedClaim):
            if not self._claim[1].done():
                self._claim[1].set_result(None)
        elif isinstance(outcome, AcceptedClaim):
            self._lose(f"epoch {outcome.claim.epoch} claimed by {outcome.claim.owner.hex()} at {outcome.offset}")
        elif isinstance(outcome, AcceptedFrame):
            self._on_read_back(outcome)
        elif self._is_own(outcome.head):
            self._lose(f"own record at {outcome.offset} read back unaccepted: {outcome.reason}")

    def _is_own(self, head: bytes) -> bool:
        claims = self._claim is not None and self._claim[0] == head
        return claims or any(flight.drafted.head == head for flight in self._flights)

    def _on_read_back(self, frame: AcceptedFrame) -> None:
        flight = next((each for each in self._flights if each.accepted is None), None)
        if flight is None or flight.drafted.head != frame.head:
            self._lose(f"sequence {frame.sequence} at {frame.offset} is in this epoch, but was not in flight")
            return
        flight.accepted = frame
        self._changed.set()

    def _on_acknowledged(self, flight: Flight, sent: asyncio.Future[object]) -> None:
        if sent.cancelled():
            self._lose(f"sequence {flight.drafted.sequence} was not acknowledged")
        elif (error := sent.exception()) is not None:
            self._lose(f"sequence {flight.drafted.sequence} failed: {error!r}", error)
        elif self._on_appended is not None and flight.accepted is None:
            self._on_appended()
        flight.is_acknowledged = True
        self._changed.set()

    async def _finish(self) -> None:
        while True:
            await self._until(lambda: bool(self._flights) and self._flights[0].is_done)
            if self._lost is not None:
                return
            flight = self._flights.popleft()
            self._progress_at_s = _now_s()
            if flight.accepted is not None:
                if self._on_accepted is not None:
                    self._on_accepted(flight.accepted)
                if not flight.done.done():
                    flight.done.set_result(flight.accepted)
            self._changed.set()

    def _refuse_when_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _on_task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(f"{error}", error)

    def _lose(self, reason: str, cause: BaseException | None = None) -> None:
        if self._lost is not None:
            return
        self._lost = LostOwnership(f"{self.name}, epoch {self.epoch}: {reason}")
        self._lost.__cause__ = cause
        waiting: list[asyncio.Future[AcceptedFrame] | asyncio.Future[None]] = [each.done for each in self._flights]
        if self._claim is not None:
            waiting.append(self._claim[1])
        for future in waiting:
            if not future.done():
                future.set_exception(self._lost)
                future.exception()  # whoever does not look at it has wait_lost
        self._flights.clear()
        self._changed.set()
        self._ended.set()
        self._release = asyncio.create_task(self._let_go())

    async def _let_go(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closing = [asyncio.create_task(self._follower.stop())]
        if self._producer is not None:
            closing.append(asyncio.create_task(abandon(self._producer)))
        # A broker that stands still answers nothing: what is not closed by then is dropped.
        _, late = await asyncio.wait(closing, timeout=_CLOSE_SECONDS_MAX)
        for work in late:
            work.cancel()
        for work in closing:
            await _ended(work)


async def _ended(work: asyncio.Task[None]) -> None:
    """Returns when the work is over. What aiokafka cancels inside it is no cancellation of the caller's."""
    await asyncio.wait([work])
    if not work.cancelled():
        error = work.exception()
        if error is not None and not isinstance(error, (KafkaError, OSError)):
            raise error


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _fold_frames(outcomes: list[Outcome], fold: Fold) -> None:
    for outcome in outcomes:
        if isinstance(outcome, AcceptedFrame):
            fold(outcome)
