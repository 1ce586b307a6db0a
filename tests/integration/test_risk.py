"""Risk on a real broker: journal and marks written by hand become margins, verdicts and an episode; a restart too."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.api.v1 import risk_pb2 as api
from ballast.api.v1 import risk_pb2_grpc
from ballast.events.v1 import commands_pb2, control_pb2, journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common import rpc
from libs.common.book import Fingerprint
from libs.common.chain import ChainWriter
from libs.common.codec import headers
from libs.common.config import load_parameters
from libs.common.ids import account_id, serial_id
from libs.common.topics import COMMANDS, CONTROL, JOURNAL, MARGIN, MARKS, Topic

USD, BTC = 1, 2
BTC_SPOT, BTC_PERP = 1, 11
DOLLAR, START_NS, SECOND = 1_000_000, 1_513_900_000_000_000_000, 1_000_000_000
POOR, RICH = account_id(partition=0, entity=1, sub=0), account_id(partition=0, entity=2, sub=0)
PARTITIONS = 4
WAIT_SECONDS = 20.0

Effect = journal_pb2.Effect
_T = TypeVar("_T")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def posting(account: int, asset: int, kind: ledger_pb2.LineKind, balance: int, version: int = 1) -> Effect:
    return Effect(
        posting=journal_pb2.Posting(
            account=account, asset=asset, kind=kind, delta=balance, balance=balance, version=version
        )
    )


def opened(account: int, *, restricted: bool = False, episode: int = 0) -> Effect:
    return Effect(
        account=journal_pb2.Account(
            account=account, entity=account, owner="client", restricted=restricted, episode=episode
        )
    )


def order(number: int, account: int, *, lots: int, state: ledger_pb2.OrderState, sequence: int) -> Effect:
    return Effect(
        order=journal_pb2.Order(
            order=serial_id(partition=0, serial=number), account=account, instrument=BTC_PERP, venue=1,
            side=market_words.SIDE_BUY, lots=lots, remaining=lots, limit_price=1_400_000,
            time_in_force=market_words.TIME_IN_FORCE_IOC, state=state, reserved_sequence=sequence,
        )
    )  # fmt: skip


def withdrawal(number: int, account: int, *, units: int, state: ledger_pb2.ReservationState) -> Effect:
    return Effect(
        reservation=journal_pb2.Reservation(
            reservation=serial_id(partition=0, serial=number), account=account, asset=USD, units=units, state=state
        )
    )


class House:
    """Plays everyone but risk: owns the journal, the marks and the control log, and reads what risk says."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.fingerprint = Fingerprint()
        self.margins: list[tuple[risk_pb2.MarginFrame, dict[str, bytes]]] = []
        self.commands: list[commands_pb2.Command] = []
        self.run_time_ns = START_NS
        self._writers: dict[str, ChainWriter] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        async with AsyncExitStack() as stack:
            for topic in (JOURNAL, MARKS, CONTROL):
                writer = ChainWriter(
                    bootstrap=self.bootstrap, topic=topic, partition=0, owner=secrets.token_bytes(16),
                    input_topic_id=b"", client_id=f"house-{topic.name}", on_accepted=None,
                )  # fmt: skip
                await writer.take_over(lambda frame: None)
                stack.push_async_callback(writer.close)
                self._writers[topic.name] = writer
            reading = asyncio.create_task(self._read())
            beating = asyncio.create_task(self._beat())
            try:
                yield self
            finally:
                for task in (reading, beating):
                    task.cancel()
                await asyncio.gather(reading, beating, return_exceptions=True)

    async def _append(self, topic: Topic, body: bytes) -> int:
        accepted = await self._writers[topic.name].append(
            body, input_offset=-1, input_index=0, run_time_ns=self.run_time_ns, control_sequence=0,
            headers=dict(headers(wall_ns=time.time_ns())),
        )  # fmt: skip
        return (await accepted).sequence

    async def journal(self, *effects: Effect, outcome: journal_pb2.Outcome | None = None) -> int:
        for effect in effects:
            self.fingerprint.apply(effect)
        outcome = outcome or journal_pb2.Outcome(command="by_hand")
        outcome.effects.extend(effects)
        body = journal_pb2.JournalBody(outcomes=[outcome], fingerprint=self.fingerprint.digest)
        return await self._append(JOURNAL, body.SerializeToString())

    async def marks(self, price: int, *, validity: int = market_words.VALIDITY_CLASS_VALID) -> int:
        self.run_time_ns += SECOND
        rows = [BTC_SPOT, BTC_PERP]
        body = market_pb2.MarksBody(
            snapshot=True, snapshot_offset=-1, instrument=rows, mark_price=[price] * 2, index_price=[price] * 2,
            confidence=[0] * 2, slow_price=[price] * 2, validity=bytes([validity] * 2),
        )  # fmt: skip
        return await self._append(MARKS, body.SerializeToString())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            await self._append(MARKS, market_pb2.MarksBody().SerializeToString())

    async def activate(self, parameters_hash: bytes) -> None:
        pointer = control_pb2.ActivateParameters(hash=parameters_hash)
        await self._append(CONTROL, control_pb2.ControlBody(activate_parameters=pointer).SerializeToString())

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        topics = [TopicPartition(topic.name, each) for topic in (MARGIN, COMMANDS) for each in range(PARTITIONS)]
        consumer.assign(topics)
        await consumer.seek_to_beginning()
        try:
            async for record in consumer:
                if record.topic == MARGIN.name:
                    frame = risk_pb2.MarginFrame.FromString(record.value)
                    self.margins.append((frame, dict(record.headers)))
                else:
                    self.commands.extend(commands_pb2.CommandBatch.FromString(record.value).commands)
                async with self._changed:
                    self._changed.notify_all()
        finally:
            await consumer.stop()

    async def margin(self, holds: Callable[[risk_pb2.MarginFrame], bool]) -> risk_pb2.MarginFrame:
        """The first margin frame of partition 0 for which something holds."""
        frame, _ = await self.first(lambda: self.margins, lambda one: one[0].partition == 0 and holds(one[0]))
        return frame

    async def margin_at(self, mark_sequence: int, *, partition: int = 0, after: int = 0) -> risk_pb2.MarginFrame:
        """The first margin frame of a partition at or after a mark."""
        frame, _ = await self.first(
            lambda: self.margins[after:],
            lambda one: one[0].partition == partition and one[0].mark_sequence >= mark_sequence,
        )
        return frame

    async def command(self, body: str, subject: int, *, after: int = 0) -> commands_pb2.Command:
        """The first command of this kind about an account, order or reservation."""

        def concerns(command: commands_pb2.Command) -> bool:
            if command.WhichOneof("body") != body:
                return False
            one = getattr(command, body)
            return subject in (one.account, getattr(one, "order", 0), getattr(one, "reservation", 0))

        return await self.first(lambda: self.commands[after:], concerns)

    async def first(self, where: Callable[[], list[_T]], holds: Callable[[_T], bool]) -> _T:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            while True:
                for one in where():
                    if holds(one):
                        return one
                await self._changed.wait()


