"""The table the kernel gathers from: a row a line, its lanes in the order in which they are loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I4, I8
from services.risk_evaluation.domain.lines import LineOrder, wide_table
from services.risk_evaluation.domain.liquidity import capped_from
from services.risk_evaluation.domain.model import Liquidity, Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.lanes import FOLD, aligned, shape
from services.risk_evaluation.domain.sweep.special import AddOnTable, add_on_table, no_add_ons

# Lanes of the tail: what a line is worth, loses under the slow marks, its notional, its claims, then joint stresses.
VALUE, SLOW, NOTIONAL, CLAIM = range(4)
# Entries of a bucket's liquidity; the cap is of a long notional, then comes the cost at it.
HALF_SPREAD, IMPACT, MARGINAL, CAP, AT_CAP = range(5)
LIQUIDITY_WIDTH = 5
LINES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Widths:
    """Scenarios of each kind, and the lanes they take: multiples of eight.

    Args:
        claims: number of buckets whose coin settles instruments on others.
    """

    initial: int
    maintenance: int
    stresses: int
    claims: int

    @property
    def lanes(self) -> tuple[int, int, int]:
        """Lanes of initial grid, maintenance grid, tail."""
        return _up(self.initial), _up(self.maintenance), _up(CLAIM + self.claims + self.stresses)


@dataclass(frozen=True, slots=True)
class KernelTable:
    """What a partition's lines do under the marks in force, 10^-6 USD.

    Args:
        rows: (lines · width) flat: losses in the initial grid, in the maintenance grid, tail.
        single: (lines · 4) largest and least loss in the initial, in the maintenance grid, no move among them.
        bucket: (lines) as in `LineOrder`; `ordinary` is the first that settles others, `settles` lines of those coins.
        liquidity: (buckets · 5). floor_mask: (tail) 0 for stresses, else -infinity. add_ons: of options and what ends.
    """

    widths: Widths
    rows: F8
    single: F8
    bucket: I4
    settles: I8
    ordinary: int
    liquidity: F8
    floor_mask: F8
    blend: float
    rho_ppm: int
    add_ons: AddOnTable

    @property
    def width(self) -> int:
        """Lanes of a row."""
        return sum(self.widths.lanes)

    @property
    def owing(self) -> tuple[int, ...]:
        """What tells a kernel how many coins settle others, while it is made: most books have none."""
        return shape(self.widths.claims)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The lanes as the kernel takes them."""
        initial, maintenance, tail = self.widths.lanes
        return shape(initial), shape(maintenance), shape(tail)


def kernel_table(model: Model, prices: Prices) -> KernelTable:
    """The table of a model at these prices."""
    table = wide_table(model, prices)
    moves = model.moves.shape[0]
    return pack(
        initial=table[:, model.initial_rows],
        maintenance=table[:, model.maintenance_rows],
        stresses=table[:, model.stress_rows],
        slow=table[:, moves],
        rest=table[:, moves + 1 :],
        order=model.wide.order,
        liquidity=prices.liquidity,
        blend=model.blend,
        rho_ppm=model.initial_over_maintenance_ppm,
        add_ons=add_on_table(model, prices),
    )


def pack(
    *,
    initial: F8,
    maintenance: F8,
    stresses: F8,
    slow: F8,
    rest: F8,
    order: LineOrder,
    liquidity: tuple[Liquidity, ...],
    blend: float,
    rho_ppm: int,
    add_ons: AddOnTable | None = None,
) -> KernelTable:
    """The table from what a unit of each line changes.

    Args:
        initial, maintenance, stresses: (lines, scenarios) change. slow: (lines) change under the slow marks.
        rest: (lines, 2 + claims) value, notional, units of the coins that settle others.
    """
    widths = Widths(initial.shape[1], maintenance.shape[1], stresses.shape[1], len(order.settles))
    a, b, c = widths.lanes
    lines = initial.shape[0]
    rows = aligned(lines * (a + b + c))
    table = rows.reshape(lines, a + b + c)
    table[:, :a] = padded(-initial, a)
    table[:, a : a + b] = padded(-maintenance, b)
    tail = table[:, a + b :]
    tail[:, VALUE], tail[:, SLOW], tail[:, NOTIONAL] = rest[:, 0], -slow, rest[:, 1]
    tail[:, CLAIM : CLAIM + widths.claims] = rest[:, 2:]
    first = CLAIM + widths.claims
    tail[:, first : first + widths.stresses] = -stresses
    mask = np.full(c, -np.inf)
    mask[first : first + widths.stresses] = 0.0
    single = aligned(lines * 4)
    extremes = single.reshape(lines, 4)
    for column, part in ((0, table[:, :a]), (2, table[:, a : a + b])):
        extremes[:, column] = np.maximum(part.max(axis=1), 0.0)
        extremes[:, column + 1] = np.minimum(part.min(axis=1), 0.0)
    costs = [_costs(one) for one in liquidity]
    return KernelTable(
        widths=widths,
        rows=rows,
        single=single,
        bucket=np.array(order.bucket, dtype=np.int32),
        settles=np.array([order.coin[position] for position in order.settles], dtype=np.int64),
        ordinary=len(order.coin) - len(order.settles),
        liquidity=np.array(costs, dtype=np.float64).reshape(-1),
        floor_mask=mask,
        blend=blend,
        rho_ppm=rho_ppm,
        add_ons=add_ons or no_add_ons(lines, len(order.coin)),
    )


def _costs(one: Liquidity) -> tuple[float, ...]:
    cap = capped_from(one)
    at_cap = cap * (one.half_spread + one.impact * math.sqrt(cap)) if math.isfinite(cap) else 0.0
    return one.half_spread, one.impact, one.marginal_max, cap, at_cap


def padded(columns: F8, lanes: int) -> F8:
    """(rows, lanes) of (rows, scenarios)."""
    # Lanes beyond the last scenario repeat the first: they never are the first largest. Without scenarios all is 0.
    if columns.shape[1] == 0:
        return np.zeros((columns.shape[0], lanes))
    spare = np.repeat(columns[:, :1], lanes - columns.shape[1], axis=1)
    return np.concatenate([columns, spare], axis=1)


def _up(count: int) -> int:
    return max(FOLD, -(-count // FOLD) * FOLD)
