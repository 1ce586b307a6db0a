"""What moves options between two sweeps: their coin, volatility, and what is left: time, smiles, curvature.

Slopes come from prices moved and priced again. What they do not foretell is measured line by line at each mark and is a
mover of its own, with a slack of its own, so that the bound holds however good the slopes are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.intervals import Slopes
from services.risk_evaluation.domain.sweep.lanes import aligned
from services.risk_evaluation.domain.sweep.layout import CLAIM, NOTIONAL, VALUE, KernelTable, kernel_table

BUMP = 0.01  # share by which prices and volatilities are moved to see what options do
REST_SCALE = 50.0  # what is left may become as large as its unit within a window of a fiftieth
LEAST = 1e-7  # of an option's coins: what counts as nothing, so that a unit is never 0


@dataclass(frozen=True, slots=True)
class Bumped:
    """Prices once every coin is worth more, less, and once every volatility is higher, each by `BUMP`."""

    up: Prices
    down: Prices
    vol: Prices


@dataclass(frozen=True, slots=True)
class OptionSlopes:
    """What options do per unit of their movers, 10^-6 USD; lanes as in `Slopes`.

    Args:
        line, bucket: (options) where each stands. worth: (options, width) at the reference.
        coin, vol: (options, width) per relative move. unit: (options) of what is left.
        delta: (options) notional of the coins that a lot stands for; delta_coin, delta_vol, delta_unit: as of `worth`.
        coins: (options) notional of all coins of a lot. vols: (options) at the reference.
    """

    line: I8
    bucket: I8
    worth: F8
    coin: F8
    vol: F8
    unit: F8
    delta: F8
    delta_coin: F8
    delta_vol: F8
    delta_unit: F8
    coins: F8
    vols: F8

    def moves(self, prices: Prices, table: KernelTable, coin: F8) -> tuple[F8, F8]:
        """(buckets) how far volatilities are from the reference, and how much is left beyond what slopes foretell.

        Args:
            coin: (buckets) how far each coin is.
        """
        held = self.vols > 0.0
        risen = np.divide(prices.options.vols, self.vols, out=np.ones_like(self.vols), where=held) - 1.0
        many = np.maximum(np.bincount(self.bucket, weights=held, minlength=coin.shape[0]), 1.0)
        vol = np.bincount(self.bucket, weights=risen, minlength=coin.shape[0]) / many
        off = worth(table)[self.line] - self.worth
        by_coin, by_vol = coin[self.bucket], vol[self.bucket]
        off -= by_coin[:, None] * self.coin + by_vol[:, None] * self.vol
        delta = prices.options.delta_notional - self.delta - by_coin * self.delta_coin - by_vol * self.delta_vol
        coins = prices.options.index_notional - self.coins * (1.0 + by_coin)
        left = np.maximum(np.max(np.abs(off), axis=1) / self.unit, np.abs(delta) / self.delta_unit)
        left = np.maximum(left, np.abs(coins) / _least(self.coins))
        rest = np.zeros(coin.shape[0])
        np.maximum.at(rest, self.bucket, left)
        return vol, rest


def option_slopes(model: Model, prices: Prices, bumped: Bumped) -> OptionSlopes:
    """The slopes at these prices."""
    line, options = model.wide.option, prices.options
    bucket = np.array(model.wide.order.bucket, dtype=np.int64)[line]
    here, up, down, vol = (
        worth(kernel_table(model, each))[line] for each in (prices, bumped.up, bumped.down, bumped.vol)
    )
    unit = np.array([prices.unit[asset] for asset in model.risky])
    risen, fallen = (
        (np.array([each.unit[asset] for asset in model.risky]) / unit - 1.0)[bucket][:, None]
        for each in (bumped.up, bumped.down)
    )
    coin = (up - down) / (risen - fallen)
    curve = np.maximum(np.abs(up - here - risen * coin), np.abs(down - here - fallen * coin)).max(axis=1)
    least, delta = _least(options.index_notional), options.delta_notional
    delta_up, delta_down, delta_vol = (
        each.options.delta_notional - delta for each in (bumped.up, bumped.down, bumped.vol)
    )
    delta_coin = (delta_up - delta_down) / (risen - fallen)[:, 0]
    bent = np.maximum(np.abs(delta_up - risen[:, 0] * delta_coin), np.abs(delta_down - fallen[:, 0] * delta_coin))
    return OptionSlopes(
        line=line,
        bucket=bucket,
        worth=here,
        coin=coin,
        vol=(vol - here) / BUMP,
        unit=curve + 0.1 * np.abs(vol - here).max(axis=1) + least,
        delta=delta,
        delta_coin=delta_coin,
        delta_vol=delta_vol / BUMP,
        delta_unit=bent + 0.1 * np.abs(delta_vol) + least,
        coins=options.index_notional,
        vols=options.vols,
    )


def _least(coins: F8) -> F8:
    least: F8 = LEAST * coins + 1.0
    return least


def worth(table: KernelTable) -> F8:
    """(lines, width) what a unit of each line adds to equity less requirement, in the lanes of `Slopes`."""
    a, b, _ = table.widths.lanes
    rows, rho = table.rows.reshape(-1, table.width), table.rho_ppm / 1e6
    value, first = rows[:, a + b + VALUE][:, None], a + b + CLAIM + table.widths.claims
    out = np.zeros_like(rows)
    out[:, :a] = value - rows[:, :a]
    last = first + table.widths.stresses
    for part in (slice(a, a + b), slice(first, last)):
        out[:, part] = rho * (value - rows[:, part]) - (rho - 1.0) * value
    out[:, a + b + VALUE] = value[:, 0]
    out[:, a + b + NOTIONAL] = rows[:, a + b + NOTIONAL]
    return out


def with_options(slopes: Slopes, table: KernelTable, options: OptionSlopes, *, window: float) -> Slopes:
    """Slopes in which options move too: with their coin, with half spreads, and by two more movers a bucket.

    The add-ons change by no more than lots times what notional changes: basis by its share of that of any line, naked
    shorts by theirs of all coins.
    """
    kinds, shape = slopes.scales.shape[0], (-1, table.bucket.shape[0], table.width)
    a, b, _ = table.widths.lanes
    rho, extra, notional = table.rho_ppm / 1e6, table.add_ons, a + b + NOTIONAL
    size = (kinds + 2) * table.bucket.shape[0] * table.width
    middle, spread = aligned(size).reshape(shape), aligned(size).reshape(shape)
    middle[:kinds], spread[:kinds] = slopes.middle.reshape(shape), slopes.spread.reshape(shape)
    line = options.line
    middle[0, line], middle[kinds, line] = options.coin, options.vol
    spread[kinds + 1, line] = options.unit[:, None]
    naked = np.zeros(middle.shape[:2])
    for kind, delta, coins in (
        (0, np.abs(options.delta_coin), options.coins),
        (kinds, np.abs(options.delta_vol), 0.0 * options.coins),
        (kinds + 1, options.delta_unit, _least(options.coins)),
    ):  # which options are short is not asked, so nothing nets
        middle[kind, line, notional], spread[kind, line, notional] = 0.0, delta
        naked[kind, line] = rho * extra.naked * coins
    charged = naked + rho * extra.basis * (np.abs(middle[:, :, notional]) + spread[:, :, notional])
    charged[kinds - 1] = 0.0
    for lanes in (slice(0, a + b + VALUE + 1), slice(a + b + CLAIM, table.width)):
        spread[:, :, lanes] += charged[:, :, None]
    spread[kinds - 1, line, :a] = (rho * (1.0 + window) * options.coins)[:, None]
    scales = np.concatenate([slopes.scales, [REST_SCALE, REST_SCALE]])
    return Slopes(middle.reshape(-1), spread.reshape(-1), scales)


def widest(table: KernelTable, options: OptionSlopes) -> KernelTable:
    """The table with the largest notional that an option may come to stand for."""
    rows = aligned(table.rows.shape[0])
    rows[:] = table.rows
    a, b, _ = table.widths.lanes
    rows.reshape(-1, table.width)[options.line, a + b + NOTIONAL] = options.coins
    return replace(table, rows=rows)
