"""A town around the gateway: a journal folded by the test with risk as it plays it, a client, a venue on the wire."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc, venue_pb2, venue_pb2_grpc
from ballast.events.v1 import commands_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common import rpc
from libs.common.book import PartitionBook
from libs.common.chain import ChainFollower, ChainWriter
from libs.common.commands import CommandSender
from libs.common.ids import partition_of
from libs.common.topics import JOURNAL, MARKS
from tools.demo.processes import Fleet

UNDER_TEST = ("collateral_management", "venue_gateway")
START_NS = 1_513_642_200 * 10**9  # ten minutes after genesis: no tick of a pool is due
SECONDS_MAX = 30.0
PARTITIONS = 4


async def until(true: Callable[[], bool], what: str) -> None:
    """Returns when it is true; fails naming what was awaited."""
    deadline = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < deadline, f"waited {SECONDS_MAX} s for {what}"
        await asyncio.sleep(0.01)


class Journal:
    """The journal folded by the test, and risk as the test plays it: every reservation is let through, or none."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.books = [PartitionBook(one) for one in range(PARTITIONS)]
        self.outcomes: list[journal_pb2.Outcome] = []
        self.settle = True
        self.run_time_ns = START_NS
        self._control = [0] * PARTITIONS
        self._judged: set[tuple[int, int]] = set()  # order or reservation, answers of the outflow limit's bank before

    @property
    def fills(self) -> list[journal_pb2.Fill]:
        return [e.fill for o in self.outcomes for e in o.effects if e.WhichOneof("effect") == "fill"]

    @property
    def alerts(self) -> list[journal_pb2.Alert]:
        return [e.alert for o in self.outcomes for e in o.effects if e.WhichOneof("effect") == "alert"]

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[Journal]:
        self._risk = CommandSender(
            bootstrap=self.bootstrap, client_id="risk", principal_id="risk_evaluation", session=secrets.token_bytes(16)
        )
        self._marks = ChainWriter(
            bootstrap=self.bootstrap,
            topic=MARKS,
            partition=0,
            owner=secrets.token_bytes(16),
            input_topic_id=b"",
            client_id="marks",
            on_accepted=None,
        )
        await self._risk.start()
        await self._marks.take_over(lambda _: None)
        tasks = [asyncio.create_task(self._follow(one)) for one in range(PARTITIONS)]
        tasks.append(asyncio.create_task(self._beat()))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._marks.close()
            await self._risk.stop()
            faults = [end for end in ends if isinstance(end, Exception)]
            assert faults == []

    async def _beat(self) -> None:
        body = market_pb2.MarksBody(snapshot_offset=-1).SerializeToString()
        while True:
            done = await self._marks.append(
                body,
                input_offset=-1,
                input_index=0,
                run_time_ns=self.run_time_ns,
                control_sequence=0,
                headers={"wall_ns": b"%d" % time.time_ns()},
            )
            await done
            await asyncio.sleep(0.2)

    async def _follow(self, partition: int) -> None:
        follower = ChainFollower(
            bootstrap=self.bootstrap, topic=JOURNAL, partition=partition, client_id=f"test-{partition}"
        )
        await follower.start()
        try:
            while True:
                for frame in await follower.poll(timeout_s=0.2):
                    body = journal_pb2.JournalBody.FromString(frame.body)
                    self.books[partition].apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
                    self.outcomes.extend(body.outcomes)
                    self._control[partition] = frame.control_sequence
                await self._judge(self.books[partition])
        finally:
            await follower.stop()

    async def _judge(self, book: PartitionBook) -> None:
        waiting: list[commands_pb2.Verdict] = [
            commands_pb2.Verdict(account=one.account, order=one.order)
            for one in book.orders.values()
            if one.state == ledger_pb2.ORDER_STATE_RESERVED and (one.order, 0) not in self._judged
        ]
        waiting += [
            commands_pb2.Verdict(account=one.account, reservation=one.reservation)
            for one in book.reservations.values()
            if (one.reservation, one.asks if one.is_answered else 0) not in self._judged
        ]
        self._judged.update((one.order, 0) for one in book.orders.values())
        self._judged.update((one.reservation, one.asks if one.is_answered else 0) for one in book.reservations.values())
        for verdict in waiting:
            verdict.settle = self.settle
            if not self.settle:
                verdict.reason = ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN
            verdict.citation.journal_sequence = book.sequence
            verdict.citation.mark_sequence = 1
            verdict.citation.mark_run_time_ns = self.run_time_ns
            verdict.citation.control_sequence = self._control[book.partition]
            await self._risk.send(book.partition, [commands_pb2.Command(verdict=verdict)])

    def order(self, order: int) -> journal_pb2.Order | None:
        return self.books[partition_of(order)].orders.get(order)

    def units(self, account: int, kind: ledger_pb2.LineKind, asset: int) -> int:
        return self.books[partition_of(account)].lines_of(account).get((asset, kind), 0)


