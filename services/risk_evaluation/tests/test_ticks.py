"""No state change is missed when only accounts outside their intervals are valued, whatever moves together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.lines import LineOrder
from services.risk_evaluation.domain.model import Liquidity
from services.risk_evaluation.domain.options.grid import price_grid, scenarios_of
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone
from services.risk_evaluation.domain.sweep.intervals import Bounds, Slopes, slopes
from services.risk_evaluation.domain.sweep.layout import KernelTable, pack
from services.risk_evaluation.domain.sweep.ticks import Ticks

BUCKETS, OPTIONS, WINDOW, RHO_PPM = 4, 8, 0.02, 1_100_000
MOVES = np.array([-0.3, -0.15, -0.05, 0.05, 0.15, 0.3])
VOLS = np.array([1.3, 0.8, 1.2, 0.9, 1.25, 0.75])
STRESS = np.array([-0.2, 0.25])


@dataclass(frozen=True, slots=True)
class Market:
    """A coin and eight options on each of four underlyings."""

    spot: F8
    strike: F8
    years: F8
    vol: F8

    def worth(self, moved: F8, spot_factor: F8, vol_factor: F8, vol_moved: F8) -> tuple[F8, F8]:
        """Value of a unit of each line under scenarios, and its slope by relative spot move from the reference."""
        lines = BUCKETS * (1 + OPTIONS)
        value, slope = np.zeros((lines, spot_factor.shape[0])), np.zeros((lines, spot_factor.shape[0]))
        for bucket in range(BUCKETS):
            now, first = self.spot[bucket] * (1.0 + moved[bucket]), bucket * (1 + OPTIONS)
            value[first], slope[first] = now * spot_factor, self.spot[bucket] * spot_factor
            these = slice(bucket * OPTIONS, (bucket + 1) * OPTIONS)
            kinds = np.arange(OPTIONS, dtype=np.int64) % 2
            price, greeks = price_grid(
                np.full(OPTIONS, now), self.strike[these], self.years[these],
                self.vol[these] * (1.0 + vol_moved[bucket]), np.ones(OPTIONS), scenarios_of(spot_factor, vol_factor),
                kinds=kinds,
            )  # fmt: skip
            value[first + 1 : first + 1 + OPTIONS] = price
            slope[first + 1 : first + 1 + OPTIONS] = greeks[0] * self.spot[bucket] * spot_factor
        return value * 1e6, slope * 1e6

    def table(self, moved: F8, vol_moved: F8, *, sellable: float = math.inf) -> KernelTable:
        """The kernel's table at a move from the reference."""
        value, _ = self.worth(moved, np.ones(1), np.ones(1), vol_moved)
        grid = self.worth(moved, 1.0 + MOVES, VOLS, vol_moved)[0] - value
        stress = self.worth(moved, 1.0 + STRESS, np.ones(2), vol_moved)[0] - value
        side = np.tile(np.array([1.0] + [1.0, -1.0] * (OPTIONS // 2)), BUCKETS)
        notional = side * np.repeat(self.spot * (1.0 + moved), 1 + OPTIONS) * 1e6
        bucket = tuple(np.repeat(np.arange(BUCKETS), 1 + OPTIONS).tolist())
        return pack(
            initial=grid,
            maintenance=0.5 * grid,
            stresses=stress,
            slow=np.zeros(value.shape[0]),
            rest=np.stack([value[:, 0], notional], axis=1),
            order=LineOrder(bucket, tuple(range(0, BUCKETS * (1 + OPTIONS), 1 + OPTIONS)), (), ()),
            liquidity=(Liquidity(0.001, 1e-9, 0.3, sellable),) * BUCKETS,
            blend=0.5,
            rho_ppm=RHO_PPM,
        )

    def bounds(self, moved: float, notional: F8) -> Bounds:
        """Slopes of spot at one end of the window: deltas rise with spot, so the ends bound what is between."""
        at, still = np.full(BUCKETS, moved), np.zeros(BUCKETS)
        value = self.worth(at, np.ones(1), np.ones(1), still)[1]
        full = self.worth(at, 1.0 + MOVES, VOLS, still)[1]
        stress = self.worth(at, 1.0 + STRESS, np.ones(2), still)[1]
        rest = np.stack([value[:, 0], notional], axis=1)
        return full, value + 0.5 * (full - value), stress, rest


def market(random: np.random.Generator) -> Market:
    spot = np.array([60_000.0, 3_000.0, 100.0, 1.0])
    strike = np.repeat(spot, OPTIONS) * random.uniform(0.8, 1.2, BUCKETS * OPTIONS)
    years, vol = random.uniform(0.02, 1.0, BUCKETS * OPTIONS), random.uniform(0.4, 1.2, BUCKETS * OPTIONS)
    return Market(spot, strike, years, vol)


def spot_slopes(one: Market, table: KernelTable) -> Slopes:
    lines = BUCKETS * (1 + OPTIONS)
    notional = table.rows.reshape(lines, -1)[:, sum(table.widths.lanes[:2]) + 2]
    low, high = one.bounds(-WINDOW, notional), one.bounds(WINDOW, notional)
    # Maintenance values are a mean of today's and the scenario's: both rise with spot, so do the ends' bounds.
    return slopes(table, [(low, high, 1.0)])


def book(random: np.random.Generator, accounts: int, one: Market) -> tuple[Arena, F8]:
    lines = BUCKETS * (1 + OPTIONS)
    held = random.random((accounts, lines)) < 0.15
    of, index = np.nonzero(held)
    price = np.repeat(one.spot, 1 + OPTIONS)
    quantity = random.normal(size=of.shape[0]) * 10_000.0 / price[index]
    arena = Arena.of(lines=lines, accounts=accounts, of=of, index=index, quantity=quantity)
    return arena, random.uniform(-2_000.0, 25_000.0, accounts) * 1e6


@pytest.mark.parametrize("sellable", [math.inf, 10_000e6])
@pytest.mark.parametrize("size", [0.0002, 0.001, 0.004])
def test_joint_moves_miss_no_state_change(size: float, sellable: float) -> None:
    random = np.random.default_rng(round(size * 1e6))
    one, still = market(random), np.zeros(BUCKETS)
    arena, money = book(random, 3_000, one)
    table = one.table(still, still, sellable=sellable)
    ticks_out, sweep_out = Standings.of(3_000), Standings.of(3_000)
    ticks = Ticks(arena, money, table, spot_slopes(one, table), ticks_out, window=WINDOW)
    everyone, moved = np.arange(3_000), np.zeros(BUCKETS)
    changes = valued = 0
    for _ in range(60):
        moved = np.clip(moved + random.normal(size=BUCKETS) * size, -WINDOW * 0.999, WINDOW * 0.999)
        table = one.table(moved, still, sellable=sellable)
        before = ticks_out.state.copy()
        tick = ticks.tick(table, dict(enumerate(moved.tolist())))
        run_alone(arena, money, table, everyone, sweep_out)
        assert np.array_equal(ticks_out.state, sweep_out.state)
        assert tick.changed == int(np.count_nonzero(before != ticks_out.state))
        changes, valued = changes + tick.changed, valued + tick.valued
    assert changes > 20
    assert valued < 60 * 3_000
