"""Tells other partitions what this one has journalled for them, from accepted frames only.

Everything is derived from the accepted book: what is pending there is sent on stream "transit/<from>" in the order of
its transfer sequence, and what arrived here is confirmed to where it came from. So a new owner tells all that is still
pending once more, and what it repeats is noise to the other side. What is not confirmed for a while is told again.
"""

from __future__ import annotations

import asyncio
import logging

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.errors import Fault
from services.collateral_management.app.ports import Commands

_LOG = logging.getLogger("ballast.ledger")
PRINCIPAL = "collateral_management"
AGAIN_SECONDS = 5.0
BACKOFF_SECONDS = 0.2
BATCH_MAX = 256
_PREFIX = "transit/"


def stream_of(partition: int) -> str:
    """Stream of the movements that leave a partition."""
    return f"{_PREFIX}{partition}"


class Relay:
    """Of one partition, while it is owned.

    Args:
        book: the accepted state; read at every turn.
    """

    def __init__(self, book: PartitionBook, commands: Commands) -> None:
        self._book, self._commands = book, commands
        self._told: dict[int, int] = {}  # by partition: last sequence told
        self._progress: dict[int, tuple[int, float]] = {}  # by partition: last one arrived, since when
        self._confirmed: dict[int, int] = {}  # by partition: last sequence confirmed
        self._wake = asyncio.Event()

    def accepted(self, body: journal_pb2.JournalBody) -> None:
        """A frame was accepted; the book has it."""
        for outcome in body.outcomes:
            if outcome.repeated and outcome.command == "arrive":  # told again: the confirmation may be lost
                self._confirmed.pop(int(outcome.fact.stream.removeprefix(_PREFIX)), None)
                self._wake.set()
        if self._is_behind():
            self._wake.set()

    def _is_behind(self) -> bool:
        book = self._book
        if any(self._told.get(to, 0) < mark.sent for to, mark in book.transit.items()):
            return True
        return any(self._confirmed.get(origin, 0) < sequence for origin, sequence in _arrived(book).items())

    async def run(self) -> None:
        """Tells for ever; cancelled when the partition is owned no more."""
        while True:
            try:
                await self._tell()
            except Fault as fault:
                _LOG.warning("movements not told", extra={"partition": self._book.partition, "why": str(fault)})
                await asyncio.sleep(BACKOFF_SECONDS)
                continue
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue  # what was told long ago and is still pending is told again
            self._wake.clear()

    async def _tell(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for to, mark in sorted(self._book.transit.items()):
            arrived, at_s = self._progress.get(to, (-1, now_s))
            if mark.arrived > arrived or now_s - at_s >= AGAIN_SECONDS:
                if mark.arrived == arrived:
                    self._told[to] = arrived
                self._progress[to] = (mark.arrived, now_s)
            last = max(self._told.get(to, 0), mark.arrived)
            while last < mark.sent:
                upto = min(mark.sent, last + BATCH_MAX)
                await self._commands.send(to, [self._arrival(to, one) for one in range(last + 1, upto + 1)])
                self._told[to] = last = upto
        for origin, sequence in sorted(_arrived(self._book).items()):
            if self._confirmed.get(origin, 0) < sequence:
                await self._commands.send(origin, [_confirmation(self._book.partition, sequence)])
                self._confirmed[origin] = sequence

    def _arrival(self, to: int, sequence: int) -> commands_pb2.Command:
        one = self._book.movements.get((to, sequence))
        command = _command()
        if one is not None:  # else it was confirmed meanwhile: the hole is a repetition to the other side
            command.arrive.movement.CopyFrom(one)
        else:
            command.arrive.movement.to_partition = to
        command.fact.stream = stream_of(self._book.partition)
        command.fact.sequence, command.fact.previous = sequence, sequence - 1
        return command


def _arrived(book: PartitionBook) -> dict[int, int]:
    return {
        int(stream.removeprefix(_PREFIX)): sequence
        for stream, sequence in book.streams.items()
        if stream.startswith(_PREFIX)
    }


def _confirmation(partition: int, sequence: int) -> commands_pb2.Command:
    command = _command()
    command.confirm_movements.to_partition, command.confirm_movements.sequence = partition, sequence
    return command


def _command() -> commands_pb2.Command:
    command = commands_pb2.Command()
    command.principal.id, command.principal.role = PRINCIPAL, ledger_pb2.ROLE_SERVICE
    return command
