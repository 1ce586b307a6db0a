"""Sends commands to the ledger: batches to the right partition, in order, through one idempotent producer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.codec import Publisher, headers, split
from libs.common.topics import BATCH_BYTES_MAX, COMMANDS
from libs.common.trace import Trace, pack

_RECORD_BYTES_MAX = BATCH_BYTES_MAX - 4_096  # room for the record's own framing and headers


def request_hash(command: commands_pb2.Command) -> bytes:
    """16 bytes that tell two requests under one key apart: SHA-256 over principal and body, the key left out."""
    content = command.SerializeToString(deterministic=True)
    key = command.WhichOneof("key")
    if key is not None:  # fields are written in the order of their numbers, the key before all others
        size = getattr(command, key).ByteSize()
        content = content[size + (2 if size < 0x80 else 3 if size < 0x4000 else _varint_end(content)) :]
    return hashlib.sha256(content).digest()[:16]


def _varint_end(content: bytes) -> int:
    return next(at for at in range(1, len(content)) if content[at] < 0x80) + 1


class CommandEncoder:
    """Completes commands and packs them into records.

    Args:
        principal_id: name of the service; a command without principal gets it, with role SERVICE.
        session: 16 random bytes; a command without key gets (session, n), n increasing in each partition from 1.
    """

    def __init__(self, *, principal_id: str, session: bytes) -> None:
        if len(session) != 16:
            raise ValueError(f"expected a session of 16 bytes, was {len(session)}")
        self._principal = commands_pb2.Principal(id=principal_id, role=ledger_pb2.ROLE_SERVICE)
        self._session = session
        self._numbers: dict[int, int] = defaultdict(int)

    def records(self, partition: int, commands: Sequence[commands_pb2.Command]) -> list[bytes]:
        """Encoded batches, each within the limit of a record. Raises ValueError when one command alone is larger."""
        for command in commands:
            self._complete(partition, command)
        sizes = [command.ByteSize() for command in commands]
        if max(sizes, default=0) > _RECORD_BYTES_MAX - 8:
            raise ValueError(f"expected a command of at most {_RECORD_BYTES_MAX} bytes, was {max(sizes)}")
        records: list[bytes] = []
        start = 0
        for count in split(sizes, bytes_max=_RECORD_BYTES_MAX):
            batch = commands_pb2.CommandBatch(commands=commands[start : start + count])
            records.append(batch.SerializeToString())
            start += count
        return records

    def _complete(self, partition: int, command: commands_pb2.Command) -> None:
        if not command.HasField("principal"):
            command.principal.CopyFrom(self._principal)
        if command.WhichOneof("key") is None:
            self._numbers[partition] += 1
            command.session.session = self._session
            command.session.n = self._numbers[partition]


class CommandSender:
    """Sends commands of one service; `principal_id` and `session` as in CommandEncoder."""

    def __init__(self, *, bootstrap: str, client_id: str, principal_id: str, session: bytes) -> None:
        self._encoder = CommandEncoder(principal_id=principal_id, session=session)
        self._turns: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def send(
        self,
        partition: int,
        commands: Sequence[commands_pb2.Command],
        *,
        stamps: dict[str, int] | None = None,
        traces: Mapping[int, Trace] | None = None,
    ) -> None:
        """Returns when the broker has the commands, in this order and after those of earlier calls.

        Principal and key are filled in the commands themselves where they are absent, so that sending the same objects
        again after a Fault repeats the same keys.

        Raises:
            Fault: the broker did not take them; they may be on the topic all the same.
            ValueError: one command alone is larger than a record may be.
        """
        async with self._turns[partition]:
            records = self._encoder.records(partition, commands)
            named = headers(wall_ns=time.time_ns(), trace=pack(traces) if traces else None, stamps=stamps)
            sent = [
                await self._publisher.enqueue(COMMANDS.name, record, partition=partition, named=named)
                for record in records
            ]
        await self._publisher.arrived(sent)
