"""Logs of a process: JSON, one event a line."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from itertools import count
from typing import IO, Any

from libs.common.trace import current

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Turns a record into one line of JSON: time, level, service, instance, event and its id, trace, fields."""

    def __init__(self, *, service: str, instance: str) -> None:
        super().__init__()
        self._service = service
        self._instance = instance
        self._ids = (f"{os.getpid():x}-{time.time_ns():x}-{number}" for number in count(1))

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line feed."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "instance": self._instance,
            "logger": record.name,
            "event": record.getMessage(),
            "event_id": next(self._ids),
        }
        if (trace := current()) is not None:
            line["trace_id"] = trace.trace_id.hex()
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD_FIELDS)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def _as_ours(record: logging.LogRecord) -> bool:
    """A client library calls what it tries again an error; what it gives up reaches us as an exception."""
    if record.levelno == logging.ERROR and record.name.startswith("aiokafka.") and not record.exc_info:
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


def configure_logs(*, service: str, instance: str, level: str, stream: IO[str] | None = None) -> None:
    """Makes the root logger write JSON to `stream` (standard error); libraries speak from warning up only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service=service, instance=instance))
    handler.addFilter(_as_ours)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "faust", "grpc", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
