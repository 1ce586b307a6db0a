"""A collector of traces for tests: the OTLP service, keeping what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True, slots=True)
class Span:
    """One span as it was sent."""

    service: str
    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    links: tuple[bytes, ...]


@dataclass(slots=True)
class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Spans by id, and the address to send them to."""

    target: str = ""
    spans: dict[bytes, Span] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Takes spans; the same id twice is the same span."""
        with self._lock:
            for of_resource in request.resource_spans:
                names = {one.key: one.value.string_value for one in of_resource.resource.attributes}
                for scope in of_resource.scope_spans:
                    for one in scope.spans:
                        links = tuple(link.span_id for link in one.links)
                        span = Span(
                            names["service.name"], one.name, one.trace_id, one.span_id, one.parent_span_id, links
                        )
                        self.spans[one.span_id] = span
        return trace_service_pb2.ExportTraceServiceResponse()

    def ancestors(self, span: Span) -> list[Span]:
        """The span and what caused it, back to the root."""
        found = [span]
        while (cause := self.spans.get(found[-1].parent_id)) is not None and len(found) < 1_000:
            found.append(cause)
        return found


@contextmanager
def otlp_sink() -> Iterator[Sink]:
    """A running collector on a free port."""
    server = grpc.server(ThreadPoolExecutor(2))
    sink = Sink()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    sink.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        server.stop(None).wait()
