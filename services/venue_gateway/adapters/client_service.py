"""ClientService over gRPC: statuses, limits and streams; what is asked is decided in app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from libs.common import rpc
from libs.common.ids import partition_of
from services.venue_gateway.adapters.submit_stream import MalformedStream, SubmitStream
from services.venue_gateway.app.accounts import account_response
from services.venue_gateway.app.clients import Clients, Overloaded
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.app.ports import Tail
from services.venue_gateway.app.requests import REQUESTS, Handlers, owned_account
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.refusals import Refused

CALL_SECONDS_MAX = 30.0
ANSWER_SECONDS = 0.05  # kept of a call's deadline to say that it has passed

_R = TypeVar("_R")
Context = grpc.aio.ServicerContext[Any, Any]


def timeout_s(context: Context) -> float:
    """How long a call may wait: its own deadline, less the time to answer, and at most 30 s."""
    remaining = context.time_remaining()
    if remaining is None:
        return CALL_SECONDS_MAX
    return float(min(CALL_SECONDS_MAX, max(0.0, remaining - min(ANSWER_SECONDS, remaining * 0.1))))


class ClientService(client_pb2_grpc.ClientServiceServicer):
    """The client edge. `RESPONSES` says which message carries the outcome of which command."""

    RESPONSES: dict[str, Any] = {  # noqa: RUF012 - a table is a plain dict
        "open_account": client_pb2.OpenAccountResponse,
        "confirm_deposit": client_pb2.ConfirmDepositResponse,
        "withdraw": client_pb2.WithdrawResponse,
        "transfer": client_pb2.TransferResponse,
        "place_order": client_pb2.PlaceOrderResponse,
        "cancel_order": client_pb2.CancelOrderResponse,
        "supply": client_pb2.SupplyResponse,
        "redeem": client_pb2.RedeemResponse,
    }

    def __init__(
        self, *, clients: Clients, directory: Directory, view: LedgerView, tail: Tail, ready: Callable[[], bool]
    ) -> None:
        self._ready = ready
        self._clients = clients
        self._directory = directory
        self._view = view
        self._tail = tail

    async def OpenAccount(self, request: client_pb2.OpenAccountRequest, context: Context) -> Any:
        """Answers when the account is journalled."""
        return await self._command("open_account", request, context)

    async def ConfirmDeposit(self, request: client_pb2.ConfirmDepositRequest, context: Context) -> Any:
        """Answers when the deposit is journalled."""
        return await self._command("confirm_deposit", request, context)

    async def Withdraw(self, request: client_pb2.WithdrawRequest, context: Context) -> Any:
        """Answers when the withdrawal is settled or voided."""
        return await self._command("withdraw", request, context)

    async def Transfer(self, request: client_pb2.TransferRequest, context: Context) -> Any:
        """Answers when the transfer is settled or voided."""
        return await self._command("transfer", request, context)

    async def PlaceOrder(self, request: client_pb2.PlaceOrderRequest, context: Context) -> Any:
        """Answers when the order is reserved."""
        return await self._command("place_order", request, context)

    async def CancelOrder(self, request: client_pb2.CancelOrderRequest, context: Context) -> Any:
        """Answers when the wish to cancel is journalled."""
        return await self._command("cancel_order", request, context)

    async def Supply(self, request: client_pb2.SupplyRequest, context: Context) -> Any:
        """Answers when the loan is journalled."""
        return await self._command("supply", request, context)

    async def Redeem(self, request: client_pb2.RedeemRequest, context: Context) -> Any:
        """Answers when the units are back."""
        return await self._command("redeem", request, context)

    async def _principal(self, context: Context) -> str:
        if not self._ready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the journal is not read to its end yet: try again")
        return await rpc.require_principal(context)

    async def _command(self, name: str, request: Any, context: Context) -> Any:
        return self.RESPONSES[name](outcome=await self.outcome(name, request, context, REQUESTS))

    async def outcome(self, name: str, request: Any, context: Context, handlers: Handlers) -> client_pb2.CommandOutcome:
        """What became of a command; the call is aborted where there is no outcome."""
        principal = await self._principal(context)
        if request.ByteSize() > rpc.COMMAND_BYTES_MAX:
            detail = f"expected a request of at most {rpc.COMMAND_BYTES_MAX} bytes, was {request.ByteSize()}"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
        try:
            outcome = await self._clients.call(
                name, request, principal=principal, timeout_s=timeout_s(context), handlers=handlers
            )
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "no outcome in time; the command may still be applied: retry with the same key and request to learn",
            )
        if isinstance(outcome, Refused):
            await rpc.abort_refusal(context, outcome.reason, outcome.detail)
        if isinstance(outcome, Overloaded):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, outcome.detail)
        return outcome

    async def GetAccount(self, request: client_pb2.ClientServiceGetAccountRequest, context: Context) -> Any:
        """Answers from accepted frames, at the asked sequence or at the tail of the moment."""
        view, directory = await self.reached(request.account, request.at_least, context)
        return account_response(view, directory, request.account)

    async def reached(self, account: int, at_least: int, context: Context) -> tuple[LedgerView, Directory]:
        """What is known once the partition is there; the call is aborted unless the account is the asker's."""
        principal = await self._principal(context)
        partition = partition_of(account)
        if partition >= len(self._view.books):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"expected an existing account, was {account}")
        try:
            async with asyncio.timeout(timeout_s(context)):
                if at_least:
                    await self._view.reached(partition, at_least)
                else:
                    await self._tail.reach(partition)
        except TimeoutError:
            detail = f"Behind: partition {partition} stands at sequence {self._view.books[partition].sequence}"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, detail)
        refused = owned_account(self._clients.asker(principal), account)
        if refused is not None:
            await rpc.abort_refusal(context, refused.reason, refused.detail)
        return self._view, self._directory

    async def Submit(
        self, request_iterator: AsyncIterator[client_pb2.SubmitRequest], context: Context
    ) -> AsyncIterator[client_pb2.SubmitResponse]:
        """One outcome a command, as journalled; ends when the client has ended and everything is answered."""
        principal = await self._principal(context)
        stream = SubmitStream(clients=self._clients, principal=principal)
        reading = asyncio.create_task(stream.read(request_iterator))
        try:
            while (response := await stream.next_response(reading)) is not None:
                yield response
            await reading
        except MalformedStream as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            reading.cancel()
            stream.close()
