"""The service's own edges on loopback: who is ready, and who watches the replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from libs.common import rpc
from libs.common.config import load_parameters
from libs.common.units import UnixNs
from services.price_ingestion.adapters.readiness import is_ready, watch_readiness
from services.price_ingestion.adapters.recorded import RecordedPrices
from services.price_ingestion.adapters.replay_api import ReplayApi
from services.price_ingestion.domain.pacing_words import ServiceReadiness
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters
START = UnixNs(1_513_900_800 * 10**9)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.0 OK\r\n\r\n", False),
        (b"", False),
        (b"no line end", False),
        (b"x" * 10_000 + b"\r\n", False),
    ],
)
async def test_only_a_200_is_ready(answer: bytes, ready: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await is_ready(f"http://127.0.0.1:{port}/readyz") is ready
    assert await is_ready(f"http://127.0.0.1:{port}/readyz") is False


async def test_readiness_is_told_once_a_change() -> None:
    told: list[ServiceReadiness] = []
    task = asyncio.create_task(watch_readiness({"risk": "http://127.0.0.1:1/readyz"}, told.append))
    await asyncio.sleep(0.7)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == [ServiceReadiness("risk", False)]


@pytest.fixture
async def api() -> AsyncIterator[tuple[ReplayApi, replay_pb2_grpc.ReplayServiceStub]]:
    served = ReplayApi(RecordedPrices(REPOSITORY / "data", PARAMETERS), venues=("north", "south"))
    server = rpc.server()
    replay_pb2_grpc.add_ReplayServiceServicer_to_server(served, server)
    port = rpc.bind(server, host="127.0.0.1", port=0)
    await server.start()
    async with rpc.channel(f"127.0.0.1:{port}") as channel:
        yield served, replay_pb2_grpc.ReplayServiceStub(channel)
    await server.stop(grace=None)


async def test_watcher_gets_the_state_at_once_and_then_each_change(
    api: tuple[ReplayApi, replay_pb2_grpc.ReplayServiceStub],
) -> None:
    served, stub = api
    served.show(run_time_ns=START, mark_sequence=1, held_reason="risk_behind", has_ended=False, surfaces=())
    call = stub.Watch(replay_pb2.WatchRequest(venue="south"), timeout=10)
    first = await call.read()
    assert (first.run_time_ns, first.mark_sequence, first.held_reason, first.ended) == (START, 1, "risk_behind", False)
    assert {price.venue for price in first.prices} == {"south"}
    assert {price.instrument: price.price for price in first.prices}["BTC-USD"] == "15758.8"
    served.show(run_time_ns=UnixNs(START + 1), mark_sequence=2, held_reason="", has_ended=False, surfaces=())
    served.show(run_time_ns=UnixNs(START + 2), mark_sequence=3, held_reason="", has_ended=True, surfaces=())
    last = await call.read()
    while last.mark_sequence < 3:  # a watcher may skip what was replaced, never the newest
        last = await call.read()
    assert last.ended
    call.cancel()


async def test_screen_sees_all_venues_and_an_unknown_venue_is_refused(
    api: tuple[ReplayApi, replay_pb2_grpc.ReplayServiceStub],
) -> None:
    served, stub = api
    served.show(run_time_ns=START, mark_sequence=1, held_reason="", has_ended=False, surfaces=())
    call = stub.Watch(replay_pb2.WatchRequest(), timeout=10)
    assert {price.venue for price in (await call.read()).prices} == {"north", "south"}
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Watch(replay_pb2.WatchRequest(venue="east"), timeout=10).read()
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "north, south" in str(refused.value.details())
