"""One client and the custodian who confirms its deposits: what they ask for is drawn from the client's own seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common import rpc
from libs.common.ids import SystemAccount, partition_of, system_account
from libs.common.units import from_units
from tools.chaos.lane import Lane, Made
from tools.chaos.model import Sent

USD, DECIMALS = 1, 6
CUSTODIAN = "custodian"
_ACCOUNTS_MAX = 40
_ORDERS_MAX = 40
_BEFORE_SECOND = 2  # accounts before the one that is an entity of its own and moves to another partition
_ELSEWHERE_SHARE = 0.5  # of unary transfers and withdrawals that concern the account in another partition
_CAPITAL_SHARE = 0.1  # of what the custodian does
_CALLS_AT_ONCE = 3
_CALL_SECONDS_MAX = 15.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN,
         grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)  # fmt: skip


class Trader:
    """A client.

    Args:
        allowed: takes one command out of what may be sent now; False when nothing may.
        on_told: told each command at its first answer.
        now_ns: the run clock.
        partitions: of the house.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        name: str,
        *,
        dice: Random,
        allowed: Callable[[], bool],
        on_told: Callable[[Sent], None],
        now_ns: Callable[[], int],
        partitions: int,
        twice: float,
        again: float,
        window: int,
    ) -> None:
        self.name = name
        self.accounts: list[int] = []
        self.elsewhere: list[int] = []  # accounts of its own in another partition
        self.calls: list[Sent] = []
        self._allowed = allowed
        self._on_told_outside = on_told
        self._now_ns = now_ns
        self._dice = dice
        self._twice, self._again = twice, again
        self._stub: Any = client_pb2_grpc.ClientServiceStub(channel)
        self._orders: list[tuple[int, int]] = []  # (account, order) accepted and not cancelled by us
        self._lent: dict[int, int] = {}
        self._partitions = partitions
        self._second = 0  # id of its second entity
        self._moving: Sent | None = None
        self._opening = False
        self._ending = False

        def lane(principal: str, make: Callable[[], Made | None]) -> Lane:
            return Lane(
                channel, principal, dice=Random(dice.getrandbits(64)), make=make, on_told=self._told,
                twice=twice, again=again, window=window,
            )  # fmt: skip

        self.own = lane(name, self._make_own)
        self.custody = lane(CUSTODIAN, self._make_deposit)

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """Its streams."""
        return self.own, self.custody

    def running(self) -> list[Coroutine[Any, Any, None]]:
        """What runs while it lives."""
        calls = [self._call_on(Random(self._dice.getrandbits(64))) for _ in range(_CALLS_AT_ONCE)]
        return [self.own.run(), self.custody.run(), self._settle_elsewhere(), *calls]

    def end(self) -> None:
        """No more commands."""
        self._ending = True
        for lane in self.lanes:
            lane.end()

    def everything(self) -> list[Sent]:
        """All it sent."""
        return [*self.own.sent, *self.custody.sent, *self.calls]

    def waits_for(self) -> str:
        """What has no answer, in words."""
        lanes = [lane.waits_for() for lane in self.lanes]
        calls = [f"{one.name} {one.key}" for one in self.calls if not one.answers]
        return f"{self.name}: {len(self.accounts)} accounts, {', '.join([*lanes, *calls])}"

    def _told(self, one: Sent) -> None:
        refusal, subject = one.answers[0]
        if one.name == "open_account":
            self._opening = False
        if not refusal:
            match one.name:
                case "open_account" if len(self.accounts) == _BEFORE_SECOND and not self._second:
                    self._second = subject  # nobody pays into it before it has moved
                case "open_account":
                    self.accounts.append(subject)
                case "place_order":
                    self._orders.append((one.account, subject))
                case "supply":
                    self._lent[one.account] = self._lent.get(one.account, 0) + one.units
        self._on_told_outside(one)

    def _make_own(self) -> Made | None:
        if self._second and self._moving is None:
            return self._move(self._second)
        if not self._second or self._dice.random() < 0.001:
            return self._open()
        if not self._allowed():
            return None
        account, dice = self._dice.choice(self.accounts), self._dice
        match dice.choices(("supply", "redeem", "place", "cancel"), weights=(3, 3, 2, 2))[0]:
            case "redeem" if self._lent.get(account, 0) > 0:
                units = dice.randint(1, self._lent[account])
                self._lent[account] -= units
                redeem = client_pb2.RedeemRequest(account=account, asset="USD", amount=from_units(units, DECIMALS))
                one = Sent(self.name, "redeem", account=account, asset=USD, units=units)
                return one, client_pb2.SubmitCommand(redeem=redeem)
            case "cancel" if self._orders:
                account, order = self._orders.pop(dice.randrange(len(self._orders)))
                one = Sent(self.name, "cancel_order", account=account, order=order)
                cancel = client_pb2.CancelOrderRequest(account=account, order=order)
                return one, client_pb2.SubmitCommand(cancel_order=cancel)
            case "place" if len(self._orders) < _ORDERS_MAX * len(self.accounts):
                return self._place(account)
        units = dice.randint(1, 2_000_000)
        request = client_pb2.SupplyRequest(account=account, asset="USD", amount=from_units(units, DECIMALS))
        one = Sent(self.name, "supply", account=account, asset=USD, units=units)
        return one, client_pb2.SubmitCommand(supply=request)

    def _open(self) -> Made | None:
        if self._opening or len(self.accounts) >= _ACCOUNTS_MAX or not self._allowed():
            return None
        self._opening = True  # one at a time: the first names the entity of the others
        is_second = len(self.accounts) == _BEFORE_SECOND and not self._second
        request = client_pb2.OpenAccountRequest(entity=self.accounts[0] if self.accounts and not is_second else 0)
        return Sent(self.name, "open_account"), client_pb2.SubmitCommand(open_account=request)

    def _move(self, entity: int) -> Made | None:
        """Moves its second entity, still empty, to another partition."""
        if not self._allowed():
            return None
        to_partition = (partition_of(entity) + self._dice.randrange(1, self._partitions)) % self._partitions
        self._moving = one = Sent(self.name, "move_entity", account=entity)
        request = client_pb2.MoveEntityRequest(entity=entity, to_partition=to_partition)
        return one, client_pb2.SubmitCommand(move_entity=request)

    async def _settle_elsewhere(self) -> None:
        """Learns where the entity lives now."""
        while not (self._ending or self.elsewhere):
            await asyncio.sleep(0.2)
            if self._moving is None or not self._moving.answers or self._moving.answers[0][0]:
                continue
            with suppress(grpc.aio.AioRpcError):
                request = client_pb2.ClientServiceGetAccountRequest(account=self._moving.account)
                asked = self._stub.GetAccount(request, metadata=((rpc.PRINCIPAL_KEY, self.name),), timeout=5)
                moved_to = (await asked).moved_to
                if moved_to:
                    self._moving.to_account = moved_to
                    self.elsewhere.append(moved_to)

    def _place(self, account: int) -> Made:
        lots = self._dice.randint(1, 9)
        request = client_pb2.PlaceOrderRequest(
            account=account, instrument="BTC-USD-PERP", venue="north", side=market_pb2.SIDE_BUY,
            quantity=f"0.00{lots}", limit_price="14000", time_in_force=market_pb2.TIME_IN_FORCE_GTC,
        )  # fmt: skip
        return Sent(self.name, "place_order", account=account, lots=lots), client_pb2.SubmitCommand(place_order=request)

    def _make_deposit(self) -> Made | None:
        if not self.accounts or not self._allowed():
            return None
        home = partition_of(self.accounts[0])
        account, units = self._dice.choice(self.accounts), self._dice.randint(1, 5_000_000)
        if self._dice.random() < _CAPITAL_SHARE:
            fund = system_account(SystemAccount.INSURANCE, partition=home)
            if self._dice.random() < 0.5:
                return self._move_capital(fund, home, units)
            account = fund
        request = client_pb2.ConfirmDepositRequest(account=account, asset="USD", amount=from_units(units, DECIMALS))
        one = Sent(CUSTODIAN, "confirm_deposit", account=account, asset=USD, units=units)
        return one, client_pb2.SubmitCommand(confirm_deposit=request)

    def _move_capital(self, fund: int, home: int, units: int) -> Made:
        to_partition = (home + self._dice.randrange(1, self._partitions)) % self._partitions
        other = system_account(SystemAccount.INSURANCE, partition=to_partition)
        request = client_pb2.MoveCapitalRequest(
            account=fund, to_partition=to_partition, asset="USD", amount=from_units(units, DECIMALS)
        )
        one = Sent(CUSTODIAN, "move_capital", account=fund, to_account=other, asset=USD, units=units)
        return one, client_pb2.SubmitCommand(move_capital=request)

    async def _call_on(self, dice: Random) -> None:
        while not self._ending:
            if len(self.accounts) < 2 or not self._allowed():
                await asyncio.sleep(0.05)
                continue
            account, other = dice.sample(self.accounts, 2)
            if self.elsewhere and dice.random() < _ELSEWHERE_SHARE:
                account, other = dice.sample((account, self.elsewhere[0]), 2)
            units, key = dice.randint(1, 1_000_000), dice.randbytes(12).hex()
            name = dice.choice(("withdraw", "transfer"))
            one = Sent(
                self.name, name, key=key, account=account, to_account=other if name == "transfer" else 0,
                asset=USD, units=units,
            )  # fmt: skip
            self.calls.append(one)
            issued_ns = self._now_ns()
            one.twice = dice.random() < self._twice
            asked = [self.call(one, issued_ns=issued_ns) for _ in range(2 if one.twice else 1)]
            one.answers += await asyncio.gather(*asked)
            if dice.random() < self._again:
                one.again = True
                one.answers.append(await self.call(one, issued_ns=issued_ns))
            self._told(one)

    async def call(self, one: Sent, *, issued_ns: int) -> tuple[int, int]:
        """(refusal, subject) of a unary call, made again with the same key until it is answered."""
        key = client_pb2.RequestKey(key=one.key, issued_at_ns=issued_ns)
        amount = from_units(one.units, DECIMALS)
        requests: dict[str, Any] = {
            "withdraw": ("Withdraw", client_pb2.WithdrawRequest, {"destination": "cold"}),
            "transfer": ("Transfer", client_pb2.TransferRequest, {"to_account": one.to_account}),
            "confirm_deposit": ("ConfirmDeposit", client_pb2.ConfirmDepositRequest, {}),
        }
        method, message, more = requests[one.name]
        request = message(key=key, account=one.account, asset="USD", amount=amount, **more)
        one.sent_at_s = one.sent_at_s or time.monotonic()
        while True:
            try:
                called = getattr(self._stub, method)(
                    request, metadata=((rpc.PRINCIPAL_KEY, one.principal),), timeout=_CALL_SECONDS_MAX,
                    wait_for_ready=True,
                )  # fmt: skip
                outcome = (await called).outcome
                return outcome.refusal, outcome.subject
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    return ledger_pb2.REFUSAL_INTERNAL, 0  # the edge refused it: it never became a command
                await asyncio.sleep(0.2)
