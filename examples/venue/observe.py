"""What an operator sees: JSON logs, /metrics, /healthz and /readyz on the loopback interface."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from examples.venue.engine import VenueEngine

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

HOST = "127.0.0.1"


@dataclass(slots=True)
class Conditions:
    """What must hold for the venue to be ready."""

    replay_watched: bool = False
    session_up: bool = False

    def unmet(self) -> list[str]:
        """Names of the conditions that do not hold."""
        return [name for name in self.__slots__ if not getattr(self, name)]


class Metrics:
    """The venue's counters and gauges, in a registry of their own."""

    def __init__(self, engine: VenueEngine, conditions: Conditions) -> None:
        registry = self.registry = CollectorRegistry()
        self.orders = _counter(registry, "orders", "Orders received, repeated ones included.")
        self.shed = _counter(registry, "orders_shed", "Orders left unanswered: too much was unacknowledged.")
        self.reports = Counter(
            "ballast_venue_reports_total", "Execution reports made.", labelnames=("kind",), registry=registry
        )
        self.books = _counter(registry, "books", "Book updates sent.")
        self.moves = _counter(registry, "moves", "Moves of the replay taken.")
        self.bad_prices = _counter(registry, "bad_prices", "Reference prices that could not be taken.")
        self.sessions = _counter(registry, "sessions", "Sessions begun with the gateway.")
        self.sessions_refused = _counter(registry, "sessions_refused", "Sessions the venue refused.")
        _gauge(registry, "open_orders", "Clients' orders on the books.", lambda: engine.open_orders)
        _gauge(registry, "unacknowledged_reports", "Reports held until on record.", lambda: len(engine.outbox))
        _gauge(registry, "quoted_instruments", "Instruments with a reference price.", lambda: len(engine.quoted))
        _gauge(registry, "run_time_seconds", "Run clock, since 1970.", lambda: engine.run_time_ns / 1e9)
        _gauge(registry, "session_up", "1 with a session, otherwise 0.", lambda: conditions.session_up)


def _counter(registry: CollectorRegistry, noun: str, text: str) -> Counter:
    return Counter(f"ballast_venue_{noun}_total", text, registry=registry)


def _gauge(registry: CollectorRegistry, noun: str, text: str, read: Callable[[], float]) -> None:
    Gauge(f"ballast_venue_{noun}", text, registry=registry).set_function(read)


class HttpServer:
    """Serves the three paths from a thread of its own until it is stopped."""

    def __init__(self, *, port: int, metrics: Metrics, conditions: Conditions) -> None:
        self._metrics = metrics
        self._conditions = conditions
        self._server = make_server(HOST, port, self._answer, server_class=_Server, handler_class=_QuietHandler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and frees the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._page(environment.get("PATH_INFO", ""))
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _page(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._metrics.registry)
        if path == "/healthz":
            return "200 OK", "application/json", b"[]"
        if path == "/readyz":
            unmet = self._conditions.unmet()
            status = "503 Service Unavailable" if unmet else "200 OK"
            return status, "application/json", json.dumps(unmet).encode()
        return "404 Not Found", "text/plain", b"/metrics /healthz /readyz\n"


class _Server(WSGIServer):
    request_queue_size = 16


class _QuietHandler(WSGIRequestHandler):
    timeout = 5  # seconds that a silent connection may hold the only thread

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted nowhere: they come every few seconds and decide nothing."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, the fixed event phrase, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
