"""The grid eight cells at a time has the bits of one cell after the other, at the edges too."""

from __future__ import annotations

import numpy as np
import pytest

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.options.cell import LineKind, cell
from services.risk_evaluation.domain.options.grid import GridScenarios, price_grid
from services.risk_evaluation.domain.options.normal import log

EDGES = (0.0, 1e-300, 1e-18, 1e-9, 1e-3, 0.5, 1.0, 7.0, 1e4)


def lines(random: np.random.Generator, count: int) -> list[F8]:
    forward = np.exp(random.normal(0.0, 3.0, count))
    strike = forward * np.exp(random.normal(0.0, 0.6, count))
    years, vol = random.exponential(0.4, count), random.exponential(0.8, count)
    for column in (forward, strike, years, vol):
        odd = random.random(count) < 0.08
        column[odd] = random.choice(EDGES, int(odd.sum()))
    near = random.random(count) < 0.2
    strike[near] = forward[near]
    return [forward, strike, years, vol, np.exp(-random.normal(0.02, 0.05, count) * years)]


@pytest.mark.parametrize("columns", [1, 7, 8, 33])
@pytest.mark.parametrize("seed", range(3))
def test_eight_at_a_time_have_the_bits_of_one(columns: int, seed: int) -> None:
    random = np.random.default_rng([seed, columns])
    forward, strike, years, vol, discount = lines(random, 400)
    kinds = random.integers(0, len(LineKind), 400)
    kinds[:300] = random.integers(0, 2, 300)
    spot, factor = np.exp(random.normal(0.0, 0.3, columns)), random.exponential(1.0, columns)
    floor = np.where(random.random(columns) < 0.3, 0.2, 0.0)
    passed = np.where(random.random(columns) < (0.05 if seed else 0.0), 0.01, 0.0)
    if seed == 2:
        spot[0] = 0.0
    fixed = np.where(random.random(400) < 0.05, 0.5 * forward, 0.0)
    scenarios = GridScenarios(spot, factor, floor, passed)
    prices, greeks = price_grid(forward, strike, years, vol, discount, scenarios, kinds=kinds, fixed=fixed)
    for line in range(400):
        for column in range(columns):
            moved = fixed[line] + (forward[line] - fixed[line]) * spot[column]
            if passed[column] > 0.0 or fixed[line] != 0.0:
                continue  # their factors are the grid's own
            base = log(forward[line] / strike[line]) if forward[line] > 0.0 and strike[line] > 0.0 else 0.0
            moneyness = base + (log(spot[column]) if spot[column] > 0.0 else -np.inf)
            rate = -log(discount[line]) / years[line] if years[line] > 0.0 and discount[line] > 0.0 else 0.0
            shocked = max(vol[line] * factor[column], floor[column])
            alone = cell(int(kinds[line]), moved, strike[line], moneyness, years[line], shocked, discount[line], rate)
            found = (prices[line, column], *greeks[:, line, column])
            assert np.array(found).tobytes() == np.array(alone).tobytes(), (line, column, found, alone)
