"""The bench's market and books, seeded: 2,000 instruments, 1,750 of them options, 10.6 positions an account.

50 spots and 200 perps on 200 underlyings; options on ten of them, seven expiries by 25 strikes. What an account holds
follows popularity by rank; nearly seven of ten hold the first underlying. 33 scenarios: no move, and 16 of the initial
and 16 of the maintenance grid (spot by vol, two damped tails), each of its own range; four joint stresses beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.lines import LineOrder
from services.risk_evaluation.domain.model import Liquidity
from services.risk_evaluation.domain.options.grid import price_grid, scenarios_of
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone
from services.risk_evaluation.domain.sweep.intervals import Bounds, Slopes, slopes
from services.risk_evaluation.domain.sweep.layout import KernelTable, pack
from services.risk_evaluation.domain.sweep.orders import OrderTable, order_rows

SEED = 7
UNDERLYINGS, SPOTS, OPTION_UNDERLYINGS, EXPIRIES, STRIKES = 200, 50, 10, 7, 25
OPTIONS = EXPIRIES * STRIKES
USD6 = 1e6
RHO_PPM, BLEND, WINDOW = 1_100_000, 0.5, 0.02
SPOT, PERP, OPTION = range(3)
TAIL_SHARE = 0.35
_GRID = [(spot, vol) for spot in (-1.0, -0.5, 0.0, 0.5, 1.0) for vol in (-0.4, 0.0, 0.4) if spot != 0.0 or vol != 0.0]
_WIDE = [(spot / 5, vol) for spot in range(-5, 6) for vol in (-0.4, 0.0, 0.4) if spot != 0 or vol != 0.0]
_STRESSES = 4


@dataclass(frozen=True, slots=True)
class Valued:
    """Values of a unit of each line, 10^-6 USD, and their slopes by relative spot move; (lines, scenarios)."""

    value: F8
    slope: F8


@dataclass(frozen=True, slots=True)
class Market:
    """Prices at the reference, and what the scenarios are.

    Args:
        underlying, kind: (lines). spot: (underlyings). strike, years, vol, side: (lines), of options.
        reach: (underlyings) range of the initial grid; the maintenance grid takes half.
        stress: (stresses, underlyings).
    """

    underlying: I8
    kind: I8
    spot: F8
    strike: F8
    years: F8
    vol: F8
    side: I8
    reach: F8
    stress: F8
    wide: bool = False
    lines: int = field(init=False, default=SPOTS + UNDERLYINGS + OPTION_UNDERLYINGS * OPTIONS)

    @property
    def grid(self) -> list[tuple[float, float]]:
        """Spot and vol points of a grid, without the one that does not move."""
        return _WIDE if self.wide else _GRID

    @property
    def options(self) -> I8:
        """Lines that are options."""
        return np.flatnonzero(self.kind == OPTION)

    @property
    def order(self) -> LineOrder:
        """Lines by bucket."""
        first = tuple(int(one) for one in np.searchsorted(self.underlying, np.arange(UNDERLYINGS)))
        return LineOrder(tuple(self.underlying.tolist()), first, (), ())

    def worth(self, now: F8, factor: F8, vol_factor: F8) -> Valued:
        """Worth of a unit under scenarios.

        Args:
            now: (underlyings) spot. factor: (underlyings, scenarios) on spot. vol_factor: (scenarios).
        """
        of = self.underlying
        slope = (self.spot[:, None] * factor)[of] * USD6
        value = (now[:, None] * factor)[of] * USD6
        for underlying in range(OPTION_UNDERLYINGS):  # each has its own factors
            these = np.flatnonzero((self.kind == OPTION) & (of == underlying))
            price, greeks = price_grid(
                np.full(OPTIONS, now[underlying]), self.strike[these], self.years[these], self.vol[these],
                np.ones(OPTIONS), scenarios_of(factor[underlying], vol_factor), kinds=self.side[these],
            )  # fmt: skip
            value[these], slope[these] = price * USD6, greeks[0] * slope[these]
        return Valued(value, slope)

    def scenarios(self, now: F8, share: float) -> tuple[Valued, Valued, F8]:
        """The grid at a share of the ranges, today, and how much of each scenario's change counts."""
        points = self.grid
        spots, vols = np.array([spot for spot, _ in points]), np.array([vol for _, vol in points])
        damp = np.ones(len(points))
        if not self.wide:
            spots, vols, damp = (
                np.append(spots, [-2.0, 2.0]),
                np.append(vols, [0.4, 0.4]),
                np.append(damp, [TAIL_SHARE] * 2),
            )
        grid = self.worth(now, 1.0 + share * self.reach[:, None] * spots, 1.0 + vols)
        return grid, self.worth(now, np.ones((UNDERLYINGS, 1)), np.ones(1)), damp

    def table(self, moved: F8) -> KernelTable:
        """The kernel's table when the underlyings have moved from the reference by these shares."""
        now = self.spot * (1.0 + moved)
        initial, today, damp = self.scenarios(now, 1.0)
        maintenance = self.scenarios(now, 0.5)[0]
        stress = self.worth(now, 1.0 + self.stress.T, np.ones(_STRESSES))
        slow = self.worth(now * 0.999, np.ones((UNDERLYINGS, 1)), np.ones(1))
        return pack(
            initial=damp * (initial.value - today.value),
            maintenance=damp * (maintenance.value - today.value),
            stresses=stress.value - today.value,
            slow=(slow.value - today.value)[:, 0],
            rest=np.stack([today.value[:, 0], self.notional(now)], axis=1),
            order=self.order,
            liquidity=self.liquidity,
            blend=BLEND,
            rho_ppm=RHO_PPM,
        )

    def notional(self, now: F8) -> F8:
        """Net notional of a unit: an option counts as the underlying that it may deliver."""
        sign = np.where((self.kind == OPTION) & (self.side == 1), -1.0, 1.0)
        return sign * now[self.underlying] * USD6

    @property
    def liquidity(self) -> tuple[Liquidity, ...]:
        """Half a spread of 2 to 40 bp, and impact by the square root of size against daily volume."""
        rank = np.arange(1, UNDERLYINGS + 1)
        return tuple(Liquidity(0.0001 * (1.0 + 0.1 * one), 0.05 / np.sqrt(2e16 / one), 0.25) for one in rank.tolist())

    def slopes(self, table: KernelTable) -> Slopes:
        """Bounds on slopes by spot over the window: deltas rise with spot, so its ends hold what is between."""
        ends = tuple(self._bound(side * WINDOW) for side in (-1.0, 1.0))
        return slopes(table, [(ends[0], ends[1], 1.0)])

    def _bound(self, moved: float) -> Bounds:
        now = self.spot * (1.0 + moved)
        initial, today, damp = self.scenarios(now, 1.0)
        maintenance = self.scenarios(now, 0.5)[0]
        stress = self.worth(now, 1.0 + self.stress.T, np.ones(_STRESSES))
        rest = np.stack([today.slope[:, 0], self.notional(self.spot)], axis=1)
        # A damped scenario is worth a mean of itself and today, whose bounds both lie at this end.
        mean = (
            damp * initial.slope + (1.0 - damp) * today.slope,
            damp * maintenance.slope + (1.0 - damp) * today.slope,
        )
        return *mean, stress.slope, rest


