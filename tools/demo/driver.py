"""Plays the clients: opens accounts, deposits, trades, withdraws and tops up, all through the gRPC edge."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.parameters import Instrument, Parameters
from libs.common.rpc import PRINCIPAL_KEY, channel
from libs.common.units import SECOND_NS, from_scaled
from tools.demo import population
from tools.demo.edge import Desk
from tools.demo.population import Client, Trade, Withdrawal

CUSTODIAN = "custodian"
TOP_UPS_MAX = 3
UNARY_SECONDS_MAX = 20.0
UNARY_TRIES_MAX = 5
LEND_TRIES_MAX, LEND_AGAIN_SECONDS = 300, 0.1
OPEN_AT_ONCE_MAX = 400


class Market(Protocol):
    """What the driver needs to see."""

    @property
    def run_time_ns(self) -> int:
        """The replay clock."""

    @property
    def books(self) -> dict[int, PartitionBook]:
        """Fold of each partition's journal."""

    def mark_price(self, symbol: str) -> int | None:
        """Mark of an instrument, integer with its exponent."""


class EdgeRefused(RuntimeError):
    """Something that must succeed before the replay begins was refused."""


@dataclass(slots=True)
class Holder:
    """A client once its account is open."""

    client: Client
    account: int
    top_ups: int = 0
    has_given_up: bool = False


