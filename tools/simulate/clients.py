"""Clients that trade, lend, withdraw and spam, and ask again until they are answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ballast.events.v1 import commands_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.errors import Fault
from libs.common.ids import SystemAccount, partition_for_owner, system_account
from services.venue_gateway.app.requests import Planned
from tools.simulate.checker import Checker
from tools.simulate.gateway_node import GatewayNode
from tools.simulate.house import BTC, BTC_INVERSE, BTC_PERP, BTC_USD, PARTITIONS, USD, parameters
from tools.simulate.market import Market
from tools.simulate.network import Network, Node
from tools.simulate.setting import Setting

DOLLAR, COIN = 10**6, 10**8
_ANSWER_SECONDS = 1.0
_AGAIN_AFTER_ANSWER = 0.1
_SUPPLIES_MAX = 50
_LOOK_SECONDS, _LOOKS_BEFORE_AGAIN = 0.05, 20
CUSTODIAN = commands_pb2.Principal(id="custodian", role=ledger_pb2.ROLE_CUSTODIAN)
_BUY, _SELL = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL
_IOC, _GTC = market_pb2.TIME_IN_FORCE_IOC, market_pb2.TIME_IN_FORCE_GTC

Gateway = Callable[[], GatewayNode | None]


@dataclass(slots=True)
class Client:
    """One owner with its accounts, in one partition, and its stream of commands."""

    name: str
    session: bytes
    partition: int = field(init=False)
    accounts: list[int] = field(default_factory=list)
    orders: dict[int, int] = field(default_factory=dict)  # -> account
    number: int = 0

    def __post_init__(self) -> None:
        self.partition = partition_for_owner(self.name, partitions=PARTITIONS)

    @property
    def principal(self) -> commands_pb2.Principal:
        """Who it is."""
        return commands_pb2.Principal(id=self.name, role=ledger_pb2.ROLE_CLIENT)


class Clients:
    """Everybody out there.

    Args:
        gateway: the one that can be reached now.
    """

    def __init__(self, setting: Setting, market: Market, rng: random.Random, gateway: Gateway) -> None:
        self.everyone = _everyone(rng)
        self.waiting = 0  # commands without an answer yet
        self._network: Network = setting.network
        self._checker: Checker = setting.checker
        self._setting, self._market, self._rng, self._gateway = setting, market, rng, gateway
        self._outside = Node("outside", setting.network)
        self._facts = [0] * PARTITIONS
        self._custody: list[asyncio.Lock] = [asyncio.Lock() for _ in range(PARTITIONS)]
        self._run_clock_ns = int(parameters().genesis_ns)
        self._tasks: set[asyncio.Task[None]] = set()
        self.terms: Callable[[int, int, int], commands_pb2.Command] | None = None  # what they want of their terms

    # sending

    def begin(self, client: Client, command: commands_pb2.Command) -> None:
        """Sends a command on the client's stream, or under a key of its own, and sees to its answer."""
        command.principal.CopyFrom(client.principal)
        client.number += 1
        if self._rng.random() < 0.7:
            command.session.session, command.session.n = client.session, client.number
        else:
            command.client.key = f"key {client.number if self._rng.random() < 0.9 else 1}"
            late_ns = self._rng.choice((0, 0, 0, 15, 25)) * 10**9
            command.client.issued_at_ns = max(self._checker.run_time_ns, self._run_clock_ns) - late_ns
        self._spawn(self._ask(client, command))

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._done)
        self.waiting += 1

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.waiting -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._network.stopped(self._outside, error)

    async def _on_stream(self, client: Client, command: commands_pb2.Command, *, partition: int = -1) -> int:
        client.number += 1
        command.principal.CopyFrom(client.principal)
        command.session.session, command.session.n = client.session, client.number
        return await self._ask(client, command, partition=partition)

    async def _ask(self, client: Client, command: commands_pb2.Command, *, partition: int = -1) -> int:
        """The refusal, or 0; asked in the home partition of the account that the command is about."""
        home = partition if partition >= 0 else _home(client, command)
        repeats = 1 + (self._rng.random() < _AGAIN_AFTER_ANSWER)
        while True:
            gateway = self._gateway()
            if gateway is not None:
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        answer = await gateway.clients.ask(Planned(home, command))
                except (TimeoutError, Fault):
                    continue
                self._checker.acknowledged(home, command, answer.outcome)
                self._learn(client, answer.outcome.subject, command, answer.outcome.refusal)
                repeats -= 1
                if not repeats:
                    return answer.outcome.refusal
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))

    def _learn(self, client: Client, subject: int, command: commands_pb2.Command, refusal: int) -> None:
        if refusal or not subject:
            return
        body = command.WhichOneof("body")
        if body == "open_account" and subject not in client.accounts:
            client.accounts.append(subject)
        elif body == "place_order":
            client.orders[subject] = command.place_order.account

    def deposit(self, account: int, asset: int, units: int) -> None:
        """The custodian says that money arrived, in its own order, until it is on record."""
        self._spawn(self._deposit(account >> 48, account, asset, units))

    async def _deposit(self, partition: int, account: int, asset: int, units: int) -> None:
        async with self._custody[partition]:
            number = self._facts[partition] + 1
            body = commands_pb2.ConfirmDeposit(account=account, asset=asset, units=units)
            key = commands_pb2.FactKey(stream="custodian", sequence=number, previous=number - 1)
            command = commands_pb2.Command(fact=key, principal=CUSTODIAN, confirm_deposit=body)
            record = commands_pb2.CommandBatch(commands=[command]).SerializeToString()
            self._checker.sent(partition, command, by="custodian")
            while self._checker.books[partition].streams.get("custodian", 0) < number:
                self._outside.sending(self._setting.commands[partition], record)
                for _ in range(_LOOKS_BEFORE_AGAIN):
                    await asyncio.sleep(_LOOK_SECONDS)
                    if self._checker.books[partition].streams.get("custodian", 0) >= number:
                        break
            self._facts[partition] = number

    # what they do

    def open_up(self) -> None:
        """Accounts, money, loans and house capital, so that there is something to lose."""
        for partition in range(PARTITIONS):
            for kind, usd in (
                (SystemAccount.FIRST_LOSS, 50),
                (SystemAccount.INSURANCE, 200),
                (SystemAccount.ROUNDING, 1),
            ):
                self.deposit(system_account(kind, partition=partition), USD, usd * DOLLAR)
            self.deposit(system_account(SystemAccount.TREASURY, partition=partition), USD, 10**6 * DOLLAR)
        for client in self.everyone:
            self._spawn(self._settle_in(client))

    async def _settle_in(self, client: Client) -> None:
        for sub in range(2 if client.name.startswith("trader") else 1):
            entity = client.accounts[0] if sub else 0
            opened = commands_pb2.OpenAccount(owner=client.name, entity=entity)
            await self._on_stream(client, commands_pb2.Command(open_account=opened))
        is_lender = client.name.startswith("lender")
        for asset, units in (
            (USD, (400_000 if is_lender else 20_000) * DOLLAR),
            (BTC, (20 if is_lender else 1) * COIN),
        ):
            await self._deposit(client.partition, client.accounts[0], asset, units)
            if is_lender:
                lent = commands_pb2.Supply(account=client.accounts[0], asset=asset, units=units * 3 // 4)
                for _ in range(_SUPPLIES_MAX):  # between a tick's time and its arrival nobody may lend
                    if not await self._on_stream(client, commands_pb2.Command(supply=lent)):
                        break
                    await asyncio.sleep(_LOOK_SECONDS)
        if not is_lender:  # a position as large as risk lets them have, or nearly
            for lots in self._rng.sample((1_000, 2_000, 3_000, 4_000, 6_000, 8_000), 2):
                self.begin(client, commands_pb2.Command(place_order=self._first_order(client.accounts[0], lots)))
            elsewhere = commands_pb2.Command(open_account=commands_pb2.OpenAccount(owner=client.name))
            await self._on_stream(client, elsewhere, partition=(client.partition + 1) % PARTITIONS)

    def act(self) -> str:
        """Somebody does something; says what."""
        client = self._rng.choice(self.everyone)
        if not client.accounts:
            return "nobody is ready"
        client.accounts = [self._now(account) for account in client.accounts]
        command = self._wish(client)
        for _ in range(self._rng.choice((1, 1, 1, 1, 5)) if command.HasField("place_order") else 1):
            again = commands_pb2.Command()
            again.CopyFrom(command)
            self.begin(client, again)
        return f"{client.name} {' '.join(str(command).split())}"

    def _now(self, account: int) -> int:
        """Where an account lives, as far as its old partition has said."""
        while (known := self._checker.books[account >> 48].accounts.get(account)) is not None and known.moved_to:
            account = known.moved_to
        return account

    def _wish(self, client: Client) -> commands_pb2.Command:
        rng = self._rng
        account = rng.choice(client.accounts)
        chance = rng.random()
        if client.name.startswith("lender"):
            chance = 0.6 + 0.4 * chance
        if chance < 0.57:
            return commands_pb2.Command(place_order=self._order(account))
        if chance < 0.63 and client.orders:
            return self._change_of_mind(client)
        asset, units = rng.choice(((USD, rng.randint(1, 30_000 * DOLLAR)), (BTC, rng.randint(1, 2 * COIN))))
        if chance < 0.73:
            return commands_pb2.Command(withdraw=commands_pb2.Withdraw(account=account, asset=asset, units=units))
        if chance < 0.83:
            to = rng.choice(client.accounts if rng.random() < 0.9 else rng.choice(self.everyone).accounts or [0])
            return commands_pb2.Command(
                transfer=movement_pb2.Transfer(account=account, to_account=to, asset=asset, units=units)
            )
        if chance < 0.9:
            return commands_pb2.Command(supply=commands_pb2.Supply(account=account, asset=asset, units=units))
        if chance < 0.94:
            units = rng.choice((0, units))
            return commands_pb2.Command(redeem=commands_pb2.Redeem(account=account, asset=asset, units=units))
        if chance < 0.97:
            return self._move(client, account)
        if self.terms is not None and chance < 0.99:
            return self.terms(account, asset, units)
        return self._spam(account, asset)

    def _change_of_mind(self, client: Client) -> commands_pb2.Command:
        """About an order, or about an account."""
        rng = self._rng
        order = rng.choice(list(client.orders))
        account = client.orders[order]
        match rng.randrange(6):
            case 0 | 1:
                price = round(self._market.price * rng.uniform(0.97, 1.03))
                amended = lifecycle_pb2.AmendOrder(
                    account=account, order=order, lots=rng.randint(1, 6_000), limit_price=price
                )
                return commands_pb2.Command(amend_order=amended)
            case 2:
                closed = self._checker.books[account >> 48].accounts.get(account)
                if closed is not None and closed.closed:
                    return commands_pb2.Command(reopen_account=lifecycle_pb2.ReopenAccount(account=account))
                empty = rng.choice(client.accounts)
                return commands_pb2.Command(close_account=lifecycle_pb2.CloseAccount(account=empty))
            case _:
                return commands_pb2.Command(cancel_order=commands_pb2.CancelOrder(account=account, order=order))

    def _move(self, client: Client, account: int) -> commands_pb2.Command:
        """To a partition, alone or to join another entity of the same owner, or of somebody else."""
        rng, to = self._rng, self._rng.randrange(PARTITIONS)
        there = [one & ~0xFFFF for one in client.accounts if one >> 48 == to and one & ~0xFFFF != account & ~0xFFFF]
        into = rng.choice(there) if there and rng.random() < 0.6 else 0
        if rng.random() < 0.1:
            into = rng.choice(rng.choice(self.everyone).accounts or [0]) & ~0xFFFF
        body = movement_pb2.MoveEntity(account=account & ~0xFFFF, to_partition=to, into_entity=into)
        return commands_pb2.Command(move_entity=body)

    def _first_order(self, account: int, lots: int) -> commands_pb2.PlaceOrder:
        rng = self._rng
        instrument, side = rng.choice((BTC_USD, BTC_PERP, BTC_PERP, BTC_INVERSE)), rng.choice((_BUY, _BUY, _BUY, _SELL))
        price = round(self._market.price * (1.02 if side == _BUY else 0.98))
        return commands_pb2.PlaceOrder(
            account=account, instrument=instrument, venue=rng.choice((1, 2)), side=side,
            lots=lots * (10 if instrument == BTC_INVERSE else 1), limit_price=price, time_in_force=_IOC,
        )  # fmt: skip

    def _order(self, account: int) -> commands_pb2.PlaceOrder:
        rng = self._rng
        instrument = rng.choice((BTC_USD, BTC_PERP, BTC_PERP, BTC_PERP, BTC_INVERSE))
        side = rng.choice((_BUY, _BUY, _SELL))
        lots = rng.randint(1, 4_000) if instrument != BTC_INVERSE else rng.randint(1, 40_000)
        off = rng.uniform(-0.01, 0.03)
        price = round(self._market.price * (1.0 + off if side == _BUY else 1.0 - off))
        return commands_pb2.PlaceOrder(
            account=account, instrument=instrument, venue=rng.choice((1, 2)), side=side, lots=lots, limit_price=price,
            time_in_force=rng.choice((_IOC, _IOC, _GTC)), reduce_only=rng.random() < 0.15,
        )  # fmt: skip

    def _spam(self, account: int, asset: int) -> commands_pb2.Command:
        rng = self._rng
        return rng.choice(
            (
                commands_pb2.Command(withdraw=commands_pb2.Withdraw(account=account + (1 << 16), asset=asset, units=1)),
                commands_pb2.Command(withdraw=commands_pb2.Withdraw(account=account, asset=99, units=1)),
                commands_pb2.Command(supply=commands_pb2.Supply(account=account, asset=asset, units=-1)),
                commands_pb2.Command(withdraw=commands_pb2.Withdraw(account=account, asset=asset, units=2**62)),
                commands_pb2.Command(),
            )
        )


def _home(client: Client, command: commands_pb2.Command) -> int:
    body = command.WhichOneof("body")
    partition = getattr(getattr(command, body), "account", 0) >> 48 if body and body != "open_account" else PARTITIONS
    return partition if partition < PARTITIONS else client.partition


def _everyone(rng: random.Random) -> list[Client]:
    """A lender and two traders in each partition."""
    found: list[Client] = []
    for partition in range(PARTITIONS):
        for role in ("lender", "trader", "trader"):
            number = 0
            taken = {one.name for one in found}
            while (name := f"{role}-{number}") in taken or partition_for_owner(
                name, partitions=PARTITIONS
            ) != partition:
                number += 1
            found.append(Client(name, rng.randbytes(16)))
    return found
