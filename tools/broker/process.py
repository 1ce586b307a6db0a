"""The private broker as an operating-system process: formatted, started, awaited, stopped."""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.broker.config import LOOPBACK, SERVER_JVM, log4j_properties, server_properties
from tools.broker.errors import BrokerFault
from tools.broker.jars import REPOSITORY, classpath, java
from tools.lifeline import lifeline

_STARTS_MAX = 3
_READY_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.1
_TOOL_JVM = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Broker:
    """One KRaft node on free ports of 127.0.0.1, with data and logs under its directory.

    Start it from a thread that outlives it: the node is killed when that thread ends, however it ends.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.bootstrap = ""
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._server: list[str] = []

    @property
    def pid(self) -> int | None:
        """Process id of the running node, None before start and after stop."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Bootstrap address of a fresh, empty broker that answers metadata requests.

        Raises: ToolMissing, BrokerFault.
        """
        command, path = java(), classpath()
        self._take_directory()
        try:
            for _ in range(_STARTS_MAX):
                # A port that was free may be taken by another before Kafka binds it.
                if self._start_once(command, path):
                    return self.bootstrap
        except BaseException:
            self.stop()
            raise
        self.stop()
        raise BrokerFault(
            f"Kafka did not start in {_STARTS_MAX} attempts; its log is {self.directory / 'logs' / 'kafka.log'}"
        )

    def stop(self) -> None:
        """Returns when the process is gone and its directory free; data and logs stay until the next start."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def interrupt(self, number: signal.Signals) -> None:
        """Ends the process with a signal and returns when it is gone; its records and ports stay its own."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def resume(self) -> None:
        """Starts it again over its records, without waiting until it answers."""
        self._process = self._spawn(self._server)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        # The kernel drops a lock on the directory itself with the process: no run leaves one, no file stands for it.
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise BrokerFault(f"another run is using {self.directory}; stop it first") from error
        self._lock = descriptor

    def _start_once(self, command: str, path: str) -> bool:
        properties = self._write_configuration()
        logging = f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}"
        tool = [
            command,
            *_TOOL_JVM,
            logging,
            "-cp",
            path,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            new_cluster_id(),
            "-c",
            str(properties),
        ]
        self._server = [command, *SERVER_JVM, logging, "-cp", path, "kafka.Kafka", str(properties)]
        if self._spawn(tool).wait() != 0:
            raise BrokerFault(f"Kafka's storage could not be formatted; see {self.directory / 'logs' / 'console.log'}")
        self._process = self._spawn(self._server)
        return self._await_ready(self._process)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "logs" / "console.log").open("ab") as console:
            # A session of its own: Ctrl-C in the terminal reaches our process, which stops the broker in its own time.
            return subprocess.Popen(
                lifeline(*command),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _write_configuration(self) -> Path:
        data, logs = self.directory / "data", self.directory / "logs"
        for old in (data, logs):
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
        broker_port, controller_port = free_ports(2)
        self.bootstrap = f"{LOOPBACK}:{broker_port}"
        (self.directory / "log4j2.properties").write_text(log4j_properties(logs))
        properties = self.directory / "server.properties"
        properties.write_text(server_properties(broker_port=broker_port, controller_port=controller_port, data=data))
        return properties

    def _await_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                return False
            if answers_metadata(self.bootstrap):
                return True
            time.sleep(_POLL_SECONDS)
        raise BrokerFault(
            f"Kafka was not ready within {_READY_SECONDS_MAX:.0f} s; its log is {self.directory / 'logs' / 'kafka.log'}"
        )


@contextmanager
def running_broker(directory: Path) -> Iterator[str]:
    """Bootstrap address of a private broker that lives as long as the block."""
    with Broker(directory) as broker:
        yield broker.bootstrap


def new_cluster_id() -> str:
    """A fresh id to format a node's storage with."""
    # Never a dash first: Kafka's tool would take the id for an option.
    return "B" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def answers_metadata(bootstrap: str) -> bool:
    """A broker answers there, and takes part in its cluster."""
    # Metadata request, version 1, about no topic: the answer lists the live brokers, none while the node is fenced.
    host, port = bootstrap.rsplit(":", 1)
    body = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    try:
        with socket.create_connection((host, int(port)), timeout=1.0) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            head = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 12 and struct.unpack(">iii", head)[2] >= 1
