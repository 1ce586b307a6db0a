"""A client's frame of 8,000 commands: one message of the stream, each command with its own outcome, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ballast.api.v1 import client_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common import rpc
from services.venue_gateway.tests.house import ACCOUNT, PARTITION, outcome_of
from services.venue_gateway.tests.test_edge import ALICE, SESSION, Edge, edge

__all__ = ["edge"]  # the fixture

FRAME = 8_000
SHORT = ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE


def order(n: int) -> client_pb2.SubmitCommand:
    """An order; every tenth one is for a price that the edge refuses."""
    request = client_pb2.PlaceOrderRequest(
        account=ACCOUNT, instrument="BTC-USD-PERP", venue="north", side=words.SIDE_BUY, quantity="0.001",
        limit_price="60000.001" if n % 10 == 0 else "60000.01", time_in_force=words.TIME_IN_FORCE_GTC,
    )  # fmt: skip
    return client_pb2.SubmitCommand(n=n, place_order=request)


async def answer(edge: Edge, *, until: int) -> list[int]:
    """A ledger that refuses every third command; returns the numbers in the order they came."""
    came: list[int] = []
    while len(came) < until:
        commands = edge.house.commands.take()
        outcomes = []
        for command in commands:
            came.append(command.session.n)
            refused = SHORT if command.session.n % 3 == 0 else ledger_pb2.REFUSAL_UNSPECIFIED
            outcomes.append(outcome_of(command, refusal=refused, subject=command.session.n))
        if outcomes:
            edge.house.journal(*outcomes, partition=PARTITION)
        await asyncio.sleep(0)
    return came


async def test_a_frame_of_8000_commands_gets_8000_outcomes(edge: Edge) -> None:
    request = client_pb2.SubmitRequest(session=SESSION, commands=[order(n) for n in range(1, FRAME + 1)])
    assert request.ByteSize() < rpc.STREAM_BYTES_MAX

    async def requests() -> AsyncIterator[client_pb2.SubmitRequest]:
        yield request

    ledger = asyncio.create_task(answer(edge, until=FRAME - FRAME // 10))
    outcomes: dict[int, client_pb2.CommandOutcome] = {}
    async with asyncio.timeout(60):
        async for response in edge.client.Submit(requests(), metadata=ALICE):
            for one in response.outcomes:
                assert one.n not in outcomes
                outcomes[one.n] = one.outcome
        came = await ledger
    assert sorted(outcomes) == list(range(1, FRAME + 1))
    assert came == [n for n in range(1, FRAME + 1) if n % 10]  # in the order they were sent
    for n, outcome in outcomes.items():
        if n % 10 == 0:
            assert outcome.refusal == ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE
        else:
            assert (outcome.refusal, outcome.subject) == (SHORT if n % 3 == 0 else 0, n)
