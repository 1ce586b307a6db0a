"""What the accrual needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ballast.events.v1 import commands_pb2, interest_pb2


class CommandPort(Protocol):
    """Takes commands to the ledger."""

    async def send(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        """Returns when the broker has them, in this order."""


class RatesPort(Protocol):
    """Takes the reasons of rates."""

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """Returns when the broker has them."""