class Worker:
    """The service as its own process."""

    def __init__(self, bootstrap: str, directory: Path, repository: Path, *, instance: str = "0") -> None:
        self.http, self.grpc = free_port(), free_port()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")},
            "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "build" / "gen")]),
            "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
            "BALLAST_HTTP_PORT": str(self.http),
            "BALLAST_GRPC_PORT": str(self.grpc),
            "BALLAST_INSTANCE": instance,
        }
        self._log = directory / f"risk-{instance}.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.risk_evaluation", env=self._environment, stderr=log, stdout=log
            )

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), WAIT_SECONDS)

    async def ready(self) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(self._is_ready):
                assert self.process is not None
                assert self.process.returncode is None, self._log.read_text()[-2_000:]
                await asyncio.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@pytest.fixture
async def worker(fresh_kafka: str, tmp_path: Path, repository: Path) -> AsyncIterator[Worker]:
    worker = Worker(fresh_kafka, tmp_path, repository)
    try:
        yield worker
    finally:
        if worker.process is not None:
            await worker.end(signal.SIGKILL)


async def test_marks_become_margins_verdicts_and_one_episode(
    fresh_kafka: str, worker: Worker, repository: Path
) -> None:
    async with House(fresh_kafka).running() as house:
        await house.journal(opened(POOR), posting(POOR, USD, ledger_pb2.LINE_KIND_CASH, 3_000 * DOLLAR))
        await house.journal(
            posting(POOR, BTC_PERP, ledger_pb2.LINE_KIND_LOTS, 1_000),
            posting(POOR, BTC_PERP, ledger_pb2.LINE_KIND_VARIATION, -13_000 * DOLLAR),
        )
        await house.journal(opened(RICH), posting(RICH, USD, ledger_pb2.LINE_KIND_CASH, 100_000 * DOLLAR))
        await house.marks(1_300_000)
        await worker.start()
        loaded = load_parameters(repository / "config")
        await house.activate(loaded.hash)
        await worker.ready()
        await _margins_follow_marks(house)
        await _reservations_are_judged(house)
        await _questions_are_answered(house, worker)
        await _the_poor_account_is_opened_once(house)
        await _a_restart_says_the_same(house, worker)


