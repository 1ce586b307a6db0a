"""Clearing, distress and fire sales against published figures, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion import Network, clear, debt_rank, linear_debt_rank
from services.risk_evaluation.domain.fire_sale import Holdings, common_holdings, spill_over


def _a(*values: float) -> F8:
    return np.array(values, dtype=np.float64)


_RING = np.array([[0.0, 4.0, 0.0], [0.0, 0.0, 3.0], [2.0, 0.0, 0.0]])
_CHAIN = np.array([[0.0, 100.0, 0.0], [0.0, 0.0, 80.0], [0.0, 0.0, 0.0]])


# Clearing on a ring with external debt and on a chain: each figure follows by hand from what is owed.
@pytest.mark.parametrize(
    ("owed", "assets", "debt", "recovery", "payments", "equity"),
    [
        (_RING, _a(20, 20, 10), _a(17, 18, 8), 1.0, (21, 21, 10), (1, 3, 3)),
        (_RING, _a(18, 18, 9), _a(17, 18, 8), 1.0, (20, 21, 10), (0, 0.80952381, 2)),
        (_CHAIN, _a(50, 20, 10), _a(0, 0, 0), 1.0, (50, 70, 0), (0, 0, 80)),
        (_CHAIN, _a(50, 20, 10), _a(0, 0, 0), 0.5, (25, 22.5, 0), (0, 0, 32.5)),
    ],
)
def test_clearing_payments(
    owed: F8, assets: F8, debt: F8, recovery: float, payments: tuple[float, ...], equity: tuple[float, ...]
) -> None:
    got = clear(Network(owed, assets, debt), asset_recovery=recovery, claim_recovery=recovery)
    assert got.payments == pytest.approx(payments)
    assert got.equity == pytest.approx(equity, abs=1e-8)


def test_of_several_clearing_vectors_the_greatest_is_returned() -> None:
    # Two who owe each other and have nothing else: paying nothing and paying all are both consistent.
    ring = Network(np.array([[0.0, 7.0], [7.0, 0.0]]), _a(0, 0), _a(0, 0))
    assert clear(ring).payments.tolist() == [7.0, 7.0]
    assert clear(ring, claim_recovery=0.5).payments.tolist() == [7.0, 7.0]
    short = Network(np.array([[0.0, 7.0], [7.0, 0.0]]), _a(0, 0), _a(1, 0))
    assert clear(short).payments == pytest.approx([0.0, 0.0], abs=1e-9)  # all that circulates leaks out


def test_debt_rank_on_the_ring() -> None:
    # Equity (5, 8, 6), node 1 defaults.
    got = debt_rank(_RING, _a(5, 8, 6), _a(1, 0, 0))
    assert got.level == pytest.approx([1.0, 0.5, 0.25])
    assert got.impact == pytest.approx(0.305556, abs=1e-6)


def test_linear_debt_rank_on_the_ring_is_the_inverse() -> None:
    equity, shock = _a(5, 8, 6), _a(0.5, 0, 0)
    got = linear_debt_rank(_RING, equity, shock)
    assert got.level == pytest.approx([0.555556, 0.277778, 0.138889], abs=1e-6)
    exposures = _RING.T / equity[:, None]
    assert got.level == pytest.approx(np.linalg.solve(np.eye(3) - exposures, shock))


_NETWORKS = st.integers(1, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0.0, 100.0), min_size=n * n, max_size=n * n),
        st.lists(st.floats(0.0, 100.0), min_size=n, max_size=n),
        st.lists(st.floats(0.0, 50.0), min_size=n, max_size=n),
        st.floats(0.0, 1.0),
        st.floats(0.0, 1.0),
    )
)


@settings(max_examples=200, deadline=None)
@given(_NETWORKS)
def test_payments_are_consistent_and_costs_never_raise_them(
    drawn: tuple[list[float], list[float], list[float], float, float],
) -> None:
    raw, assets, debt, alpha, beta = drawn
    n = len(assets)
    owed = np.array(raw).reshape(n, n)
    np.fill_diagonal(owed, 0.0)
    network = Network(owed, _a(*assets), _a(*debt))
    free, costly = clear(network), clear(network, asset_recovery=alpha, claim_recovery=beta)
    due = owed.sum(axis=1) + network.external_debt
    shares = np.divide(owed, due[:, None], out=np.zeros_like(owed), where=due[:, None] > 0)
    for got, a, b in ((free, 1.0, 1.0), (costly, alpha, beta)):
        claims = shares.T @ got.payments
        pays = np.where(got.defaulted, np.minimum(due, a * network.external_assets + b * claims), due)
        assert got.payments == pytest.approx(pays, abs=1e-7)
        assert np.all(got.payments <= due + 1e-9)
        # Who does not default can pay, and keeps the rest.
        assert np.all((network.external_assets + claims + 1e-7 >= due) | got.defaulted)
    assert np.all(costly.payments <= free.payments + 1e-7)
    richer = clear(Network(owed, network.external_assets + 1.0, network.external_debt))
    assert np.all(richer.payments >= free.payments - 1e-7)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Network(np.ones((2, 2)), _a(1, 1), _a(0, 0)), "owe itself"),
        (Network(np.zeros((2, 2)), _a(1, float("nan")), _a(0, 0)), "external_assets"),
        (Network(np.zeros((2, 2)), _a(1, 1), _a(0, -1)), "external_debt"),
        (Network(np.zeros((2, 3)), _a(1, 1), _a(0, 0)), "expected 2 nodes"),
    ],
)
def test_what_is_no_network_is_refused(network: Network, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        clear(network)
    with pytest.raises(ConfigurationError, match=r"asset_recovery: expected 0 .. 1, was 1.5"):
        clear(Network(np.zeros((1, 1)), _a(1), _a(0)), asset_recovery=1.5)


def _crowd(margin: float = 0.1, impact: float = 0.05) -> Holdings:
    # Three hold the first asset, the last one only the second: levered 8, 5 and 1.25 times, and not at all.
    return Holdings(
        quantities=np.array([[8.0, 0.0], [5.0, 0.0], [5.0, 5.0], [0.0, 3.0]]),
        cash=_a(-700, -400, -200, 0),
        prices=_a(100, 100),
        margin=_a(margin, margin),
        target=_a(1.1, 1.1, 1.1, 1.1),
        impact=_a(impact, impact),
        depth=_a(10, 10),
    )


def test_without_a_shock_nobody_sells() -> None:
    got = spill_over(_crowd(), _a(0, 0))
    assert got.rounds == 0
    assert got.prices.tolist() == [100.0, 100.0]


def test_a_fall_spreads_through_what_is_held_in_common() -> None:
    calm, crowded = spill_over(_crowd(impact=0.0), _a(-0.05, 0)), spill_over(_crowd(), _a(-0.05, 0))
    assert calm.in_trouble.tolist() == [True, False, False, False]
    assert calm.prices.tolist() == [95.0, 100.0]
    assert crowded.prices[0] < 95.0
    assert crowded.prices[1] == 100.0  # nobody in trouble held the second asset
    assert np.all(crowded.equity[:2] < calm.equity[:2])
    assert crowded.equity[3] == calm.equity[3]


def test_sales_reach_assets_that_were_not_shocked() -> None:
    got = spill_over(_crowd(margin=0.85), _a(-0.05, 0))
    assert got.in_trouble[2]
    assert got.prices[1] < 100.0
    assert got.equity[3] < 300.0  # who holds nothing of the shocked asset and has no debt loses all the same


@settings(max_examples=100, deadline=None)
@given(st.floats(-0.9, 0.0), st.floats(0.0, 0.5), st.floats(0.01, 1.0))
def test_a_deeper_fall_leaves_nobody_better_off(shock: float, impact: float, margin: float) -> None:
    holdings = _crowd(margin, impact)
    got, deeper = spill_over(holdings, _a(shock, 0)), spill_over(holdings, _a(max(-0.95, shock - 0.05), 0))
    assert np.all(np.isfinite(got.equity))
    assert np.all(got.prices > 0.0)
    assert np.all(np.abs(got.sold) <= np.abs(holdings.quantities) + 1e-9)
    assert deeper.prices[0] <= got.prices[0] + 1e-9


def test_common_holdings_hurt_both_ways_and_nobody_else() -> None:
    got = common_holdings(_crowd())
    assert got[0, 1] > 0.0
    assert got[1, 0] > 0.0
    assert got[0, 3] == got[3, 0] == 0.0
