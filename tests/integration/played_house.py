"""A house with real services whose rest is played: marks, depth, custodian, clients, venues, and risk if wished.

Stories of liquidation and of the ledger's life share it; what the journal says is folded into books.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.events.v1 import commands_pb2, journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame, ChainFollower, ChainWriter
from libs.common.codec import Publisher
from libs.common.commands import CommandSender
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, partition_of, system_account
from libs.common.parameters import Parameters
from libs.common.topics import JOURNAL, LIQUIDITY, MARGIN, MARKS
from tools.demo.processes import Fleet

REPOSITORY = Path(__file__).resolve().parents[2]
START_NS = 1_513_900_800 * 10**9
USD, BTC_PERP = 1, 11
BUY, SELL = market_words.SIDE_BUY, market_words.SIDE_SELL
PLAIN = ("spot", "linear_perp", "inverse_perp")


def config_with(directory: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Directory of a parameter set: the committed one without options and packages, and what is changed in it."""
    content = json.loads(load_parameters(REPOSITORY / "config").canonical_json)
    content["instruments"] = [one for one in content["instruments"] if one["kind"] in PLAIN]
    content["surfaces"] = []
    symbols = {one["symbol"] for one in content["instruments"]}
    for venue in content["venues"]:
        venue["instruments"] = [one for one in venue["instruments"] if one in symbols]
    change(content)
    made = directory / "config"
    made.mkdir()
    (made / "parameters.yaml").write_text(json.dumps(content), encoding="utf-8")
    load_parameters(made)
    return made


