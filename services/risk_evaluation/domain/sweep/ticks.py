"""Keeps margins current from tick to tick: only who may have changed state is valued, or all when they are many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.risk_evaluation.domain.arrays import F8, I4, I8, Mask
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone
from services.risk_evaluation.domain.sweep.intervals import (
    BLOCK,
    Slopes,
    broken,
    edges,
    file_pairs,
    measure,
    recentre,
    signatures,
)
from services.risk_evaluation.domain.sweep.layout import LIQUIDITY_WIDTH, VALUE, KernelTable

SWEEP_ABOVE = 0.05  # of the accounts: one by one out of order costs about twenty times the stream
NOBODY: I4 = np.zeros(0, dtype=np.int32)
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

    An account whose lines changed is valued at the next tick. Where it then holds other lines than when the intervals
    were laid, it has no interval for what is new: it is *loose*, valued at every tick until they are laid anew.

    Args:
        table, slopes: at the reference, where every mover stands at 0.
        window: how far a mover may go, times its scale, before the reference must be renewed; `slopes` hold within.
        value: margins of chosen accounts at a table; None: each a sum over lines. Returns how many changed state.

    Attributes: valued: who was, at the last tick.
    """

    def __init__(
        self,
        arena: Arena,
        money: F8,
        table: KernelTable,
        slopes: Slopes,
        out: Standings,
        *,
        window: float,
        is_valued: bool = False,
        value: Callable[[KernelTable, npt.NDArray[Any]], int] | None = None,
    ) -> None:
        self._arena, self._money, self._out, self._window = arena, money, out, window
        self._value = value or self._alone
        self._now = 0  # ticks so far
        self.renew(table, slopes, is_valued=is_valued)

    def renew(self, table: KernelTable, slopes: Slopes, *, is_valued: bool = False) -> Tick:
        """Values everyone and lays all intervals anew around a new reference.

        Args:
            is_valued: everyone is valued at these prices already; costs of exit in `table` may be higher than now.
        """
        self._table, self._slopes = table, slopes
        accounts = self._out.equity.shape[0]
        self._everyone: I8 = np.arange(accounts)
        self._room = np.zeros(accounts, dtype=np.float32)
        self._stamp = np.full(accounts, -1, dtype=np.int32)
        self._found = np.zeros(accounts, dtype=np.int32)
        self._loose: I4 = np.zeros(0, dtype=np.int32)
        self._held = np.zeros(accounts, dtype=np.uint64)
        self._stale = 0  # accounts at the head of `_found` that every tick values
        self.valued: I8 | I4 = self._everyone
        changed = 0 if is_valued else run_alone(self._arena, self._money, table, self._everyone, self._out)
        self._lay()
        return Tick(accounts, True, changed)

    def put(self, money: F8, out: Standings) -> None:
        """Reads money from there and writes there from now on: longer arrays with the same content."""
        self._money, self._out = money, out

    @property
    def loose(self) -> int:
        """How many accounts are loose."""
        return int(self._loose.shape[0])

    @property
    def bytes(self) -> int:
        """Memory of the intervals."""
        arrays = (self._room, self._stamp, self._found, self._held, self._first, self._movers, self._place,
                  self._account, self._edge, self._blocks)  # fmt: skip
        return sum(int(each.nbytes) for each in arrays)

    def tick(
        self, table: KernelTable, moves: Mapping[int, float], *, dirty: I4 = NOBODY, skip: Mask | None = None
    ) -> Tick:
        """Takes new marks.

        Args:
            table: at the new marks. moves: by mover, kind · buckets + bucket, how far it now is from the reference.
            dirty: accounts whose lines or money changed since the last tick, each once. skip: (accounts) who is valued
                elsewhere.
        """
        self._now += 1
        found = self._stale
        self._stamp[self._found[:found]] = self._now
        for more in (self._loosened(dirty), self._loose):
            new = more[self._stamp[more] != self._now]
            self._stamp[new] = self._now
            self._found[found : found + new.shape[0]] = new
            found += new.shape[0]
        for mover, moved in moves.items():
            self._moved[mover] = moved
            found = broken(
                self._column[mover], self._column[mover + 1], self._block[mover], moved, self._account, self._edge,
                self._blocks, self._stamp, self._now, self._found, found,
            )  # fmt: skip
        swept = found > SWEEP_ABOVE * self._everyone.shape[0]
        chosen: Any = self._everyone if swept else self._found[:found]
        if skip is not None:
            chosen = chosen[~skip[chosen]]
        changed = self._value(table, chosen)
        self._centre(found)
        self.valued = chosen
        return Tick(chosen.shape[0], swept, changed)

    def _alone(self, table: KernelTable, chosen: npt.NDArray[Any]) -> int:
        return run_alone(self._arena, self._money, table, chosen, self._out)

    def _loosened(self, dirty: I4) -> I4:
        held = np.zeros(dirty.shape[0], dtype=np.uint64)
        signatures(dirty, self._arena.start, self._arena.count, self._arena.index, held)
        self._loose = np.union1d(self._loose, dirty[held != self._held[dirty]]).astype(np.int32)
        return dirty

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
        accounts, buckets = self._everyone.shape[0], self._table.liquidity.shape[0] // LIQUIDITY_WIDTH
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
        signatures(self._everyone, self._arena.start, self._arena.count, self._arena.index, self._held)
        for mover in range(movers):
            edges(self._column[mover], self._column[mover + 1], self._block[mover], self._edge, self._blocks)

    def _centre(self, found: int) -> None:
        now = min(found, max(1, int(RECENTRED_MAX * self._everyone.shape[0])))
        chosen = self._found[:now]
        self._measure(chosen, writes=False)
        recentre(
            chosen, self._first, self._movers, self._place, self._room, self._slopes.scales, self._buckets,
            self._moved, self._column, self._block, self._window, self._edge, self._blocks,
        )  # fmt: skip
        self._found[: found - now] = self._found[now:found].copy()
        self._stale = found - now
