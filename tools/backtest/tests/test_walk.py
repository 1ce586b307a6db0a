"""Accounts begin at their margin, stay or are liquidated, and what is lost is counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from libs.common.config import load_parameters
from services.price_ingestion.domain.volatility import LEVEL_STEP, ProfileState, begin, observe
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.volatility import model_under
from tools.backtest.books import cohort, population
from tools.backtest.history import Hourly, Stress, generated, marks_of, range_volatilities, recorded
from tools.backtest.option_books import option_population, with_ladder
from tools.backtest.tape import profiled_tape, static_tape
from tools.backtest.walk import Walk, together, worst_moves

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = load_parameters(ROOT / "config").parameters
HOLDINGS = population(PARAMETERS, seed=7)
START = np.array([10_000.0, 800.0, 200.0])
NO_STRESS = np.zeros((1, 3))


def walk(prices: np.ndarray) -> Walk:
    """A walk through prices by hour, at volatilities that stand still."""
    return Walk(PARAMETERS, static_tape(Hourly(0, prices)), HOLDINGS, stresses=NO_STRESS)


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
    one, other = (profiled_tape(PARAMETERS, Hourly(0, prices)) for prices in (calm, crashed))
    assert one.sigmas[99] == other.sigmas[99]
    assert one.sigmas[100] != other.sigmas[100]


def test_volatilities_are_what_the_service_publishes() -> None:
    history = recorded(ROOT / "data", PARAMETERS)
    tape = profiled_tape(PARAMETERS, history)
    states: dict[int, ProfileState] = {}
    for hour, row in enumerate(history.prices[:300]):
        for block, profile, price in zip(PARAMETERS.margin.assets, PARAMETERS.margin.profiles, row, strict=True):
            now_ns = history.at_ns(hour)
            states[block.asset] = (
                observe(states[block.asset], profile, price=float(price), now_ns=now_ns)
                if block.asset in states
                else begin(profile, sigma=block.sigma, price=float(price), now_ns=now_ns)
            )
            level = states[block.asset].level(block.asset)
            assert abs(tape.sigmas[hour][block.asset].initial - level.initial) <= LEVEL_STEP  # marks are whole ticks
    assert tape.sigmas[299] != static_tape(history).sigmas[299]


def test_books_with_options_begin_at_their_margin_and_are_struck_at_their_price() -> None:
    history = recorded(ROOT / "data", PARAMETERS)
    tape, holdings = static_tape(history), option_population(PARAMETERS)
    ladder = with_ladder(PARAMETERS, history.prices[480], now_ns=history.at_ns(480))
    at_the_money = next(one for one in ladder.instruments if one.symbol.endswith(" put 100"))
    assert at_the_money.strike * 10.0**at_the_money.settlement_exponent == pytest.approx(history.prices[480][0])
    walk = Walk(ladder, tape, holdings, stresses=worst_moves(history, hours=480, factor=1.5))
    day = walk.day(480)
    names = [one.name for one in holdings]
    assert {"short straddle BTC", "long straddle ETH", "short coin call BTC"} <= set(names)
    assert not any("LTC" in name for name in names)  # no surface
    assert (day.initial_margin > 0.0).all()
    # Who bought options loses no more than they are worth; who sold them may lose any amount.
    bought = [at for at, name in enumerate(names) if name.startswith(("long straddle", "protected"))]
    assert (day.uncovered[:, bought] == 0.0).all()
    assert day.uncovered[1, names.index("short straddle BTC")] > day.initial_margin[names.index("short straddle BTC")]


def test_a_stress_moves_the_surface_with_the_price() -> None:
    history = recorded(ROOT / "data", PARAMETERS)
    tape, btc = static_tape(history), PARAMETERS.surfaces[0].asset
    ladder = with_ladder(PARAMETERS, history.prices[480], now_ns=history.at_ns(480))
    calm = tape.surfaces(ladder, 480, history.prices[480])[btc]
    fallen = tape.surfaces(ladder, 480, history.prices[480] * 0.7)[btc]
    for one, other in zip(calm.smiles, fallen.smiles, strict=True):
        assert other.forward_price == pytest.approx(0.7 * one.forward_price, rel=1e-6)
        assert other.svi.vol(1.0) > 1.1 * one.svi.vol(1.0)


def test_days_of_two_populations_are_one_day() -> None:
    one, other = walk(steps(1.0, 0.99)).day(0), walk(steps(1.0, 0.60)).day(0)
    both = together([one, other])
    assert both.bad_debt.sum() == one.bad_debt.sum() + other.bad_debt.sum()
    assert both.uncovered.shape == (1, 2 * len(HOLDINGS))
    assert both.cover_two >= max(one.cover_two, other.cover_two)


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
