"""Settings, health and the life of a service's process."""

import asyncio
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from libs.common.errors import ConfigurationError, InvariantBroken
from libs.common.metrics import Metrics
from libs.common.service import Health, ServiceContext, ServiceSettings, main, read_settings, serve_http

GOOD = {"BALLAST_KAFKA_BOOTSTRAP": "127.0.0.1:9092", "BALLAST_CONFIG_DIRECTORY": "config"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for key in [key for key in os.environ if key.upper().startswith("BALLAST_")]:
        monkeypatch.delenv(key)
    for key, value in GOOD.items():
        monkeypatch.setenv(key, value)
    return monkeypatch


def test_good_settings_are_read_with_their_defaults(environment: pytest.MonkeyPatch) -> None:
    settings = read_settings(ServiceSettings)
    assert (settings.kafka_bootstrap, settings.http_host, settings.grpc_port) == ("127.0.0.1:9092", "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("BALLAST_KAFKA_BOOTSTRAP", "127.0.0.1", "expected host:port"),
        ("BALLAST_KAFKA_BOOTSTRAP", "127.0.0.1:0", "expected host:port"),
        ("BALLAST_KAFKA_BOOTSTRAP", "127.0.0.1:65536", "expected host:port"),
        ("BALLAST_KAFKA_BOOTSTRAP", "a:1,,b:2", "expected host:port"),
        ("BALLAST_KAFKA_BOOTSTRAP", "http://a:1", "expected host:port"),
        ("BALLAST_HTTP_PORT", "65536", "less than or equal to 65535"),
        ("BALLAST_HTTP_PORT", "-1", "greater than or equal to 0"),
        ("BALLAST_GRPC_PORT", "many", "valid integer"),
        ("BALLAST_INSTANCE", "a b", "match pattern"),
        ("BALLAST_LOG_LEVEL", "loud", "match pattern"),
        ("BALLAST_KAFKA_BOOTSTRAPS", "a:1", "expected one of BALLAST_CONFIG_DIRECTORY"),
        ("ballast_unknown", "1", "expected one of BALLAST_CONFIG_DIRECTORY"),
    ],
)
def test_a_bad_setting_is_refused_naming_key_value_and_bound(
    environment: pytest.MonkeyPatch, key: str, value: str, expected: str
) -> None:
    environment.setenv(key, value)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(ServiceSettings)
    assert f"{key}={value}" in str(refused.value)
    assert expected in str(refused.value)


async def _never_built(context: ServiceContext[ServiceSettings]) -> None:
    raise AssertionError("built in spite of bad configuration")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("BALLAST_KAFKA_BOOTSTRAP", None, "BALLAST_KAFKA_BOOTSTRAP: expected a value, was not set"),
        ("BALLAST_KAFKA_BOOTSTRAP", "nonsense", "BALLAST_KAFKA_BOOTSTRAP=nonsense: expected host:port"),
        ("BALLAST_CONFIG_DIRECTORY", "absent-directory", "expected *.yaml files in absent-directory, found none"),
        ("BALLAST_MISTYPED", "1", "BALLAST_MISTYPED=1: expected one of"),
    ],
)
def test_bad_configuration_is_one_line_and_status_2(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, value: str | None, expected: str
) -> None:
    if value is None:
        environment.delenv(key)
    else:
        environment.setenv(key, value)
    assert main("thing", ServiceSettings, _never_built) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def _stop_soon() -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_signal_stops_with_status_0_and_closes_in_reverse_order(environment: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def note(what: str) -> None:
        order.append(what)

    async def watches(context: ServiceContext[ServiceSettings]) -> None:
        await context.stopping.wait()
        order.append("task")

    async def build(context: ServiceContext[ServiceSettings]) -> None:
        context.on_stop(lambda: note("first"), "first")
        context.on_stop(lambda: note("second"), "second")
        context.spawn(watches(context), "watches")
        _stop_soon()

    assert main("thing", ServiceSettings, build) == 0
    assert order == ["task", "second", "first"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvariantBroken("I8", "two heads"), 1),
        (ValueError("a bug"), 1),
        (ConfigurationError("no such peer"), 2),
        (asyncio.CancelledError(), 1),  # by a library inside it, not by the service
    ],
)
def test_a_failing_task_ends_the_process(environment: pytest.MonkeyPatch, error: BaseException, status: int) -> None:
    async def fails() -> None:
        raise error

    async def build(context: ServiceContext[ServiceSettings]) -> None:
        context.spawn(fails(), "fails")
        await asyncio.Event().wait()

    assert main("thing", ServiceSettings, build) == status


def _get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_readiness_lists_what_is_unmet_and_metrics_are_shown() -> None:
    health, metrics = Health(), Metrics()
    metrics.counter("ballast_thing_orders_total", "Orders.").inc()
    server = serve_http(health, metrics, host="127.0.0.1", port=0)
    try:
        port = server.server_port
        status, body = _get(port, "/readyz")
        assert (status, json.loads(body)["unmet"]) == (503, [{"condition": "started", "detail": "not yet"}])
        caught_up = health.condition("caught_up")
        caught_up.set(False, "partition 3 is 12 frames behind")
        status, body = _get(port, "/readyz")
        assert json.loads(body)["unmet"] == [{"condition": "caught_up", "detail": "partition 3 is 12 frames behind"}]
        caught_up.set(True)
        assert _get(port, "/readyz")[0] == 200
        assert _get(port, "/healthz")[0] == 200
        assert b"ballast_thing_orders_total 1.0" in _get(port, "/metrics")[1]
        assert _get(port, "/elsewhere")[0] == 404
        with pytest.raises(ConfigurationError, match=f"BALLAST_HTTP_PORT={port}"):
            serve_http(health, Metrics(), host="127.0.0.1", port=port)
    finally:
        server.shutdown()
        server.server_close()


def test_the_config_directory_of_the_repository_loads(environment: pytest.MonkeyPatch) -> None:
    async def build(context: ServiceContext[ServiceSettings]) -> None:
        assert context.parameters.partitions > 0
        context.stopping.set()

    environment.setenv("BALLAST_CONFIG_DIRECTORY", str(Path("config").resolve()))
    assert main("thing", ServiceSettings, build) == 0
