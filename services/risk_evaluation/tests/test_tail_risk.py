"""Value at risk and expected shortfall: by hand, against the normal distribution, and on the kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtri

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.tail_risk import (
    filtered_moves,
    filtered_paths,
    historical_moves,
    simulated_profit,
    tail,
)
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    DOLLAR,
    ETH,
    USD,
    Book,
    marks,
    model_of,
    parameters,
    risk,
)

TEN = -np.arange(1.0, 11.0).reshape(10, 1)  # losses 1 .. 10


@pytest.mark.parametrize(
    ("confidence", "value_at_risk", "shortfall"),
    [
        (0.90, 10.0, 10.0),
        (0.80, 9.0,  9.5),
        (0.75, 8.0,  (10 + 9 + 0.5 * 8) / 2.5),  # the boundary scenario counts by half
        (0.50, 6.0,  8.0),
        (0.99, 10.0, 10.0),                      # less than one scenario: the worst
    ],
)  # fmt: skip
def test_tail_by_hand(confidence: float, value_at_risk: float, shortfall: float) -> None:
    found = tail(TEN, confidence=confidence)
    assert found.value_at_risk[0] == pytest.approx(value_at_risk)
    assert found.expected_shortfall[0] == pytest.approx(shortfall)


def test_tail_of_normal_losses() -> None:
    # 99 %: VaR 2.3263, ES φ(2.3263)/0.01 = 2.6652.
    ranks = (np.arange(200_000) + 0.5) / 200_000
    found = tail(ndtri(ranks).reshape(-1, 1), confidence=0.99)
    assert found.value_at_risk[0] == pytest.approx(2.3263, abs=1e-3)
    assert found.expected_shortfall[0] == pytest.approx(2.6652, abs=1e-3)


@given(arrays(np.float64, (40, 2), elements=st.floats(-1e6, 1e6)), st.floats(0.5, 0.999), st.floats(0.0, 10.0))
def test_shortfall_is_coherent(profit: F8, confidence: float, scale: float) -> None:
    one, both = tail(profit, confidence=confidence), tail(profit.sum(axis=1, keepdims=True), confidence=confidence)
    slack = 1e-6 * (1.0 + np.abs(profit).max())
    assert np.all(one.expected_shortfall >= one.value_at_risk - slack)
    assert both.expected_shortfall[0] <= one.expected_shortfall.sum() + slack  # subadditive
    assert tail(scale * profit, confidence=confidence).expected_shortfall == pytest.approx(
        scale * one.expected_shortfall, abs=scale * slack
    )
    assert tail(profit + 7.0, confidence=confidence).expected_shortfall == pytest.approx(
        one.expected_shortfall - 7.0, abs=slack
    )


@pytest.mark.parametrize(("rows", "confidence"), [(0, 0.99), (10, 0.0), (10, 1.0)])
def test_no_tail_without_scenarios_or_confidence(rows: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="expected scenarios"):
        tail(np.zeros((rows, 1)), confidence=confidence)


def walk(sigmas: F8, seed: int = 3) -> F8:
    """Prices whose successive log moves have these deviations."""
    moves = sigmas[:, None] * np.random.default_rng(seed).standard_normal((sigmas.shape[0], 2))
    return np.asarray(100.0 * np.exp(np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])))


def test_filtering_speaks_of_the_volatility_of_now() -> None:
    # A calm year and a wild month: plain history still shows the year, filtered history the month.
    prices = walk(np.concatenate([np.full(335, 0.01), np.full(30, 0.05)]))
    plain, filtered = historical_moves(prices), filtered_moves(prices, decay=0.94, warm_up=30)
    assert plain.std(axis=0) == pytest.approx([0.018, 0.018], abs=0.005)
    assert np.all(filtered.std(axis=0) > 2.0 * plain.std(axis=0))


def test_filtering_an_even_history_changes_little() -> None:
    prices = walk(np.full(3_000, 0.02))
    ratio = filtered_moves(prices, decay=0.97, warm_up=100).std(axis=0) / historical_moves(prices).std(axis=0)
    assert ratio == pytest.approx([1.0, 1.0], abs=0.3)


def test_paths_of_one_step_are_the_filtered_moves() -> None:
    prices = walk(np.full(50, 0.02))
    drawn = np.arange(40).reshape(40, 1)
    assert filtered_paths(prices, decay=0.94, warm_up=10, drawn=drawn) == pytest.approx(
        filtered_moves(prices, decay=0.94, warm_up=10)
    )


def test_paths_of_many_steps_spread_by_the_root_of_time() -> None:
    prices = walk(np.full(400, 0.02))
    drawn = np.random.default_rng(5).integers(0, 350, (4_000, 9))
    nine = np.log1p(filtered_paths(prices, decay=0.97, warm_up=50, drawn=drawn)).std(axis=0)
    one = np.log1p(filtered_moves(prices, decay=0.97, warm_up=50)).std(axis=0)
    assert nine / one == pytest.approx([3.0, 3.0], abs=0.4)


def test_profit_is_the_kernels_revaluation() -> None:
    declared = parameters(risk(BTC), risk(ETH))
    book = Book(model_of()).cash(USD, 10**12).position(BTC_PERP, -3, 180_000 * DOLLAR)
    moves = np.array([[0.0, -0.1, 0.0, 0.0], [0.0, 0.2, 0.5, 0.0]])
    profit = simulated_profit(declared, marks(), book.columns.all_rows(), moves=moves, funding=book.columns.funding)
    assert profit[:, 0] / DOLLAR == pytest.approx([18_000.0, -36_000.0])
    found = tail(profit, confidence=0.5)
    assert math.isclose(float(found.value_at_risk[0]), 36_000.0 * DOLLAR)