async def _margins_follow_marks(house: House) -> None:
    frame = await house.margin(lambda one: one.full)
    assert (list(frame.account), frame.journal_sequence) == ([POOR, RICH], 3)
    assert list(frame.equity) == [3_000 * DOLLAR, 100_000 * DOLLAR]
    assert frame.maintenance_margin[0] > 13_000 * DOLLAR * 0.15  # the stress, and liquidity
    assert frame.initial_margin[0] * 10 >= frame.maintenance_margin[0] * 11
    assert frame.fingerprint == house.fingerprint.digest
    assert sum(frame.accounts_by_state) == 2
    again = await house.marks(1_299_000)  # everyone is healthy, and still each partition says so
    for partition in range(PARTITIONS):
        await house.margin_at(again, partition=partition)


async def _reservations_are_judged(house: House) -> None:
    rich = await house.journal(order(1, RICH, lots=1_000, state=ledger_pb2.ORDER_STATE_RESERVED, sequence=4))
    good = await house.command("verdict", serial_id(partition=0, serial=1))
    assert good.verdict.settle
    assert good.verdict.citation.journal_sequence >= rich
    assert good.principal.id == "risk_evaluation"
    await house.journal(order(1, RICH, lots=1_000, state=ledger_pb2.ORDER_STATE_RELEASED, sequence=4))
    await house.journal(order(2, POOR, lots=5_000, state=ledger_pb2.ORDER_STATE_RESERVED, sequence=6))
    bad = await house.command("verdict", serial_id(partition=0, serial=2))
    assert (bad.verdict.settle, bad.verdict.reason) == (False, ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN)
    await house.journal(order(2, POOR, lots=5_000, state=ledger_pb2.ORDER_STATE_VOIDED, sequence=6))
    await house.journal(
        posting(RICH, USD, ledger_pb2.LINE_KIND_CASH, 90_000 * DOLLAR, version=2),
        withdrawal(3, RICH, units=10_000 * DOLLAR, state=ledger_pb2.RESERVATION_STATE_PENDING),
    )
    paid = await house.command("verdict", serial_id(partition=0, serial=3))
    assert paid.verdict.settle
    expired = journal_pb2.Outcome(session=paid.session, command="verdict", refusal=ledger_pb2.REFUSAL_VERDICT_EXPIRED)
    seen = len(house.commands)
    await house.journal(outcome=expired)
    once_more = await house.command("verdict", serial_id(partition=0, serial=3), after=seen)
    assert once_more.verdict.citation.mark_sequence > paid.verdict.citation.mark_sequence
    await house.journal(withdrawal(3, RICH, units=10_000 * DOLLAR, state=ledger_pb2.RESERVATION_STATE_SETTLED))


