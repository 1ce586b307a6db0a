"""The program that builds and runs containers: docker or podman, whichever answers."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(".run/images").resolve()
_ANSWER_SECONDS_MAX = 30.0
_OPEN_FILES = 16_384
_PROCESSES = 4_096


class ImageFault(RuntimeError):
    """A tool is missing or refused; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answered.

    Args:
        name: docker or podman; their commands are the same as far as they are used here.
        environment: what its commands are run with.
    """

    name: str
    environment: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> str:
        """What the command said, stripped.

        Raises: ImageFault with the command's last words, unless `check` is False.
        """
        done = subprocess.run(
            [self.name, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            words = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
            raise ImageFault(f"{self.name} {' '.join(arguments[:2])} ended with status {done.returncode}:\n{words}")
        return done.stdout.strip()

    def stream(self, *arguments: str) -> None:
        """Runs a command whose output is for the terminal. Raises ImageFault."""
        status = subprocess.run([self.name, *arguments], env=self.environment, check=False).returncode
        if status != 0:
            raise ImageFault(f"{self.name} {arguments[0]} ended with status {status}")

    def has(self, image: str) -> bool:
        """The image is on this machine."""
        command = [self.name, "image", "inspect", image]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows of an image."""
        found: dict[str, Any] = json.loads(self.run("image", "inspect", image))[0]
        return found


def engine() -> Engine:
    """Docker when its daemon answers, else podman.

    Raises: ImageFault when neither does.
    """
    candidates = (Engine("docker", dict(os.environ)), Engine("podman", _podman_environment()))
    for candidate in candidates:
        if shutil.which(candidate.name) and _answers(candidate):
            return candidate
    raise ImageFault("neither docker nor podman answers (Debian, Ubuntu: apt-get install podman buildah runc)")


def _answers(candidate: Engine) -> bool:
    # `docker version` fails without a daemon; podman needs none.
    command = [candidate.name, "version"]
    try:
        done = subprocess.run(
            command, env=candidate.environment, capture_output=True, check=False, timeout=_ANSWER_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _podman_environment() -> dict[str, str]:
    """Ours, with a containers.conf that works without the right to raise limits, unless one is given."""
    if "CONTAINERS_CONF" in os.environ:
        return dict(os.environ)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / "containers.conf"
    path.write_text(_containers_conf())
    return {**os.environ, "CONTAINERS_CONF": str(path)}


def _containers_conf() -> str:
    open_files = _bounded(_OPEN_FILES, resource.RLIMIT_NOFILE)
    processes = _bounded(_PROCESSES, resource.RLIMIT_NPROC)
    lines: Sequence[str] = (
        "[containers]",
        f'default_ulimits = ["nofile={open_files}:{open_files}", "nproc={processes}:{processes}"]',
        'netns = "host"',
        "",
        "[engine]",
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
        # crun refuses machines whose control groups are half version 1, half version 2.
        *(['runtime = "runc"'] if shutil.which("runc") else []),
    )
    return "\n".join(lines) + "\n"


def _bounded(wanted: int, limit: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
