"""Clients that trade, lend, withdraw and spam, and ask again until they are answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ballast.events.v1 import commands_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.errors import Fault
from libs.common.ids import SystemAccount, partition_for_owner, system_account
from services.venue_gateway.app.requests import Planned
from tools.simulate.checker import Checker
from tools.simulate.gateway_node import GatewayNode
from tools.simulate.house import BACKSTOP, BTC, USD, House
from tools.simulate.market import Market
from tools.simulate.network import Network, Node
from tools.simulate.setting import Setting
from tools.simulate.trading import Trading

DOLLAR, COIN = 10**6, 10**8
_ANSWER_SECONDS = 1.0
_AGAIN_AFTER_ANSWER = 0.1
_SUPPLIES_MAX = 50
_LOOK_SECONDS, _LOOKS_BEFORE_AGAIN = 0.05, 20
CUSTODIAN = commands_pb2.Principal(id="custodian", role=ledger_pb2.ROLE_CUSTODIAN)
_BUSY_PARTITIONS = 2  # those with two traders

Gateway = Callable[[], GatewayNode | None]


@dataclass(slots=True)
class Client:
    """One owner with its accounts, in one partition, and its stream of commands."""

    name: str
    session: bytes
    partition: int
    accounts: list[int] = field(default_factory=list)
    orders: dict[int, int] = field(default_factory=dict)  # -> account
    number: int = 0

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
        self.house = setting.house
        self.everyone = _everyone(rng, setting.house)
        self.waiting = 0  # commands without an answer yet
        self._network: Network = setting.network
        self._checker: Checker = setting.checker
        self._setting, self._market, self._rng, self._gateway = setting, market, rng, gateway
        self._trading = Trading(setting.house, market, rng)
        self._outside = Node("outside", setting.network)
        self._facts = [0 for _ in setting.house.partitions]
        self._custody: list[asyncio.Lock] = [asyncio.Lock() for _ in setting.house.partitions]
        self._run_clock_ns = int(setting.house.parameters.genesis_ns)
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

    def carry_on(self, client: Client, commands: Iterator[commands_pb2.Command]) -> None:
        """Sends one command after another, each when the one before is answered, until one is refused."""
        self._spawn(self._carry_on(client, commands))

    async def _carry_on(self, client: Client, commands: Iterator[commands_pb2.Command]) -> None:
        for command in commands:
            if await self._on_stream(client, command, partition=client.partition):
                return
            await asyncio.sleep(self._rng.random())

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
        home = partition if partition >= 0 else _home(client, command, self.house)
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
        for partition in self.house.partitions:
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
                self.begin(
                    client,
                    commands_pb2.Command(
                        place_order=self._trading.first(client.accounts[0], lots, now_ns=self._checker.run_time_ns)
                    ),
                )
            elsewhere = commands_pb2.Command(open_account=commands_pb2.OpenAccount(owner=client.name))
            await self._on_stream(client, elsewhere, partition=(client.partition + 1) % len(self.house.partitions))

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
        if chance < 0.53:
            return commands_pb2.Command(place_order=self._trading.any(account, now_ns=self._checker.run_time_ns))
        if chance < 0.60 and client.orders:
            return self._change_of_mind(client)
        asset, units = rng.choice(((USD, rng.randint(1, 30_000 * DOLLAR)), (BTC, rng.randint(1, 2 * COIN))))
        if chance < 0.69:
            return commands_pb2.Command(withdraw=commands_pb2.Withdraw(account=account, asset=asset, units=units))
        if chance < 0.79:
            to = rng.choice(client.accounts if rng.random() < 0.9 else rng.choice(self.everyone).accounts or [0])
            return commands_pb2.Command(
                transfer=movement_pb2.Transfer(account=account, to_account=to, asset=asset, units=units)
            )
        if chance < 0.86:
            return commands_pb2.Command(supply=commands_pb2.Supply(account=account, asset=asset, units=units))
        if chance < 0.9:
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
        rng, to = self._rng, self._rng.choice(self.house.partitions)
        if to == account >> 48 and rng.random() < 0.7:
            to = (to + 1) % len(self.house.partitions)
        there = [one & ~0xFFFF for one in client.accounts if one >> 48 == to and one & ~0xFFFF != account & ~0xFFFF]
        into = rng.choice(there) if there and rng.random() < 0.6 else 0
        if rng.random() < 0.1:
            into = rng.choice(rng.choice(self.everyone).accounts or [0]) & ~0xFFFF
        body = movement_pb2.MoveEntity(account=account & ~0xFFFF, to_partition=to, into_entity=into)
        return commands_pb2.Command(move_entity=body)

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


def _home(client: Client, command: commands_pb2.Command, house: House) -> int:
    body = command.WhichOneof("body")
    is_elsewhere = not body or body == "open_account"
    partition = client.partition if is_elsewhere else getattr(getattr(command, body), "account", 0) >> 48
    return partition if partition in house.partitions else client.partition


def _everyone(rng: random.Random, house: House) -> list[Client]:
    """A lender in each partition, and two traders, one where there are many; who takes positions over has one home."""
    found: list[Client] = []
    partitions = len(house.partitions)
    for partition in house.partitions:
        for role in ("lender", "trader", "trader")[: 3 if partition < _BUSY_PARTITIONS else 2]:
            number = 0
            taken = {one.name for one in found}
            while (name := f"{role}-{number}") in taken or partition_for_owner(
                name, partitions=partitions
            ) != partition:
                number += 1
            found.append(Client(name, rng.randbytes(16), partition))
    if house.is_wide:
        found.append(Client(BACKSTOP, rng.randbytes(16), partition_for_owner(BACKSTOP, partitions=partitions)))
    return found