async def _questions_are_answered(house: House, worker: Worker) -> None:
    async with rpc.channel(f"127.0.0.1:{worker.grpc}") as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        explained = await stub.Explain(api.ExplainRequest(account=POOR, at_least=9), timeout=5)
        assert [line.symbol for line in explained.lines] == ["USD", "BTC-USD-PERP", "BTC-USD-PERP"]
        assert sum(line.value for line in explained.lines) == explained.margin.equity[0]
        assert 0 < explained.free[0].units < 3_000 * DOLLAR
        closing = api.Candidate(trades=[api.HypotheticalTrade(instrument=BTC_PERP, lots=-1_000, price=1_299_000)])
        more = api.Candidate(cash=[api.HypotheticalCash(asset=USD, units=DOLLAR)])
        answer = await stub.Evaluate(api.EvaluateRequest(account=POOR, candidates=[closing, more]), timeout=5)
        assert (answer.results[0].equity, answer.results[0].maintenance_margin) == (2_990 * DOLLAR, 0)
        assert answer.results[1].equity == answer.now.equity + DOLLAR
        with pytest.raises(grpc.aio.AioRpcError, match="UNKNOWN_ACCOUNT"):
            await stub.Explain(api.ExplainRequest(account=account_id(partition=0, entity=9, sub=0)), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError, match="Behind"):
            await stub.Explain(api.ExplainRequest(account=POOR, at_least=10_000), timeout=0.5)


async def _the_poor_account_is_opened_once(house: House) -> None:
    held = await house.marks(1_100_000, validity=market_words.VALIDITY_CLASS_HOLD)
    frame = await house.margin(lambda one: one.mark_sequence >= held and POOR in one.account)
    assert frame.state[list(frame.account).index(POOR)] == risk_pb2.MARGIN_STATE_LIQUIDATION
    await house.marks(1_100_000, validity=market_words.VALIDITY_CLASS_DEGRADED)
    opening = await house.command("open_episode", POOR)
    assert opening.open_episode.citation.mark_sequence > held
    assert opening.open_episode.equity < opening.open_episode.maintenance_margin
    for _ in range(3):
        await house.margin_at(await house.marks(1_099_000))
    openings = [one for one in house.commands if one.WhichOneof("body") == "open_episode"]
    assert len(openings) == 1


async def _a_restart_says_the_same(house: House, worker: Worker) -> None:
    before = len(house.margins)
    assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
    seen = len(house.commands)
    await worker.start()
    await worker.ready()
    last = await house.marks(1_099_000)
    again = await house.command("open_episode", POOR, after=seen)
    assert again.open_episode.account == POOR
    frame = await house.margin_at(last, after=before)
    assert frame.fingerprint == house.fingerprint.digest
    assert await worker.end(signal.SIGTERM) == 0


async def test_partitions_move_between_workers(
    fresh_kafka: str, worker: Worker, tmp_path: Path, repository: Path
) -> None:
    second = Worker(fresh_kafka, tmp_path, repository, instance="1")
    async with House(fresh_kafka).running() as house:
        await house.activate(load_parameters(repository / "config").hash)
        await worker.start()
        await worker.ready()
        try:
            await second.start()
            await second.ready()
            await _all_partitions_are_served(house)
            assert await second.end(signal.SIGKILL) == -signal.SIGKILL
            await _all_partitions_are_served(house)  # once the session of the dead member has ended
        finally:
            await second.end(signal.SIGKILL)


async def _all_partitions_are_served(house: House) -> None:
    async with asyncio.timeout(2 * WAIT_SECONDS):
        while True:
            sequence = await house.marks(1_300_000)
            await asyncio.sleep(0.5)
            served = {one.partition for one, _ in house.margins if one.mark_sequence >= sequence}
            if served == set(range(PARTITIONS)):
                return