class Client:
    """A client, and the custodian who confirms its deposits."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._stub: Any = client_pb2_grpc.ClientServiceStub(channel)
        self.name = name
        self.account = 0

    async def call(self, method: str, request: Any, *, key: str = "", principal: str = "") -> Any:
        """The outcome of a unary call; repeated with the same key while the gateway is away."""
        request.key.key = key or secrets.token_hex(8)
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            try:
                called = getattr(self._stub, method)(
                    request, metadata=((rpc.PRINCIPAL_KEY, principal or self.name),), timeout=5, wait_for_ready=True
                )
                return (await called).outcome
            except grpc.aio.AioRpcError as error:
                away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if not away or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def open(self, dollars: str) -> None:
        opened = await self.call("OpenAccount", client_pb2.OpenAccountRequest())
        assert opened.refusal == 0, opened.detail
        self.account = opened.subject
        request = client_pb2.ConfirmDepositRequest(account=self.account, asset="USD", amount=dollars)
        assert (await self.call("ConfirmDeposit", request, principal="custodian")).refusal == 0

    async def buy(self, quantity: str, *, key: str = "") -> int:
        request = client_pb2.PlaceOrderRequest(
            account=self.account,
            instrument="BTC-USD-PERP",
            venue="north",
            side=words.SIDE_BUY,
            quantity=quantity,
            limit_price="14000",
            time_in_force=words.TIME_IN_FORCE_GTC,
        )
        placed = await self.call("PlaceOrder", request, key=key)
        assert placed.refusal == 0, placed.detail
        return int(placed.subject)

    async def cash(self) -> str:
        request = client_pb2.ClientServiceGetAccountRequest(account=self.account)
        answer = await self._stub.GetAccount(request, metadata=((rpc.PRINCIPAL_KEY, self.name),), timeout=10)
        return str(next(one.amount for one in answer.balances if one.kind == ledger_pb2.LINE_KIND_CASH))


class Venue:
    """A venue that does what the test tells it, and keeps its reports until they are acknowledged."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.reports: list[venue_pb2.ExecutionReport] = []  # not acknowledged
        self.last = 0
        self.epoch = 0
        self.resumed_after: list[int] = []
        self.orders: dict[int, venue_pb2.NewOrder] = {}
        self.received: list[int] = []  # order ids, repetitions too
        self.cancels: list[int] = []
        self.notices: list[venue_pb2.VenueNotice] = []  # not acknowledged
        self.noticed = 0  # number of the last one
        self.sent_notices = 0  # repetitions too
        self.known = True  # what it says of orders it is asked for
        self._out: asyncio.Queue[venue_pb2.ConnectRequest] = asyncio.Queue()

    def report(self, order: int, kind: ledger_pb2.ReportKind, **fields: Any) -> None:
        self.last += 1
        report = venue_pb2.ExecutionReport(
            sequence=self.last, order=order, kind=kind, order_received_wall_ns=time.time_ns(), **fields
        )
        self.reports.append(report)
        self._out.put_nowait(venue_pb2.ConnectRequest(report=report))

    def notice(self, **fields: Any) -> None:
        """Tells what was done to our account, twice."""
        self.noticed += 1
        self.notices.append(venue_pb2.VenueNotice(sequence=self.noticed, executed_at_ns=START_NS, **fields))
        for _ in range(2):
            self._tell(self.notices[-1])

    def _tell(self, notice: venue_pb2.VenueNotice) -> None:
        self.sent_notices += 1
        self._out.put_nowait(venue_pb2.ConnectRequest(notice=notice))

    def book(self, sequence: int, price: str) -> None:
        level = venue_pb2.BookLevel(price=price, lots=7)
        update = venue_pb2.BookUpdate(symbol="BTC-USD-PERP", sequence=sequence, run_time_ns=START_NS, bids=[level])
        self._out.put_nowait(venue_pb2.ConnectRequest(book=update))

    async def run(self) -> None:
        """Connects again and again."""
        while True:
            try:
                async with rpc.channel(self._target) as channel:
                    await self._session(channel)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)

    async def _session(self, channel: grpc.aio.Channel) -> None:
        self._out = asyncio.Queue()
        stub: Any = venue_pb2_grpc.VenueServiceStub(channel)
        call = stub.Connect(self._requests(), metadata=((rpc.PRINCIPAL_KEY, "north"),), wait_for_ready=True)
        async for response in call:
            which = response.WhichOneof("message")
            if which == "hello":
                assert response.hello.session_epoch > self.epoch
                self.epoch = response.hello.session_epoch
                self.resumed_after.append(response.hello.resume_after)
                for report in self.reports:
                    if report.sequence > response.hello.resume_after:
                        self._out.put_nowait(venue_pb2.ConnectRequest(report=report))
                for notice in self.notices:
                    if notice.sequence > response.hello.notices_after:
                        self._tell(notice)
            elif which == "order":
                self.received.append(response.order.order)
                self.orders[response.order.order] = response.order
            elif which == "cancel":
                self.cancels.append(response.cancel.order)
            elif which == "query":
                status = venue_pb2.OrderStatus(order=response.query.order, known=self.known)
                self._out.put_nowait(venue_pb2.ConnectRequest(status=status))
            elif which == "ack":
                self.reports = [one for one in self.reports if one.sequence > response.ack.up_to]
            elif which == "notice_ack":
                self.notices = [one for one in self.notices if one.sequence > response.notice_ack.up_to]

    async def _requests(self) -> AsyncIterator[venue_pb2.ConnectRequest]:
        oldest = self.reports[0].sequence if self.reports else 0
        hello = venue_pb2.VenueHello(
            venue="north", session_epoch=self.epoch, last_report=self.last, oldest_report=oldest
        )
        yield venue_pb2.ConnectRequest(hello=hello)
        out = self._out
        while True:
            try:
                async with asyncio.timeout(0.5):
                    yield await out.get()
            except TimeoutError:
                yield venue_pb2.ConnectRequest(heartbeat=venue_pb2.VenueHeartbeat(run_time_ns=START_NS))


class Town:
    """Everything of the story."""

    def __init__(self, fleet: Fleet, journal: Journal, client: Client, venue: Venue) -> None:
        self.fleet, self.journal, self.client, self.venue = fleet, journal, client, venue
        self._visits: set[asyncio.Task[None]] = set()

    def connect(self) -> asyncio.Task[None]:
        visit = asyncio.create_task(self.venue.run())
        self._visits.add(visit)
        return visit

    async def disconnect(self) -> None:
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        self._visits.clear()


@asynccontextmanager
async def town(bootstrap: str, directory: Path) -> AsyncIterator[Town]:
    fleet = Fleet(bootstrap=bootstrap, directory=directory, gate_url="http://127.0.0.1:9")
    target = fleet.ports["venue_gateway"].target
    try:
        async with Journal(bootstrap).playing() as journal, rpc.channel(target) as channel:
            for name in UNDER_TEST:
                fleet.processes[name].start()
            await fleet.wait_ready(UNDER_TEST)
            made = Town(fleet, journal, Client(channel, f"client-{secrets.token_hex(4)}"), Venue(target))
            try:
                yield made
            finally:
                await made.disconnect()
            for name in UNDER_TEST:
                fleet.processes[name].check_alive()
    finally:
        fleet.stop()
