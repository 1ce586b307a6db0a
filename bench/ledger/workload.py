"""What clients of the benchmark send: lend, take back, place, cancel, in turn over their accounts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from ballast.api.v1 import client_pb2
from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import account_id, partition_for_owner, serial_id

ACCOUNTS = 64  # of each client
PARTITIONS = 4
KINDS = ("supply", "redeem", "place_order", "cancel_order")
USD, UNITS = 1, 1_000_000
PERP, VENUE, LOTS, PRICE = 11, 1, 100, 1_500_000
PERP_NAME, VENUE_NAME, QUANTITY, LIMIT = "BTC-USD-PERP", "north", "0.1", "15000"

_ROLES = {"custodian": words.ROLE_CUSTODIAN}


class Client:
    """One client, all of whose accounts are in one partition, and the order ids that it will be given there."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.name = next(
            name
            for name in (f"bench-{number}" for number in range(10_000))
            if partition_for_owner(name, partitions=PARTITIONS) == partition
        )
        self.accounts = [account_id(partition=partition, entity=1, sub=sub) for sub in range(ACCOUNTS)]
        self._sent = 0
        self._placed = 0

    def opening(self) -> Iterator[commands_pb2.Command]:
        """Opens the accounts and puts money on each."""
        for account in self.accounts:
            entity = self.accounts[0] if account != self.accounts[0] else 0
            yield self._command(self.name, open_account=commands_pb2.OpenAccount(owner=self.name, entity=entity))
        for account in self.accounts:
            deposit = commands_pb2.ConfirmDeposit(account=account, asset=USD, units=10**14)
            yield self._command("custodian", confirm_deposit=deposit)

    def commands(self, count: int) -> list[commands_pb2.Command]:
        """The next commands as the gateway would send them, keyed by a session of their own."""
        found = [self._next() for _ in range(count)]
        session = secrets.token_bytes(16)
        for number, command in enumerate(found, start=1):
            command.session.session, command.session.n = session, number
        return found

    def requests(self, count: int, *, frame: int) -> list[bytes]:
        """The same commands as a stream's requests, `frame` commands each."""
        edge = [_edge(number, command) for number, command in enumerate((self._next() for _ in range(count)), start=1)]
        requests = [client_pb2.SubmitRequest(commands=edge[start : start + frame]) for start in range(0, count, frame)]
        requests[0].session = secrets.token_bytes(16)
        return [request.SerializeToString() for request in requests]

    def _next(self) -> commands_pb2.Command:
        turn, self._sent = self._sent, self._sent + 1
        account = self.accounts[turn // len(KINDS) % ACCOUNTS]
        match KINDS[turn % len(KINDS)]:
            case "supply":
                return self._command(self.name, supply=commands_pb2.Supply(account=account, asset=USD, units=UNITS))
            case "redeem":
                return self._command(self.name, redeem=commands_pb2.Redeem(account=account, asset=USD, units=UNITS))
            case "place_order":
                self._placed += 1
                order = commands_pb2.PlaceOrder(
                    account=account,
                    instrument=PERP,
                    venue=VENUE,
                    side=market_pb2.SIDE_BUY,
                    lots=LOTS,
                    limit_price=PRICE,
                    time_in_force=market_pb2.TIME_IN_FORCE_IOC,
                )
                return self._command(self.name, place_order=order)
            case _:
                order_id = serial_id(partition=self.partition, serial=self._placed)
                cancel = commands_pb2.CancelOrder(account=account, order=order_id)
                return self._command(self.name, cancel_order=cancel)

    def _command(self, principal: str, **body: object) -> commands_pb2.Command:
        command = commands_pb2.Command(**body)  # type: ignore[arg-type]
        command.principal.id = principal
        command.principal.role = _ROLES.get(principal, words.ROLE_CLIENT)
        return command


def records(commands: Sequence[commands_pb2.Command], *, size: int) -> list[bytes]:
    """Records of the commands topic, `size` commands each."""
    return [
        commands_pb2.CommandBatch(commands=commands[start : start + size]).SerializeToString()
        for start in range(0, len(commands), size)
    ]


def _edge(number: int, command: commands_pb2.Command) -> client_pb2.SubmitCommand:
    match command.WhichOneof("body"):
        case "supply":
            supply = client_pb2.SupplyRequest(account=command.supply.account, asset="USD", amount="1")
            return client_pb2.SubmitCommand(n=number, supply=supply)
        case "redeem":
            redeem = client_pb2.RedeemRequest(account=command.redeem.account, asset="USD", amount="1")
            return client_pb2.SubmitCommand(n=number, redeem=redeem)
        case "place_order":
            order = client_pb2.PlaceOrderRequest(
                account=command.place_order.account,
                instrument=PERP_NAME,
                venue=VENUE_NAME,
                side=market_pb2.SIDE_BUY,
                quantity=QUANTITY,
                limit_price=LIMIT,
                time_in_force=market_pb2.TIME_IN_FORCE_IOC,
            )
            return client_pb2.SubmitCommand(n=number, place_order=order)
        case _:
            body = command.cancel_order
            cancel = client_pb2.CancelOrderRequest(account=body.account, order=body.order)
            return client_pb2.SubmitCommand(n=number, cancel_order=cancel)
