"""Publishes margin frames through one producer and sends commands to the ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ballast.events.v1 import commands_pb2, risk_pb2
from libs.common.codec import Publisher, headers
from libs.common.commands import CommandSender
from libs.common.errors import Fault
from libs.common.topics import MARGIN, MARKS, SHADOW
from libs.common.trace import Trace, Tracer, of_mark, subject_of
from libs.common.validity import Action, ValidityClass, permits
from services.risk_evaluation.app.ports import Output

_LOG = logging.getLogger("ballast.risk")


class KafkaOutlet:
    """Implements Outlet: frames in the order given, commands of a partition in theirs.

    Args:
        on_published: told the seconds from marks received to margin acknowledged.
        on_failed: told what the broker did not take.
        on_broken: told the number of an invariant that an output breaks.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        client_id: str,
        commands: CommandSender,
        on_published: Callable[[float], None],
        on_failed: Callable[[BaseException], None],
        on_broken: Callable[[str], None],
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._on_broken = on_broken
        self._commands = commands
        self._on_published = on_published
        self._on_failed = on_failed
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Returns when the broker is reached. Raises: Fault."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        if self._sending:
            await asyncio.wait(self._sending)
        await self._publisher.stop()

    async def put(self, output: Output) -> None:
        """Returns when the frame is with the producer, and the commands are on their way."""
        if output.commands:
            if decides_on_unusable_mark(output):
                _LOG.critical("invariant broken", extra={"invariant": "I9", "partition": output.partition})
                self._on_broken("I9")
            stamps = {"mark_received_wall_ns": output.received_wall_ns}
            traces = self._traced(output) if self._tracer.on else None
            sending = asyncio.create_task(
                self._commands.send(output.partition, output.commands, stamps=stamps, traces=traces)
            )
            self._sending.add(sending)
            sending.add_done_callback(self._sent)
        if output.frame is None:
            return
        named = headers(wall_ns=time.time_ns(), mark_received_wall_ns=output.received_wall_ns)
        value = output.frame.SerializeToString()
        published = await self._publisher.enqueue(MARGIN.name, value, partition=output.partition, named=named)
        published.add_done_callback(lambda done: self._published(done, output))

    async def put_shadow(self, frame: risk_pb2.ShadowFrame) -> None:
        """Returns when the frame is with the producer."""
        value = frame.SerializeToString()
        published = await self._publisher.enqueue(SHADOW.name, value, partition=frame.partition)
        published.add_done_callback(_seen)

    def _traced(self, output: Output) -> dict[int, Trace]:
        """The span of this margin, caused by its mark, under each subject that it decides on."""
        cited = _citation(output.commands[0])
        parts = "margin", output.partition, cited.journal_sequence, cited.mark_sequence
        margin = self._tracer.follow(
            "margin", of_mark(MARKS.name, cited.mark_sequence), *parts, start_ns=output.received_wall_ns,
            attributes={"partition": output.partition, "journal_sequence": cited.journal_sequence},
        )  # fmt: skip
        return {subject_of(command): margin for command in output.commands}

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)

    def _published(self, done: asyncio.Future[Any], output: Output) -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            self._on_failed(Fault(f"margin of partition {output.partition} not published: {error!r}"))
        elif output.on_marks:
            self._on_published((time.time_ns() - output.received_wall_ns) / 1e9)


def _seen(done: asyncio.Future[Any]) -> None:
    # Nothing is decided on a shadow: a lost frame is no reason to stop.
    if not done.cancelled() and (error := done.exception()) is not None:
        _LOG.warning("shadow margins not published", extra={"error": repr(error)})


def _citation(command: commands_pb2.Command) -> commands_pb2.Citation:
    if command.WhichOneof("body") == "open_episode":
        return command.open_episode.citation
    return command.verdict.citation


def decides_on_unusable_mark(output: Output) -> bool:
    """Whether an opening or an outflow stands on marks that the very frame it goes out with calls unusable."""
    if output.frame is None:
        return False
    validity = dict(zip(output.frame.account, output.frame.validity, strict=False))
    for command in output.commands:
        if command.WhichOneof("body") == "open_episode":
            account, action = command.open_episode.account, Action.LIQUIDATION
        elif command.verdict.settle and command.verdict.reservation:
            account, action = command.verdict.account, Action.WITHDRAWAL
        else:
            continue
        if account in validity and not permits(ValidityClass(validity[account]), action):
            return True
    return False
