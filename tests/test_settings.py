"""Bad settings of every service: one line that names key, value and bound, and status 2, before anything is set up."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libs.common.service import ServiceSettings, main
from tools.demo.processes import SERVICES

GOOD = {"BALLAST_KAFKA_BOOTSTRAP": "127.0.0.1:1", "BALLAST_CONFIG_DIRECTORY": "config"}
GOOD_OF = {"liquidation_execution": {"BALLAST_RISK_TARGET": "127.0.0.1:1"}}
UNSET = None

Case = tuple[str, str | None, str]
OF_EVERY_SERVICE: list[Case] = [
    ("BALLAST_KAFKA_BOOTSTRAP", UNSET, "BALLAST_KAFKA_BOOTSTRAP: expected a value, was not set"),
    ("BALLAST_KAFKA_BOOTSTRAP", "kafka", "BALLAST_KAFKA_BOOTSTRAP=kafka: expected host:port"),
    ("BALLAST_KAFKA_BOOTSTRAP", "kafka:65536", "BALLAST_KAFKA_BOOTSTRAP=kafka:65536: expected host:port"),
    ("BALLAST_HTTP_PORT", "65536", "BALLAST_HTTP_PORT=65536: Input should be less than or equal to 65535"),
    ("BALLAST_GRPC_PORT", "-1", "BALLAST_GRPC_PORT=-1: Input should be greater than or equal to 0"),
    ("BALLAST_INSTANCE", "a/b", "BALLAST_INSTANCE=a/b: String should match pattern"),
    ("BALLAST_LOG_LEVEL", "loud", "BALLAST_LOG_LEVEL=loud: String should match pattern"),
    ("BALLAST_KAFKA_BOOTSTRAP_SERVICE_HOST", "10.0.0.1", "SERVICE_HOST=10.0.0.1: expected one of BALLAST_"),
    ("BALLAST_CONFIG_DIRECTORY", "absent", "expected *.yaml files in absent, found none"),
]
OF_ONE_SERVICE: list[tuple[str, str, str | None, str]] = [
    ("liquidation_execution", "BALLAST_RISK_TARGET", UNSET, "BALLAST_RISK_TARGET: expected a value, was not set"),
    ("liquidation_execution", "BALLAST_RISK_TARGET", "risk", "BALLAST_RISK_TARGET=risk: String should match pattern"),
    ("liquidation_execution", "BALLAST_RISK_TARGET", "risk:0", "BALLAST_RISK_TARGET=risk:0: expected a port of 1 to"),
    ("liquidation_execution", "BALLAST_RISK_TARGET", "risk:65536", "risk:65536: expected a port of 1 to 65535"),
    ("price_ingestion", "BALLAST_READY_URLS", "https://a/", "BALLAST_READY_URLS=https://a/: expected name=http://"),
    ("price_ingestion", "BALLAST_REPLAY_SPEED", "-1", "BALLAST_REPLAY_SPEED=-1: Input should be greater than or"),
    ("price_ingestion", "BALLAST_HEARTBEAT_MS", "49", "BALLAST_HEARTBEAT_MS=49: Input should be greater than or"),
    ("price_ingestion", "BALLAST_REPLAY_WINDOWS", "2018", "BALLAST_REPLAY_WINDOWS=2018: expected start/end such as"),
    ("price_ingestion", "BALLAST_REPLAY_WINDOWS", "2011-01-01/2011-01-02", "expected a start at or after 2017-"),
    ("price_ingestion", "BALLAST_DATA_DIRECTORY", "absent", "BALLAST_DATA_DIRECTORY=absent: bitstamp_"),
    ("risk_evaluation", "BALLAST_RISK_TARGET", "risk:1", "BALLAST_RISK_TARGET=risk:1: expected one of BALLAST_"),
]
# What is done to a copy of config/, and the words of the complaint.
BAD_PARAMETERS: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        "file missing",
        lambda config: (config / "venues.yaml").unlink(),
        "venues: Field required, and no *.yaml gives it",
    ),
    (
        "impossible value",
        lambda config: _replace(config, "rules.yaml", "partitions: 4", "partitions: 0"),
        "partitions: Input should be greater than or equal to 1 (was 0)",
    ),
    ("unknown key", lambda config: _replace(config, "rules.yaml", "partitions: 4", "partition: 4"), "partition"),
    ("not YAML", lambda config: (config / "pools.yaml").write_text("pools: ["), "pools.yaml"),
    ("twice", lambda config: (config / "again.yaml").write_text("partitions: 4\n"), "expected partitions in one file"),
]


def _replace(config: Path, file: str, old: str, new: str) -> None:
    path = config / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _start(service: str) -> int:
    module = importlib.import_module(f"services.{service}.__main__")
    (settings,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, ServiceSettings) and each is not ServiceSettings
    )
    return main(module.NAME, settings, module.build)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, repository: Path) -> Callable[[str], pytest.MonkeyPatch]:
    """Sets good settings of a service; what is set after that is the fault."""
    for key in [key for key in os.environ if key.upper().startswith("BALLAST_")]:
        monkeypatch.delenv(key)

    def of(service: str) -> pytest.MonkeyPatch:
        for key, value in {**GOOD, **GOOD_OF.get(service, {})}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("BALLAST_CONFIG_DIRECTORY", str(repository / "config"))
        return monkeypatch

    return of


Environment = Callable[[str], pytest.MonkeyPatch]
Captured = pytest.CaptureFixture[str]


def _plant(environment: pytest.MonkeyPatch, key: str, value: str | None) -> None:
    if value is UNSET:
        environment.delenv(key)
    else:
        environment.setenv(key, value)


def _complaint(service: str, captured: Captured) -> str:
    said = [line for line in captured.readouterr().err.splitlines() if line.startswith(f"{service}: configuration: ")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("key", "value", "complaint"), OF_EVERY_SERVICE)
def test_every_service_refuses_a_bad_setting(
    environment: Environment, capsys: Captured, service: str, key: str, value: str | None, complaint: str
) -> None:
    _plant(environment(service), key, value)
    assert _start(service) == 2
    assert complaint in _complaint(service, capsys)


@pytest.mark.parametrize(("service", "key", "value", "complaint"), OF_ONE_SERVICE)
def test_a_service_refuses_a_bad_setting_of_its_own(
    environment: Environment, capsys: Captured, service: str, key: str, value: str | None, complaint: str
) -> None:
    _plant(environment(service), key, value)
    assert _start(service) == 2
    assert complaint in _complaint(service, capsys)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("spoil", "complaint"), [row[1:] for row in BAD_PARAMETERS], ids=[row[0] for row in BAD_PARAMETERS]
)
def test_every_service_refuses_impossible_parameters(
    environment: Environment, capsys: Captured, repository: Path, tmp_path: Path, service: str,
    spoil: Callable[[Path], Any], complaint: str,
) -> None:  # fmt: skip
    config = shutil.copytree(repository / "config", tmp_path / "config")
    spoil(config)
    environment(service).setenv("BALLAST_CONFIG_DIRECTORY", str(config))
    assert _start(service) == 2
    assert complaint in _complaint(service, capsys)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_refuses_a_taken_port(environment: Environment, capsys: Captured, service: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment(service).setenv("BALLAST_HTTP_PORT", str(port))
        assert _start(service) == 2
    assert f"BALLAST_HTTP_PORT={port}: expected a free port on 127.0.0.1" in _complaint(service, capsys)
