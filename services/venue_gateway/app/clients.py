"""Client calls: a request becomes a command, and its outcome comes back from the journal."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ballast.api.v1 import client_pb2
from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.commands import request_hash
from libs.common.metrics import Metrics
from services.venue_gateway.app.answers import Answer, Answers, StreamWaits, Ticket, key_of
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.app.outbox import Outbox
from services.venue_gateway.app.ports import Commands
from services.venue_gateway.app.requests import JUDGED, REQUESTS, Asker, Handlers, Planned, plan, principal_named
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.refusals import Refused, sentence

KEY_BYTES_MAX = 64
UNARY_MAX = 4_096  # calls that wait at once


@dataclass(frozen=True, slots=True)
class Overloaded:
    """Too many calls wait already."""

    detail: str


class ClientMetrics:
    """What is measured of client commands."""

    def __init__(self, metrics: Metrics) -> None:
        self.outcomes = metrics.counter(
            "ballast_gateway_client_outcomes_total", "Outcomes of client commands.", ("command", "refusal")
        )
        self.seconds = metrics.histogram(
            "ballast_gateway_client_command_seconds",
            "From command received to outcome in an accepted frame.",
        )
        self.waiting = metrics.gauge("ballast_gateway_client_commands_waiting_count", "Commands without outcome yet.")

    def count(self, command: str, refusal: int, count: int = 1) -> None:
        """Counts outcomes."""
        name = ledger_pb2.Refusal.Name(ledger_pb2.Refusal.ValueType(refusal)).removeprefix("REFUSAL_").lower()
        self.outcomes.labels(command, "none" if not refusal else name).inc(count)


class Clients:
    """Handles client commands; the principal is an argument of every one."""

    def __init__(
        self, *, directory: Directory, view: LedgerView, answers: Answers, commands: Commands, metrics: ClientMetrics
    ) -> None:
        self._directory = directory
        self._view = view
        self._answers = answers
        self._commands = commands
        self._metrics = metrics
        self._outbox = Outbox(commands)
        self._unary = 0
        metrics.waiting.set_function(lambda: len(answers))

    def asker(self, principal: str) -> Asker:
        """Who asks, with what is known now."""
        return Asker(principal_named(principal, self._directory), self._directory, self._view)

    async def call(
        self, name: str, request: Any, *, principal: str, timeout_s: float, handlers: Handlers = REQUESTS
    ) -> client_pb2.CommandOutcome | Refused | Overloaded:
        """Outcome of a unary command.

        Raises:
            TimeoutError: no outcome in time; the command may still be applied.
        """
        planned = plan(name, request, self.asker(principal), handlers)
        if isinstance(planned, Planned):
            planned = _with_client_key(planned, request.key, now_ns=self._view.run_time_ns)
        if isinstance(planned, Refused):
            self._metrics.count(name, planned.reason)
            return planned
        if self._unary >= UNARY_MAX:
            return Overloaded(f"expected at most {UNARY_MAX} calls at once; retry with the same key")
        self._unary += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.ask(planned)
                outcome = await self._judged(name, answer)
        finally:
            self._unary -= 1
        self._metrics.count(name, outcome.refusal)
        return outcome

    async def ask(self, planned: Planned) -> Answer:
        """Sends a keyed command and returns its answer from the journal."""
        started = time.perf_counter()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def deliver(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        ticket = self._expect(planned.command, deliver)
        try:
            await self._commands.send(planned.partition, [planned.command])
            answer = await future
        finally:
            self._answers.forget(ticket)
        self._metrics.seconds.observe(time.perf_counter() - started)
        return answer

    def _expect(self, command: commands_pb2.Command, deliver: Callable[[Answer], None]) -> Ticket:
        return self._answers.expect(key_of(command), request_hash(command), deliver)

    async def _judged(self, name: str, answer: Answer) -> client_pb2.CommandOutcome:
        outcome = command_outcome(answer)
        if name not in JUDGED or outcome.refusal:
            return outcome
        decision = await self._view.decided(outcome.subject)
        if decision is None:
            outcome.detail = "decided too long ago to be remembered here: read the account"
            return outcome
        outcome.partition, outcome.sequence = decision.partition, decision.sequence
        if not decision.settled:
            outcome.refusal = decision.reason or ledger_pb2.REFUSAL_INTERNAL
            outcome.detail = sentence(outcome.refusal)
        return outcome

    def plan_stream(
        self, command: client_pb2.SubmitCommand, *, asker: Asker, session: bytes
    ) -> Planned | client_pb2.CommandOutcome:
        """The keyed command of one number of a stream, or the refusal that answers it."""
        name = command.WhichOneof("command") or ""
        planned = plan(name, getattr(command, name, None), asker)
        if isinstance(planned, Refused):
            self._metrics.count(name or "none", planned.reason)
            return client_pb2.CommandOutcome(refusal=planned.reason, detail=planned.detail)
        key = planned.command.session
        key.session, key.n = session, command.n
        return planned

    def open_stream(self, stream: StreamWaits) -> None:
        """Has the stream's outcomes delivered as they are journalled, until it is closed."""
        self._answers.open(stream)

    def close_stream(self, stream: StreamWaits) -> None:
        """Ends the waits that are left."""
        self._answers.close(stream)

    def send_stream(self, planned: Sequence[Planned], stream: StreamWaits) -> None:
        """Sends keyed commands of a stream in order."""
        by_partition: dict[int, list[commands_pb2.Command]] = {}
        for one in planned:
            stream.requests[one.command.session.n] = request_hash(one.command)
            by_partition.setdefault(one.partition, []).append(one.command)
        for partition, commands in by_partition.items():
            self._outbox.post(partition, commands)

    def answered(self, counts: Mapping[tuple[str, int], int], *, seconds: Iterable[float]) -> None:
        """Counts outcomes of a stream by command and refusal, and how long requests took to their last outcome."""
        for (command, refusal), count in counts.items():
            self._metrics.count(command, refusal, count)
        for one in seconds:
            self._metrics.seconds.observe(one)


def _with_client_key(planned: Planned, key: client_pb2.RequestKey, *, now_ns: int) -> Planned | Refused:
    if not 0 < len(key.key.encode()) <= KEY_BYTES_MAX:
        detail = f"expected a key of 1 to {KEY_BYTES_MAX} bytes, was {len(key.key.encode())}"
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_COMMAND, detail)
    if key.issued_at_ns < 0:
        detail = f"expected issued_at_ns of the run clock or 0, was {key.issued_at_ns}"
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_COMMAND, detail)
    planned.command.client.key = key.key
    planned.command.client.issued_at_ns = key.issued_at_ns or now_ns
    return planned


def session_of(principal: str, session: bytes) -> bytes:
    """The ledger's session of a client's: no client can name another's."""
    return hashlib.blake2b(principal.encode() + b"\0" + session, digest_size=16, person=b"ballast-session").digest()


def command_outcome(answer: Answer) -> client_pb2.CommandOutcome:
    """An outcome in the client's words."""
    outcome = answer.outcome
    detail = outcome.detail or (sentence(outcome.refusal) if outcome.refusal else "")
    return client_pb2.CommandOutcome(
        refusal=outcome.refusal,
        detail=detail,
        subject=outcome.subject,
        partition=answer.partition,
        sequence=answer.sequence,
        repeated=outcome.repeated,
    )
