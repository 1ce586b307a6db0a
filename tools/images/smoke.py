"""Starts every image against a private broker as the cluster would: read-only, unprivileged, bounded, until ready."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.broker import kafka_for
from tools.demo.processes import Ports, free_ports, readiness
from tools.images.engine import DIRECTORY, Engine, ImageFault
from tools.report import Measure
from tools.topics import create_topics

READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30
_POLL_SECONDS = 0.2
_USER = "10001"
_BOUNDS = ("--memory", "1g", "--pids-limit", "512")
# Python that runs in the container; each must print True.
_CLAIMS = {
    "runs as an ordinary user": f"import os; print(os.getuid() == os.getgid() == {_USER})",
    "has no capability": "print(int(open('/proc/self/status').read().split('CapEff:')[1].split()[0], 16) == 0)",
    "has a read-only root": "import os; print(bool(os.statvfs('/').f_flag & os.ST_RDONLY))",
    "owns none of its files": "import os; print(not os.access('/ballast/app', os.W_OK))",
    "holds no installer": "from importlib.util import find_spec as f; print(not f('pip') and not f('ensurepip'))",
    "holds no compiler": "import shutil; print(not any(map(shutil.which, ('cc', 'gcc', 'make', 'git'))))",
    "holds one service": "import os; print(sum(n[0] != '_' for n in os.listdir('services')) == 1)",
}


@dataclass(frozen=True, slots=True)
class Started:
    """A container of a service."""

    service: str
    container: str
    ports: Ports
    began_s: float


def smoke(engine: Engine, images: Mapping[str, str]) -> list[Measure]:
    """Time to ready and memory of each service's container.

    Args:
        images: image of each service.

    Raises: ImageFault naming the service that was not ready, broke a claim, or did not stop with status 0.
    """
    with kafka_for(DIRECTORY / "broker") as bootstrap:
        asyncio.run(create_topics(bootstrap))
        with _containers(engine, images, bootstrap) as started:
            measures = _wait_ready(engine, started)
            for one in started:
                _check_claims(engine, one)
            measures += [_stop(engine, one) for one in started]
    return measures


@contextmanager
def _containers(engine: Engine, images: Mapping[str, str], bootstrap: str) -> Iterator[list[Started]]:
    numbers = free_ports(2 * len(images))
    ports = {service: Ports(numbers[2 * n], numbers[2 * n + 1]) for n, service in enumerate(images)}
    started: list[Started] = []
    try:
        for service, image in images.items():
            name = f"ballast-smoke-{os.getpid()}-{service.replace('_', '-')}"
            started.append(Started(service, name, ports[service], time.monotonic()))
            options = [f"--env={key}={value}" for key, value in _settings(service, ports, bootstrap).items()]
            engine.run("run", "--detach", "--name", name, *_confinement(), *options, image)
        yield started
    finally:
        for one in started:
            engine.run("rm", "--force", one.container, check=False)


def _confinement() -> list[str]:
    config = Path("config").resolve()
    return [
        "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges",
        f"--volume={config}:/etc/ballast/config:ro", *_BOUNDS,
    ]  # fmt: skip


def _settings(service: str, ports: Mapping[str, Ports], bootstrap: str) -> dict[str, str]:
    settings = {
        "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
        "BALLAST_HTTP_PORT": str(ports[service].http),
        "BALLAST_GRPC_PORT": str(ports[service].grpc),
        "BALLAST_INSTANCE": f"{service}-0",
    }
    if service == "liquidation_execution":
        settings["BALLAST_RISK_TARGET"] = ports["risk_evaluation"].target
    if service == "price_ingestion":
        urls = [f"{name}={one.url}/readyz" for name, one in ports.items() if name != service]
        settings["BALLAST_READY_URLS"] = ",".join(urls)
    return settings


def _wait_ready(engine: Engine, started: list[Started]) -> list[Measure]:
    waiting = dict.fromkeys(started, "not started")
    measures = []
    while waiting:
        for one in list(waiting):
            ready, waiting[one] = readiness(one.ports.url)
            seconds = time.monotonic() - one.began_s
            if ready:
                del waiting[one]
                measures.append(Measure(f"{one.service} ready after", round(seconds, 1), "s"))
                measures.append(Measure(f"{one.service} resident", _resident_mb(engine, one), "MB"))
            elif seconds > READY_SECONDS_MAX or engine.run(*_STATE, one.container) != "running":
                raise ImageFault(f"{one.service} is not ready ({waiting[one]}); its log:\n{_log(engine, one)}")
        time.sleep(_POLL_SECONDS)
    return measures


_STATE = ("container", "inspect", "--format", "{{.State.Status}}")


def _resident_mb(engine: Engine, one: Started) -> float:
    pid = engine.run("container", "inspect", "--format", "{{.State.Pid}}", one.container)
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.is_file() else []  # absent where containers run in a machine
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
    return round(kilobytes / 1_000, 1)


def _check_claims(engine: Engine, one: Started) -> None:
    for claim, program in _CLAIMS.items():
        said = engine.run("exec", one.container, "/ballast/bin/python", "-c", program)
        if said != "True":
            raise ImageFault(f"{one.service}: expected that it {claim}, was {said or 'nothing'}")


def _stop(engine: Engine, one: Started) -> Measure:
    began = time.monotonic()
    engine.run("stop", "--time", str(STOP_SECONDS_MAX), one.container)
    seconds = time.monotonic() - began
    status = engine.run("container", "inspect", "--format", "{{.State.ExitCode}}", one.container)
    if status != "0":
        raise ImageFault(f"{one.service}: expected status 0 when stopped, was {status}; its log:\n{_log(engine, one)}")
    return Measure(f"{one.service} stopped in", round(seconds, 1), "s")


def _log(engine: Engine, one: Started) -> str:
    return engine.run("logs", "--tail", "15", one.container, check=False)
