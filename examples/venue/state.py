"""What must survive a restart of the venue: every report it may have sent, and the session epoch it accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from examples.venue.reports import Kind, Report


class MalformedState(ValueError):
    """The state file is not one of this venue's; the message says where."""


@dataclass(slots=True)
class History:
    """What the file holds: reports in order, each with the symbol of its order, and the highest epoch."""

    session_epoch: int = 0
    reports: list[tuple[str, Report]] = field(default_factory=list)


class StateFile:
    """JSON lines, written before what they say is sent; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def open(self) -> History:
        """What was written before; a line torn by the end of the process is cut off, it was never sent.

        Raises:
            MalformedState: a whole line cannot be read.
            OSError: the file cannot be opened.
        """
        history = History()
        if self._path is None:
            return history
        self._path.touch()
        whole = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    _take(history, json.loads(line))
                except (KeyError, TypeError, ValueError) as error:
                    raise MalformedState(f"{self._path}:{number}: expected a line of venue state: {error!r}") from error
        os.truncate(self._path, whole)
        self._file = self._path.open("ab")
        return history

    def record_epoch(self, session_epoch: int) -> None:
        """Keeps the epoch of the session that was accepted."""
        self._write([{"session_epoch": session_epoch}])

    def record_reports(self, reports: Iterable[tuple[str, Report]]) -> None:
        """Keeps reports, each with the symbol of its order."""
        self._write([{"symbol": symbol, **asdict(report), "kind": report.kind.value} for symbol, report in reports])

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, lines: list[dict[str, object]]) -> None:
        if self._file is not None and lines:
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            # To the kernel, not to the disk: it survives the end of the process, not of the machine.
            self._file.flush()


def _take(history: History, line: dict[str, object]) -> None:
    if "session_epoch" in line:
        history.session_epoch = max(history.session_epoch, int(str(line["session_epoch"])))
        return
    symbol, kind = str(line.pop("symbol")), Kind(line.pop("kind"))
    history.reports.append((symbol, Report(kind=kind, **line)))  # type: ignore[arg-type]  # JSON gives any type
