"""Kupiec's test against Jorion's published table, bounds by hand, and the bootstrap's unit."""

from __future__ import annotations

import numpy as np
import pytest

from tools.backtest.coverage import coverage, likelihood_ratio, upper_bound

CHI_SQUARED_95 = 3.8415


@pytest.mark.parametrize(
    ("days", "least", "most"),
    [(255, 0, 6), (510, 2, 10), (1_000, 5, 16)],  # Jorion, Value at Risk (3rd ed.), table 6-2: p = .01
)
def test_kupiecs_non_rejection_regions(days: int, least: int, most: int) -> None:
    region = [count for count in range(40) if likelihood_ratio(count, days, 0.01) < CHI_SQUARED_95]
    # Jorion's table gives N < 7 at 255 days, where no exceedance at all is rejected by the ratio itself.
    assert region[-1] == most
    assert region[0] == max(least, 1)


def test_ratio_is_nothing_at_the_expected_rate_and_finite_at_both_ends() -> None:
    assert likelihood_ratio(10, 1_000, 0.01) == 0.0
    assert likelihood_ratio(0, 100, 0.01) == pytest.approx(-200 * np.log(0.99))
    assert likelihood_ratio(100, 100, 0.01) == pytest.approx(-200 * np.log(0.01))


@pytest.mark.parametrize(("hit", "of", "bound"), [(0, 32, 0.0894), (3, 32, 0.2248), (0, 300, 0.00994)])
def test_bound_of_a_rate(hit: int, of: int, bound: float) -> None:
    assert upper_bound(hit, of) == pytest.approx(bound, abs=1e-4)  # hit 0: 1 − .05^(1/of)


def test_days_are_drawn_whole() -> None:
    # One day on which all lose is one event, not a hundred.
    exceeded = np.zeros((50, 100), dtype=np.bool_)
    exceeded[7] = True
    found = coverage(exceeded, expected=0.01, draws=2_000, seed=1)
    assert (found.rate, found.exceeded, found.days_hit) == (0.02, 100, 1)
    assert found.low == 0.0
    assert found.high >= 0.05
    assert found.too_often < 0.05  # as if account-days were apart; the band says what they are


def test_accounts_that_lose_on_the_same_days_are_fewer_than_they_look() -> None:
    random = np.random.default_rng(3)
    apart = random.random((400, 50)) < 0.01
    alike = np.repeat(random.random((400, 1)) < 0.01, 50, axis=1)
    independent, clustered = (coverage(one, expected=0.01, draws=4_000, seed=1) for one in (apart, alike))
    assert independent.effective == pytest.approx(400 * 50, rel=0.25)
    assert clustered.effective == pytest.approx(400, rel=0.25)


def test_too_many_accounts_on_few_days_may_be_chance() -> None:
    exceeded = np.zeros((400, 50), dtype=np.bool_)
    exceeded[::67] = True  # 6 days
    found = coverage(exceeded, expected=0.01, draws=4_000, seed=1)
    assert found.kupiec < 1e-6 < 0.05 < found.kupiec_of_days


def test_nothing_exceeded_says_nothing_of_days() -> None:
    assert np.isnan(coverage(np.zeros((50, 100), dtype=np.bool_), expected=0.01, draws=10, seed=1).kupiec_of_days)


def test_too_few_is_not_too_often() -> None:
    found = coverage(np.zeros((50, 100), dtype=np.bool_), expected=0.01, draws=10, seed=1)
    assert found.kupiec < 0.05
    assert found.too_often > 0.95
