"""Clients on gRPC streams: frames of commands in, until every one of them has its outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc

from ballast.api.v1 import client_pb2
from bench.ledger.owner import Taken
from bench.ledger.town import Spent, Town
from libs.common import rpc

_METHOD = "/ballast.api.v1.ClientService/Submit"


class RefusedCommand(RuntimeError):
    """A command of the benchmark was refused, so what was measured is not what was meant."""


async def drive(
    town: Town, streams: Mapping[str, Sequence[bytes]], *, frame: int, commands: int, window: int, pace_s: float = 0.0
) -> Taken:
    """Sends the requests of each client, at most `window` commands without outcome, and waits for all outcomes."""
    spent = Spent(town.pids())
    begun = time.perf_counter()
    each = await asyncio.gather(
        *(
            _one(town.edge, name, requests, frame=frame, window=window, pace_s=pace_s)
            for name, requests in streams.items()
        )
    )
    seconds = time.perf_counter() - begun
    return Taken(commands, seconds, [latency for found in each for latency in found], spent.by_name())


async def _one(
    target: str, principal: str, requests: Sequence[bytes], *, frame: int, window: int, pace_s: float
) -> list[float]:
    sent: list[float] = []
    room = asyncio.Semaphore(max(1, window // frame))
    latencies: list[float] = []

    async def outgoing() -> AsyncIterator[bytes]:
        begun = time.perf_counter()
        for number, request in enumerate(requests):
            due = begun + number * pace_s
            if pace_s and (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await room.acquire()
            sent.append(due if pace_s else time.perf_counter())
            yield request

    async with rpc.channel(target) as channel:
        submit = channel.stream_stream(
            _METHOD, request_serializer=bytes, response_deserializer=client_pb2.SubmitResponse.FromString
        )
        call = submit(outgoing(), metadata=grpc.aio.Metadata((rpc.PRINCIPAL_KEY, principal)))
        answered = 0
        async for response in call:
            now = time.perf_counter()
            for outcome in response.outcomes:
                if outcome.outcome.refusal:
                    raise RefusedCommand(f"{principal}, {outcome.n}: {outcome.outcome.detail}")
                latencies.append((now - sent[(outcome.n - 1) // frame]) * 1_000)
            before, answered = answered, answered + len(response.outcomes)
            for _ in range(answered // frame - before // frame):
                room.release()
    return latencies
