"""What stands around the ledger: marks that beat, and risk as the run plays it, which lets every withdrawal through."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka.errors import KafkaError

from ballast.events.v1 import commands_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.chain import AcceptedFrame, ChainFollower, ChainWriter
from libs.common.commands import CommandSender
from libs.common.errors import Fault
from libs.common.topics import JOURNAL, MARKS
from libs.common.units import SECOND_NS

_BEAT_SECONDS = 0.2
_PAUSE_SECONDS = 0.3
_JUDGE_AGAIN_SECONDS = 1.5
_AWAY = (Fault, KafkaError, OSError, TimeoutError)


class House:
    """Marks and verdicts; goes on whatever happens to the broker.

    Args:
        start_ns: run time of the first mark; from then on run time goes as wall time does, and jumps when told.
    """

    def __init__(self, bootstrap: str, *, partitions: int, start_ns: int) -> None:
        self.pending: dict[int, commands_pb2.Verdict] = {}
        self.moving: set[tuple[int, int, int]] = set()  # from, to, sequence: sent and not confirmed
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._start_ns = start_ns
        self._began_s = time.monotonic()
        self._marks = 0
        self._judged_at_s: dict[int, float] = {}
        self._control = [0] * partitions
        self._sequence = [0] * partitions

    @property
    def now_ns(self) -> int:
        """The run clock."""
        return self._start_ns + int((time.monotonic() - self._began_s) * SECOND_NS)

    def jump(self, seconds: float) -> None:
        """Moves the run clock on."""
        self._start_ns += int(seconds * SECOND_NS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        """Beats and judges for as long as it is open."""
        tasks = [asyncio.create_task(self._follow(one)) for one in range(self._partitions)]
        tasks += [asyncio.create_task(self._beat()), asyncio.create_task(self._judge())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            faults = [end for end in ends if isinstance(end, Exception)]
        if faults:
            raise faults[0]

    async def _beat(self) -> None:
        while True:
            writer = ChainWriter(
                bootstrap=self._bootstrap, topic=MARKS, partition=0, owner=secrets.token_bytes(16), input_topic_id=b"",
                client_id="chaos-marks", on_accepted=None,
            )  # fmt: skip
            try:
                with suppress(*_AWAY):
                    await self._beat_with(writer)
            finally:
                with suppress(*_AWAY):
                    await writer.close()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _beat_with(self, writer: ChainWriter) -> None:
        await writer.take_over(lambda _: None)
        while True:
            done = await writer.append(
                market_pb2.MarksBody(snapshot=True, snapshot_offset=-1).SerializeToString(),
                input_offset=-1, input_index=0, run_time_ns=self.now_ns, control_sequence=0,
                headers={"wall_ns": b"%d" % time.time_ns()},
            )  # fmt: skip
            self._marks = (await done).sequence
            await asyncio.sleep(_BEAT_SECONDS)

    async def _follow(self, partition: int) -> None:
        follower = ChainFollower(
            bootstrap=self._bootstrap, topic=JOURNAL, partition=partition, client_id=f"chaos-journal-{partition}"
        )
        while True:
            with suppress(*_AWAY):
                await follower.start()
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        try:
            while True:
                frames: list[AcceptedFrame] = []
                try:
                    frames = await follower.poll(timeout_s=0.2)
                except Fault:
                    await asyncio.sleep(_PAUSE_SECONDS)
                for frame in frames:
                    self._take(partition, frame)
        finally:
            await follower.stop()

    def _take(self, partition: int, frame: AcceptedFrame) -> None:
        self._sequence[partition], self._control[partition] = frame.sequence, frame.control_sequence
        for outcome in journal_pb2.JournalBody.FromString(frame.body).outcomes:
            for effect in outcome.effects:
                if effect.HasField("reservation"):
                    self._reservation(effect.reservation)
                elif effect.HasField("movement"):
                    moved = effect.movement
                    key = (moved.from_partition, moved.to_partition, moved.sequence)
                    (self.moving.discard if moved.arrived else self.moving.add)(key)

    @property
    def is_quiet(self) -> bool:
        """Nothing waits for a verdict or is on its way to another partition."""
        return not self.pending and not self.moving

    def _reservation(self, one: journal_pb2.Reservation) -> None:
        if one.state == ledger_pb2.RESERVATION_STATE_PENDING:
            verdict = commands_pb2.Verdict(account=one.account, reservation=one.reservation, settle=True)
            self.pending[one.reservation] = verdict
        else:
            self.pending.pop(one.reservation, None)
            self._judged_at_s.pop(one.reservation, None)

    async def _judge(self) -> None:
        while True:
            sender = CommandSender(
                bootstrap=self._bootstrap, client_id="chaos-risk", principal_id="risk_evaluation",
                session=secrets.token_bytes(16),
            )  # fmt: skip
            try:
                with suppress(*_AWAY):
                    await sender.start()
                    while True:
                        await self._judge_due(sender)
                        await asyncio.sleep(0.02)
            finally:
                with suppress(*_AWAY):
                    async with asyncio.timeout(2.0):
                        await sender.stop()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _judge_due(self, sender: CommandSender) -> None:
        now_s = time.monotonic()
        for reservation, verdict in list(self.pending.items()):
            if now_s - self._judged_at_s.get(reservation, 0.0) < _JUDGE_AGAIN_SECONDS:
                continue
            self._judged_at_s[reservation] = now_s
            partition = reservation >> 48
            verdict.citation.CopyFrom(
                commands_pb2.Citation(
                    journal_sequence=self._sequence[partition], mark_sequence=self._marks,
                    control_sequence=self._control[partition], mark_run_time_ns=self.now_ns,
                )
            )  # fmt: skip
            async with asyncio.timeout(10.0):
                await sender.send(partition, [commands_pb2.Command(verdict=verdict)])
