"""Whether a process is ready and alive, and the HTTP server that says so and shows its metrics."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, disable_created_metrics, make_wsgi_app

from libs.common.errors import ConfigurationError
from libs.common.metrics import Metrics
from libs.common.service.settings import PREFIX

_LOG = logging.getLogger("ballast.service")
_BEAT_SECONDS_MAX = 30.0


class Condition:
    """One thing that must hold before the service is ready."""

    __slots__ = ("detail", "name", "ok")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ok = False
        self.detail = "not yet"

    def set(self, ok: bool, detail: str = "") -> None:
        """Says whether it holds now, and why not."""
        if ok != self.ok:
            _LOG.info("condition changed", extra={"condition": self.name, "ok": ok, "detail": detail})
        self.ok, self.detail = ok, detail


class Health:
    """The conditions of readiness; ready when all hold. A stalled event loop is unhealthy.

    `started` holds once the service has named a condition of its own, or its build has returned without any.
    """

    def __init__(self) -> None:
        self.started = Condition("started")
        self._conditions: dict[str, Condition] = {self.started.name: self.started}
        self._beat = time.monotonic()

    def condition(self, name: str) -> Condition:
        """The condition of this name, unmet when it is new."""
        found = self._conditions.setdefault(name, Condition(name))
        self.started.set(True)
        return found

    @property
    def ready(self) -> bool:
        """All conditions hold."""
        return not self.unmet()

    def unmet(self) -> list[dict[str, str]]:
        """The conditions that do not hold, with the reason."""
        return [{"condition": one.name, "detail": one.detail} for one in list(self._conditions.values()) if not one.ok]

    def beat(self) -> None:
        """The event loop turned."""
        self._beat = time.monotonic()

    @property
    def alive(self) -> bool:
        """The event loop turned lately."""
        return time.monotonic() - self._beat < _BEAT_SECONDS_MAX


class _HttpServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    server_port: int


class _SilentHandler(WSGIRequestHandler):
    timeout = 10  # a connection that sends nothing must not hold a thread for ever

    def log_message(self, format: str, *args: Any) -> None:
        """A probe logs nothing."""


def serve_http(health: Health, metrics: Metrics, *, host: str, port: int) -> _HttpServer:
    """A running server of /metrics, /healthz and /readyz in its own thread.

    Raises:
        ConfigurationError: the port is taken.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a time beside each counter would double the series
    ProcessCollector(registry=metrics.registry)
    PlatformCollector(registry=metrics.registry)
    GCCollector(registry=metrics.registry)
    show_metrics = make_wsgi_app(metrics.registry)

    def application(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "/")
        if path == "/metrics":
            shown: Iterable[bytes] = show_metrics(environment, start)
            return shown
        if path == "/healthz":
            return _answer(start, ok=health.alive, content={"alive": health.alive})
        if path == "/readyz":
            unmet = health.unmet()
            return _answer(start, ok=not unmet, content={"ready": not unmet, "unmet": unmet})
        start("404 Not Found", [("Content-Type", "application/json")])
        return [b'{"expected": ["/metrics", "/healthz", "/readyz"]}']

    try:
        server = make_server(host, port, application, server_class=_HttpServer, handler_class=_SilentHandler)
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}HTTP_PORT={port}: expected a free port on {host}: {error}") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True)
    thread.start()
    return server


def _answer(start: StartResponse, *, ok: bool, content: dict[str, Any]) -> Iterable[bytes]:
    body = json.dumps(content).encode()
    start(
        "200 OK" if ok else "503 Service Unavailable",
        [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
    )
    return [body]
