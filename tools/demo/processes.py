"""The demo's operating-system processes: started on free ports, bound to our life, killed and restarted on demand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools.lifeline import lifeline

SERVICES = (
    "price_ingestion",
    "collateral_management",
    "risk_evaluation",
    "liquidation_execution",
    "interest_accrual",
    "venue_gateway",
)
VENUES = ("north", "south")
READY_SECONDS_MAX = 180.0  # kernels are compiled at a first start, on a machine that may have other things to do
STOP_SECONDS_MAX = 10.0


class NotReady(RuntimeError):
    """A process did not become ready, or ended; the message names it and its log."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a process listens on 127.0.0.1."""

    http: int
    grpc: int

    @property
    def target(self) -> str:
        """gRPC address."""
        return f"127.0.0.1:{self.grpc}"

    @property
    def url(self) -> str:
        """HTTP address."""
        return f"http://127.0.0.1:{self.http}"


@dataclass(slots=True)
class Process:
    """One process with what it needs to be started again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ports: Ports
    log: Path
    child: subprocess.Popen[bytes] | None = None
    stopped: bool = False

    def start(self) -> None:
        """Starts it, bound to the life of this process."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:  # the child keeps its own
            self.child = subprocess.Popen(
                lifeline(*self.command), env=self.environment, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def status(self) -> int | None:
        """Exit status once it has ended, None before."""
        return self.child.poll() if self.child is not None else None

    @property
    def is_alive(self) -> bool:
        """Started and not ended."""
        return self.child is not None and self.status is None

    def kill(self) -> None:
        """SIGKILL, as the kernel or an operator would."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM; does not wait."""
        self.stopped = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def wait_stopped(self, seconds: float) -> None:
        """Waits, then kills."""
        if self.child is not None:
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def check_alive(self) -> None:
        """Raises NotReady when it has ended by itself."""
        status = self.status
        if status is not None and not self.stopped:
            raise NotReady(f"{self.name} ended with status {status}; its last words in {self.log}:\n{tail(self.log)}")


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, each cut to fit a screen."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line[:400]}" for line in text.splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Fleet:
    """Services and venues of one run.

    Args:
        bootstrap: of the Kafka cluster.
        directory: logs and state of this run.
        gate_url: readiness of the demo itself; the replay clock waits for it too.
        extra: settings by service, such as {"price_ingestion": {"BALLAST_REPLAY_SPEED": "100"}}.
    """

    def __init__(
        self, *, bootstrap: str, directory: Path, gate_url: str, extra: dict[str, dict[str, str]] | None = None
    ) -> None:
        names = SERVICES + VENUES
        ports = free_ports(2 * len(names))
        self.ports = {name: Ports(ports[2 * n], ports[2 * n + 1]) for n, name in enumerate(names)}
        self.directory = directory
        self._bootstrap = bootstrap
        self._gate_url = gate_url
        self._extra = extra or {}
        self.processes = {name: self._service(name) for name in SERVICES}
        self.processes.update({name: self._venue(name) for name in VENUES})

    def _service(self, name: str) -> Process:
        ports = self.ports
        watched = [f"{other}={ports[other].url}/readyz" for other in SERVICES + VENUES if other != "price_ingestion"]
        settings = {
            "BALLAST_KAFKA_BOOTSTRAP": self._bootstrap,
            "BALLAST_HTTP_PORT": str(ports[name].http),
            "BALLAST_GRPC_PORT": str(ports[name].grpc),
        }
        match name:
            case "price_ingestion":
                settings["BALLAST_READY_URLS"] = ",".join([*watched, f"demo={self._gate_url}"])
            case "liquidation_execution":
                settings["BALLAST_RISK_TARGET"] = ports["risk_evaluation"].target
        settings.update(self._extra.get(name, {}))
        command = [sys.executable, "-m", f"services.{name}"]
        return Process(name, command, environment(settings), ports[name], self.directory / f"{name}.log")

    def _venue(self, name: str) -> Process:
        ports = self.ports
        command = [
            sys.executable, "-m", "examples.venue", "--name", name, "--gateway", ports["venue_gateway"].target,
            "--replay", ports["price_ingestion"].target, "--http-port", str(ports[name].http),
            "--state", str(self.directory / f"{name}.state"),
        ]  # fmt: skip
        return Process(name, command, environment({}), ports[name], self.directory / f"{name}.log")

    def start(self) -> None:
        """Starts everything."""
        for process in self.processes.values():
            process.start()

    async def wait_ready(self, names: tuple[str, ...] = SERVICES + VENUES) -> None:
        """Returns when all say so. Raises NotReady, naming who does not and why."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
        waiting = dict.fromkeys(names, "not started")
        while waiting:
            for name in list(waiting):
                self.processes[name].check_alive()
                ready, why = await asyncio.to_thread(readiness, self.ports[name].url)
                if ready:
                    del waiting[name]
                else:
                    waiting[name] = why
            if waiting and asyncio.get_running_loop().time() > deadline:
                raise NotReady("; ".join(f"{name}: {why}" for name, why in waiting.items()))
            if waiting:
                await asyncio.sleep(0.1)

    def check_alive(self) -> None:
        """Raises NotReady when any has ended by itself."""
        for process in self.processes.values():
            process.check_alive()

    def restart(self, name: str) -> None:
        """SIGKILL and a new start with the same settings."""
        self.processes[name].kill()
        self.processes[name].start()

    def stop(self) -> None:
        """Asks all to stop, waits, kills what does not."""
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.wait_stopped(STOP_SECONDS_MAX)


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Environment of a service: ours with these settings and no others."""
    inherited = {key: value for key, value in os.environ.items() if not key.upper().startswith("BALLAST_")}
    return {**inherited, **settings}


def readiness(url: str) -> tuple[bool, str]:
    """Whether the process at this address is ready, and why not."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return answer.status == 200, ""
    except urllib.error.HTTPError as refused:
        try:
            body = json.loads(refused.read())
            unmet = body.get("unmet", []) if isinstance(body, dict) else body
        except ValueError:
            return False, f"status {refused.code}"
        return False, ", ".join(_unmet(one) for one in unmet)[:300]
    except OSError as error:
        return False, f"not reached: {error}"


def _unmet(one: object) -> str:
    if isinstance(one, dict):
        return " ".join(str(part) for part in one.values() if part)
    return str(one)
