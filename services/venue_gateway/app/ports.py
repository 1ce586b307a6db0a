"""What the gateway needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ballast.events.v1 import commands_pb2, market_pb2


class Commands(Protocol):
    """The way to the ledger."""

    async def send(
        self, partition: int, commands: Sequence[commands_pb2.Command], *, stamps: dict[str, int] | None = None
    ) -> None:
        """Returns when the commands are on the topic, in this order and after those of earlier calls."""


class LiquidityLog(Protocol):
    """The compacted topic of displayed depth."""

    async def publish(self, books: Sequence[market_pb2.Liquidity]) -> None:
        """Returns when the books are on the topic."""


class Tail(Protocol):
    """The end of the journal."""

    async def reach(self, partition: int) -> None:
        """Returns when every frame that the partition held at the call has been applied."""
