"""What every service process does alike: settings, parameters, logs, health, signals, supervision and exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic

import uvloop

from libs.common.config import LoadedParameters, load_parameters
from libs.common.errors import ConfigurationError, InvariantBroken
from libs.common.metrics import Metrics
from libs.common.parameters import Parameters
from libs.common.service.health import Health, serve_http
from libs.common.service.logs import configure_logs
from libs.common.service.settings import S, read_settings
from libs.common.trace import Tracer, tracer_to
from libs.common.watch import Watch

EXIT_STOPPED, EXIT_FAULT, EXIT_CONFIGURATION = 0, 1, 2

_LOG = logging.getLogger("ballast.service")
_STOP_GRACE_SECONDS = 2.0
_CLOSE_SECONDS_MAX = 10.0
_BEAT_SECONDS = 1.0


class ServiceContext(Generic[S]):
    """What a service gets from its process.

    Attributes: settings, loaded (parameters with their hash), parameters, name, health, metrics, tracer, watch (what is
    shown of logs, books and invariants), stopping (set when the process is asked to stop), http_port (as bound).
    """

    def __init__(self, *, name: str, settings: S, loaded: LoadedParameters, tracer: Tracer) -> None:
        self.name = name
        self.settings = settings
        self.loaded = loaded
        self.parameters: Parameters = loaded.parameters
        self.health = Health()
        self.metrics = Metrics()
        self.tracer = tracer
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
        if task.cancelled():
            if not self.stopping.is_set():  # a library's own cancellation, escaped: what it did is done by nobody now
                self.fail(RuntimeError("cancelled by none of the service's"), where=task.get_name())
        elif (error := task.exception()) is not None:
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
        tracer = tracer_to(settings.trace_target, service=name, instance=settings.instance)
    except ConfigurationError as error:
        print(f"{name}: configuration: {error}", file=sys.stderr, flush=True)
        return EXIT_CONFIGURATION
    return uvloop.run(_run(ServiceContext(name=name, settings=settings, loaded=loaded, tracer=tracer), build))


async def _run(context: ServiceContext[S], build: Build[S]) -> int:
    name, settings, loaded = context.name, context.settings, context.loaded
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
        context.tracer.stop()
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
