"""What moves a live book between two sweeps: each coin's mark, each margined instrument's, each bucket's half spread.

Volatility profiles move scenario ranges, not prices of lines: a new model is a new reference, and so is funding. What
options are worth moves with volatility and time too (`option_movers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import InstrumentKind
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.lines import wide_table
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.intervals import Bounds, Slopes, slopes
from services.risk_evaluation.domain.sweep.layout import HALF_SPREAD, LIQUIDITY_WIDTH, KernelTable
from services.risk_evaluation.domain.sweep.option_movers import (
    Bumped,
    OptionSlopes,
    option_slopes,
    widest,
    with_options,
    worth,
)

WINDOW = 0.02  # how far a mark may go from the reference, as a share
SPREAD_SCALE = 0.1  # a half spread, a share of notional too, gets so much of a mark's room
RENEW_SHARE = 0.7  # of the window, after which the reference is renewed


@dataclass(frozen=True, slots=True)
class Reference:
    """Prices from which moves are counted, with the slopes that hold around them.

    Args:
        lines: (movers a bucket, buckets) line that a mover of a bucket is the mark of, -1 for none; the last mover is
            the half spread; where `options` tells what these do, two more follow, volatility and what is left.
        worth: as `option_movers.worth` gives it.
        marks: (lines) what moves with each line's mark in proportion. table: the kernel's, with half spreads as wide
            as they may become.
    """

    model: Model
    prices: Prices
    slopes: Slopes
    lines: I8
    marks: F8
    table: KernelTable
    worth: F8
    options: OptionSlopes | None

    def moves(self, prices: Prices, table: KernelTable) -> Mapping[int, float]:
        """How far each mover is from the reference, by its number: kind · buckets + bucket.

        Args:
            table: at these prices.
        """
        now = _marks(self.model, prices)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(now == self.marks, 0.0, now / self.marks - 1.0)
        found: dict[int, float] = {}
        kinds, buckets = self.lines.shape
        for kind in range(kinds - 1):
            for bucket in range(buckets):
                line = int(self.lines[kind, bucket])
                if line >= 0:
                    moved = float(shares[line])
                    found[kind * buckets + bucket] = moved if np.isfinite(moved) else np.inf
        for bucket, (one, was) in enumerate(zip(prices.liquidity, self.prices.liquidity, strict=True)):
            same = replace(one, half_spread=was.half_spread) == was
            found[(kinds - 1) * buckets + bucket] = one.half_spread - was.half_spread if same else np.inf
        if not self._is_foretold(found, table):
            found[0] = np.inf
        elif self.options is not None:
            coin = np.array([found[bucket] for bucket in range(buckets)])
            for number, moved_by in enumerate(self.options.moves(prices, table, coin)):
                for bucket in range(buckets):
                    found[(kinds + number) * buckets + bucket] = float(moved_by[bucket])
        return found

    def _is_foretold(self, moves: Mapping[int, float], table: KernelTable) -> bool:
        """Whether what ends is worth what the slopes say: in its last half hour its mark is not all that moves it."""
        wide, (kinds, buckets) = self.model.wide, self.lines.shape
        ending = [line for one, line in zip(self.model.margined, wide.order.margined, strict=True) if one.closes_ns]
        shape = (-1, table.bucket.shape[0], table.width)
        middle, spread = self.slopes.middle.reshape(shape), self.slopes.spread.reshape(shape)
        now = worth(table)
        for line in ending:
            by = [(kind, moves.get(kind * buckets + wide.order.bucket[line], 0.0)) for kind in range(kinds - 1)]
            by = [(kind, moved) for kind, moved in by if kind == 0 or self.lines[kind, wide.order.bucket[line]] == line]
            off = np.abs(now[line] - self.worth[line] - sum(moved * middle[kind, line] for kind, moved in by))
            room = sum(abs(moved) * spread[kind, line] for kind, moved in by) + 1e-9 * np.abs(now[line]) + 1e-3
            if np.any(off > room):
                return False
        return True

    def is_far(self, moves: Mapping[int, float]) -> bool:
        """Whether some mark nears the end of the window."""
        _, buckets = self.lines.shape
        scales = self.slopes.scales
        return any(abs(moved) > RENEW_SHARE * WINDOW * scales[number // buckets] for number, moved in moves.items())


def is_covered(model: Model) -> bool:
    """Whether intervals cover a model: nothing settles in, or is quoted in, another coin that moves."""
    still = [column for column in range(len(model.assets)) if column not in model.risky]
    quoted = [one for one in model.instruments if not one.is_paid_up]
    return not model.lines.settles and all(model.asset_column[one.quote] in still for one in quoted)


def reference(model: Model, prices: Prices, table: KernelTable, bumped: Bumped | None = None) -> Reference:
    """The reference at these prices, options covered where it is known what they do. Requires `is_covered`."""
    order = model.wide.order
    buckets = len(order.coin)
    margined: list[list[int]] = [[] for _ in range(buckets)]
    for line in order.margined:
        margined[order.bucket[line]].append(line)
    kinds = 2 + max((len(each) for each in margined), default=0)
    lines = np.full((kinds, buckets), -1, dtype=np.int64)
    lines[0] = order.coin
    for bucket, found in enumerate(margined):
        lines[1 : 1 + len(found), bucket] = found
    low, high = _bounds(model, prices)
    moved = []
    for kind in range(kinds - 1):
        mine = lines[kind][lines[kind] >= 0] if kind else None
        moved.append((_of(low, model, mine), _of(high, model, mine), 1.0))
    moved.append((*_spread_bounds(model, prices), SPREAD_SCALE))
    wide = table.liquidity.copy()
    wide.reshape(-1, LIQUIDITY_WIDTH)[:, HALF_SPREAD] += WINDOW * SPREAD_SCALE
    found_slopes, widened = slopes(table, moved), replace(table, liquidity=wide)
    options = option_slopes(model, prices, bumped) if bumped is not None and model.options else None
    if options is not None:
        found_slopes = with_options(found_slopes, table, options, window=WINDOW)
        widened = widest(widened, options)
    return Reference(model, prices, found_slopes, lines, _marks(model, prices), widened, worth(table), options)


@dataclass(frozen=True, slots=True)
class _Slopes:
    # (lines, scenarios + 2): by the coin's mark, and by the line's own; value in each scenario, then value, notional.
    coin: F8
    own: F8


def _bounds(model: Model, prices: Prices) -> tuple[_Slopes, _Slopes]:
    order, scenarios = model.wide.order, model.moves.shape[0]
    table = wide_table(model, prices)
    value, notional = table[:, scenarios + 1], table[:, scenarios + 2]
    whole = np.concatenate([table[:, :scenarios] + value[:, None], value[:, None], notional[:, None]], axis=1)
    low, high = (_Slopes(np.zeros_like(whole), np.zeros_like(whole)) for _ in range(2))
    coins = list(order.coin)
    for bounds in (low, high):
        bounds.coin[coins] = whole[coins]  # a coin is worth its mark, times a factor, in every scenario
    for number, (one, line) in enumerate(zip(model.margined, order.margined, strict=True)):
        notionals = float(prices.lot_notional[number])  # c·M, or c/M coins, in USD
        if one.kind is InstrumentKind.INVERSE_PERP:
            paid = -whole[line] - notionals  # F·S in each scenario: the lot is worth −c·S/M − F·S there
            paid[-1] = -whole[line, -1]
            for bounds, side in ((low, -1.0), (high, 1.0)):
                bounds.coin[line] = -notionals / (1.0 + side * WINDOW) - paid
                bounds.coin[line, -1] = -paid[-1]
                bounds.own[line, :-1] = notionals * (1.0 + side * WINDOW) / (1.0 - side * WINDOW) ** 2
        else:
            change = table[line, :scenarios] + notionals  # c·M·(1 + move)
            for bounds in (low, high):
                bounds.own[line] = np.concatenate([change, [notionals, notionals]])
    return low, high


def _of(bounds: _Slopes, model: Model, lines: I8 | None) -> Bounds:
    # What a coin's mark moves; or, of these lines, what their own marks do.
    whole = bounds.coin
    if lines is not None:
        whole = np.zeros_like(bounds.own)
        whole[lines] = bounds.own[lines]
    return whole[:, model.initial_rows], whole[:, model.maintenance_rows], whole[:, model.stress_rows], whole[:, -2:]


def _spread_bounds(model: Model, prices: Prices) -> tuple[Bounds, Bounds]:
    # A is at most ρ times the half spread's share of the net notional, which the window may widen.
    notional = wide_table(model, prices)[:, model.moves.shape[0] + 2] * (model.initial_over_maintenance_ppm / PPM)
    near, far = notional * (1.0 - WINDOW), notional * (1.0 + WINDOW)
    nothing = np.zeros((notional.shape[0], model.moves.shape[0] + 2))
    rest = nothing[:, model.maintenance_rows], nothing[:, model.stress_rows], nothing[:, -2:]
    lanes = nothing[:, model.initial_rows]
    return (lanes + np.minimum(near, far)[:, None], *rest), (lanes + np.maximum(near, far)[:, None], *rest)


def _marks(model: Model, prices: Prices) -> F8:
    # By line: something that moves with its mark in proportion, 0 without one.
    found = np.zeros(len(model.wide.order.bucket))
    for position, line in enumerate(model.wide.order.coin):
        found[line] = prices.unit[model.risky[position]]
    for number, (one, line) in enumerate(zip(model.margined, model.wide.order.margined, strict=True)):
        notional = float(prices.lot_notional[number])
        if one.kind is InstrumentKind.INVERSE_PERP:
            found[line] = float(prices.settle[number]) / notional if notional > 0.0 else 0.0
        else:
            found[line] = notional
    return found
