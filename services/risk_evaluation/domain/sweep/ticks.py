"""Keeps margins current from tick to tick: only who may have changed state is valued, or all when they are many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone
from services.risk_evaluation.domain.sweep.intervals import BLOCK, Slopes, broken, edges, file_pairs, measure, recentre
from services.risk_evaluation.domain.sweep.layout import LIQUIDITY_WIDTH, VALUE, KernelTable

SWEEP_ABOVE = 0.05  # of the accounts: one by one out of order costs about twenty times the stream
RECENTRED_MAX = 0.01  # of the accounts in one tick, so that no tick costs much more than a sweep


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick took.

    Args:
        valued: accounts valued again. swept: whether that was everyone. changed: how many changed state; who, stands
            first in `Standings.emitted`.
    """

    valued: int
    swept: bool
    changed: int


class Ticks:
    """Intervals of the accounts of an arena, each alone in its entity and without orders.

    Args:
        table, slopes: at the reference, where every mover stands at 0.
        window: how far a mover may go, times its scale, before the reference must be renewed; `slopes` hold within.
    """

    def __init__(
        self, arena: Arena, money: F8, table: KernelTable, slopes: Slopes, out: Standings, *, window: float
    ) -> None:
        self._arena, self._money, self._out, self._window = arena, money, out, window
        self._everyone: I8 = np.arange(arena.accounts)
        self._room = np.zeros(arena.accounts, dtype=np.float32)
        self._stamp = np.full(arena.accounts, -1, dtype=np.int32)
        self._found = np.zeros(arena.accounts, dtype=np.int32)
        self._now = self._stale = 0  # ticks so far; accounts at the head of `_found` that every tick values
        self.renew(table, slopes)

    def renew(self, table: KernelTable, slopes: Slopes) -> Tick:
        """Values everyone and lays all intervals anew around a new reference."""
        self._table, self._slopes = table, slopes
        changed = run_alone(self._arena, self._money, table, self._everyone, self._out)
        self._stale = 0
        self._lay()
        return Tick(self._arena.accounts, True, changed)

    @property
    def bytes(self) -> int:
        """Memory of the intervals."""
        arrays = (self._room, self._stamp, self._found, self._first, self._movers, self._place, self._account,
                  self._edge, self._blocks)  # fmt: skip
        return sum(int(each.nbytes) for each in arrays)

    def tick(self, table: KernelTable, moves: Mapping[int, float]) -> Tick:
        """Takes new marks.

        Args:
            table: at the new marks. moves: by mover, kind · buckets + bucket, how far it now is from the reference.
        """
        self._now += 1
        found = self._stale
        self._stamp[self._found[:found]] = self._now
        for mover, moved in moves.items():
            self._moved[mover] = moved
            found = broken(
                self._column[mover], self._column[mover + 1], self._block[mover], moved, self._account, self._edge,
                self._blocks, self._stamp, self._now, self._found, found,
            )  # fmt: skip
        swept = found > SWEEP_ABOVE * self._arena.accounts
        chosen = self._everyone if swept else self._found[:found]
        changed = run_alone(self._arena, self._money, table, chosen, self._out)
        self._centre(found)
        return Tick(chosen.shape[0], swept, changed)

    def _measure(self, chosen: npt.NDArray[Any], *, writes: bool) -> int:
        mask = self._table.floor_mask.copy()
        mask[VALUE] = 0.0
        return int(
            measure(
                chosen, self._arena.start, self._arena.count, self._arena.index, self._arena.quantity,
                self._table.rows, self._table.bucket, self._table.liquidity, mask, self._slopes.middle,
                self._slopes.spread, self._slopes.scales, self._window, self._table.rho_ppm / 1e6, *self._table.shapes,
                self._out.equity, self._out.initial_margin, self._out.maintenance_margin, self._room, self._first,
                self._movers, writes,
            )
        )  # fmt: skip

    def _lay(self) -> None:
        accounts, buckets = self._arena.accounts, self._table.liquidity.shape[0] // LIQUIDITY_WIDTH
        movers = buckets * self._slopes.scales.shape[0]
        self._first = np.zeros(accounts + 1, dtype=np.int64)
        self._movers = np.zeros(0, dtype=np.uint16 if movers <= 65_536 else np.uint32)
        pairs = self._measure(self._everyone, writes=False)
        self._movers = np.zeros(pairs, dtype=self._movers.dtype)
        self._measure(self._everyone, writes=True)
        self._column = np.concatenate([[0], np.cumsum(np.bincount(self._movers, minlength=movers))]).astype(np.int64)
        blocks = -(-np.diff(self._column) // BLOCK)
        self._block = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
        self._place, self._account = np.zeros(pairs, dtype=np.int32), np.zeros(pairs, dtype=np.int32)
        self._edge = np.zeros(2 * pairs, dtype=np.float32)  # two a pair: how far its mover may fall, and rise
        self._blocks = np.zeros(2 * int(self._block[-1]), dtype=np.float32)
        self._moved = np.zeros(movers)
        self._buckets = buckets
        order = np.argsort(self._room, kind="stable")
        file_pairs(
            order, self._first, self._movers, self._room, self._column[:-1].copy(), self._account, self._edge,
            self._slopes.scales, buckets, self._place,
        )  # fmt: skip
        for mover in range(movers):
            edges(self._column[mover], self._column[mover + 1], self._block[mover], self._edge, self._blocks)

    def _centre(self, found: int) -> None:
        now = min(found, max(1, int(RECENTRED_MAX * self._arena.accounts)))
        chosen = self._found[:now]
        self._measure(chosen, writes=False)
        recentre(
            chosen, self._first, self._movers, self._place, self._room, self._slopes.scales, self._buckets,
            self._moved, self._column, self._block, self._window, self._edge, self._blocks,
        )  # fmt: skip
        self._found[: found - now] = self._found[now:found].copy()
        self._stale = found - now
