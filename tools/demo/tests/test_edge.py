"""A desk whose stream breaks: everything is answered, what was on its way and what comes after."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ballast.api.v1 import client_pb2, client_pb2_grpc
from tools.demo.edge import Desk


class _Gateway(client_pb2_grpc.ClientServiceServicer):
    """Breaks the first stream as soon as it has a command, answers on all others."""

    def __init__(self) -> None:
        self.streams = 0

    async def Submit(
        self, requests: AsyncIterator[client_pb2.SubmitRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[client_pb2.SubmitResponse]:
        self.streams += 1
        is_first = self.streams == 1
        async for request in requests:
            if request.commands and is_first:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            for command in request.commands:
                yield client_pb2.SubmitResponse(outcomes=[client_pb2.SubmitOutcome(n=command.n)])


async def test_nothing_is_lost_when_a_stream_breaks() -> None:
    gateway, server = _Gateway(), grpc.aio.server()
    client_pb2_grpc.add_ClientServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    desk = Desk("desk-01", target=f"127.0.0.1:{port}", refusals=Counter())
    desk.start()
    try:
        async with asyncio.timeout(20):
            await desk.submit(client_pb2.SubmitCommand())
            for _ in range(5):
                await desk.submit(client_pb2.SubmitCommand())
        assert gateway.streams == 2
    finally:
        await desk.stop()
        await server.stop(None)
