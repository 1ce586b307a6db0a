"""The control log: which parameter set is in force. Written by the owner of partition 0."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable

from ballast.events.v1 import control_pb2
from libs.common.chain import AcceptedFrame, ChainFollower, ChainWriter, LogReading
from libs.common.codec import headers
from libs.common.config import LoadedParameters
from libs.common.topics import CONTROL

_LOG = logging.getLogger("ballast.ledger")


class KafkaControl:
    """Implements ControlLog by following the log.

    Args:
        on_undeclared: told when a set is put in force that no earlier frame holds as a whole (I12).
    """

    def __init__(self, *, bootstrap: str, client_id: str, on_undeclared: Callable[[], None]) -> None:
        self._on_undeclared = on_undeclared
        self._declared: set[bytes] = set()
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._follower = ChainFollower(bootstrap=bootstrap, topic=CONTROL, partition=0, client_id=client_id)
        self._active = b""
        self._sequence = 0
        self._changed = asyncio.Event()

    @property
    def reading(self) -> LogReading:
        """Where it stands in the log."""
        return self._follower.reading

    @property
    def sequence(self) -> int:
        """Sequence of the control log."""
        return self._sequence

    @property
    def active_hash(self) -> bytes:
        """Hash of the parameter set in force, empty if none."""
        return self._active

    async def wait_active(self, wanted: bytes) -> None:
        """Returns when that set is in force."""
        while self._active != wanted:
            self._changed.clear()
            await self._changed.wait()

    async def run(self, stopping: asyncio.Event) -> None:
        """Follows the log until asked to stop."""
        await self._follower.start()
        try:
            while not stopping.is_set():
                for frame in await self._follower.poll(timeout_s=0.5):
                    self._fold(frame)
        finally:
            await self._follower.stop()

    def _fold(self, frame: AcceptedFrame) -> None:
        body = control_pb2.ControlBody.FromString(frame.body)
        self._sequence = frame.sequence
        if body.WhichOneof("control") == "parameter_set":
            whole = body.parameter_set
            if hashlib.sha256(whole.canonical_json.encode()).digest() == whole.hash:
                self._declared.add(whole.hash)
        elif body.WhichOneof("control") == "activate_parameters":
            self._active = body.activate_parameters.hash
            if self._active not in self._declared:
                _LOG.critical("undeclared parameters in force", extra={"invariant": "I12", "parameters": self._active})
                self._on_undeclared()
        self._changed.set()

    async def declare(self, loaded: LoadedParameters) -> None:
        """Puts the loaded set in force when another one is, or none; for the owner of partition 0.

        Raises: LostOwnership, Fault.
        """
        writer = ChainWriter(
            bootstrap=self._bootstrap, topic=CONTROL, partition=0, owner=secrets.token_bytes(16),
            input_topic_id=b"", client_id=f"{self._client_id}-writer", on_accepted=None,
        )  # fmt: skip
        active = bytearray()

        def fold(frame: AcceptedFrame) -> None:
            body = control_pb2.ControlBody.FromString(frame.body)
            if body.WhichOneof("control") == "activate_parameters":
                active[:] = body.activate_parameters.hash

        try:
            await writer.take_over(fold)
            if bytes(active) == loaded.hash:
                return
            whole = control_pb2.ParameterSet(hash=loaded.hash, canonical_json=loaded.canonical_json)
            pointer = control_pb2.ActivateParameters(hash=loaded.hash)
            await self._append(writer, control_pb2.ControlBody(parameter_set=whole), loaded)
            await self._append(writer, control_pb2.ControlBody(activate_parameters=pointer), loaded)
            _LOG.info("parameters put in force", extra={"parameters": loaded.hash})
        finally:
            await writer.close()

    async def _append(self, writer: ChainWriter, body: control_pb2.ControlBody, loaded: LoadedParameters) -> None:
        accepted = await writer.append(
            body.SerializeToString(), input_offset=-1, input_index=0, run_time_ns=loaded.parameters.genesis_ns,
            control_sequence=writer.next_sequence, headers=dict(headers(wall_ns=time.time_ns())),
        )  # fmt: skip
        await accepted
