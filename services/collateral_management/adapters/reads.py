"""LedgerService: questions answered from accepted frames only."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from ballast.api.v1 import ledger_pb2, ledger_pb2_grpc
from ballast.events.v1 import journal_pb2
from libs.common.book import PartitionBook
from libs.common.ids import partition_of
from libs.common.parameters import Parameters
from services.collateral_management.adapters.locations import of_account, of_house
from services.collateral_management.app.owner import AcceptedBooks

PATIENCE_SECONDS = 5.0


class LedgerReads(ledger_pb2_grpc.LedgerServiceServicer):
    """Serves the partitions that this instance owns."""

    def __init__(self, books: AcceptedBooks, parameters: Parameters) -> None:
        self._books = books
        self._parameters = parameters

    async def GetAccount(
        self, request: ledger_pb2.GetAccountRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ledger_pb2.GetAccountResponse:
        """Everything the ledger holds of one account."""
        return _account(await self._book_of(request.account, request.at_least, context), request.account)

    async def _book_of(self, account: int, at_least: int, context: grpc.aio.ServicerContext[Any, Any]) -> PartitionBook:
        partition = partition_of(account)
        remaining = context.time_remaining()
        try:
            async with asyncio.timeout(min(PATIENCE_SECONDS, remaining or PATIENCE_SECONDS)):
                book = await self._books.at_least(partition, at_least)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"Behind: partition {partition} is not yet there")
        if book is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"partition {partition} is not owned by this instance")
        if account not in book.accounts and not book.lines_of(account):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no account {account}")
        return book

    async def GetLocations(
        self, request: ledger_pb2.GetLocationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ledger_pb2.GetLocationsResponse:
        """Where an account's assets sit, or everybody's in the partitions that are owned here."""
        if not request.account:
            books = [book for _, book in sorted(self._books.books.items())]
            return ledger_pb2.GetLocationsResponse(
                units=[one for book in books for one in of_house(book, self._parameters)],
                impairments=[one for book in books for _, one in sorted(book.custody.impairments.items())],
            )
        book = await self._book_of(request.account, request.at_least, context)
        return ledger_pb2.GetLocationsResponse(
            units=of_account(book, request.account),
            terms=[one for _, one in sorted(book.custody.terms.get(request.account, {}).items())],
            impairments=[one for _, one in sorted(book.custody.impairments.items())],
        )

    async def GetPartitions(
        self, request: ledger_pb2.GetPartitionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ledger_pb2.GetPartitionsResponse:
        """Where each partition stands."""
        return ledger_pb2.GetPartitionsResponse(
            partitions=[
                ledger_pb2.PartitionStatus(
                    partition=partition,
                    epoch=self._books.epochs[partition],
                    sequence=book.sequence,
                    fingerprint=book.fingerprint,
                    accounts=len(book.accounts),
                )
                for partition, book in sorted(self._books.books.items())
            ]
        )


def _account(book: PartitionBook, account: int) -> ledger_pb2.GetAccountResponse:
    return ledger_pb2.GetAccountResponse(
        partition=book.partition,
        sequence=book.sequence,
        account=book.accounts.get(account),
        lines=[
            journal_pb2.Posting(account=account, asset=asset, kind=kind, balance=balance)
            for (asset, kind), balance in sorted(book.lines_of(account).items())
        ],
        orders=[one for one in book.orders.values() if one.account == account],
        reservations=[one for one in book.reservations.values() if one.account == account],
        episode=book.open_episode(account),
    )
