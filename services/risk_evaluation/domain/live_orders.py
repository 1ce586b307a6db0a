"""Live orders of a book in columns: very many of them are margined at each mark, few change between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8, Mask

if TYPE_CHECKING:
    from services.risk_evaluation.domain.columns import OpenOrder

FIRST_CAPACITY = 64
NUMBERS = ("order", "row", "instrument", "lots", "limit")


class LiveOrders:
    """Orders in slots, a slot an order while it lives."""

    def __init__(self) -> None:
        self._numbers: I8 = np.zeros((len(NUMBERS), FIRST_CAPACITY), dtype=np.int64)
        self._reduce_only: Mask = np.zeros(FIRST_CAPACITY, dtype=np.bool_)
        self._fee: F8 = np.zeros(FIRST_CAPACITY)
        self._slot: dict[tuple[int, int], int] = {}  # by row and order
        self._free = list(range(FIRST_CAPACITY - 1, -1, -1))
        self._sorted: I8 | None = None

    def set(self, order: OpenOrder, *, row: int, instrument: int) -> None:
        """Overwrites an order; instrument is a column."""
        slot = self._slot.get((row, order.order))
        if slot is None:
            if not self._free:
                self._grow()
            slot = self._slot[row, order.order] = self._free.pop()
            self._sorted = None
        self._numbers[:, slot] = order.order, row, instrument, order.lots, order.limit
        self._reduce_only[slot], self._fee[slot] = order.reduce_only, order.fee

    def remove(self, order: int, *, row: int) -> None:
        """Forgets an order."""
        slot = self._slot.pop((row, order), None)
        if slot is not None:
            self._free.append(slot)
            self._sorted = None

    def columns(self) -> tuple[I8, I8, I8, I8, Mask, F8]:
        """Row, instrument, lots, limit, reduce only and fee of every order, sorted by row and order id."""
        if self._sorted is None:
            slots = np.fromiter(self._slot.values(), dtype=np.int64, count=len(self._slot))
            self._sorted = slots[np.lexsort((self._numbers[0, slots], self._numbers[1, slots]))]
        slots = self._sorted
        _, row, instrument, lots, limit = self._numbers[:, slots]
        return row, instrument, lots, limit, self._reduce_only[slots], self._fee[slots]

    def _grow(self) -> None:
        size = self._fee.shape[0]
        self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)], axis=1)
        self._reduce_only = np.concatenate([self._reduce_only, np.zeros_like(self._reduce_only)])
        self._fee = np.concatenate([self._fee, np.zeros_like(self._fee)])
        self._free = list(range(2 * size - 1, size - 1, -1))
