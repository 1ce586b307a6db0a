"""What every service process does alike: settings, parameters, logs, health, signals, supervision and exit codes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import IO, Annotated, Any, Generic, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import uvloop
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, disable_created_metrics, make_wsgi_app
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from libs.common.config import LoadedParameters, load_parameters
from libs.common.errors import ConfigurationError, InvariantBroken
from libs.common.metrics import Metrics
from libs.common.parameters import Parameters
from libs.common.watch import Watch

PREFIX = "BALLAST_"
EXIT_STOPPED, EXIT_FAULT, EXIT_CONFIGURATION = 0, 1, 2

_LOG = logging.getLogger("ballast.service")
_STOP_GRACE_SECONDS = 2.0
_CLOSE_SECONDS_MAX = 10.0
_BEAT_SECONDS = 1.0
_BEAT_SECONDS_MAX = 30.0
_HOST_PORT = re.compile(r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):(\d{1,5})\Z")

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _has_port(target: str) -> str:
    if not 0 < int(target.rpartition(":")[2]) < 65_536:
        raise ValueError("expected a port of 1 to 65535")
    return target


Port = Annotated[int, Field(ge=0, le=65_535)]
Target = Annotated[
    str,
    StringConstraints(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$", max_length=300),
    AfterValidator(_has_port),
]


class ServiceSettings(BaseSettings):
    """Settings of every service, read once from the environment; a service's own settings subclass it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    kafka_bootstrap: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    config_directory: Path = Path("config")
    http_host: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "127.0.0.1"
    http_port: Port = 0
    grpc_host: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "127.0.0.1"
    grpc_port: Port = 0
    instance: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "0"
    log_level: Annotated[str, StringConstraints(pattern="^(debug|info|warning|error)$", to_lower=True)] = "info"

    @field_validator("kafka_bootstrap")
    @classmethod
    def _is_bootstrap(cls, value: str) -> str:
        for one in value.split(","):
            match = _HOST_PORT.match(one.strip())
            if match is None or not 0 < int(match[2]) < 65_536:
                raise ValueError("expected host:port, or several divided by commas")
        return ",".join(one.strip() for one in value.split(","))


S = TypeVar("S", bound=ServiceSettings)


