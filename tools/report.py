"""The report of a run that proves something: its measures, written to .run/<target>/report.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RUN_DIRECTORY = Path(".run")

Value = float | int | str


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured figure.

    Args:
        goal: what was aimed at, in words such as ">= 10"; a missed goal is reported, not failed.
        rounds, min, max: how often it was measured and between what it lay.
    """

    name: str
    value: Value
    unit: str
    goal: str | None = None
    met: bool | None = None
    rounds: int | None = None
    min: Value | None = None
    max: Value | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A finished run; `ok` is false when an invariant broke or a case failed. `details` is free-form."""

    target: str
    commit: str
    started: str
    seconds: float
    machine: Mapping[str, Any]
    seed: int
    command: str
    ok: bool
    measures: Sequence[Measure]
    details: Mapping[str, Any] = field(default_factory=dict)

    def write(self, root: Path = RUN_DIRECTORY) -> Path:
        """Path of the JSON it was written to, whole or not at all."""
        content = asdict(self)
        content["measures"] = [{k: v for k, v in asdict(one).items() if v is not None} for one in self.measures]
        path = root / self.target / "report.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".json.new")
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(path)
        return path


class Run:
    """A run that has begun; `finish` makes its report.

    Args:
        began_s: seconds since 1970 when it began, if that was before this object was made.
    """

    def __init__(self, target: str, *, command: str, seed: int, began_s: float | None = None) -> None:
        self._target = target
        self._command = command
        self._seed = seed
        began_s = time.time() if began_s is None else began_s
        self._started = datetime.fromtimestamp(began_s, UTC)
        self._start_s = time.monotonic() - (time.time() - began_s)
        self._machine = machine()

    def finish(self, *, ok: bool, measures: Sequence[Measure], details: Mapping[str, Any] | None = None) -> Report:
        """The report of what began when this object was made."""
        return Report(
            target=self._target,
            commit=commit(),
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._start_s, 3),
            machine=self._machine,
            seed=self._seed,
            command=self._command,
            ok=ok,
            measures=measures,
            details=details or {},
        )


def machine() -> dict[str, Any]:
    """Processor, cores and load of this machine."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0
    return {"cpu": _processor(), "cores": os.cpu_count() or 1, "load": load}


def commit() -> str:
    """Commit of the checkout, with a plus when tracked files were changed; "unknown" outside a checkout."""
    found = _git("rev-parse", "--short=12", "HEAD")
    if not found:
        return "unknown"
    return f"{found}+" if _git("status", "--porcelain", "--untracked-files=no") else found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
