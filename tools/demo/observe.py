"""Follows a run live through its topics and endpoints, for the screen and for the demo's clients."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import grpc
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from ballast.events.v1 import journal_pb2, market_pb2, risk_pb2
from libs.common.book import PartitionBook
from libs.common.chain import ChainFollower
from libs.common.chain.kafka import new_consumer
from libs.common.codec import Undecodable, decode, header_map, stamp
from libs.common.errors import Fault
from libs.common.parameters import Parameters
from libs.common.rpc import channel
from libs.common.topics import COMMANDS, JOURNAL, LIQUIDITY, MARGIN, MARKS, Topic
from tools.demo.picture import Picture
from tools.demo.scrape import Buckets, scrape
from tools.demo.view import View
from tools.demo.viewing import view_of
from tools.demo.windows import Windows

POLL_SECONDS = 0.5
SCRAPE_SECONDS = 2.0
LATENCY_SCRAPES = 10  # latency is of the time that so many scrapes take
RECONNECT_SECONDS = 0.2
BATCH_RECORDS = 50  # folded before the event loop gets its turn
CLIENT_ID = "demo-observatory"


class Observatory:
    """Everything that can be seen of a run from outside, folded as it happens.

    Args:
        service_urls: HTTP address by process.
        replay_target: gRPC address of ReplayService.
        windows: stretches of run time that are replayed, "start/end,start/end".
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        parameters: Parameters,
        service_urls: Mapping[str, str],
        replay_target: str,
        windows: str,
    ) -> None:
        self._bootstrap = bootstrap
        self._service_urls = dict(service_urls)
        self._replay_target = replay_target
        self._instruments = {one.symbol: one.id for one in parameters.instruments}
        self._partitions = range(parameters.partitions)
        self._followers: list[ChainFollower] = []
        self._consumers: list[AIOKafkaConsumer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._command_ends: dict[int, int] = {}
        self._held_before: defaultdict[str, float] = defaultdict(float)  # by processes of price_ingestion that ended
        self._held_now: dict[str, float] = {}
        self._buckets: defaultdict[str, deque[Buckets]] = defaultdict(lambda: deque(maxlen=LATENCY_SCRAPES))
        self._view: tuple[float, View] | None = None
        self.picture = Picture(parameters, Windows.parse(windows))

    @property
    def books(self) -> dict[int, PartitionBook]:
        """Fold of each partition's journal."""
        return self.picture.books

    @property
    def on_margin_call(self) -> Callable[[int, int], None] | None:
        """Told of an account and its MarginState when that turns to CALL or worse."""
        return self.picture.on_margin_call

    @on_margin_call.setter
    def on_margin_call(self, hook: Callable[[int, int], None] | None) -> None:
        self.picture.on_margin_call = hook

    @property
    def run_time_ns(self) -> int:
        """The replay clock."""
        return self.picture.run_time_ns

    @property
    def ended(self) -> bool:
        """Whether the replay has ended. Raises what ended the observation."""
        self._check()
        return self.picture.watch.ended

    def mark_price(self, symbol: str) -> int | None:
        """Mark of an instrument, integer with its exponent; None before the first."""
        return self.picture.mark(self._instruments[symbol])

    def open_episodes(self) -> list[journal_pb2.Episode]:
        """Episodes that are open."""
        return [episode for book in self.books.values() for episode in book.episodes.values()]

    def live_orders(self) -> list[journal_pb2.Order]:
        """Orders that are not terminal."""
        return [order for book in self.books.values() for order in book.orders.values()]

    def pending_reservations(self) -> list[journal_pb2.Reservation]:
        """Withdrawals and transfers without a verdict."""
        return [one for book in self.books.values() for one in book.reservations.values()]

    def episode_orders(self) -> list[journal_pb2.Order]:
        """Orders of episodes that are not terminal."""
        return list(self.picture.episode_orders.values())

    def snapshot(self) -> View:
        """What the screen shows; made at most ten times a second. Raises what ended the observation."""
        self._check()
        now = time.monotonic()
        if self._view is None or now - self._view[0] > 0.1:
            self._view = now, view_of(self.picture, command_ends=self._command_ends)
        return self._view[1]

    async def wait(self, predicate: Callable[[], bool], *, timeout_s: float) -> None:
        """Returns when it holds after some record was folded. Raises TimeoutError, or what ended the observation."""
        self._check()
        if predicate():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = predicate, future
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        finally:
            self._waiting.remove(entry)

    async def start(self) -> None:
        """Returns when every topic is being read. Raises Fault."""
        loop = asyncio.get_running_loop()
        marks = await self._follower(MARKS, 0)
        journals = {number: await self._follower(JOURNAL, number) for number in self._partitions}
        views = await self._consumer(
            [TopicPartition(MARGIN.name, number) for number in self._partitions] + [TopicPartition(LIQUIDITY.name, 0)]
        )
        ends = await self._consumer([])
        work: list[Coroutine[Any, Any, None]] = [
            self._follow_marks(marks),
            *(self._follow_journal(number, follower) for number, follower in journals.items()),
            self._read_views(views),
            self._watch_replay(),
            self._scrape_all(),
            self._ask_ends(ends),
        ]
        self._tasks = [loop.create_task(one) for one in work]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Returns when every connection is closed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for reader in (*self._followers, *self._consumers):
            await reader.stop()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            for _, future in self._waiting:
                if not future.done():
                    future.set_exception(error)

    def changed(self) -> None:
        """Something was folded: lets those go on whose predicate holds now.

        Predicates are asked here and not when their waiters run: by then an order in flight may be filled.
        """
        for predicate, future in self._waiting:
            if not future.done() and predicate():
                future.set_result(None)

    async def _follower(self, topic: Topic, partition: int) -> ChainFollower:
        follower = ChainFollower(bootstrap=self._bootstrap, topic=topic, partition=partition, client_id=CLIENT_ID)
        await follower.start()
        self._followers.append(follower)
        return follower

    async def _consumer(self, partitions: list[TopicPartition]) -> AIOKafkaConsumer:
        consumer = new_consumer(bootstrap=self._bootstrap, client_id=CLIENT_ID)
        try:
            await consumer.start()
            self._consumers.append(consumer)
            begins = await consumer.beginning_offsets(partitions) if partitions else {}
        except KafkaError as error:
            raise Fault(f"{CLIENT_ID}: {self._bootstrap} not reached: {error!r}") from error
        if partitions:
            consumer.assign(partitions)
        for partition, offset in begins.items():
            consumer.seek(partition, offset)
        return consumer

    async def _follow_marks(self, follower: ChainFollower) -> None:
        while True:
            for frame in await follower.poll(timeout_s=POLL_SECONDS):
                body = market_pb2.MarksBody.FromString(frame.body)
                self.picture.take_marks(body, sequence=frame.sequence, run_time_ns=frame.run_time_ns)
            self.changed()
            await asyncio.sleep(0)

    async def _follow_journal(self, partition: int, follower: ChainFollower) -> None:
        while True:
            frames = await follower.poll(timeout_s=POLL_SECONDS)
            for number, frame in enumerate(frames, 1):
                self.picture.take_journal(
                    partition,
                    journal_pb2.JournalBody.FromString(frame.body),
                    sequence=frame.sequence,
                    run_time_ns=frame.run_time_ns,
                    input_offset=frame.frame.input_offset,
                )
                if number % BATCH_RECORDS == 0:
                    await asyncio.sleep(0)
            self.changed()

    async def _read_views(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                found = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=BATCH_RECORDS)
            except KafkaError as error:
                raise Fault(f"{CLIENT_ID}: margins and depth cannot be read: {error!r}") from error
            for partition, records in found.items():
                for record in records:
                    if record.value is not None:
                        self._take_view(partition.topic, record)
            self.changed()
            await asyncio.sleep(0)  # what is fetched already is returned without giving the loop its turn

    def _take_view(self, topic: str, record: Any) -> None:
        try:
            if topic == LIQUIDITY.name:
                self.picture.take_liquidity(decode(market_pb2.Liquidity, record))
                return
            frame = decode(risk_pb2.MarginFrame, record)
        except Undecodable:
            return  # the readers whose state depends on it put it aside and page someone
        stamps = header_map(record)
        self.picture.take_margin(
            frame, received_ns=stamp(stamps, "mark_received_wall_ns"), published_ns=stamp(stamps, "wall_ns")
        )

    async def _watch_replay(self) -> None:
        while True:
            try:
                async with channel(self._replay_target) as open_channel:
                    stub = replay_pb2_grpc.ReplayServiceStub(open_channel)
                    async for state in stub.Watch(replay_pb2.WatchRequest()):
                        self.picture.take_watch(state)
                        self.changed()
            except grpc.aio.AioRpcError:
                pass  # it is not up yet, or was restarted
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _scrape_all(self) -> None:
        while True:
            for name, url in self._service_urls.items():
                before = self._buckets[name]
                scraped = await scrape(name, url, since=before[0] if before else None)
                before.append(scraped.buckets)
                self.picture.take_service(scraped.row)
                if scraped.held_seconds:
                    self._take_held(scraped.held_seconds)
                await asyncio.sleep(SCRAPE_SECONDS / len(self._service_urls))
            if not self._service_urls:
                await asyncio.sleep(SCRAPE_SECONDS)

    def _take_held(self, held: dict[str, float]) -> None:
        if any(seconds < self._held_now.get(reason, 0.0) for reason, seconds in held.items()):
            for reason, seconds in self._held_now.items():
                self._held_before[reason] += seconds
        self._held_now = held
        reasons = {*held, *self._held_before}
        total = {reason: held.get(reason, 0.0) + self._held_before[reason] for reason in reasons}
        self.picture.held_seconds = {reason: seconds for reason, seconds in total.items() if seconds > 0}

    async def _ask_ends(self, consumer: AIOKafkaConsumer) -> None:
        commands = [TopicPartition(COMMANDS.name, number) for number in self._partitions]
        while True:
            try:
                ends = await consumer.end_offsets(commands)
                self._command_ends = {partition.partition: end for partition, end in ends.items()}
            except KafkaError:
                self._command_ends = {}  # only a figure on the screen
            await asyncio.sleep(SCRAPE_SECONDS)
