"""The live board of a run, or plain lines where no terminal is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from tools.demo import panels
from tools.demo.lines import PlainLines
from tools.demo.view import View

REFRESH_SECONDS = 0.25
LOOK_SECONDS = 0.5  # plain lines: between two looks at what happened
STATUS_SECONDS = 2.0
# Drawing shares two cores with the whole run: after a frame the board rests this many times as long as it took.
REST_PER_DRAW = 15
WIDE_COLUMNS = 110
_HEADER, _TOP, _WORST, _BOTTOM = 6, 12, 13, 11


class Source(Protocol):
    """What the board needs to see."""

    def snapshot(self) -> View:
        """Everything at this moment."""


class Board:
    """Shows a source while it is entered; the caller gives it time by calling `refresh` often.

    Args:
        plain: lines instead of the board; always when the console is no terminal.
        clock: seconds that never fall.
    """

    def __init__(
        self,
        source: Source,
        *,
        plain: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._clock = clock
        self._live: Live | None = None
        if not plain and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._lines = PlainLines()
        self._due = self._status_due = 0.0

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if kind is None:
            self._tell(status=True)

    def refresh(self) -> None:
        """Shows what is new, if it is time to."""
        now = self._clock()
        if now < self._due:
            return
        if self._live is None:
            self._due = now + LOOK_SECONDS
            status = now >= self._status_due
            self._status_due = now + STATUS_SECONDS if status else self._status_due
            self._tell(status=status)
            return
        size = self._console.size
        self._live.update(layout(self._source.snapshot(), width=size.width, height=size.height), refresh=True)
        drawn = self._clock()
        self._due = max(now + REFRESH_SECONDS, drawn + REST_PER_DRAW * (drawn - now))

    def _tell(self, *, status: bool) -> None:
        view = self._source.snapshot()
        news = list(self._lines.news(view)) if self._live is None else []
        for line in [*news, *self._lines.status(view)] if status else news:
            # What services say of themselves must not steer a terminal.
            self._console.file.write("".join(each if each.isprintable() else "?" for each in line) + "\n")
        self._console.file.flush()


def layout(view: View, *, width: int, height: int) -> Layout:
    """The whole board for a terminal of this size."""
    return _wide(view, width, height) if width >= WIDE_COLUMNS else _narrow(view, width, height)


def _wide(view: View, width: int, height: int) -> Layout:
    bottom = _BOTTOM if height >= _HEADER + _TOP + 7 + _BOTTOM else 0
    log = max(0, height - _HEADER - _TOP - _WORST - bottom)
    log = log if log >= 5 else 0
    middle = height - _HEADER - _TOP - bottom - log
    marks, accounts = 42, 42
    left = max(56, width * 46 // 100)
    rows = [
        Layout(panels.header(view, width=width), size=_HEADER),
        _row(
            _TOP,
            Layout(panels.marks(view), size=marks),
            Layout(panels.accounts(view, width=accounts - 4), size=accounts),
            Layout(panels.money(view, width=width - marks - accounts - 4)),
        ),
        _row(
            middle,
            Layout(panels.worst(view, rows=middle - 3), size=left),
            Layout(panels.episodes(view, rows=middle - 2, log_rows=0 if log else 3)),
        ),
    ]
    if bottom:
        wide = max(66, width * 54 // 100)
        services = panels.services(view, with_memory=width - wide >= 60)
        rows.append(_row(bottom, Layout(panels.depth(view), size=wide), Layout(services)))
    if log:
        rows.append(Layout(panels.log(view, rows=log - 2), size=log))
    return _column(rows)


def _narrow(view: View, width: int, height: int) -> Layout:
    bottom = _BOTTOM if height >= _HEADER + _TOP + 2 * 7 + _BOTTOM else 0
    middle = height - _HEADER - _TOP - bottom
    worst = min(_WORST, middle // 2)
    marks = min(42, width // 2)
    rows = [
        Layout(panels.header(view, width=width), size=_HEADER),
        _row(
            _TOP,
            Layout(panels.marks(view), size=marks),
            Layout(panels.accounts(view, width=width - marks - 4)),
        ),
        Layout(panels.worst(view, rows=worst - 3), size=worst),
        Layout(panels.episodes(view, rows=middle - worst - 2, log_rows=2), size=middle - worst),
    ]
    if bottom:
        rows.append(Layout(panels.services(view, with_memory=True), size=bottom))
    return _column(rows)


def _row(size: int, *parts: Layout) -> Layout:
    row = Layout(size=max(1, size))
    row.split_row(*parts)
    return row


def _column(rows: list[Layout]) -> Layout:
    whole = Layout()
    whole.split_column(*rows)
    return whole
