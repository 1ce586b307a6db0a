"""Processes of the bench: started bound to our life, asked whether they are ready, measured, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools.lifeline import lifeline

STOP_SECONDS_MAX = 20.0
_POLL_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


class Ended(RuntimeError):
    """A process ended by itself or did not become ready; the message names its log."""


@dataclass(slots=True)
class Program:
    """One process.

    Args:
        module: run with `python -m`. settings: added to the environment. talks: its lines are read, not logged.
    """

    module: str
    arguments: tuple[str, ...]
    settings: dict[str, str]
    log: Path
    http: int = 0
    talks: bool = True
    child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; a line that it prints can be awaited with `line`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")}
        with self.log.open("ab") as sink:
            self.child = await asyncio.create_subprocess_exec(
                *lifeline(sys.executable, "-m", self.module, *self.arguments),
                env=kept | self.settings, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self.talks else sink, stderr=sink,
            )  # fmt: skip

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self.child is None:
            raise Ended(f"{self.module} was not started")
        return self.child

    async def line(self, seconds: float) -> str:
        """The next line that it prints. Raises Ended."""
        output = self._running.stdout
        if output is None:
            raise Ended(f"{self.module} has no output")
        said = await asyncio.wait_for(output.readline(), seconds)
        if not said:
            raise Ended(f"{self.module} ended; its last words are in {self.log}")
        return said.decode().strip()

    async def ready(self, seconds: float) -> float:
        """Returns when its readiness answers 200; how long that took. Raises Ended."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self._running.returncode is not None:
                raise Ended(f"{self.module} ended; its last words are in {self.log}")
            if await asyncio.to_thread(self._answers):
                return time.monotonic() - began
            await asyncio.sleep(_POLL_SECONDS)
        raise Ended(f"{self.module} was not ready within {seconds:.0f} s; see {self.log}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Returns when it is gone."""
        if self.child is None or self.child.returncode is not None:
            return
        self.child.send_signal(number)
        try:
            await asyncio.wait_for(self.child.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            self.child.kill()
            await self.child.wait()

    @property
    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def waited_seconds(self) -> float:
        """How long its main thread was ready to run and had no core."""
        return int(Path(f"/proc/{self._running.pid}/schedstat").read_text().split()[1]) / 1e9

    def memory_bytes(self, what: str) -> int:
        """Memory: `VmRSS` now, `VmHWM` at most so far."""
        for line in Path(f"/proc/{self._running.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
        return 0


def service(name: str, bootstrap: str, log: Path, *, instance: int) -> tuple[Program, str]:
    """A service as it is deployed, on free ports, and its target over gRPC."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        http, port = one.getsockname()[1], other.getsockname()[1]
    settings = {
        "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
        "BALLAST_HTTP_PORT": str(http),
        "BALLAST_GRPC_PORT": str(port),
        "BALLAST_INSTANCE": str(instance),
    }
    return Program(f"services.{name}", (), settings, log, http=http, talks=False), f"127.0.0.1:{port}"


def worker(bootstrap: str, directory: Path, *, instance: int) -> Program:
    """A risk worker as it is deployed."""
    return service("risk_evaluation", bootstrap, directory / f"risk-{instance}.log", instance=instance)[0]