class House:
    """Marks, depth, custodian, clients and venues; what the journal says is kept in books.

    Args:
        judges: plays risk too, which lets every order and withdrawal go.
        shows_depth: venues show something to trade against.
    """

    def __init__(
        self, bootstrap: str, parameters: Parameters, *, judges: bool = False, shows_depth: bool = True
    ) -> None:
        self.bootstrap, self.parameters = bootstrap, parameters
        self._judges, self._shows_depth = judges, shows_depth
        self.books = {one: PartitionBook(one) for one in range(parameters.partitions)}
        self.outcomes: list[journal_pb2.Outcome] = []
        self.fills = 0  # lots filled
        self.fixed: dict[int, int] = {}  # marks that do not follow their underlying, by instrument
        self.part = 1  # of an order that fills; 0 leaves orders where they are
        self._run_time_ns = START_NS
        self._reports: defaultdict[tuple[int, int], int] = defaultdict(int)  # venue, partition -> last report
        self._reported: defaultdict[int, int] = defaultdict(int)  # venue -> last report
        self._seen: set[int] = set()
        self._prices: dict[int, int] = {}
        self._judged: set[int] = set()
        self._control = [0] * parameters.partitions
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        self._sender = CommandSender(
            bootstrap=self.bootstrap, client_id="house", principal_id="venue_gateway", session=secrets.token_bytes(16)
        )
        self._marks = ChainWriter(
            bootstrap=self.bootstrap, topic=MARKS, partition=0, owner=secrets.token_bytes(16), input_topic_id=b"",
            client_id="house-marks", on_accepted=None,
        )  # fmt: skip
        await self._sender.start()
        await self._marks.take_over(lambda _: None)
        self._publisher = Publisher(bootstrap=self.bootstrap, client_id="house-depth")
        await self._publisher.start()
        tasks = [asyncio.create_task(self._follow(one)) for one in self.books]
        tasks.append(asyncio.create_task(self._beat()))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._marks.close()
            await self._sender.stop()
            await self._publisher.stop()

    async def price(
        self, btc: int, *, seconds: int = 60, averages: Iterable[market_pb2.SettlementAverage] = ()
    ) -> None:
        """Marks and depth with BTC at so many dollars, a minute or more of run time later."""
        self._run_time_ns += seconds * 10**9
        dollars = {"BTC": btc, "ETH": 700, "LTC": 250}
        names = {one.id: one.symbol for one in self.parameters.assets}
        self._prices = {
            one.id: dollars[names[one.underlying]] * 10**-one.price_exponent for one in self.parameters.instruments
        }
        self._prices.update(self.fixed)
        prices = list(self._prices.values())
        body = market_pb2.MarksBody(
            snapshot=True, snapshot_offset=-1, instrument=self._prices, mark_price=prices, index_price=prices,
            slow_price=prices, confidence=[0] * len(prices), validity=bytes([1] * len(prices)),
            settlement_average=averages,
        )  # fmt: skip
        await self._frame(body)
        if not self._shows_depth:
            return
        for venue in self.parameters.venues:
            for instrument in venue.instruments:
                await self._show(venue.id, instrument)

    async def poison(self) -> None:
        """What nobody can take: bytes of nothing, and columns that do not fit together."""
        for topic, misfit in (
            (LIQUIDITY, market_pb2.Liquidity(venue=1, instrument=1, bid_price=[1])),
            (MARGIN, risk_pb2.MarginFrame(partition=1, account=[1])),
        ):
            for value in (b"\xff", misfit.SerializeToString()):
                await (await self._publisher.enqueue(topic.name, value, key=b"poison"))

    async def _show(self, venue: int, instrument: int) -> None:
        mark, levels = self._prices[instrument], range(1, 11)
        message = market_pb2.Liquidity(
            venue=venue, instrument=instrument, run_time_ns=self._run_time_ns,
            bid_price=[mark - mark * level // 2_000 for level in levels], bid_lots=[400] * 10,
            ask_price=[mark + mark * level // 2_000 for level in levels], ask_lots=[400] * 10,
        )  # fmt: skip
        key = f"{venue}/{instrument}".encode()
        await (await self._publisher.enqueue(LIQUIDITY.name, message.SerializeToString(), key=key))

    async def _frame(self, body: market_pb2.MarksBody) -> None:
        done = await self._marks.append(
            body.SerializeToString(), input_offset=-1, input_index=0, run_time_ns=self._run_time_ns,
            control_sequence=0, headers={"wall_ns": b"%d" % time.time_ns()},
        )  # fmt: skip
        await done

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            await self._frame(market_pb2.MarksBody(snapshot_offset=-1))

    async def _follow(self, partition: int) -> None:
        follower = ChainFollower(
            bootstrap=self.bootstrap, topic=JOURNAL, partition=partition, client_id=f"house-{partition}"
        )
        await follower.start()
        try:
            while True:
                for frame in await follower.poll(timeout_s=0.2):
                    self._fold(partition, frame)
                if self._judges:
                    await self._judge(self.books[partition])
                await self._trade(self.books[partition].orders.values())
                self._changed.set()
        finally:
            await follower.stop()

    def _fold(self, partition: int, frame: AcceptedFrame) -> None:
        body = journal_pb2.JournalBody.FromString(frame.frame.body)
        self.books[partition].apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
        self.outcomes.extend(body.outcomes)
        self._control[partition] = frame.control_sequence

    async def _judge(self, book: PartitionBook) -> None:
        for one in list(book.orders.values()):
            if one.state == ledger_pb2.ORDER_STATE_RESERVED and one.order not in self._judged:
                self._judged.add(one.order)
                cited = commands_pb2.Citation(
                    journal_sequence=book.sequence, mark_sequence=1, control_sequence=self._control[book.partition],
                    mark_run_time_ns=self._run_time_ns,
                )  # fmt: skip
                verdict = commands_pb2.Verdict(account=one.account, order=one.order, settle=True, citation=cited)
                await self.send(
                    book.partition, "risk_evaluation", ledger_pb2.ROLE_SERVICE, commands_pb2.Command(verdict=verdict)
                )

    async def _trade(self, orders: Iterable[journal_pb2.Order]) -> None:
        # Clients trade at the mark; an episode's order gets the middle between the mark and its limit.
        for order in list(orders):
            if order.state != ledger_pb2.ORDER_STATE_RELEASED or order.order in self._seen or not self.part:
                continue
            self._seen.add(order.order)
            mark = self._prices[order.instrument]
            lots = -(-order.lots // self.part) if order.episode else order.lots
            self.fills += lots
            price = (mark + order.limit_price) // 2 if order.episode else mark
            await self._report(order, ledger_pb2.REPORT_KIND_FILL, lots=lots, price=price)
            if lots < order.lots:
                await self._report(order, ledger_pb2.REPORT_KIND_CANCELLED)

    async def _report(
        self, order: journal_pb2.Order, kind: ledger_pb2.ReportKind, *, lots: int = 0, price: int = 0
    ) -> None:
        partition, venue = partition_of(order.account), order.venue
        self._reported[venue] += 1
        number, previous = self._reported[venue], self._reports[venue, partition]
        self._reports[venue, partition] = number
        report = commands_pb2.OrderReport(
            venue=venue, order=order.order, kind=kind, lots=lots, price=price, executed_at_ns=self._run_time_ns
        )
        key = commands_pb2.FactKey(stream=f"venue/{venue}", sequence=number, previous=previous)
        await self._sender.send(partition, [commands_pb2.Command(fact=key, order_report=report)])

    async def send(self, partition: int, name: str, role: ledger_pb2.Role, command: commands_pb2.Command) -> None:
        """A command in somebody's name."""
        command.principal.id, command.principal.role = name, role
        await self._sender.send(partition, [command])

    async def until(self, holds: Callable[[], bool], *, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def open_account(self, owner: str, *, dollars: int, partition: int = 1) -> int:
        """Account id of a new client with so many dollars."""
        book = self.books[partition]
        opening = commands_pb2.Command(open_account=commands_pb2.OpenAccount(owner=owner))
        await self.send(partition, owner, ledger_pb2.ROLE_CLIENT, opening)
        await self.until(lambda: any(one.owner == owner for one in book.accounts.values()))
        account = next(one.account for one in book.accounts.values() if one.owner == owner)
        await self.pay_in(account, dollars)
        return account

    async def pay_in(self, account: int, dollars: int) -> None:
        """A deposit."""
        deposit = commands_pb2.ConfirmDeposit(account=account, asset=USD, units=dollars * 10**6)
        command = commands_pb2.Command(confirm_deposit=deposit)
        await self.send(partition_of(account), "custodian", ledger_pb2.ROLE_CUSTODIAN, command)

    async def open_position(
        self, owner: str, *, dollars: int, lots: int, partition: int = 1, instrument: int = BTC_PERP,
        fund: int = 100_000,
    ) -> int:  # fmt: skip
        """Account id of a client with so many lots bought or, negative, sold at the mark; its partition has a fund."""
        account = await self.open_account(owner, dollars=dollars, partition=partition)
        await self.pay_in(system_account(SystemAccount.INSURANCE, partition=partition), fund)
        await self.trade(account, owner, lots, instrument=instrument)
        return account

    async def trade(self, account: int, owner: str, lots: int, *, instrument: int = BTC_PERP) -> None:
        """Returns when so many lots more are bought or sold at the mark."""
        book = self.books[partition_of(account)]
        order = commands_pb2.PlaceOrder(
            account=account, instrument=instrument, venue=1, side=BUY if lots > 0 else SELL, lots=abs(lots),
            limit_price=self._prices[instrument], time_in_force=market_words.TIME_IN_FORCE_IOC,
        )  # fmt: skip
        after = self.lots(account, instrument) + lots
        await self.send(book.partition, owner, ledger_pb2.ROLE_CLIENT, commands_pb2.Command(place_order=order))
        await self.until(lambda: self.lots(account, instrument) == after)

    def lots(self, account: int, instrument: int = BTC_PERP) -> int:
        """Lots held, of the BTC perp when nothing else is said."""
        return self.line(account, instrument, ledger_pb2.LINE_KIND_LOTS)

    def line(self, account: int, asset: int, kind: ledger_pb2.LineKind = ledger_pb2.LINE_KIND_CASH) -> int:
        """Balance of a line."""
        return self.books[partition_of(account)].lines.get((account, asset, kind), 0)

    def effects(self, which: str) -> list[journal_pb2.Effect]:
        """All effects of a kind, in order."""
        return [one for outcome in self.outcomes for one in outcome.effects if one.WhichOneof("effect") == which]

    async def values(self, topic: str) -> list[bytes]:
        """All records of a topic's partition 0."""
        one = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([one])
            end, found = (await consumer.end_offsets([one]))[one], []
            consumer.seek(one, 0)
            while await consumer.position(one) < end:
                batch = await consumer.getmany(one, timeout_ms=500)
                found += [record.value for record in batch.get(one, ())]
            return found
        finally:
            await consumer.stop()


@asynccontextmanager
async def services(
    bootstrap: str, directory: Path, names: Sequence[str], *, config: Path = REPOSITORY / "config"
) -> AsyncIterator[Fleet]:
    """The named services as processes under a parameter set; alive at the end, unless somebody stopped them."""
    settings = {"BALLAST_CONFIG_DIRECTORY": str(config)}
    fleet = Fleet(
        bootstrap=bootstrap, directory=directory, gate_url="http://127.0.0.1:9/readyz",
        extra=dict.fromkeys(names, settings),
    )  # fmt: skip
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "build" / "gen")])
    for process in fleet.processes.values():
        process.environment["PYTHONPATH"] = path
    try:
        for name in names:
            fleet.processes[name].start()
        yield fleet
        for name in names:
            fleet.processes[name].check_alive()
    finally:
        await asyncio.to_thread(fleet.stop)
