"""Default probability against closed forms: reflection, two exits, lognormal first passage, jumps, Merton."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import qmc

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.default_probability import (
    DefaultRisk,
    Position,
    default_risk,
    normals_shape,
    time_to_liquidate,
)
from services.risk_evaluation.domain.merton import distance_to_default, implied_assets, structural
from services.risk_evaluation.domain.motion import Dynamics, Quadratic

DAY = 1.0 / 365.0


def cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def normals(*, paths: int = 4096, steps: int = 8, underlyings: int = 1, seed: int = 7) -> F8:
    """Scrambled Sobol points as normals."""
    shape = normals_shape(paths=paths, steps=steps, underlyings=underlyings)
    points = qmc.Sobol(shape[1] * shape[2], rng=np.random.default_rng(seed)).random(paths)
    return np.asarray(ndtri(np.clip(points, 1e-12, 1 - 1e-12)), dtype=np.float64).reshape(shape)


def quadratic(value: float, delta: float = 0.0, gamma: float = 0.0, theta: float = 0.0) -> Quadratic:
    return Quadratic(value, np.array([delta]), np.array([gamma]), theta)


def bachelier(sigma_root_t: float, *, horizon: float = 1.0, spot: float = 100.0) -> Dynamics:
    """Prices that move by amounts, with that deviation over the horizon."""
    return dynamics(sigma_root_t / math.sqrt(horizon), spot=spot, is_normal=True)


def dynamics(sigma: float, *, spot: float = 100.0, drift: float = 0.0, jumps: float = 0.0, mean: float = 0.0,
             spread: float = 0.0, is_normal: bool = False) -> Dynamics:  # fmt: skip
    return Dynamics(
        spot=np.array([spot]),
        covariance=np.array([[sigma**2]]),
        drift=np.array([drift]),
        jumps_a_year=jumps,
        jump_mean=np.array([mean]),
        jump_covariance=np.array([[spread**2]]),
        is_normal=is_normal,
    )


def run(buffer: Quadratic, moves: Dynamics, *, equity: Quadratic | None = None, delta: float = DAY,
        exposure: float = 100.0, horizon: float = 1.0, draws: F8 | None = None) -> DefaultRisk:  # fmt: skip
    position = Position(equity or buffer, buffer, exposure, delta)
    return default_risk(position, moves, horizon_years=horizon, normals=normals() if draws is None else draws)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_constant_maintenance_margin_doubles_the_terminal_probability(steps: int) -> None:
    # Buffer 10, σ√T 5: 2·Φ(−2) = 4.55 %, terminal 2.28 %. The reflection principle.
    # One step leaves nothing to chance but where it ends; more steps sample whether the path had left before.
    within = 1e-5 if steps == 1 else 1e-3
    risk = run(quadratic(10.0, delta=1.0), bachelier(5.0), draws=normals(steps=steps, paths=16_384))
    assert 2 * cdf(-2.0) == pytest.approx(0.0455, abs=5e-6)
    assert risk.liquidation == pytest.approx(2 * cdf(-2.0), abs=within)
    assert risk.terminal == pytest.approx(cdf(-2.0), abs=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_a_short_gamma_book_without_delta_exits_on_both_sides(steps: int) -> None:
    # Exits at ±√(2·buffer/|Γ|) = ±10: buffer 10, Γ −.2, σ√T 5 → 9.10 %, terminal 4.55 %.
    within = 1e-5 if steps == 1 else 1e-3
    risk = run(quadratic(10.0, gamma=-0.2), bachelier(5.0), draws=normals(steps=steps, paths=16_384))
    both = sum((-1) ** k * 4 * cdf(-2.0 * (2 * k + 1)) for k in range(4))  # images: Feller, vol. 2, X.5
    assert both == pytest.approx(0.0910, abs=5e-6)
    assert risk.liquidation == pytest.approx(both, abs=within)
    assert risk.terminal == pytest.approx(2 * cdf(-2.0), abs=1e-4)


def test_a_delta_neutral_short_gamma_book_may_default() -> None:
    short = quadratic(10.0, gamma=-0.2)
    risk = run(short, bachelier(5.0), equity=quadratic(12.0, gamma=-0.2), delta=0.1)
    assert 0.0 < risk.default < risk.liquidation
    assert risk.expected_loss > 0.0
    assert risk.loss_given_default == pytest.approx(risk.expected_loss / (risk.default * 100.0))


def test_a_long_gamma_book_without_delta_never_exits() -> None:
    assert run(quadratic(10.0, gamma=0.2), bachelier(50.0)) == DefaultRisk(0.0, 0.0, 0.0, 0.0, 0.0, 100.0)


@pytest.mark.parametrize(
    ("delta", "gamma", "low", "high"), [(1.0, -0.2, -6.18034, 16.18034), (-1.0, -0.2, -16.18034, 6.18034)]
)
def test_two_unequal_exits(delta: float, gamma: float, low: float, high: float) -> None:
    # 1 − P(a Brownian motion stays in (low, high)), by its sine series (Karatzas and Shreve, 4.3).
    width, stays = high - low, 0.0
    for n in range(1, 200):
        decay = math.exp(-0.5 * (n * math.pi * 5.0 / width) ** 2)
        stays += 2 / (n * math.pi) * (1 - (-1) ** n) * math.sin(-n * math.pi * low / width) * decay
    risk = run(quadratic(10.0, delta=delta, gamma=gamma), bachelier(5.0), draws=normals(steps=16))
    assert risk.liquidation == pytest.approx(1 - stays, abs=4e-3)


def test_theta_moves_the_exit() -> None:
    # An exit that comes nearer by 4 over the horizon: Φ(−(b+µ)/s) + e^(−2µb/s²)·Φ((µ−b)/s), µ = −4 as drift.
    risk = run(quadratic(10.0, delta=1.0, theta=-4.0), bachelier(5.0), draws=normals(steps=16))
    expected = cdf((-10 + 4) / 5) + math.exp(2 * 4 * 10 / 25) * cdf((-10 - 4) / 5)
    assert risk.liquidation == pytest.approx(expected, abs=1.5e-3)


@pytest.mark.parametrize("horizon", [DAY, 7 * DAY])
def test_lognormal_first_passage(horizon: float) -> None:
    # A long coin at 100 with its exit at 88: first passage of a geometric Brownian motion.
    sigma = 1.2
    drift = -0.5 * sigma**2
    risk = run(quadratic(12.0, delta=1.0), dynamics(sigma, drift=drift), horizon=horizon, draws=normals(steps=8))
    spread, barrier = sigma * math.sqrt(horizon), math.log(0.88)
    expected = cdf((barrier - drift * horizon) / spread)
    expected += math.exp(2 * drift * barrier / sigma**2) * cdf((barrier + drift * horizon) / spread)
    assert risk.liquidation == pytest.approx(expected, rel=0.03, abs=2e-4)


def test_jumps_gap_through_the_exit() -> None:
    # Without diffusion: one jump of −30 % at 2 a year leaves 70 of 100 against debt of 80.
    long = quadratic(20.0, delta=1.0)
    moves = dynamics(1e-6, jumps=2.0, mean=math.log(0.7))
    risk = run(long, moves, delta=1e-9, exposure=80.0, draws=normals(steps=64, paths=4096))
    assert risk.liquidation == pytest.approx(1 - math.exp(-2.0), abs=0.015)
    assert risk.default == pytest.approx(risk.liquidation, abs=1e-9)  # it gaps: there is no margin left to sell in
    assert risk.loss_given_default == pytest.approx(10 / 80, abs=0.01)


def test_two_underlyings_that_move_as_one_are_one() -> None:
    pair = Quadratic(10.0, np.array([0.5, 0.5]), np.zeros(2))
    moves = Dynamics(
        np.array([100.0, 100.0]), np.full((2, 2), 25.0), np.zeros(2), 0.0, np.zeros(2), np.zeros((2, 2)), True
    )
    risk = run(pair, moves, draws=normals(steps=4, underlyings=2))
    assert risk.liquidation == pytest.approx(2 * cdf(-2.0), abs=1e-3)


def test_two_independent_underlyings_add_their_variances() -> None:
    pair = Quadratic(10.0, np.array([0.6, 0.8]), np.zeros(2))
    moves = Dynamics(
        np.array([100.0, 100.0]), np.diag([25.0, 25.0]), np.zeros(2), 0.0, np.zeros(2), np.zeros((2, 2)), True
    )
    risk = run(pair, moves, draws=normals(steps=4, underlyings=2, paths=16_384))
    assert risk.liquidation == pytest.approx(2 * cdf(-2.0), abs=1e-3)


def test_below_maintenance_is_liquidated_now() -> None:
    risk = run(quadratic(-1.0, delta=1.0), bachelier(5.0), equity=quadratic(4.0, delta=1.0), delta=0.25)
    assert risk.liquidation == 1.0
    assert risk.default == pytest.approx(cdf(-4.0 / 2.5), abs=5e-3)


def test_time_to_liquidate_is_that_of_the_slowest_underlying() -> None:
    notional, volume = np.array([-5e6, 3e6]), np.array([1e9, 1e8])
    assert time_to_liquidate(notional, volume, participation=0.1, least_years=0.0) == pytest.approx(0.3 / 365)
    assert time_to_liquidate(notional, volume, participation=0.1, least_years=1.0) == 1.0


@settings(max_examples=30, deadline=None)
@given(
    buffer=st.floats(0.0, 100.0), delta=st.floats(-5.0, 5.0), gamma=st.floats(-1.0, 1.0), margin=st.floats(0.0, 50.0)
)
def test_what_always_holds(buffer: float, delta: float, gamma: float, margin: float) -> None:
    draws = normals(paths=256, steps=4)
    book = quadratic(buffer, delta, gamma)
    risk = run(book, bachelier(5.0), equity=quadratic(buffer + margin, delta, gamma), draws=draws)
    assert 0.0 <= risk.terminal <= risk.liquidation + 1e-9 <= 1.0 + 2e-9
    assert 0.0 <= risk.default <= risk.liquidation + 1e-9
    assert (risk.default == 0.0) == (risk.expected_loss == 0.0)
    safer = quadratic(buffer + 1.0, delta, gamma)
    less = run(safer, bachelier(5.0), equity=quadratic(buffer + margin + 1.0, delta, gamma), draws=draws)
    assert less.liquidation <= risk.liquidation + 1e-9


def test_merton_figures() -> None:
    assets, sigma = implied_assets(equity=3.0, equity_sigma=0.8, debt=10.0, rate=0.05, years=1.0)
    assert assets == pytest.approx(12.3954, abs=5e-5)
    assert sigma == pytest.approx(0.21230, abs=5e-6)
    firm = structural(assets=assets, asset_sigma=sigma, debt=10.0, rate=0.05, years=1.0)
    assert firm.distance == pytest.approx(1.14083, abs=5e-6)
    assert firm.default == pytest.approx(0.12697, abs=5e-6)
    assert firm.debt_value == pytest.approx(9.3954, abs=5e-5)
    assert firm.expected_loss == pytest.approx(0.01229, abs=5e-6)
    assert firm.loss_given_default == pytest.approx(0.0968, abs=5e-5)


def test_kmv_figures() -> None:
    # MATLAB Risk Management Toolbox, mertonmodel example, first firm.
    assets, sigma = implied_assets(equity=2.6406e7, equity_sigma=0.7103, debt=4e7, rate=0.05, years=1.0)
    assert assets == pytest.approx(6.4210e7, rel=2e-4)
    assert sigma == pytest.approx(0.3010, abs=2e-4)
    distance = distance_to_default(assets=assets, asset_sigma=sigma, debt=4e7, drift=0.0306, years=1.0)
    assert distance == pytest.approx(1.5237, abs=1e-3)
    assert cdf(-distance) == pytest.approx(0.0638, abs=1e-4)


def test_the_paths_give_mertons_probability_at_the_horizon() -> None:
    # The same firm on the engine's own paths: terminal 12.697 %.
    assets, sigma = implied_assets(equity=3.0, equity_sigma=0.8, debt=10.0, rate=0.05, years=1.0)
    moves = dynamics(sigma, spot=assets, drift=0.05 - 0.5 * sigma**2)
    book = quadratic(assets - 10.0, delta=1.0)
    risk = run(book, moves, draws=normals(steps=1, paths=16_384))
    assert risk.terminal == pytest.approx(0.12697, abs=5e-4)
    assert risk.liquidation > risk.terminal