def market(*, wide: bool = False) -> Market:
    """The market at the reference; `wide` has a grid of 33 for initial and another for maintenance margin."""
    random = np.random.default_rng(SEED)
    underlying, kind = [], []
    for one in range(UNDERLYINGS):
        kinds = [SPOT] * (one < SPOTS) + [PERP] + [OPTION] * (OPTIONS if one < OPTION_UNDERLYINGS else 0)
        underlying += [one] * len(kinds)
        kind += kinds
    lines = len(kind)
    spot = np.concatenate([[60_000.0, 3_000.0], 10.0 ** random.uniform(-1.0, 2.5, UNDERLYINGS - 2)])
    strike, years, vol, side = np.zeros(lines), np.zeros(lines), np.zeros(lines), np.zeros(lines, dtype=np.int64)
    options = np.flatnonzero(np.array(kind) == OPTION)
    number = np.arange(options.shape[0]) % OPTIONS
    of = np.array(underlying)[options]
    years[options] = np.array([1, 7, 14, 30, 60, 120, 270])[number // STRIKES] / 365.0
    step = (number % STRIKES - STRIKES // 2) / 12.0
    base = 0.55 + 0.03 * of
    strike[options] = spot[of] * np.exp(step * 2.0 * base * np.sqrt(years[options]))
    vol[options] = base * (1.0 + 0.15 * step**2)
    side[options] = (step < 0.0).astype(np.int64)  # out of the money: puts below, calls above
    sigma = 0.6 + random.uniform(0.0, 1.0, UNDERLYINGS)
    reach = 1.0 - np.exp(-2.33 * sigma * np.sqrt(1 / 365.0))
    stress = random.uniform(-2.0, 0.3, (_STRESSES, UNDERLYINGS)) * reach
    return Market(np.array(underlying), np.array(kind), spot, strike, years, vol, side, reach, stress, wide)


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines of the accounts, sorted by account and line; `money` is cash and variation of each account."""

    accounts: int
    of: I8
    line: I8
    quantity: F8
    money: F8

    def arena(self) -> Arena:
        """A fresh slab."""
        lines = SPOTS + UNDERLYINGS + OPTION_UNDERLYINGS * OPTIONS
        return Arena.of(lines=lines, accounts=self.accounts, of=self.of, index=self.line, quantity=self.quantity)


def positions(one: Market, table: KernelTable, accounts: int) -> Positions:
    """A book. Cash and variation are set so that one account in 23 is below its initial margin."""
    random = np.random.default_rng([SEED, accounts])
    weight = np.zeros(one.lines)
    rank = 1.0 / np.arange(1, UNDERLYINGS + 1) ** 0.76
    for kind, share in ((SPOT, 0.20), (PERP, 0.45), (OPTION, 0.35)):
        these = np.flatnonzero(one.kind == kind)
        popular = rank[one.underlying[these]]
        if kind == OPTION:
            number = np.arange(these.shape[0]) % OPTIONS
            popular = popular * np.exp(-(((number % STRIKES - 12) / 6.0) ** 2)) / (1 + number // STRIKES)
        weight[these] = share * popular / popular.sum()
    drawn = np.minimum(1 + np.floor(random.lognormal(1.92, 0.97, accounts)).astype(np.int64), 260)
    of = np.repeat(np.arange(accounts), drawn)
    line = np.searchsorted(np.cumsum(weight) / weight.sum(), random.random(of.shape[0]))
    key = np.unique(of * 4096 + np.minimum(line, one.lines - 1))
    of, line = key >> 12, key & 4095
    size = np.exp(random.normal(7.0, 1.5, of.shape[0])) / one.spot[one.underlying[line]]
    side = np.where(one.kind[line] == SPOT, 1.0, np.where(random.random(of.shape[0]) < 0.5, 1.0, -1.0))
    bare = Positions(accounts, of, line, size * side, np.zeros(accounts))
    out = Standings.of(accounts)
    run_alone(bare.arena(), bare.money, table, np.arange(accounts), out)
    aimed = np.rint(out.initial_margin * random.lognormal(1.2, 0.7, accounts))
    return Positions(accounts, of, line, size * side, aimed - out.equity)


def orders(one: Market, table: KernelTable, accounts: int, *, share: float = 0.10) -> OrderTable:
    """One to three open orders of perps for a share of the accounts."""
    random = np.random.default_rng([SEED, accounts, 1])
    many = np.where(random.random(accounts) < share, random.integers(1, 4, accounts), 0)
    of = np.repeat(np.arange(accounts), many)
    rank = 1.0 / np.arange(1, UNDERLYINGS + 1)
    bucket = np.searchsorted(np.cumsum(rank) / rank.sum(), random.random(of.shape[0]))
    sequence = np.lexsort((bucket, of))
    bucket = bucket[sequence]
    side = np.where(random.random(of.shape[0]) < 0.5, 1.0, -1.0)
    grid, _, damp = one.scenarios(one.spot, 1.0)
    perps = np.flatnonzero(one.kind == PERP)
    now = (one.spot * USD6)[:, None]
    value = np.concatenate([now + damp * (grid.value[perps] - now), now * (1.0 + one.stress.T)], axis=1)
    initial = damp.shape[0]
    return OrderTable(
        start=np.concatenate([[0], np.cumsum(many)]),
        bucket=bucket,
        instrument=bucket,
        lots=side * np.exp(random.normal(7.0, 1.5, of.shape[0])) / one.spot[bucket],
        paid=one.spot[bucket] * (1.0 - side * random.uniform(0.0, 0.05, of.shape[0])) * USD6,
        fee=np.full(of.shape[0], 0.0005),
        leg_start=np.zeros(UNDERLYINGS + 1, dtype=np.int64),
        leg_line=np.zeros(0, dtype=np.int64),
        leg_lots=np.zeros(0),
        notional=one.spot * USD6,
        rows=order_rows(
            value, np.ones_like(value), slice(0, initial), slice(initial, initial + _STRESSES), table=table
        ),
    )
