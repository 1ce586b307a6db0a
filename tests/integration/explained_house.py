"""The ledger and risk as processes under a parameter set, marks by hand, and what risk published of one account."""

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
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ballast.events.v1 import market_pb2, risk_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common.chain import ChainWriter
from libs.common.codec import Publisher, headers
from libs.common.topics import LIQUIDITY, MARGIN, MARKS, Topic
from libs.common.units import YEAR_NS
from tools.lifeline import lifeline
from tools.reconcile.reader import decoded, records

SECONDS_MAX = 30.0
START_NS, SECOND_NS = 1_513_900_000_000_000_000, 1_000_000_000
PARTITIONS = 4
FULL_EVERY_FRAMES = 20
EXPIRY_NS = 1_519_372_800 * SECOND_NS  # of options in config/, 2018-02-23 08:00 UTC
_REPOSITORY = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """One service's process."""

    def __init__(self, name: str, bootstrap: str, *, config: Path, log: Path, more: Mapping[str, str]) -> None:
        self._name = name
        self._log = log / f"{name}.log"
        self.http_port, self.grpc_port = _free_port(), _free_port()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")},
            "PYTHONPATH": os.pathsep.join([str(_REPOSITORY), str(_REPOSITORY / "build" / "gen")]),
            "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
            "BALLAST_CONFIG_DIRECTORY": str(config),
            "BALLAST_HTTP_PORT": str(self.http_port),
            "BALLAST_GRPC_PORT": str(self.grpc_port),
            **more,
        }
        self._process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """The process, asked to stop at the end."""
        command = lifeline(sys.executable, "-m", f"services.{self._name}")
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=_REPOSITORY, env=self._environment, stdout=log, stderr=log
            )
        try:
            yield self
        finally:
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), SECONDS_MAX)
            except TimeoutError:
                self._process.kill()
                raise

    async def ready(self) -> None:
        """Returns when it says that it is ready."""
        deadline = time.monotonic() + SECONDS_MAX
        while not await asyncio.to_thread(self._is_ready):
            assert self._process is not None
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise AssertionError(self._log.read_text(encoding="utf-8")[-2_000:])
            await asyncio.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


class Marks:
    """The one writer of marks: a price for BTC, others in proportion, and heartbeats."""

    def __init__(self, bootstrap: str) -> None:
        self._writer = ChainWriter(
            bootstrap=bootstrap, topic=MARKS, partition=0, owner=secrets.token_bytes(16), input_topic_id=b"",
            client_id="test-marks", on_accepted=None,
        )  # fmt: skip
        self._run_time_ns = START_NS

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Marks]:
        """Beats for as long as it is open."""
        await self._writer.take_over(lambda frame: None)
        beating = asyncio.create_task(self._beat())
        try:
            yield self
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await self._writer.close()

    async def put(self, dollars: int, *, snapshot: bool = False) -> int:
        """Sequence of a frame with a mark for each instrument."""
        self._run_time_ns += 60 * SECOND_NS
        btc = dollars * 100  # the exponents of config/: -2, -3, -4
        prices = {1: btc, 2: btc // 2, 3: btc, 11: btc + 700, 12: btc // 2, 13: btc, 21: btc - 300}
        body = market_pb2.MarksBody(
            snapshot=snapshot, snapshot_offset=-1, instrument=prices.keys(), mark_price=prices.values(),
            index_price=prices.values(), confidence=[0] * len(prices),
            slow_price=[price - 1_000 for price in prices.values()],
            validity=bytes([market_words.VALIDITY_CLASS_VALID] * len(prices)),
            surfaces=[_surface(btc, self._run_time_ns)],
        )  # fmt: skip
        return await self._append(body)

    async def claim_again(self) -> None:
        """A new claim, after which a snapshot is due."""
        await self._writer.drain()
        await self._writer.reclaim(secrets.token_bytes(16))

    async def _append(self, body: market_pb2.MarksBody) -> int:
        accepted = await self._writer.append(
            body.SerializeToString(), input_offset=-1, input_index=0, run_time_ns=self._run_time_ns,
            control_sequence=0, headers=dict(headers(wall_ns=time.time_ns())),
        )  # fmt: skip
        return (await accepted).sequence

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            await self._append(market_pb2.MarksBody())


def _surface(btc: int, made_at_ns: int) -> market_words.VolatilitySurface:
    """BTC's, around 120 % a year at the options' first expiry, with a skew."""
    years = (EXPIRY_NS - made_at_ns) / YEAR_NS
    level = 1.44 * years
    smile = market_words.Smile(
        expiry_ns=EXPIRY_NS, forward_price=btc + btc // 500, a=0.7 * level, b=0.6 * level, rho=-0.3, m=0.01, sigma=0.5
    )
    return market_words.VolatilitySurface(
        underlying=2, made_at_ns=made_at_ns, validity=market_words.VALIDITY_CLASS_VALID, smiles=[smile]
    )


@asynccontextmanager
async def house(
    bootstrap: str, *, config: Path, log: Path, risk_settings: Mapping[str, str]
) -> AsyncIterator[tuple[Service, Service]]:
    """The ledger and risk, ready, under a parameter set that the ledger puts in force."""
    ledger = Service("collateral_management", bootstrap, config=config, log=log, more={})
    risk = Service("risk_evaluation", bootstrap, config=config, log=log, more=risk_settings)
    async with AsyncExitStack() as stack:
        for service in (ledger, risk):
            await stack.enter_async_context(service.running())
        for service in (ledger, risk):
            await service.ready()
        yield ledger, risk


async def margin_of(bootstrap: str, account: int, marks: Marks, *, dollars: int) -> risk_pb2.MarginFrame:
    """The first margin of an account with an open order at marks put from now on; one of a healthy one is full."""
    first = await marks.put(dollars)
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        for _ in range(FULL_EVERY_FRAMES):
            dollars += 1
            await marks.put(dollars)
        async for record in records(bootstrap, MARGIN, home_partitions=PARTITIONS, only=account >> 48):
            frame = decoded(risk_pb2.MarginFrame, record)
            if frame is None or frame.mark_sequence < first or account not in frame.account:
                continue
            if frame.open_orders[list(frame.account).index(account)] > 0:
                return frame
        await asyncio.sleep(0.1)
    raise AssertionError(f"no margin of account {account} from mark {first} on within {SECONDS_MAX} s")


async def roll_segments(bootstrap: str, *topics: Topic, more: Mapping[str, str]) -> None:
    """Makes the broker begin a new segment of each topic whenever the one it writes is a second old."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="test-segments")
    await admin.start()
    try:
        resources = [
            ConfigResource(
                ConfigResourceType.TOPIC, topic.name, configs={**topic.config(), "segment.ms": "1000", **more}
            )
            for topic in topics
        ]
        for answer in await admin.alter_configs(resources):
            assert all(code == 0 for code, *_ in answer.resources)
    finally:
        await admin.close()


async def write_views(bootstrap: str, value: bytes, *, times: int) -> None:
    """Overwrites one key of a compacted topic, over and over; the ledger writes the other one."""
    async with Publisher(bootstrap=bootstrap, client_id="test-views") as publisher:
        for number in range(times):
            await publisher.enqueue(LIQUIDITY.name, value + b"%d" % number, key=b"one", partition=0)


async def held(bootstrap: str, topic: Topic) -> int:
    """Records that partition 0 of a topic holds."""
    return len([1 async for _ in records(bootstrap, topic, home_partitions=PARTITIONS, only=0)])
