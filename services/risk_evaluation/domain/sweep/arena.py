"""Where lines stand: rows of one slab, each sorted by line, its room a power of two; a row that is full moves.

Rows are sorted so that sums do not depend on the order in which lines came (I8).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from libs.common.errors import invariant
from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.sweep.compiled import compiled
from services.risk_evaluation.domain.sweep.kernel import byte, integer
from services.risk_evaluation.domain.sweep.layout import LINES_MAX

CLASSES = 32
LEAST_ROOM = 4
GROWTH_PARTS = 8  # the slab grows by an eighth: more would be memory that nothing stands in
_NONE = -1


@compiled
def room(size_class: int) -> int:
    """Lines that a row of a class holds: 0, 4, 8, 16 ..."""
    return (LEAST_ROOM << size_class) >> 1 if size_class > 0 else 0


@compiled
def _take_row(quantity: F8, free: I8, used: I8, size_class: int) -> int:
    # Free rows are chained through their first quantity, exact as a float.
    row = int(free[size_class])
    if row != _NONE:
        free[size_class] = integer(quantity[row])
        return row
    row = int(used[0])
    if row + room(size_class) > quantity.shape[0]:
        return _NONE
    used[0] = row + room(size_class)
    return row


@compiled
def _place(index: Any, row: int, filled: int, line: int) -> int:
    low, high = int(row), int(row + filled)
    while low < high:
        middle = (low + high) >> 1
        if integer(index[middle]) < line:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def set_lines(
    accounts: I8, lines: I8, values: F8, begin: int, start: I8, count: Any, size_class: U1, index: Any, quantity: F8,
    free: I8, used: I8, is_dirty: U1, dirty: I8,
) -> int:  # fmt: skip
    """Overwrites lines in order, from `begin`; returns how far it came before the slab was full."""
    for turn in range(begin, accounts.shape[0]):
        account, line, value = accounts[turn], lines[turn], values[turn]
        row, filled = start[account], integer(count[account])
        at = _place(index, row, filled, line)
        is_there = at < row + filled and integer(index[at]) == line
        if is_there and value != 0.0:
            quantity[at] = value
        elif is_there:
            for move in range(at, row + filled - 1):
                index[move], quantity[move] = index[move + 1], quantity[move + 1]
            count[account] = filled - 1
        elif value != 0.0:
            if filled == room(size_class[account]):
                larger = integer(size_class[account]) + 1
                moved = _take_row(quantity, free, used, larger)
                if moved == _NONE:
                    return int(turn)
                for each in range(filled):
                    index[moved + each], quantity[moved + each] = index[row + each], quantity[row + each]
                if filled > 0:
                    quantity[row] = float(free[larger - 1])
                    free[larger - 1] = row
                at, row = moved + at - row, moved
                start[account], size_class[account] = moved, byte(larger)
            for move in range(row + filled, at, -1):
                index[move], quantity[move] = index[move - 1], quantity[move - 1]
            index[at], quantity[at] = line, value
            count[account] = filled + 1
        if is_dirty[account] == 0:
            is_dirty[account] = 1
            dirty[used[1]] = account
            used[1] += 1
    return int(accounts.shape[0])


class Arena:
    """Lines of the accounts of a partition, accounts numbered from 0.

    Attributes:
        lines: lines there are. start, count: (accounts) each row's place and lines. index, quantity: the slab.
    """

    def __init__(self, *, lines: int, accounts: int = 64, slots: int = 512) -> None:
        invariant(lines <= 2**32, "I8", f"expected at most 2^32 lines, was {lines}")
        self.lines = lines
        kind = np.uint16 if lines <= LINES_MAX else np.uint32
        self.index: npt.NDArray[Any] = np.zeros(slots, dtype=kind)
        self.quantity: F8 = np.zeros(slots)
        self.start: I8 = np.zeros(accounts, dtype=np.int64)
        self.count = np.zeros(accounts, dtype=np.int32)
        self._size_class: U1 = np.zeros(accounts, dtype=np.uint8)
        self._is_dirty: U1 = np.zeros(accounts, dtype=np.uint8)
        self._dirty: I8 = np.zeros(accounts, dtype=np.int64)
        self._free: I8 = np.full(CLASSES, _NONE, dtype=np.int64)
        self._used: I8 = np.zeros(2, dtype=np.int64)  # slots of the slab, entries of the dirty list

    @classmethod
    def of(cls, *, lines: int, accounts: int, of: I8, index: I8, quantity: F8) -> Arena:
        """An arena of lines sorted by account and line, rows one after the other.

        Args:
            of, index, quantity: (entries) account, line, quantity.
        """
        count = np.bincount(of, minlength=accounts)
        classes = np.zeros(accounts, dtype=np.uint8)
        rooms = np.zeros(accounts, dtype=np.int64)
        for size_class in range(1, CLASSES):
            fits = (rooms == 0) & (count > 0) & (count <= room(size_class))
            classes[fits], rooms[fits] = size_class, room(size_class)
            if not np.any((rooms == 0) & (count > 0)):
                break
        end = np.cumsum(rooms)
        arena = cls(lines=lines, accounts=accounts, slots=int(end[-1]) + LEAST_ROOM if accounts else LEAST_ROOM)
        arena.start[:], arena.count[:], arena._size_class[:] = end - rooms, count, classes
        place = np.arange(of.shape[0]) - np.repeat(np.cumsum(count) - count, count) + np.repeat(end - rooms, count)
        arena.index[place], arena.quantity[place] = index, quantity
        arena._used[0] = end[-1] if accounts else 0
        return arena

    @property
    def accounts(self) -> int:
        """Accounts there is room for."""
        return int(self.start.shape[0])

    @property
    def bytes(self) -> tuple[int, int]:
        """Memory held by the lines, and by the accounts."""
        per_account = (self.start, self.count, self._size_class, self._is_dirty, self._dirty)
        return self.index.nbytes + self.quantity.nbytes, sum(each.nbytes for each in per_account)

    def set(self, accounts: I8, lines: I8, values: F8) -> None:
        """Overwrites lines, one after the other; 0 takes a line away."""
        if not accounts.shape[0]:
            return
        inside = int(accounts.min()) >= 0 and int(lines.min()) >= 0 and int(lines.max()) < self.lines
        invariant(inside, "I8", f"expected lines below {self.lines}")
        if int(accounts.max()) >= self.accounts:
            self._grow_accounts(int(accounts.max()) + 1)
        done = 0
        while True:
            done = set_lines(
                accounts, lines, values, done, self.start, self.count, self._size_class, self.index, self.quantity,
                self._free, self._used, self._is_dirty, self._dirty,
            )  # fmt: skip
            if done == accounts.shape[0]:
                return
            widest = LEAST_ROOM << int(self._size_class.max())
            more = max(self.quantity.shape[0] // GROWTH_PARTS, 8 * widest)
            self.index = np.concatenate([self.index, np.zeros(more, dtype=self.index.dtype)])
            self.quantity = np.concatenate([self.quantity, np.zeros(more)])

    def take_dirty(self) -> I8:
        """Accounts whose lines changed since this was asked last, in the order of their first change."""
        dirty = self._dirty[: self._used[1]].copy()
        self._is_dirty[dirty] = 0
        self._used[1] = 0
        return dirty

    def row(self, account: int) -> tuple[npt.NDArray[Any], F8]:
        """Lines and quantities of an account."""
        begin = int(self.start[account])
        end = begin + int(self.count[account])
        return self.index[begin:end], self.quantity[begin:end]

    def _grow_accounts(self, least: int) -> None:
        more = max(least - self.accounts, self.accounts // GROWTH_PARTS)
        self.start = np.concatenate([self.start, np.zeros(more, dtype=np.int64)])
        self.count = np.concatenate([self.count, np.zeros(more, dtype=np.int32)])
        self._size_class = np.concatenate([self._size_class, np.zeros(more, dtype=np.uint8)])
        self._is_dirty = np.concatenate([self._is_dirty, np.zeros(more, dtype=np.uint8)])
        self._dirty = np.concatenate([self._dirty, np.zeros(more, dtype=np.int64)])
