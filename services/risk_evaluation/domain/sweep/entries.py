"""Where the kernel keeps what each account of an entity has in each bucket, until all of them are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.lines import OPTION, PLAIN
from services.risk_evaluation.domain.sweep.add_ons import BOUGHT, SOLD, VARIANTS, WIDE
from services.risk_evaluation.domain.sweep.compiled import compiled
from services.risk_evaluation.domain.sweep.layout import KernelTable

ENTRIES, POSITIONS, ENDING, COUNTS = range(4)
FIGURES = 6  # of an account: value, slow marks' part, both scans, what orders open, worst scenario


@dataclass(frozen=True, slots=True)
class Scratch:
    """What the kernel works in, for the largest entity.

    Args:
        bucket, sums, cost: (entries). of, line, lots: (positions). dated_of, dated_line, dated_lots: (dated futures).
        figures: (accounts · 6). counts: entries, positions, dated futures so far; then first entry of each account.
        The others: (lines · 2), (strikes · 2), (entries · 2), (entries · width), (buckets · width), (buckets),
            (entries), (buckets · 6).
    """

    bucket: I8
    sums: F8
    cost: F8
    of: I8
    line: I8
    lots: F8
    dated_of: I8
    dated_line: I8
    dated_lots: F8
    figures: F8
    counts: I8
    by_line: F8
    by_strike: F8
    added: F8
    own: F8
    together: F8
    size: F8
    basis: F8
    exposure: F8

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All of it, as the kernel takes it."""
        return tuple(getattr(self, name) for name in type(self).__slots__)

    @classmethod
    def of_size(cls, table: KernelTable, *, lines: int, accounts: int) -> Scratch:
        """Room for entities of so many accounts that have so many lines and orders in all."""
        buckets, width = table.add_ons.expiries.shape[0], int(table.add_ons.expiries.max(initial=1))
        entries = lines + accounts * table.widths.claims + 1
        one, two, three = (np.zeros(entries * each) for each in (1, 2, 3))
        places = [np.zeros(entries, dtype=np.int64) for _ in range(5)]
        return cls(
            places[0], three, two, places[1], places[2], three.copy(), places[3], places[4], one,
            np.zeros(accounts * FIGURES), np.zeros(COUNTS + accounts + 1, dtype=np.int64),
            np.zeros(2 * table.bucket.shape[0]), np.zeros(2 * table.bucket.shape[0]), two.copy(),
            np.zeros(entries * width), np.zeros(buckets * width), np.zeros(buckets), one.copy(),
            np.zeros(WIDE * buckets),
        )  # fmt: skip


@compiled
def note_order(
    entry: int, first: int, line: int, bought: float, sold: float, of: I8, position_line: I8, position_lots: F8,
    counts: I8,
) -> None:  # fmt: skip
    """Adds what an order on an option would buy or sell to that position of its entry, in the order of lines."""
    place = counts[POSITIONS]
    while place > first and position_line[place - 1] >= line:
        place -= 1
    if place == counts[POSITIONS] or position_line[place] != line:
        for each in range(counts[POSITIONS], place, -1):
            of[each], position_line[each] = of[each - 1], position_line[each - 1]
            for variant in range(VARIANTS):
                position_lots[VARIANTS * each + variant] = position_lots[VARIANTS * (each - 1) + variant]
        of[place], position_line[place] = entry, line
        for variant in range(VARIANTS):
            position_lots[VARIANTS * place + variant] = 0.0
        counts[POSITIONS] += 1
    position_lots[VARIANTS * place + BOUGHT] += bought
    position_lots[VARIANTS * place + SOLD] += sold


@compiled
def note_line(
    entry: int, kind: int, line: int, amount: float, of: I8, position_line: I8, position_lots: F8, dated_of: I8,
    dated_line: I8, dated_lots: F8, counts: I8,
) -> None:  # fmt: skip
    """Makes a position of an option, or keeps a dated future; nothing of any other line."""
    if kind == PLAIN:
        return
    if kind == OPTION:
        place = counts[POSITIONS]
        of[place], position_line[place], position_lots[VARIANTS * place] = entry, line, amount
        position_lots[VARIANTS * place + BOUGHT] = position_lots[VARIANTS * place + SOLD] = 0.0
        counts[POSITIONS] += 1
    else:
        place = counts[ENDING]
        dated_of[place], dated_line[place], dated_lots[place] = entry, line, amount
        counts[ENDING] += 1
