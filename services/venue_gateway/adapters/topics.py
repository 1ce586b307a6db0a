"""What the gateway writes: commands, and the compacted view of displayed depth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ballast.events.v1 import commands_pb2, market_pb2
from libs.common.codec import headers, start_producer
from libs.common.commands import CommandSender
from libs.common.errors import Fault
from libs.common.topics import LIQUIDITY
from services.venue_gateway.adapters.tracing import OrderTraces


class FaultyOnce:
    """Commands through a sender whose fault ends the process: what was sent is unknown then, and a restart finds out.

    Args:
        fail: told of the fault.
        traces: of orders.
    """

    def __init__(self, sender: CommandSender, fail: Callable[[Fault], None], traces: OrderTraces) -> None:
        self._traces = traces
        self._sender = sender
        self._fail = fail

    async def send(
        self, partition: int, commands: Sequence[commands_pb2.Command], *, stamps: dict[str, int] | None = None
    ) -> None:
        """Returns when the commands are on the topic. Raises Fault."""
        try:
            traces = self._traces.reported(commands) if self._traces.on else None
            await self._sender.send(partition, commands, stamps=stamps, traces=traces)
        except Fault as fault:
            self._fail(fault)
            raise


class LiquidityTopic:
    """Writes books, compacted by "venue/instrument"."""

    def __init__(self, *, bootstrap: str, client_id: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault."""
        self._producer = await start_producer(bootstrap=self._bootstrap, client_id=self._client_id)

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, books: Sequence[market_pb2.Liquidity]) -> None:
        """Returns when the books are on the topic. Raises Fault."""
        if self._producer is None:
            raise Fault("liquidity: not started")
        named = headers(wall_ns=time.time_ns())
        try:
            sent = [
                await self._producer.send(
                    LIQUIDITY.name,
                    book.SerializeToString(),
                    key=b"%d/%d" % (book.venue, book.instrument),
                    partition=0,
                    headers=named,
                )
                for book in books
            ]
            await asyncio.gather(*sent)
        except KafkaError as error:
            raise Fault(f"books not sent: {error!r}") from error
