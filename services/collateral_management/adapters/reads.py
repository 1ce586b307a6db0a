"""LedgerService: questions answered from accepted frames only."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from ballast.api.v1 import ledger_pb2, ledger_pb2_grpc
from ballast.events.v1 import journal_pb2
from libs.common.book import PartitionBook
from libs.common.ids import partition_of
from services.collateral_management.app.owner import AcceptedBooks

PATIENCE_SECONDS = 5.0


class LedgerReads(ledger_pb2_grpc.LedgerServiceServicer):
    """Serves the partitions that this instance owns."""

    def __init__(self, books: AcceptedBooks) -> None:
        self._books = books

    async def GetAccount(
        self, request: ledger_pb2.GetAccountRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ledger_pb2.GetAccountResponse:
        """Everything the ledger holds of one account."""
        partition = partition_of(request.account)
        remaining = context.time_remaining()
        try:
            async with asyncio.timeout(min(PATIENCE_SECONDS, remaining or PATIENCE_SECONDS)):
                book = await self._books.at_least(partition, request.at_least)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"Behind: partition {partition} is not yet there")
        if book is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"partition {partition} is not owned by this instance")
        if request.account not in book.accounts and not book.lines_of(request.account):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no account {request.account}")
        return _account(book, request.account)

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
