"""Interest on a real broker with the real ledger: ticks go on through a kill, and every partition has the same ones."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ballast.events.v1 import commands_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common.book import PartitionBook
from libs.common.chain import ChainFollower, ChainWriter
from libs.common.codec import headers
from libs.common.commands import CommandSender
from libs.common.config import load_parameters
from libs.common.ids import account_id, serial_id
from libs.common.topics import JOURNAL, MARKS
from libs.common.units import INDEX_ONE
from libs.common.validity import ValidityClass
from tools.demo.processes import Fleet
from tools.reconcile.checks.pools import PoolsBalance
from tools.reconcile.reader import read_and_reconcile

HOUR_NS = 3_600_000_000_000
USD, BTC, SPOT, PERP = 1, 2, 1, 11
DOLLAR, COIN = 10**6, 10**8
HOUSES = ("collateral_management", "interest_accrual")
WAIT_SECONDS = 30.0
LENDER, BORROWER = account_id(partition=0, entity=1, sub=0), account_id(partition=0, entity=2, sub=0)
ORDER = serial_id(partition=0, serial=1)


class House:
    """Plays price_ingestion, the clients, risk and the venue."""

    def __init__(self, bootstrap: str, repository: Path) -> None:
        self.parameters = load_parameters(repository / "config").parameters
        self.bootstrap = bootstrap
        self.books = [PartitionBook(number) for number in range(self.parameters.partitions)]
        self.hours = 0.0
        self.marks = 0
        self._changed = asyncio.Event()
        self._n = 0
        self._sender = CommandSender(
            bootstrap=bootstrap, client_id="house", principal_id="house", session=secrets.token_bytes(16)
        )
        self._writer = ChainWriter(
            bootstrap=bootstrap,
            topic=MARKS,
            partition=0,
            owner=secrets.token_bytes(16),
            input_topic_id=b"",
            client_id="marks",
            on_accepted=None,
        )

    @property
    def now_ns(self) -> int:
        return self.parameters.genesis_ns + round(self.hours * HOUR_NS)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[House]:
        await self._sender.start()
        await self._writer.take_over(lambda frame: None)
        tasks = [asyncio.create_task(self._follow(book)) for book in self.books]
        tasks.append(asyncio.create_task(self._beat()))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._writer.close()
            await self._sender.stop()
            assert [end for end in ends if isinstance(end, Exception)] == []

    async def _beat(self) -> None:
        while True:
            await self._publish(market_pb2.MarksBody(snapshot_offset=-1))
            await asyncio.sleep(0.2)

    async def move(self, hours: float, *, price: int = 1_500_000) -> None:
        """Marks of everything at a later hour."""
        self.hours = hours
        ids = [one.id for one in self.parameters.instruments]
        body = market_pb2.MarksBody(
            snapshot=True,
            snapshot_offset=-1,
            instrument=ids,
            mark_price=[price] * len(ids),
            index_price=[price] * len(ids),
            confidence=[0] * len(ids),
            slow_price=[price] * len(ids),
            validity=bytes([ValidityClass.VALID] * len(ids)),
        )
        await self._publish(body)

    async def _publish(self, body: market_pb2.MarksBody) -> None:
        done = await self._writer.append(
            body.SerializeToString(),
            input_offset=-1,
            input_index=0,
            run_time_ns=self.now_ns,
            control_sequence=0,
            headers=dict(headers(wall_ns=time.time_ns())),
        )
        self.marks = (await done).frame.sequence

    async def send(self, principal: str, role: ledger_pb2.Role, **body: object) -> None:
        command = commands_pb2.Command(**body)  # type: ignore[arg-type]
        command.principal.CopyFrom(commands_pb2.Principal(id=principal, role=role))
        if "order_report" in body:
            command.fact.CopyFrom(commands_pb2.FactKey(stream="venue/north", sequence=1, previous=0))
        await self._sender.send(0, [command])

    async def lend_and_borrow(self) -> None:
        """A lender supplies 100,000 USD; a borrower buys a coin with money it does not have."""
        client, custodian, service = ledger_pb2.ROLE_CLIENT, ledger_pb2.ROLE_CUSTODIAN, ledger_pb2.ROLE_SERVICE
        for owner in ("lender", "borrower"):
            await self.send(owner, client, open_account=commands_pb2.OpenAccount(owner=owner))
        for account, asset, units in ((LENDER, USD, 100_000 * DOLLAR), (BORROWER, BTC, COIN)):
            deposit = commands_pb2.ConfirmDeposit(account=account, asset=asset, units=units)
            await self.send("custodian", custodian, confirm_deposit=deposit)
        supply = commands_pb2.Supply(account=LENDER, asset=USD, units=100_000 * DOLLAR)
        await self.send("lender", client, supply=supply)
        order = commands_pb2.PlaceOrder(
            account=BORROWER, instrument=SPOT, venue=1, side=words.SIDE_BUY, lots=1_000, limit_price=1_600_000,
            time_in_force=words.TIME_IN_FORCE_IOC,
        )  # fmt: skip
        await self.send("borrower", client, place_order=order)
        placed = await self.sequence_of_order()
        citation = commands_pb2.Citation(
            journal_sequence=placed, mark_sequence=self.marks, control_sequence=2, mark_run_time_ns=self.now_ns
        )
        verdict = commands_pb2.Verdict(account=BORROWER, order=ORDER, settle=True, citation=citation)
        await self.send("risk_evaluation", service, verdict=verdict)
        report = commands_pb2.OrderReport(
            venue=1, order=ORDER, kind=ledger_pb2.REPORT_KIND_FILL, lots=1_000, price=1_500_000,
            executed_at_ns=self.now_ns,
        )  # fmt: skip
        await self.send("venue_gateway", service, order_report=report)

    async def sequence_of_order(self) -> int:
        """Journal sequence of partition 0 once it holds the order."""
        await self._until(lambda: ORDER in self.books[0].orders)
        return self.books[0].orders[ORDER].reserved_sequence

    async def ticked(self, tick: int) -> None:
        """Returns when every partition has the tick of every pool."""
        wanted = {pool.asset: tick for pool in self.parameters.pools}
        await self._until(
            lambda: all({pool: one.tick for pool, one in book.pools.items()} == wanted for book in self.books)
        )

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def _follow(self, book: PartitionBook) -> None:
        name = f"house-{book.partition}"
        follower = ChainFollower(bootstrap=self.bootstrap, topic=JOURNAL, partition=book.partition, client_id=name)
        await follower.start()
        try:
            while True:
                for frame in await follower.poll(timeout_s=0.5):
                    body = journal_pb2.JournalBody.FromString(frame.body)
                    book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
                self._changed.set()
        finally:
            await follower.stop()


async def test_ticks_go_on_through_a_kill_and_are_the_same_everywhere(
    fresh_kafka: str, tmp_path: Path, repository: Path
) -> None:
    fleet = Fleet(bootstrap=fresh_kafka, directory=tmp_path, gate_url="http://127.0.0.1:9")
    ledger, interest = (fleet.processes[name] for name in HOUSES)
    try:
        async with House(fresh_kafka, repository).open() as house:
            await house.move(0.5)
            ledger.start()
            await fleet.wait_ready(("collateral_management",))
            await house.lend_and_borrow()
            interest.start()
            await fleet.wait_ready(HOUSES)
            for hours in (1.1, 2.1, 3.1):
                await house.move(hours)
                await house.ticked(int(hours))
            await house.move(4.1)
            interest.kill()
            await house.move(60.1, price=1_600_000)
            interest.start()
            await house.ticked(60)
            interest.check_alive()
    finally:
        fleet.stop()
    result = await read_and_reconcile(fresh_kafka)
    assert result.ok, {name: one.shown for name, one in result.findings.items() if one.count}
    usd = {number: book.pools[USD] for number, book in result.books.items()}
    assert len({(one.borrow_index, one.supply_index, one.overdraft_index) for one in usd.values()}) == 1
    assert usd[0].borrow_index > INDEX_ONE
    assert usd[0].supply_index > INDEX_ONE
    pools = result.checks["I2"]
    assert isinstance(pools, PoolsBalance)
    paid, earned = pools.totals[USD].paid_15, pools.totals[USD].earned_15
    assert 0.89 < earned / paid <= 0.9  # a tenth is the reserve
    assert {book.funding[PERP].tick for book in result.books.values()} == {7}
    assert len({book.funding[PERP].cumulative_funding for book in result.books.values()}) == 1
    assert {book.settlements[PERP].tick for book in result.books.values()} == {2}
    ticks = {one.tick for (asset, _), reasons in result.world.rates.items() if asset == USD for one in reasons}
    assert ticks == set(range(1, 61))
