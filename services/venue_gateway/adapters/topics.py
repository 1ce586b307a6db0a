"""What the gateway writes: commands, and the compacted view of displayed depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ballast.events.v1 import commands_pb2, market_pb2
from libs.common.codec import Publisher
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
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def publish(self, books: Sequence[market_pb2.Liquidity]) -> None:
        """Returns when the books are on the topic. Raises Fault."""
        sent = [
            await self._publisher.enqueue(
                LIQUIDITY.name, book.SerializeToString(), key=b"%d/%d" % (book.venue, book.instrument)
            )
            for book in books
        ]
        await self._publisher.arrived(sent)
