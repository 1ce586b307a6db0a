"""The replay on a real broker: it waits for the house, beats while it waits, survives a kill, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from ballast.events.v1 import market_pb2, risk_pb2
from libs.common import rpc
from libs.common.chain import AcceptedFrame, ChainFollower
from libs.common.codec import Publisher
from libs.common.config import load_parameters
from libs.common.topics import MARGIN, MARKS

PARTITIONS = 4
FIRST_WINDOW = "2017-12-22T13:00/2017-12-22T15:00"
SECOND_WINDOW = "2018-01-16T20:00/2018-01-16T23:00"
MINUTE = 60 * 10**9


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class House:
    """Plays every other service: says whether it is ready, and publishes margins for frames when it is told to."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.is_ready = False
        self.publishes = False
        self.frames: list[AcceptedFrame] = []
        self.beats = 0
        self.epoch = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        task = asyncio.create_task(self._follow())
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"
        finally:
            server.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" if self.is_ready else b"HTTP/1.0 503 Unavailable\r\n\r\n")
        writer.close()

    async def _follow(self) -> None:
        follower = ChainFollower(bootstrap=self.bootstrap, topic=MARKS, partition=0, client_id="house")
        publisher = Publisher(bootstrap=self.bootstrap, client_id="house-risk")
        await publisher.start()
        await follower.start()
        published = 0
        try:
            while True:
                for frame in await follower.poll(timeout_s=0.05):
                    has_rows = len(market_pb2.MarksBody.FromString(frame.body).instrument) > 0
                    self.beats += not has_rows
                    self.epoch = frame.frame.epoch
                    if has_rows:
                        self.frames.append(frame)
                self._changed.set()
                newest = self.frames[-1].sequence if self.frames else 0
                if self.publishes and newest > published:
                    for partition in range(PARTITIONS):
                        margin = risk_pb2.MarginFrame(partition=partition, mark_sequence=newest)
                        await (await publisher.enqueue(MARGIN.name, margin.SerializeToString(), partition=partition))
                    published = newest
        finally:
            await follower.stop()
            await publisher.stop()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def service(bootstrap: str, repository: Path, *, ready_url: str, port: int, windows: str) -> AsyncIterator[int]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")},
        "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "build" / "gen")]),
        "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
        "BALLAST_GRPC_PORT": str(port),
        "BALLAST_REPLAY_WINDOWS": windows,
        "BALLAST_READY_URLS": f"house={ready_url}",
        "BALLAST_SNAPSHOT_EVERY_FRAMES": "8",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.price_ingestion", cwd=repository, env=environment
    )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def state(port: int, *, ended: bool = False) -> replay_pb2.WatchResponse:
    async with rpc.channel(f"127.0.0.1:{port}") as channel:
        stub = replay_pb2_grpc.ReplayServiceStub(channel)
        async for response in stub.Watch(replay_pb2.WatchRequest(), wait_for_ready=True, timeout=30):
            if response.ended or not ended:
                assert isinstance(response, replay_pb2.WatchResponse)
                return response
    raise AssertionError("the watch ended by itself")


def btc_prices(house: House) -> list[int]:
    bodies = [market_pb2.MarksBody.FromString(frame.body) for frame in house.frames]
    return [dict(zip(body.instrument, body.mark_price, strict=True)).get(1, 10**9) for body in bodies]


@pytest.mark.timeout(120)
async def test_replay_waits_for_the_house_survives_a_kill_and_ends(fresh_kafka: str, repository: Path) -> None:
    house, port = House(fresh_kafka), free_port()
    async with house.running() as ready_url:
        async with service(fresh_kafka, repository, ready_url=ready_url, port=port, windows=FIRST_WINDOW) as pid:
            await house.until(lambda: len(house.frames) >= 1)
            beats = house.beats
            await asyncio.sleep(1.5)
            assert (len(house.frames), house.beats - beats >= 4) == (1, True)
            held = await state(port)
            assert held.held_reason.startswith("service_not_ready")
            assert len(held.prices) == 16  # no options, and no future whose end is past
            house.is_ready = house.publishes = True
            await house.until(lambda: len(house.frames) >= 12)
            os.kill(pid, signal.SIGKILL)
        killed_at = house.frames[-1]
        async with service(fresh_kafka, repository, ready_url=ready_url, port=port, windows=FIRST_WINDOW):
            last = await state(port, ended=True)
            await house.until(lambda: house.frames[-1].sequence >= last.mark_sequence)
    times = [frame.run_time_ns for frame in house.frames]
    assert times == sorted(set(times))
    assert times[-1] - times[0] == 120 * MINUTE
    after = next(frame for frame in house.frames if frame.frame.epoch > killed_at.frame.epoch)
    body = market_pb2.MarksBody.FromString(after.body)
    declared = load_parameters(repository / "config").parameters
    assert (body.snapshot, len(body.instrument)) == (True, len(declared.instruments))
    assert 10_400_00 < min(btc_prices(house)) < 11_160_00  # the middle of both venues near 14:20


@pytest.mark.timeout(120)
async def test_older_instance_stands_by_and_takes_over_a_silent_log(fresh_kafka: str, repository: Path) -> None:
    house = House(fresh_kafka)
    house.is_ready = True
    async with house.running() as ready_url, AsyncExitStack() as services:

        async def start() -> int:
            one = service(fresh_kafka, repository, ready_url=ready_url, port=free_port(), windows=SECOND_WINDOW)
            before = house.epoch
            pid = await services.enter_async_context(one)
            await house.until(lambda: house.epoch > before)
            return pid

        await asyncio.sleep(1)  # what an earlier replay left on the log is read by then
        await start()
        newer = await start()
        taken_over = house.epoch
        await asyncio.sleep(1)
        assert house.epoch == taken_over  # the older one did not fight
        os.kill(newer, signal.SIGKILL)
        await house.until(lambda: house.epoch > taken_over)
        count, house.publishes = len(house.frames), True
        await house.until(lambda: len(house.frames) >= count + 3)
        assert house.frames[-1].frame.epoch == house.epoch
