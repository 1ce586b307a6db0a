"""An account that floods the edge with orders and cancels is liquidated all the same, and others go on trading.

It aims at 500 orders a second. What it reaches depends on the machine, so the rate is told beside its goal and not
judged: asserted is that the flood does not stop before the episode ends, and that the episode takes its course.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame, ChainRule
from libs.common.ids import SystemAccount, partition_of, system_account
from libs.common.rpc import PRINCIPAL_KEY, channel
from libs.common.topics import DEAD_TOPICS, JOURNAL
from tools.demo.edge import Desk
from tools.demo.gate import Gate
from tools.demo.processes import Fleet

PARTITIONS = 4
# BTC falls from 13,900 to 12,100 USD in the second hour of it and to 10,400 USD at one venue in the third.
WINDOW = "2017-12-22T12:30/2017-12-22T14:30"
PERP = "BTC-USD-PERP"
RATE = 500  # orders a second, each placed and cancelled
RATE_GOAL = 400
IN_FLIGHT_MAX = 400  # pairs; the spammer is a single client, and the edge may push back
TURN_SECONDS = 0.02
CHASE_SECONDS_MAX = 90.0

Holds = Callable[[client_pb2.ClientServiceGetAccountResponse], bool]


@dataclass(slots=True)
class Spammer:
    """Places orders that never trade and cancels them at once; while restricted, reduce-only ones."""

    desk: Desk
    account: int
    pairs: int = 0
    held_back: int = 0  # turns in which the edge had not answered enough of what was sent
    outcomes: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Spams until cancelled."""
        owed, before = 0.0, time.monotonic()
        try:
            while True:
                await asyncio.sleep(TURN_SECONDS)
                now = time.monotonic()
                owed, before = min(owed + RATE * (now - before), RATE / 4), now
                while owed >= 1:
                    if len(self._tasks) >= IN_FLIGHT_MAX:
                        self.held_back += 1
                        break
                    task = asyncio.create_task(self._pair(self.pairs))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    self.pairs, owed = self.pairs + 1, owed - 1
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pair(self, number: int) -> None:
        reduces = number % 2 == 1
        order = client_pb2.PlaceOrderRequest(
            account=self.account,
            instrument=PERP,
            venue="south" if number % 4 < 2 else "north",
            side=market_pb2.SIDE_SELL if reduces else market_pb2.SIDE_BUY,
            quantity="0.001",
            limit_price="90000" if reduces else "2000",
            time_in_force=market_pb2.TIME_IN_FORCE_GTC,
            reduce_only=reduces,
        )
        placed = await self.desk.ask(client_pb2.SubmitCommand(place_order=order))
        self.outcomes[words.Refusal.Name(placed.refusal)] += 1
        if not placed.refusal:
            cancel = client_pb2.CancelOrderRequest(account=self.account, order=placed.subject)
            await self.desk.ask(client_pb2.SubmitCommand(cancel_order=cancel))


class Story:
    """The clients of the story, and what they see of their accounts."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._refusals: Counter[str] = Counter()
        self._desks: dict[str, Desk] = {}

    def desk(self, principal: str) -> Desk:
        if principal not in self._desks:
            self._desks[principal] = Desk(principal, target=self._target, refusals=self._refusals)
            self._desks[principal].start()
        return self._desks[principal]

    async def stop(self) -> None:
        await asyncio.gather(*(desk.stop() for desk in self._desks.values()))

    async def must(self, principal: str, **command: Any) -> int:
        outcome = await self.desk(principal).ask(client_pb2.SubmitCommand(**command))
        assert not outcome.refusal, f"{principal} {command}: {outcome.detail}"
        return int(outcome.subject)

    async def deposit(self, account: int, amount: str) -> None:
        request = client_pb2.ConfirmDepositRequest(account=account, asset="USD", amount=amount)
        await self.must("custodian", confirm_deposit=request)

    async def open(self, principal: str, usd: str) -> int:
        account = await self.must(principal, open_account=client_pb2.OpenAccountRequest())
        await self.deposit(account, usd)
        return account

    async def buy(self, principal: str, account: int, quantity: str) -> None:
        request = client_pb2.PlaceOrderRequest(
            account=account,
            instrument=PERP,
            venue="north",
            side=market_pb2.SIDE_BUY,
            quantity=quantity,
            limit_price="14600",
            time_in_force=market_pb2.TIME_IN_FORCE_IOC,
        )
        await self.must(principal, place_order=request)

    async def until(self, principal: str, account: int, holds: Holds, *, seconds: float) -> None:
        request = client_pb2.ClientServiceGetAccountRequest(account=account)
        async with channel(self._target) as open_channel:
            stub = client_pb2_grpc.ClientServiceStub(open_channel)
            async with asyncio.timeout(seconds):
                while True:
                    seen = await stub.GetAccount(request, metadata=((PRINCIPAL_KEY, principal),), timeout=20)
                    if holds(seen):
                        return
                    await asyncio.sleep(0.1)


def lots(seen: client_pb2.ClientServiceGetAccountResponse) -> float:
    """Position in the perp, BTC."""
    lines = [one for one in seen.balances if (one.symbol, one.kind) == (PERP, words.LINE_KIND_LOTS)]
    return float(lines[0].amount) if lines else 0.0


async def timed(work: Awaitable[None]) -> float:
    started = time.monotonic()
    await work
    return time.monotonic() - started


@asynccontextmanager
async def whole_house(bootstrap: str, directory: Path) -> AsyncIterator[tuple[Fleet, Gate, Story]]:
    gate = Gate()
    windows = {"BALLAST_REPLAY_WINDOWS": WINDOW}
    fleet = Fleet(bootstrap=bootstrap, directory=directory, gate_url=gate.url, extra={"price_ingestion": windows})
    story = Story(fleet.ports["venue_gateway"].target)
    try:
        fleet.start()
        await fleet.wait_ready()
        yield fleet, gate, story
    finally:
        await story.stop()
        await asyncio.to_thread(fleet.stop)
        gate.stop()


async def records(bootstrap: str, topic: str, partition: int) -> list[Any]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none") as consumer:
        where = TopicPartition(topic, partition)
        consumer.assign([where])
        end = (await consumer.end_offsets([where]))[where]
        consumer.seek(where, 0)
        found: list[Any] = []
        while await consumer.position(where) < end:
            found += (await consumer.getmany(where, timeout_ms=1_000)).get(where, [])
    return found


@dataclass(slots=True)
class Episodes:
    """What the journal of a partition says of an account's episodes; the fold is verified frame by frame."""

    account: int
    book: PartitionBook
    last: dict[int, journal_pb2.Episode] = field(default_factory=dict)
    fills: list[journal_pb2.Fill] = field(default_factory=list)
    orders: set[int] = field(default_factory=set)  # of the account itself

    @classmethod
    async def read(cls, bootstrap: str, account: int) -> Episodes:
        partition = partition_of(account)
        found, rule = cls(account, PartitionBook(partition)), ChainRule()
        for record in await records(bootstrap, JOURNAL.name, partition):
            taken = rule.take(offset=record.offset, value=record.value)
            if isinstance(taken, AcceptedFrame):
                found._fold(taken)
        return found

    def _fold(self, frame: AcceptedFrame) -> None:
        body = journal_pb2.JournalBody.FromString(frame.body)
        self.book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
        assert self.book.fingerprint == body.fingerprint
        for effect in (effect for outcome in body.outcomes for effect in outcome.effects):
            if effect.HasField("episode") and effect.episode.account == self.account:
                self.last[effect.episode.episode] = effect.episode
            elif effect.HasField("fill") and effect.fill.account == self.account and effect.fill.episode:
                self.fills.append(effect.fill)
            elif effect.HasField("order") and effect.order.account == self.account and not effect.order.episode:
                self.orders.add(effect.order.order)


