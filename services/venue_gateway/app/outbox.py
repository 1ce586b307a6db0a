"""Commands of all streams on their way to the ledger: what comes while a record is under way goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ballast.events.v1 import commands_pb2
from libs.common.errors import Fault
from services.venue_gateway.app.ports import Commands

RECORD_COMMANDS_MAX = 4_096
GATHER_SECONDS = 0.008  # between records: one costs the broker and the ledger as much as dozens of commands


class Outbox:
    """One queue a partition, in order. It holds what streams have in flight, so they bound it.

    A fault is the business of `commands`, which ends the process: whether what was under way arrived is unknown then.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._queued: dict[int, list[commands_pb2.Command]] = {}
        self._sending: dict[int, asyncio.Task[None]] = {}

    def post(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        """Sends commands of a partition after those posted before. Raises what ended the queue."""
        self._queued.setdefault(partition, []).extend(commands)
        task = self._sending.get(partition)
        if task is not None and task.done():
            task.result()  # a bug ended it: this stream says so
        if task is None:
            self._sending[partition] = asyncio.create_task(self._send(partition))

    async def _send(self, partition: int) -> None:
        queued = self._queued[partition]
        try:
            while queued:
                record = queued[:RECORD_COMMANDS_MAX]
                del queued[:RECORD_COMMANDS_MAX]
                loop = asyncio.get_running_loop()  # its time is virtual in the simulation
                started_s = loop.time()
                await self._commands.send(partition, record)
                if (wait_s := started_s + GATHER_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
        except Fault:
            queued.clear()
        del self._sending[partition]