def read_settings(settings_class: type[S]) -> S:
    """The settings in the environment.

    Raises:
        ConfigurationError: an unknown key, a missing one or an impossible value; names key, value and bound.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings_class.model_fields}
    for key, value in sorted(os.environ.items()):
        if key.upper().startswith(PREFIX) and key.upper() not in known:
            raise ConfigurationError(f"{key}={value[:80]}: expected one of {', '.join(sorted(known))}")
    try:
        return settings_class()
    except SettingsError as error:
        raise ConfigurationError(f"{PREFIX}*: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{PREFIX}{'_'.join(str(part) for part in first['loc']).upper()}"
        if first["type"] == "missing":
            raise ConfigurationError(f"{key}: expected a value, was not set") from error
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{key}={str(first['input'])[:80]}: {message}") from error


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


class ServiceContext(Generic[S]):
    """What a service gets from its process.

    Attributes: settings, loaded (parameters with their hash), parameters, name, health, metrics, watch (what is
    shown of logs, books and invariants), stopping (set when the process is asked to stop), http_port (as bound).
    """

    def __init__(self, *, name: str, settings: S, loaded: LoadedParameters) -> None:
        self.name = name
        self.settings = settings
        self.loaded = loaded
        self.parameters: Parameters = loaded.parameters
        self.health = Health()
        self.metrics = Metrics()
        self.watch = Watch(
            self.metrics.registry, is_ready=lambda: self.health.ready, info={"hash": loaded.hash.hex()[:16]}
        )
        self.watch.checks("I8")  # whoever reads a chained log does
        self.stopping = asyncio.Event()
        self.http_port = 0
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closers: list[tuple[str, Callable[[], Awaitable[Any]]]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A supervised task: an exception in it ends the process; on stop it has 2 s to end, then is cancelled."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def on_stop(self, close: Callable[[], Awaitable[Any]], name: str) -> None:
        """Has `close` awaited after the tasks ended; what was registered last closes first."""
        self._closers.append((name, close))

    def fail(self, error: BaseException, *, where: str) -> None:
        """Ends the process: status 2 for a ConfigurationError, else 1."""
        if isinstance(error, InvariantBroken):
            self.watch.broke(error.number)
        if self.failure is None:
            self.failure = error
            _LOG.error(
                "task failed",
                extra={"task": where, "error": str(error), "kind": type(error).__name__},
                exc_info=None if isinstance(error, ConfigurationError) else error,
            )
        self.stopping.set()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error, where=task.get_name())

    async def close(self) -> None:
        """Returns when tasks and closers ended, or their time was up."""
        grace = _STOP_GRACE_SECONDS if self.failure is None else 0.0
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_GRACE_SECONDS)
        while self._closers:
            name, close = self._closers.pop()
            closing = asyncio.ensure_future(close())
            await asyncio.wait([closing], timeout=_CLOSE_SECONDS_MAX)
            if not closing.done():
                closing.cancel()
                _LOG.warning("closing took too long", extra={"what": name})
            elif not closing.cancelled() and (error := closing.exception()) is not None:
                _LOG.warning("closing failed", extra={"what": name, "error": str(error)})


Build = Callable[[ServiceContext[S]], Awaitable[None]]


def main(name: str, settings_class: type[S], build: Build[S]) -> int:
    """Exit status of the service's process: 0 asked to stop, 1 bug or fault, 2 configuration.

    Args:
        build: sets the service up with `context.spawn` and `context.on_stop`; it may return or run until stopped.
    """
    try:
        settings = read_settings(settings_class)
        configure_logs(service=name, instance=settings.instance, level=settings.log_level)
        loaded = load_parameters(settings.config_directory)
    except ConfigurationError as error:
        print(f"{name}: configuration: {error}", file=sys.stderr, flush=True)
        return EXIT_CONFIGURATION
    return uvloop.run(_run(name, settings, loaded, build))


async def _run(name: str, settings: S, loaded: LoadedParameters, build: Build[S]) -> int:
    context = ServiceContext(name=name, settings=settings, loaded=loaded)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stopping.set)
    try:
        server = serve_http(context.health, context.metrics, host=settings.http_host, port=settings.http_port)
    except ConfigurationError as error:
        print(f"{name}: configuration: {error}", file=sys.stderr, flush=True)
        return EXIT_CONFIGURATION
    context.http_port = server.server_port
    _LOG.info(
        "service started",
        extra={"http_port": server.server_port, "parameters": loaded.hash, "pid": os.getpid()},
    )
    beat = asyncio.create_task(_beat(context.health), name="beat")
    try:
        context.spawn(_built(context, build), "build")
        await context.stopping.wait()
        context.health.started.set(False, "stopping")
        await context.close()
    finally:
        beat.cancel()
        server.shutdown()
        server.server_close()
    status = _status(context.failure)
    if status == EXIT_CONFIGURATION:
        print(f"{name}: configuration: {context.failure}", file=sys.stderr, flush=True)
    _LOG.info("service stopped", extra={"status": status})
    return status


async def _built(context: ServiceContext[S], build: Build[S]) -> None:
    await build(context)
    context.health.started.set(not context.stopping.is_set())


def _status(failure: BaseException | None) -> int:
    if failure is None:
        return EXIT_STOPPED
    return EXIT_CONFIGURATION if isinstance(failure, ConfigurationError) else EXIT_FAULT


async def _beat(health: Health) -> None:
    while True:
        health.beat()
        await asyncio.sleep(_BEAT_SECONDS)


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


class JsonFormatter(logging.Formatter):
    """Turns a record into one line of JSON: time, level, service, instance, event, fields."""

    def __init__(self, *, service: str, instance: str) -> None:
        super().__init__()
        self._service = service
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line feed."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "instance": self._instance,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD_FIELDS)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def configure_logs(*, service: str, instance: str, level: str, stream: IO[str] | None = None) -> None:
    """Makes the root logger write JSON to `stream` (standard error); libraries speak from warning up only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service=service, instance=instance))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "faust", "grpc", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