class Driver:
    """The clients of one run.

    Args:
        schedule_ns: run time of an action that many run seconds into the replay.
    """

    def __init__(
        self, *, parameters: Parameters, target: str, market: Market, schedule_ns: Callable[[int], int]
    ) -> None:
        self._parameters = parameters
        self._instruments = {one.symbol: one for one in parameters.instruments}
        self._target = target
        self._market = market
        self._schedule_ns = schedule_ns
        self.refusals: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.holders: dict[int, Holder] = {}
        self._desks: dict[str, Desk] = {}
        self._due: list[tuple[int, int, Holder, Trade | Withdrawal]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keys = 0
        self._plans = 0

    def desk(self, principal: str) -> Desk:
        """The principal's stream."""
        if principal not in self._desks:
            self._desks[principal] = Desk(principal, target=self._target, refusals=self.refusals)
            self._desks[principal].start()
        return self._desks[principal]

    async def open_house(self, capital: tuple[tuple[str, str], ...]) -> None:
        """Funds each partition's shard of house capital and insurance."""
        for partition in range(self._parameters.partitions):
            for kind, amount in capital:
                account = system_account(SystemAccount[kind], partition=partition)
                await self._must(self._deposit(account, "USD", amount))

    async def open_lenders(self, lenders: list[population.Lender]) -> None:
        """Opens the lenders' accounts, each an account in every partition's pool as the owner's name falls."""
        await asyncio.gather(*(self._open_lender(one) for one in lenders))

    async def _open_lender(self, one: population.Lender) -> None:
        account = (await self._must(self._open(one.name))).subject
        for asset, amount in one.supplies:
            await self._must(self._deposit(account, asset, amount))
            request = client_pb2.SupplyRequest(account=account, asset=asset, amount=amount)
            await self._must(self._lend(one.name, request))

    async def _lend(self, owner: str, request: client_pb2.SupplyRequest) -> client_pb2.CommandOutcome:
        """Asks again while a tick of the pool's indices is on its way: nobody lends at the old one."""
        outcome = client_pb2.CommandOutcome(refusal=words.REFUSAL_INDEX_BEHIND)
        tries = 0
        while outcome.refusal == words.REFUSAL_INDEX_BEHIND and tries < LEND_TRIES_MAX:
            await asyncio.sleep(LEND_AGAIN_SECONDS if tries else 0.0)
            outcome = await self.desk(owner).ask(client_pb2.SubmitCommand(supply=request))
            tries += 1
        return outcome

    async def open_clients(self, clients: list[Client], *, on_open: Callable[[int], None]) -> None:
        """Opens and funds every client's account and puts its plans on the calendar."""
        turns = asyncio.Semaphore(OPEN_AT_ONCE_MAX)

        async def one(client: Client) -> None:
            async with turns:
                account = (await self._must(self._open(client.desk))).subject
                for asset, amount in client.deposits:
                    await self._must(self._deposit(account, asset, amount))
            holder = Holder(client, account)
            self.holders[account] = holder
            plans: tuple[Trade | Withdrawal, ...] = (*client.trades, *client.withdrawals)
            for plan in plans:
                heapq.heappush(
                    self._due, (self._schedule_ns(plan.at_s), client.number * 64 + len(self._due), holder, plan)
                )
            on_open(len(self.holders))

        await asyncio.gather(*(one(client) for client in clients))

    def act(self) -> None:
        """Does everything that is due at the replay's time."""
        while self._due and self._due[0][0] <= self._market.run_time_ns:
            _, _, holder, plan = heapq.heappop(self._due)
            if isinstance(plan, Trade):
                self._place(holder, plan)
            else:
                self._spawn(self._withdraw(holder, plan))
        self._give_up()

    def _give_up(self) -> None:
        """Clients that have been liquidated close what is left, most of them."""
        for book in self._market.books.values():
            for account in list(book.last_closed):
                holder = self.holders.get(account)
                if holder is None or holder.has_given_up or not holder.client.gives_up:
                    continue
                if book.open_episode(account) is None:
                    holder.has_given_up = True
                    self._close_out(holder, book)

    def _close_out(self, holder: Holder, book: PartitionBook) -> None:
        lines = book.lines_of(holder.account)
        for instrument in self._parameters.instruments:
            if instrument.is_margined or instrument.is_paid_up:
                lots = lines.get((instrument.id, words.LINE_KIND_LOTS), 0)
            else:
                cash = lines.get((instrument.underlying, words.LINE_KIND_CASH), 0)
                owes = (instrument.quote, words.LINE_KIND_DEBT_SHARES) in lines
                lots = cash // instrument.base_units_per_lot if owes else 0
            mark = self._market.mark_price(instrument.symbol)
            if lots and mark:
                self._reduce(holder, instrument, lots, mark)

    def _reduce(self, holder: Holder, instrument: Instrument, lots: int, mark: int) -> None:
        self.sent["closing order"] += 1
        reach = 0.20 if instrument.is_paid_up else 0.05  # an option moves several times as far as its underlying
        worst = max(1, int(mark * (1.0 - reach if lots > 0 else 1.0 + reach)))
        venue = population.venue_of(instrument.symbol, holder.client.number)
        request = client_pb2.PlaceOrderRequest(
            account=holder.account,
            instrument=instrument.symbol,
            venue=venue,
            side=market_pb2.SIDE_SELL if lots > 0 else market_pb2.SIDE_BUY,
            quantity=_quantity(self._parameters, instrument, abs(lots)),
            limit_price=from_scaled(worst, instrument.price_exponent),
            time_in_force=market_pb2.TIME_IN_FORCE_IOC,
            reduce_only=True,
        )
        self._spawn(self.desk(holder.client.desk).ask(client_pb2.SubmitCommand(place_order=request)))

    def on_margin_call(self, account: int, state: int) -> None:
        """Tops up a called account of a client that does so."""
        holder = self.holders.get(account)
        if holder is None or not holder.client.top_up_usd or holder.top_ups >= TOP_UPS_MAX:
            return
        holder.top_ups += 1
        self.sent["top-up"] += 1
        self._spawn(self._deposit(account, "USD", f"{holder.client.top_up_usd:.2f}"))

    async def cancel(self, orders: list[tuple[int, int]]) -> None:
        """Cancels (account, order) pairs of clients; refusals are theirs to bear."""
        asked = [
            self.desk(self.holders[account].client.desk).ask(
                client_pb2.SubmitCommand(cancel_order=client_pb2.CancelOrderRequest(account=account, order=order))
            )
            for account, order in orders
            if account in self.holders
        ]
        await asyncio.gather(*asked, return_exceptions=True)

    async def answered(self, *, timeout_s: float) -> None:
        """Returns when everything that was asked has its answer, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def stop(self) -> None:
        """Ends every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(desk.stop() for desk in self._desks.values()))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, TimeoutError):
            self.refusals["without an answer"] += 1
        elif error is not None:
            raise error

    async def _must(self, asked: Coroutine[Any, Any, client_pb2.CommandOutcome]) -> client_pb2.CommandOutcome:
        outcome = await asked
        if outcome.refusal:
            raise EdgeRefused(f"{words.Refusal.Name(outcome.refusal)}: {outcome.detail}")
        return outcome

    async def _open(self, owner: str) -> client_pb2.CommandOutcome:
        self.sent["open account"] += 1
        return await self.desk(owner).ask(client_pb2.SubmitCommand(open_account=client_pb2.OpenAccountRequest()))

    async def _deposit(self, account: int, asset: str, amount: str) -> client_pb2.CommandOutcome:
        self.sent["deposit"] += 1
        request = client_pb2.ConfirmDepositRequest(account=account, asset=asset, amount=amount)
        return await self.desk(CUSTODIAN).ask(client_pb2.SubmitCommand(confirm_deposit=request))

    def _place(self, holder: Holder, plan: Trade) -> None:
        instrument = self._instruments[plan.instrument]
        mark = self._market.mark_price(plan.instrument)
        lots = self._lots(instrument, usd=plan.usd, price=mark) if mark else 0
        if not mark or not lots:
            self.sent["too small to trade"] += 1
            return
        self.sent["order"] += 1
        request = client_pb2.PlaceOrderRequest(
            account=holder.account,
            instrument=plan.instrument,
            venue=plan.venue,
            side=market_pb2.SIDE_BUY if plan.buy else market_pb2.SIDE_SELL,
            quantity=_quantity(self._parameters, instrument, lots),
            limit_price=from_scaled(max(1, int(mark * plan.limit)), instrument.price_exponent),
            time_in_force=market_pb2.TIME_IN_FORCE_GTC if plan.rests else market_pb2.TIME_IN_FORCE_IOC,
        )
        self._spawn(self.desk(holder.client.desk).ask(client_pb2.SubmitCommand(place_order=request)))

    def _lots(self, instrument: Instrument, *, usd: float, price: int) -> int:
        """Lots of so much notional; an option's is that of its coins."""
        if not instrument.is_option or instrument.is_digital:
            return _lots(instrument, usd=usd, price=price)
        base = self._parameters.asset(instrument.underlying)
        spot = self._parameters.instrument(base.price_instrument or 0) if base is not None else None
        index = self._market.mark_price(spot.symbol) if spot is not None else None
        if base is None or spot is None or not index:
            return 0
        coins = instrument.base_units_per_lot / 10.0**base.decimals
        return min(int(instrument.max_order_lots), int(usd / (coins * index * 10.0**spot.price_exponent)))

    async def _withdraw(self, holder: Holder, plan: Withdrawal) -> None:
        """A unary call, sent again under the same key while the edge does not answer."""
        self.sent["withdrawal"] += 1
        self._keys += 1
        request = client_pb2.WithdrawRequest(
            key=client_pb2.RequestKey(key=f"withdrawal-{holder.account}-{self._keys}"),
            account=holder.account, asset="USD", amount=f"{plan.usd:.2f}", destination=f"bank of {holder.client.desk}",
        )  # fmt: skip
        metadata = ((PRINCIPAL_KEY, holder.client.desk),)
        async with channel(self._target) as open_channel:
            stub = client_pb2_grpc.ClientServiceStub(open_channel)
            for _ in range(UNARY_TRIES_MAX):
                try:
                    answer = await stub.Withdraw(request, metadata=metadata, timeout=UNARY_SECONDS_MAX)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        self.refusals[f"{error.code().name}"] += 1
                        return
                    await asyncio.sleep(0.5)
                    continue
                if answer.outcome.refusal:
                    self.refusals[words.Refusal.Name(answer.outcome.refusal)] += 1
                return


def _lots(instrument: Instrument, *, usd: float, price: int) -> int:
    settlement_units = instrument.c_num * price / instrument.c_den  # of one lot, 10^-6 USD
    return min(int(instrument.max_order_lots), int(usd * 1e6 / settlement_units))


def _quantity(parameters: Parameters, instrument: Instrument, lots: int) -> str:
    base = parameters.asset(instrument.underlying)
    decimals = base.decimals if base is not None else 0
    return from_scaled(lots * instrument.base_units_per_lot, -decimals)


def spread(windows: list[tuple[int, int]]) -> Callable[[int], int]:
    """Run time of "so many seconds into the replay", over windows of run time in ns."""

    def at(seconds: int) -> int:
        left = seconds * SECOND_NS
        for start_ns, end_ns in windows:
            if left <= end_ns - start_ns:
                return start_ns + left
            left -= end_ns - start_ns
        return windows[-1][1]

    return at
