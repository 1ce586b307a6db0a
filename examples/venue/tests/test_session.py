"""The venue over real gRPC, against a small gateway and a small replay that the test drives."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from ballast.api.v1 import replay_pb2, replay_pb2_grpc, venue_pb2, venue_pb2_grpc
from ballast.types.v1 import ledger_pb2, market_pb2

_START_NS = 1_513_731_600 * 10**9
_DEADLINE_S = 20.0
_REPOSITORY = Path(__file__).resolve().parents[3]


class _Gateway(venue_pb2_grpc.VenueServiceServicer):
    """Takes one session at a time; what it heard is in lists, what it says comes from the test."""

    def __init__(self) -> None:
        self.epoch = 1
        self.resume_after = 0
        self.hellos: list[venue_pb2.VenueHello] = []
        self.reports: list[venue_pb2.ExecutionReport] = []
        self.statuses: list[venue_pb2.OrderStatus] = []
        self.books: dict[str, venue_pb2.BookUpdate] = {}
        self.heartbeats = 0
        self.say: asyncio.Queue[venue_pb2.ConnectResponse | None] = asyncio.Queue()

    async def Connect(
        self, requests: AsyncIterator[venue_pb2.ConnectRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[venue_pb2.ConnectResponse]:
        self.say = asyncio.Queue()
        self.hellos.append((await anext(requests)).hello)
        yield venue_pb2.ConnectResponse(
            hello=venue_pb2.GatewayHello(session_epoch=self.epoch, resume_after=self.resume_after)
        )
        listening = asyncio.create_task(self._listen(requests))
        try:
            while (response := await self._next()) is not None:
                yield response
        finally:
            listening.cancel()

    async def _next(self) -> venue_pb2.ConnectResponse | None:
        try:
            return await asyncio.wait_for(self.say.get(), 0.5)
        except TimeoutError:
            return venue_pb2.ConnectResponse(heartbeat=venue_pb2.GatewayHeartbeat(session_epoch=self.epoch))

    async def _listen(self, requests: AsyncIterator[venue_pb2.ConnectRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("message"):
                case "book":
                    self.books[request.book.symbol] = request.book
                case "report":
                    self.reports.append(request.report)
                case "status":
                    self.statuses.append(request.status)
                case "heartbeat":
                    self.heartbeats += 1

    def order(self, order: int, side: market_pb2.Side, lots: int, limit: str, *, rests: bool = False) -> None:
        life = market_pb2.TIME_IN_FORCE_GTC if rests else market_pb2.TIME_IN_FORCE_IOC
        self.say.put_nowait(
            venue_pb2.ConnectResponse(
                order=venue_pb2.NewOrder(
                    order=order, symbol="BTC-USD", side=side, lots=lots, limit_price=limit, time_in_force=life
                )
            )
        )

    def ack(self, up_to: int) -> None:
        self.say.put_nowait(venue_pb2.ConnectResponse(ack=venue_pb2.ReportAck(up_to=up_to)))

    def query(self, order: int) -> None:
        self.say.put_nowait(venue_pb2.ConnectResponse(query=venue_pb2.OrderQuery(order=order)))


class _Replay(replay_pb2_grpc.ReplayServiceServicer):
    """Says the state at once and after every move."""

    def __init__(self) -> None:
        self.moves: asyncio.Queue[replay_pb2.WatchResponse] = asyncio.Queue()
        self.now_ns = _START_NS
        self.price = "100"

    async def Watch(
        self, request: replay_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[replay_pb2.WatchResponse]:
        yield self._state()
        while True:
            yield await self.moves.get()

    def move(self, price: str, *, seconds: int = 60) -> None:
        self.price, self.now_ns = price, self.now_ns + seconds * 10**9
        self.moves.put_nowait(self._state())

    def _state(self) -> replay_pb2.WatchResponse:
        prices = [
            replay_pb2.ReferencePrice(venue="north", instrument="BTC-USD", price=self.price),
            replay_pb2.ReferencePrice(venue="south", instrument="ETH-USD", price="7"),
        ]
        return replay_pb2.WatchResponse(run_time_ns=self.now_ns, prices=prices)


class _World:
    """A gateway, a replay, and the venue as a process of its own."""

    def __init__(self, state: Path) -> None:
        self.gateway, self.replay = _Gateway(), _Replay()
        self._state = state
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.process: asyncio.subprocess.Process | None = None
        self.http = ""

    async def begin(self) -> None:
        venue_pb2_grpc.add_VenueServiceServicer_to_server(self.gateway, self._server)
        replay_pb2_grpc.add_ReplayServiceServicer_to_server(self.replay, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        await self.start_venue()

    async def start_venue(self) -> None:
        target = f"127.0.0.1:{self._port}"
        arguments = ["--name", "north", "--gateway", target, "--replay", target, "--state", str(self._state)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "examples.venue", *arguments,
            stderr=asyncio.subprocess.PIPE, cwd=_REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert self.process.stderr is not None
        started = (await asyncio.wait_for(self.process.stderr.readline(), _DEADLINE_S)).decode()
        port = started.partition('"http_port": ')[2].partition(",")[0]
        assert port.isdigit(), started
        self.http = f"http://127.0.0.1:{port}"

    async def stop_venue(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        await asyncio.wait_for(self.process.communicate(), _DEADLINE_S)
        assert self.process.returncode is not None
        return self.process.returncode

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()
        await self._server.stop(None)

    async def get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"{self.http}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not is_so():  # noqa: ASYNC110  # what it waits for is told by another process
            await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[_World]:
    world = _World(tmp_path / "north.jsonl")
    try:
        await world.begin()
        yield world
    finally:
        await world.end()


async def test_an_order_walks_the_book_and_is_reported_until_acknowledged(world: _World) -> None:
    gateway = world.gateway
    await _until(lambda: len(gateway.books) == 27 and gateway.heartbeats > 0)
    await _until(lambda: all(gateway.books[each].asks for each in ("BTC-USD", "BTC-USD-PERP")))
    assert {each.symbol for each in gateway.hellos[0].instruments} == set(gateway.books)
    book = gateway.books["BTC-USD"]
    assert (len(book.bids), len(book.asks), book.run_time_ns) == (15, 15, _START_NS)
    assert not gateway.books["LTC-USD"].bids
    assert gateway.books["BTC-USD-PERP"].asks
    assert (await world.get("/readyz"))[0] == 200

    gateway.order(7, market_pb2.SIDE_BUY, book.asks[0].lots + 5, book.asks[1].price)
    gateway.order(7, market_pb2.SIDE_BUY, book.asks[0].lots + 5, book.asks[1].price)
    await _until(lambda: len(gateway.reports) == 2)
    assert [(each.sequence, each.lots, each.price) for each in gateway.reports] == [
        (1, book.asks[0].lots, book.asks[0].price),
        (2, 5, book.asks[1].price),
    ]
    assert all(each.order_received_wall_ns > 10**18 for each in gateway.reports)
    gateway.query(7)
    gateway.query(8)
    await _until(lambda: len(gateway.statuses) == 2)
    assert [(each.known, each.terminal) for each in gateway.statuses] == [(True, True), (False, False)]

    gateway.ack(1)
    gateway.resume_after = 1
    gateway.say.put_nowait(None)  # the gateway ends the session
    await _until(lambda: len(gateway.hellos) == 2 and len(gateway.reports) == 3)
    assert (gateway.hellos[1].last_report, gateway.hellos[1].oldest_report) == (2, 2)
    assert gateway.reports[2] == gateway.reports[1]
    assert 'ballast_venue_reports_total{kind="fill"} 2.0' in (await world.get("/metrics"))[1]
    assert await world.stop_venue() == 0


async def test_the_replay_moves_books_and_fills_what_rests(world: _World) -> None:
    gateway = world.gateway
    await _until(lambda: "BTC-USD" in gateway.books)
    gateway.order(1, market_pb2.SIDE_SELL, 50, "101", rests=True)
    await _until(lambda: len(gateway.reports) == 1)
    assert gateway.reports[0].kind == ledger_pb2.REPORT_KIND_ACCEPTED
    world.replay.move("103")
    await _until(lambda: len(gateway.reports) == 2)
    fill = gateway.reports[1]
    assert (fill.kind, fill.lots, fill.price) == (ledger_pb2.REPORT_KIND_FILL, 50, "101.00")
    assert fill.executed_at_ns == world.replay.now_ns
    await _until(lambda: gateway.books["BTC-USD"].run_time_ns == world.replay.now_ns)
    assert float(gateway.books["BTC-USD"].bids[0].price) > 102


async def test_a_lower_session_epoch_is_refused(world: _World) -> None:
    gateway = world.gateway
    await _until(lambda: len(gateway.books) == 27)
    gateway.epoch = 5
    gateway.say.put_nowait(None)
    await _until(lambda: len(gateway.hellos) == 2 and gateway.heartbeats > 1)
    gateway.epoch = 4
    gateway.say.put_nowait(None)
    await _until(lambda: len(gateway.hellos) == 4)
    assert [each.session_epoch for each in gateway.hellos] == [0, 1, 5, 5]
    status, body = await world.get("/readyz")
    assert (status, body) == (503, '["session_up"]')
    assert "ballast_venue_sessions_refused_total" in (await world.get("/metrics"))[1]
    gateway.epoch = 6
    gateway.books.clear()
    await _until(lambda: len(gateway.books) == 27)
    assert (await world.get("/readyz"))[0] == 200


async def test_a_gateway_that_knows_more_reports_than_were_made_is_refused(world: _World) -> None:
    gateway = world.gateway
    await _until(lambda: len(gateway.books) == 27)
    gateway.resume_after = 9
    gateway.say.put_nowait(None)
    await _until(lambda: len(gateway.hellos) == 3)
    assert (await world.get("/readyz"))[1] == '["session_up"]'


async def test_a_killed_venue_keeps_its_numbers_and_cancels_what_rested(world: _World) -> None:
    gateway = world.gateway
    await _until(lambda: "BTC-USD" in gateway.books)
    gateway.order(1, market_pb2.SIDE_BUY, 5, "101")
    gateway.order(2, market_pb2.SIDE_BUY, 5, "90", rests=True)
    await _until(lambda: len(gateway.reports) == 2)
    last_book = max(each.sequence for each in gateway.books.values())
    await world.stop_venue(signal.SIGKILL)
    gateway.resume_after = 2
    gateway.books.clear()
    await world.start_venue()
    await _until(lambda: len(gateway.reports) == 3)
    hello, report = gateway.hellos[-1], gateway.reports[-1]
    assert (hello.session_epoch, hello.last_report) == (1, 3)
    assert (report.order, report.kind, report.sequence) == (2, ledger_pb2.REPORT_KIND_CANCELLED, 3)
    await _until(lambda: len(gateway.books) == 27)
    assert min(each.sequence for each in gateway.books.values()) > last_book
    assert await world.stop_venue() == 0
