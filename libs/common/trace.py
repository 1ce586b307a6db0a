"""Traces: one from a mark to what it settled, over Kafka headers and gRPC metadata; nothing is done while they are off.

Ids are hashes of what they name, (topic, partition, sequence) first of all, so no value depends on chance and a retry
names the same span. The header `trace` of a record holds an entry for each subject (order, episode, account) that the
record carries on, for one record holds many commands: subject, trace id, id of the span that caused it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from libs.common.errors import ConfigurationError

if TYPE_CHECKING:
    from ballast.events.v1 import commands_pb2

TRACEPARENT = "traceparent"  # of W3C Trace Context, in gRPC metadata
_ENTRY_BYTES = 8 + 16 + 8
_FLUSH_SECONDS_MAX = 2.0
_REMEMBERED_MAX = 20_000
_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


@dataclass(frozen=True, slots=True)
class Trace:
    """A span to hang the next one on: 16 bytes of trace id, 8 of span id."""

    trace_id: bytes
    span_id: bytes

    @property
    def traceparent(self) -> str:
        """As gRPC metadata carries it."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-01"


def digest(*parts: object, size: int = 8) -> bytes:
    """An id made of what it names."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=size).digest()


def of_mark(topic: str, sequence: int) -> Trace:
    """The trace that a frame of marks begins; everyone who knows the sequence finds it."""
    return Trace(digest(topic, 0, sequence, size=16), digest(topic, 0, sequence))


def traceparent(text: str) -> Trace | None:
    """The span of such metadata, None when it is none."""
    parts = text.split("-")
    try:
        found = Trace(bytes.fromhex(parts[1]), bytes.fromhex(parts[2]))
    except (IndexError, ValueError):
        return None
    return found if (len(found.trace_id), len(found.span_id)) == (16, 8) else None


def pack(entries: Mapping[int, Trace]) -> bytes:
    """Value of the header `trace`, before it is written in hex."""
    return b"".join(subject.to_bytes(8, "big") + one.trace_id + one.span_id for subject, one in entries.items())


def unpack(headers: Mapping[str, bytes]) -> dict[int, Trace]:
    """Span by subject of a record's headers; empty when it has none, or nonsense: traces decide nothing."""
    text = headers.get("trace")
    if not text:
        return {}
    try:
        value = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return {}
    starts = range(0, len(value) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
    return {
        int.from_bytes(value[at : at + 8], "big"): Trace(value[at + 8 : at + 24], value[at + 24 : at + 32])
        for at in starts
    }


def subject_of(command: commands_pb2.Command) -> int:
    """What a command is traced by: the order, reservation, episode or account it is about; 0 if by nothing."""
    match command.WhichOneof("body"):
        case "open_episode":
            return command.open_episode.account
        case "verdict":
            return command.verdict.order or command.verdict.reservation
        case "step_episode":
            return command.step_episode.episode
        case "close_episode":
            return command.close_episode.episode
        case "resolve_shortfall":
            return command.resolve_shortfall.episode
        case "order_report":
            return command.order_report.order
    return 0


def current() -> Trace | None:
    """The span that this task works for: logs show it."""
    return _CURRENT.get()


class Remembered:
    """Spans by subject, the newest so many; whoever writes a record about a subject looks here for its cause."""

    def __init__(self) -> None:
        self._found: OrderedDict[int, Trace] = OrderedDict()

    def take(self, entries: Mapping[int, Trace]) -> None:
        """Remembers what a record's headers say."""
        for subject, one in entries.items():
            self._found[subject] = one
            self._found.move_to_end(subject)
        while len(self._found) > _REMEMBERED_MAX:
            self._found.popitem(last=False)

    def get(self, subject: int) -> Trace | None:
        """Span of a subject, None when there is none or it was forgotten."""
        return self._found.get(subject)


class Exporter(Protocol):
    """Where finished spans go."""

    def on_end(self, span: Any) -> None:
        """Takes a span."""

    def shutdown(self) -> None:
        """Sends what it has."""


@dataclass(slots=True)
class Tracer:
    """Writes spans; `on` is False while traces are off, and callers ask it before they do anything.

    Args:
        service, instance: that the spans are of.
        exporter: None is off.
    """

    service: str = ""
    instance: str = ""
    exporter: Exporter | None = None
    on: bool = field(init=False)
    resource: Any = field(init=False, default=None)  # made once: it costs more than a span

    def __post_init__(self) -> None:
        self.on = self.exporter is not None
        if self.on:
            self.resource = _resource(self.service, self.instance)

    def span(
        self,
        name: str,
        *,
        own: Trace,
        parent: Trace | None,
        start_ns: int,
        end_ns: int = 0,
        attributes: Mapping[str, int | str] | None = None,
        links: Sequence[Trace] = (),
    ) -> None:
        """Writes a span whose id the caller knows; it ends now unless told."""
        if self.exporter is not None:
            times = start_ns, end_ns or time.time_ns()
            self.exporter.on_end(_readable(self, name, own, parent, times, attributes or {}, links))

    def follow(
        self, name: str, parent: Trace, *parts: object, start_ns: int, attributes: Mapping[str, int | str] | None = None
    ) -> Trace:
        """Writes a span caused by another and returns it, named by the parts."""
        own = Trace(parent.trace_id, digest(self.service, name, *parts))
        self.span(name, own=own, parent=parent, start_ns=start_ns, attributes=attributes)
        return own

    @staticmethod
    def work_for(trace: Trace | None) -> None:
        """Lets the logs of this task show the trace, from now on."""
        _CURRENT.set(trace)

    def stop(self) -> None:
        """Sends what is not yet sent, within two seconds: a collector that is away must not hold an exit up."""
        if self.exporter is not None:
            sending = threading.Thread(target=self.exporter.shutdown, daemon=True)
            sending.start()
            sending.join(_FLUSH_SECONDS_MAX)


def tracer_to(target: str, *, service: str, instance: str) -> Tracer:
    """A tracer that sends OTLP over gRPC to `target` (host:port); off when it is empty.

    Raises:
        ConfigurationError: a target is set, and the extra `tracing` is not installed.
    """
    if not target:
        return Tracer(service, instance)
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError(f"BALLAST_TRACE_TARGET={target}: expected the extra `tracing`: {error}") from error
    return Tracer(service, instance, BatchSpanProcessor(OTLPSpanExporter(endpoint=target, insecure=True)))


def _resource(service: str, instance: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource({"service.namespace": "ballast", "service.name": service, "service.instance.id": instance})


def _readable(
    tracer: Tracer,
    name: str,
    own: Trace,
    parent: Trace | None,
    times: tuple[int, int],
    attributes: Mapping[str, int | str],
    links: Sequence[Trace],
) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

    def context(one: Trace) -> SpanContext:
        ids = int.from_bytes(one.trace_id, "big"), int.from_bytes(one.span_id, "big")
        return SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name,
        context=context(own),
        parent=context(parent) if parent is not None else None,
        resource=tracer.resource,
        attributes=dict(attributes),
        links=[Link(context(one)) for one in links],
        kind=SpanKind.INTERNAL,
        start_time=times[0],
        end_time=max(times),
    )