async def cast(story: Story) -> tuple[int, int]:
    """The spammer's and the quiet client's accounts, with pools and house capital behind them."""
    for partition in range(PARTITIONS):
        for kind in (SystemAccount.FIRST_LOSS, SystemAccount.INSURANCE, SystemAccount.SECOND_CAPITAL):
            await story.deposit(system_account(kind, partition=partition), "100000")
    lender = await story.open("lender", "1000000")
    supplied = client_pb2.SupplyRequest(account=lender, asset="USD", amount="1000000")
    async with asyncio.timeout(20):  # a tick of the pool's indices may be on its way
        while refusal := (await story.desk("lender").ask(client_pb2.SubmitCommand(supply=supplied))).refusal:
            assert refusal == words.REFUSAL_INDEX_BEHIND
            await asyncio.sleep(0.1)
    spammer, quiet = await asyncio.gather(story.open("spammer", "10000"), story.open("quiet", "50000"))
    await story.buy("spammer", spammer, "3")
    await story.until("spammer", spammer, lambda seen: lots(seen) == 3.0, seconds=20)
    return spammer, quiet


def say(request: pytest.FixtureRequest, line: str) -> None:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr, flush=True)


@pytest.mark.timeout(240)
async def test_a_spammer_is_liquidated_all_the_same(
    fresh_kafka: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with whole_house(fresh_kafka, tmp_path) as (fleet, gate, story):
        account, quiet = await cast(story)
        spammer = Spammer(story.desk("spammer"), account)
        spamming, started = asyncio.create_task(spammer.run()), time.monotonic()
        gate.open()
        waited = await timed(story.buy("quiet", quiet, "0.1"))
        waited += await timed(story.until("quiet", quiet, lambda seen: lots(seen) > 0, seconds=30))
        await story.until("spammer", account, lambda seen: seen.episode != 0, seconds=CHASE_SECONDS_MAX)
        opened, pairs = time.monotonic(), spammer.pairs
        await story.until("spammer", account, lambda seen: seen.episode == 0, seconds=CHASE_SECONDS_MAX)
        took, lasted, during = time.monotonic() - opened, time.monotonic() - started, spammer.pairs - pairs
        rate = spammer.pairs / lasted
        fleet.check_alive()
        assert not spamming.done()
        spamming.cancel()
        await asyncio.gather(spamming, return_exceptions=True)
    told = await Episodes.read(fresh_kafka, account)
    placed = spammer.outcomes["REFUSAL_UNSPECIFIED"]
    say(
        request,
        f"spam: {spammer.pairs} orders sent, {rate:.0f} a second (goal >= {RATE_GOAL}: "
        f"{'met' if rate >= RATE_GOAL else 'MISSED'}), {during} of them in the {took:.1f} s of the episode; "
        f"{placed} were placed and cancelled, {placed / lasted:.0f} a second, the others refused: "
        f"{dict(spammer.outcomes)}; held back {spammer.held_back} times; a quiet client's fill took {waited:.2f} s; "
        f"{len(told.fills)} fills of the episode",
    )
    first = next(iter(told.last.values()))
    assert first.equity < first.maintenance_margin
    assert first.state in (words.EPISODE_STATE_HEALTHY, words.EPISODE_STATE_EMPTIED)
    assert first.step >= 1
    ours = [fill for fill in told.fills if fill.episode == first.episode]
    assert ours
    assert all(fill.side == market_pb2.SIDE_SELL for fill in ours)
    assert during > 0
    assert spammer.outcomes["REFUSAL_ACCOUNT_RESTRICTED"] > 0
    assert told.orders
    for topic in DEAD_TOPICS:
        assert not await records(fresh_kafka, topic.name, 0)
