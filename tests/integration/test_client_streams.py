"""Four clients on streams at once: frames of 8,000 commands, each command with its own outcome, once."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.ids import entity_of, serial_id
from tests.integration.edge_town import Client, town

CLIENTS, FRAME, OPENINGS, REMEMBERED, ACCOUNTS_MAX = 4, 8_000, 300, 4_096, 256
NO_ORDER = ledger_pb2.REFUSAL_UNKNOWN_ORDER


def _frame(client: Client, session: bytes) -> client_pb2.SubmitRequest:
    """Openings of accounts, more than an entity may have, then cancellations of orders that are not there."""
    entity, partition = entity_of(client.account), client.account >> 48
    request = client_pb2.SubmitRequest(session=session)
    for n in range(1, FRAME + 1):
        one = request.commands.add(n=n)
        if n <= OPENINGS:
            one.open_account.entity = entity
        else:
            one.cancel_order.account = client.account
            one.cancel_order.order = serial_id(partition=partition, serial=n)
    return request


async def _outcomes(target: str, client: Client, request: client_pb2.SubmitRequest) -> list[client_pb2.SubmitOutcome]:
    async def requests() -> AsyncIterator[client_pb2.SubmitRequest]:
        yield request

    found: list[client_pb2.SubmitOutcome] = []
    async with rpc.channel(target) as channel:
        stub: Any = client_pb2_grpc.ClientServiceStub(channel)
        call = stub.Submit(requests(), metadata=grpc.aio.Metadata((rpc.PRINCIPAL_KEY, client.name)), timeout=120)
        async for response in call:
            found.extend(response.outcomes)
    return found


async def _story(target: str, client: Client) -> None:
    await client.open("1000")
    request = _frame(client, secrets.token_bytes(16))
    first = await _outcomes(target, client, request)
    assert [one.n for one in first] == list(range(1, FRAME + 1))  # one partition: answered in its order
    told = Counter(one.outcome.refusal for one in first)
    opened = [one.outcome.subject for one in first if not one.outcome.refusal]
    assert len(opened) == len(set(opened)) == ACCOUNTS_MAX - 1
    assert told == {
        ledger_pb2.REFUSAL_UNSPECIFIED: ACCOUNTS_MAX - 1,
        ledger_pb2.REFUSAL_TOO_MANY_ACCOUNTS: OPENINGS - ACCOUNTS_MAX + 1,
        NO_ORDER: FRAME - OPENINGS,
    }
    again = await _outcomes(target, client, request)
    expired = [one.n for one in again if one.outcome.refusal == ledger_pb2.REFUSAL_KEY_EXPIRED]
    assert expired == list(range(1, FRAME - REMEMBERED + 1))
    assert {(one.outcome.refusal, one.outcome.repeated) for one in again[FRAME - REMEMBERED :]} == {(NO_ORDER, True)}


async def test_each_command_of_four_streams_of_large_frames_has_its_own_outcome(
    fresh_kafka: str, tmp_path: Path
) -> None:
    async with town(fresh_kafka, tmp_path) as it:
        target = it.fleet.ports["venue_gateway"].target
        async with rpc.channel(target) as channel:
            clients = [Client(channel, f"client-{secrets.token_hex(4)}") for _ in range(CLIENTS)]
            await asyncio.gather(*(_story(target, client) for client in clients))
