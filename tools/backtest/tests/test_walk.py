"""Accounts begin at their margin, stay or are liquidated, and what is lost is counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from libs.common.config import load_parameters
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.volatility import model_under
from tools.backtest.books import cohort, population
from tools.backtest.history import Hourly, Stress, generated, marks_of, range_volatilities, recorded
from tools.backtest.walk import Walk, worst_moves

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = load_parameters(ROOT / "config").parameters
HOLDINGS = population(PARAMETERS, seed=7)
START = np.array([10_000.0, 800.0, 200.0])
NO_STRESS = np.zeros((1, 3))


def walk(prices: np.ndarray, *, static: bool = True) -> Walk:
    """A walk through prices by hour."""
    return Walk(PARAMETERS, Hourly(0, prices), HOLDINGS, stresses=NO_STRESS, is_static=static)


def steps(*levels: float) -> np.ndarray:
    """Hours that stand at these shares of the start, the last one for good."""
    tail = [levels[-1]] * (40 - len(levels))
    return np.array([START * level for level in (*levels, *tail)])


def test_every_account_begins_exactly_at_its_initial_margin() -> None:
    model = model_under(PARAMETERS, {})
    prices = price_book(model, marks_of(PARAMETERS, START))
    margins = evaluate(model, prices, cohort(PARAMETERS, model, prices, HOLDINGS))
    assert (margins.equity == margins.initial_margin).all()
    assert len(HOLDINGS) == 72


def test_prices_that_stand_still_harm_nobody() -> None:
    day = walk(steps(1.0)).day(0)
    assert not day.beyond_at_end.any()
    assert not day.liquidated.any()
    assert day.bad_debt.sum() == day.uncovered.sum() == 0.0


def test_a_fall_within_maintenance_is_borne_and_one_beyond_initial_is_debt() -> None:
    long = next(at for at, one in enumerate(HOLDINGS) if one.name == "long BTC perpetual")
    short = next(at for at, one in enumerate(HOLDINGS) if one.name == "short BTC perpetual")
    small, gap = walk(steps(1.0, 0.99)).day(0), walk(steps(1.0, 0.60)).day(0)
    assert not small.liquidated[long]
    assert gap.beyond_at_end[long]
    assert gap.liquidated[long]
    # 100,000 USD lose 40,000; margin and what selling costs are the rest.
    assert 0.0 < gap.bad_debt[long] - (40_000 - gap.initial_margin[long]) < 1_000
    assert gap.bad_debt[short] == gap.fees[short] == 0.0


def test_a_fall_that_comes_back_counts_on_the_way_only() -> None:
    day = walk(steps(1.0, 0.70, 1.0)).day(0)
    assert day.beyond_within.any()
    assert not day.beyond_at_end.any()


def test_volatilities_know_nothing_of_later_prices() -> None:
    calm = generated(START, days=6, seed=3, stress=Stress(jumps_a_year=0.0)).prices
    crashed = calm.copy()
    crashed[100:] *= 0.6
    one, other = walk(calm, static=False), walk(crashed, static=False)
    assert one.sigmas(99) == other.sigmas(99)
    assert one.sigmas(100) != other.sigmas(100)


def test_generated_stress_is_the_seeds() -> None:
    one, same = (generated(START, days=3, seed=5, stress=Stress()).prices for _ in range(2))
    assert (one == same).all()
    assert (one != generated(START, days=3, seed=6, stress=Stress()).prices).any()
    year = np.log(generated(START, days=720, seed=1, stress=replace(Stress(), jumps_a_year=0.0)).prices[::24])
    assert np.diff(year, axis=0).std() == pytest.approx(0.055, rel=0.35)


def test_recorded_hours_and_what_the_configured_stress_rests_on() -> None:
    history = recorded(ROOT / "data", PARAMETERS)
    assert history.prices.shape == (1273, 3)
    assert history.prices[24][1] == 797.1  # the close of a recorded day
    moves = worst_moves(history, hours=480, factor=1.0)
    assert moves.shape == (8, 3)
    assert (moves[0] < -0.2).all()
    found = range_volatilities(ROOT / "data", PARAMETERS, days=20, window=7)
    names = {one.id: one.symbol for one in PARAMETERS.assets}
    for profile in PARAMETERS.margin.profiles:
        assert 0.0 <= profile.stressed / 1e6 - found[names[profile.asset]] < 0.05
