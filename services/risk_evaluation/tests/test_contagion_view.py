"""If a venue or an asset fails, who cannot pay: on a small house written out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion import clear
from services.risk_evaluation.domain.contagion_view import (
    Failure,
    Positions,
    Ring,
    Terms,
    clear_ring,
    dense,
    if_fails,
    ring_of,
)


def _a(*values: float) -> F8:
    return np.array(values, dtype=np.float64)


# Assets USD and BTC at 50,000; one perp of 1 BTC a lot on venue 0 (of two). The lender lends 100,000 USD to the
# borrower, who holds 3 BTC; the winner is long and the loser short 1 lot entered at 40,000.
_POSITIONS = Positions(
    cash=np.array([[0.0, 0.0], [0.0, 3.0], [5_000.0, 0.0], [30_000.0, 0.0]]),
    supply=np.array([[120_000.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    debt=np.array([[0.0, 0.0], [100_000.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    lots=np.array([[0.0], [0.0], [1.0], [-1.0]]),
    variation=np.array([[0.0], [0.0], [-40_000.0], [40_000.0]]),
)
_TERMS = Terms(
    unit=_a(1, 50_000), idle=_a(20_000, 0), lot=_a(50_000),
    underlying=np.array([1]), quote=np.array([0]), settlement=np.array([0]), inverse=np.array([False]),
    venue=np.array([0]), venues=2, margin=_a(0, 0.1), impact=_a(0, 0.01), depth_usd=_a(1e9, 1e6),
)  # fmt: skip
_CALM = Failure(_a(1, 1), _a(1, 1))


def test_a_sound_house_pays_all() -> None:
    got = if_fails(_POSITIONS, _TERMS, _CALM)
    assert not got.cannot_pay.any()
    assert got.hub_shortfall == pytest.approx(np.zeros(4))
    assert got.equity_before == pytest.approx([120_000.0, 50_000.0, 15_000.0, 20_000.0])
    assert got.spill.rounds == 0


def test_an_asset_that_falls_leaves_its_borrower_unable_to_pay_and_the_lender_short() -> None:
    got = if_fails(_POSITIONS, _TERMS, Failure(_a(1, 0.5), _a(1, 1)))
    assert got.cannot_pay.tolist() == [False, True, True, False]
    # 3 BTC at 25,000 against 100,000; the long has lost 25,000 - 10,000 beyond its 5,000.
    assert got.shortfall == pytest.approx([0.0, 25_000.0, 10_000.0, 0.0])
    assert got.hub_shortfall == pytest.approx([25_000.0, 0.0, 10_000.0, 0.0])
    assert got.spill.in_trouble[1]
    assert got.spill.prices[1] < 25_000.0


def test_a_venue_that_fails_owes_its_winners() -> None:
    got = if_fails(_POSITIONS, _TERMS, Failure(_a(1, 1), _a(0, 1)))
    # The loser still pays its 10,000 into the estate, which is all that the winner gets: here it suffices.
    assert got.hub_shortfall == pytest.approx(np.zeros(4))
    alone = Positions(
        _POSITIONS.cash[:3], _POSITIONS.supply[:3], _POSITIONS.debt[:3], _POSITIONS.lots[:3], _POSITIONS.variation[:3]
    )
    got = if_fails(alone, _TERMS, Failure(_a(1, 1), _a(0.4, 1)))
    assert got.hub_shortfall == pytest.approx([0.0, 0.0, 6_000.0, 0.0])
    assert not got.cannot_pay.any()
    assert got.distress is not None
    assert got.distress.level[2] == pytest.approx(6_000.0 / 15_000.0)


def test_an_inverse_perp_gains_less_the_higher_it_goes() -> None:
    terms = Terms(
        unit=_a(1, 50_000), idle=_a(0, 0), lot=_a(-2e-5), underlying=np.array([1]), quote=np.array([0]),
        settlement=np.array([1]), inverse=np.array([True]), venue=np.array([1]), venues=2, margin=_a(0, 0.1),
        impact=_a(0, 0), depth_usd=_a(1e9, 1e9),
    )  # fmt: skip
    nothing = np.zeros((1, 2))
    long = Positions(nothing, nothing, nothing, np.array([[1e5]]), np.array([[2.0]]))
    # 100,000 USD long at 50,000: at 100,000 it has gained 1 BTC, at 40,000 lost half a one.
    assert ring_of(long, terms, Failure(_a(1, 2), _a(1, 1))).owed[0, 3] == pytest.approx(100_000.0)
    assert ring_of(long, terms, Failure(_a(1, 0.8), _a(1, 1))).owes[0, 3] == pytest.approx(20_000.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_clearing_around_hubs_is_the_clearing_of_the_whole_network(accounts: int, hubs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owes = rng.uniform(0.0, 10.0, (accounts, hubs)) * (rng.random((accounts, hubs)) < 0.6)
    owed = rng.uniform(0.0, 10.0, (accounts, hubs)) * (rng.random((accounts, hubs)) < 0.6) * (owes == 0.0)
    ring = Ring(owes, owed, rng.uniform(0.0, 8.0, accounts), rng.uniform(0.0, 8.0, hubs))
    paid, hub_paid = clear_ring(ring)
    assert np.concatenate([paid, hub_paid]) == pytest.approx(clear(dense(ring)).payments, abs=1e-6)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (Failure(_a(1, 0), _a(1, 1)), "price: expected factors > 0"),
        (Failure(_a(1, 1), _a(1, 1.5)), "recovery: expected shares"),
        (Failure(_a(1, float("nan")), _a(1, 1)), "price"),
    ],
)
def test_what_is_no_failure_is_refused(failure: Failure, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        if_fails(_POSITIONS, _TERMS, failure)
