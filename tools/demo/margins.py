"""Margin of every account of one partition as risk last published it, in columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ballast.events.v1 import risk_pb2

Columns = npt.NDArray[np.int64]
OnWorse = Callable[[int, int], None]  # account, MarginState

_EQUITY, _INITIAL, _MAINTENANCE = range(3)
_HEALTHY = risk_pb2.MARGIN_STATE_HEALTHY


class MarginTable:
    """One row an account, in the order they were first seen; money in 10^-6 USD."""

    def __init__(self) -> None:
        self.account: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self.money: Columns = np.empty((3, 0), np.int64)  # equity, initial margin, maintenance margin
        self.state: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self.version = (0, 0, 0)
        self.calls = 0
        self._row_of: dict[int, int] = {}
        self._named: npt.NDArray[np.uint64] = self.account  # accounts of the last frame
        self._named_rows: npt.NDArray[np.intp] = np.empty(0, np.intp)

    @property
    def mark_sequence(self) -> int:
        """Sequence of the marks frame it stands on, 0 before the first."""
        return self.version[1]

    def take(self, frame: risk_pb2.MarginFrame, *, on_worse: OnWorse | None = None) -> None:
        """Folds a frame; an older one than seen is noise.

        Args:
            on_worse: told of each account whose state became worse than before, and is worse than healthy.
        """
        version = (frame.journal_sequence, frame.mark_sequence, frame.control_sequence)
        if version < self.version:
            return
        self.version = version
        account = np.array(frame.account, np.uint64)
        rows = self._rows_of(account)
        state = np.frombuffer(frame.state, np.uint8)
        worse = (state > self.state[rows]) & (state > _HEALTHY)
        self.calls += int(np.count_nonzero(worse & (self.state[rows] <= _HEALTHY)))
        self.state[rows] = state
        self.money[_EQUITY, rows] = np.array(frame.equity, np.int64)
        self.money[_INITIAL, rows] = np.array(frame.initial_margin, np.int64)
        self.money[_MAINTENANCE, rows] = np.array(frame.maintenance_margin, np.int64)
        if on_worse is not None:
            for row in np.flatnonzero(worse):
                on_worse(int(account[row]), int(state[row]))

    def of(self, account: int) -> tuple[int, int, int, int] | None:
        """Equity, initial margin, maintenance margin and state of an account."""
        row = self._row_of.get(account)
        if row is None:
            return None
        equity, initial, maintenance = (int(value) for value in self.money[:, row])
        return equity, initial, maintenance, int(self.state[row])

    def worst(self, count: int) -> list[tuple[float, int]]:
        """(equity over maintenance margin, account) of the accounts with a requirement that stand worst."""
        required = np.flatnonzero(self.money[_MAINTENANCE] > 0)
        ratio = self.money[_EQUITY, required] / self.money[_MAINTENANCE, required]
        chosen = np.argsort(ratio, kind="stable")[:count]
        return [(float(ratio[one]), int(self.account[required[one]])) for one in chosen]

    def counts(self) -> tuple[int, ...]:
        """Number of accounts, index as in MarginState."""
        return tuple(int(one) for one in np.bincount(self.state, minlength=5)[:5])

    def _rows_of(self, account: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        # Full frames name the same accounts again and again.
        if np.array_equal(account, self._named):
            return self._named_rows
        row_of = self._row_of
        rows = [row_of.setdefault(one, len(row_of)) for one in account.tolist()]
        if new := len(row_of) - len(self.account):
            self.account = np.fromiter(row_of, np.uint64, len(row_of))
            self.money = np.pad(self.money, ((0, 0), (0, new)))
            self.state = np.pad(self.state, (0, new))
        self._named, self._named_rows = account, np.array(rows, np.intp)
        return self._named_rows
