"""Options held by rows, sparse: few accounts hold few of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import I8


@dataclass(frozen=True, slots=True)
class OptionRows:
    """Positions that are not zero, sorted by row, then option, each pair once.

    Args:
        row: position in the rows. option: column in `Model.options`. lots: signed.
    """

    row: I8
    option: I8
    lots: I8

    @property
    def is_empty(self) -> bool:
        """Nobody holds an option."""
        return not self.row.shape[0]

    def position(self, *, row: int, option: int) -> int:
        """Lots of one option in one row."""
        at = np.flatnonzero((self.row == row) & (self.option == option))
        return int(self.lots[at[0]]) if at.shape[0] else 0

    def plus(self, traded: Iterable[tuple[int, int, int]]) -> OptionRows:
        """These positions after trades of (row, option, signed lots)."""
        held = {
            (int(row), int(option)): int(lots)
            for row, option, lots in zip(self.row, self.option, self.lots, strict=True)
        }
        for row, option, lots in traded:
            held[row, option] = held.get((row, option), 0) + lots
        return option_rows((row, option, lots) for (row, option), lots in sorted(held.items()) if lots)

    def renamed(self, column: Sequence[int]) -> OptionRows:
        """The positions with the columns of another model; `column` is given by the old one."""
        return option_rows(
            sorted(
                (int(row), column[int(option)], int(lots))
                for row, option, lots in zip(self.row, self.option, self.lots, strict=True)
            )
        )

    def repeated(self, times: int, rows: int) -> OptionRows:
        """The positions over and over, of as many times so many rows."""
        turn = np.repeat(np.arange(times, dtype=np.int64), self.row.shape[0])
        return OptionRows(
            np.tile(self.row, times) + turn * rows, np.tile(self.option, times), np.tile(self.lots, times)
        )


def option_rows(positions: Iterable[tuple[int, int, int]]) -> OptionRows:
    """Positions given as (row, option, lots), sorted."""
    found = np.array(list(positions), dtype=np.int64).reshape(-1, 3)
    return OptionRows(found[:, 0].copy(), found[:, 1].copy(), found[:, 2].copy())


NO_OPTIONS = option_rows(())


class OptionHoldings:
    """Options of every row of a book: row -> option column -> lots."""

    def __init__(self) -> None:
        self._lots: dict[int, dict[int, int]] = {}

    def set(self, *, row: int, option: int, lots: int) -> None:
        """Overwrites a position."""
        held = self._lots.setdefault(row, {})
        if lots:
            held[option] = lots
            return
        held.pop(option, None)
        if not held:
            del self._lots[row]

    def lots(self, *, row: int, option: int) -> int:
        """A position, 0 without one."""
        return self._lots.get(row, {}).get(option, 0)

    @property
    def by_row(self) -> Mapping[int, Mapping[int, int]]:
        """Rows that hold any."""
        return self._lots

    def of(self, rows: Sequence[int]) -> OptionRows:
        """The positions of these rows, which stand at 0, 1, ..."""
        if not self._lots:
            return NO_OPTIONS
        holders = np.fromiter(self._lots, dtype=np.int64, count=len(self._lots))
        positions = np.flatnonzero(np.isin(np.asarray(rows, dtype=np.int64), holders)).tolist()
        return option_rows(
            (position, option, lots)
            for position in positions
            for option, lots in sorted(self._lots[rows[position]].items())
        )
