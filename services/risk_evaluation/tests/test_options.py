"""Prices and Greeks against published tables, at their edges, and by their identities."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.options.black import Greeks, black76, black_scholes_merton, years_of
from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.options.grid import (
    DELTA,
    THETA,
    VEGA,
    GridScenarios,
    TenorShock,
    price_grid,
    scenarios_of,
)
from services.risk_evaluation.domain.options.normal import exp, log, normal_cdf

C, P = LineKind.CALL, LineKind.PUT


# Haug (1998), "The Complete Guide to Option Pricing Formulas", pages 3 to 8, as QuantLib's europeanoption.cpp cites it.
@pytest.mark.parametrize(
    ("kind", "strike", "spot", "carry", "rate", "years", "vol", "value"),
    [
        (C, 65.0, 60.0, 0.00, 0.08, 0.25, 0.30, 2.1334),
        (P, 95.0, 100.0, 0.05, 0.10, 0.50, 0.20, 2.4648),
        (P, 19.0, 19.0, 0.10, 0.10, 0.75, 0.28, 1.7011),
        (C, 1.60, 1.56, 0.08, 0.06, 0.50, 0.12, 0.0291),
        (P, 70.0, 75.0, 0.05, 0.10, 0.50, 0.35, 4.0870),
        (C, 100.0, 110.0, 0.10, 0.10, 0.50, 0.35, 15.3086),
        (C, 40.0, 42.0, 0.08, 0.04, 0.75, 0.35, 5.0975),
    ],
)
def test_prices_of_haug(
    kind: LineKind, strike: float, spot: float, carry: float, rate: float, years: float, vol: float, value: float
) -> None:
    got = black_scholes_merton(
        spot=spot, strike=strike, years=years, vol=vol, rate=rate, dividend_yield=carry, kind=kind
    )
    assert got.value == pytest.approx(value, abs=1e-4)


def test_greeks_of_haug() -> None:
    # Haug (1998), pages 11 to 16.
    def at(kind: LineKind, strike: float, spot: float, carry: float, rate: float, years: float, vol: float) -> Greeks:
        return black_scholes_merton(
            spot=spot, strike=strike, years=years, vol=vol, rate=rate, dividend_yield=carry, kind=kind
        )

    assert at(C, 100.0, 105.0, 0.10, 0.10, 0.5, 0.36).delta == pytest.approx(0.5946, abs=1e-4)
    assert at(P, 100.0, 105.0, 0.10, 0.10, 0.5, 0.36).delta == pytest.approx(-0.3566, abs=1e-4)
    assert at(P, 100.0, 105.0, 0.10, 0.10, 0.5, 0.36).elasticity(105.0) == pytest.approx(-4.8775, abs=1e-4)
    assert at(C, 60.0, 55.0, 0.00, 0.10, 0.75, 0.30).gamma == pytest.approx(0.0278, abs=1e-4)
    assert at(C, 60.0, 55.0, 0.00, 0.10, 0.75, 0.30).vega == pytest.approx(18.9358, abs=1e-4)
    # These two run on QuantLib's clock of 30 days in a year of 360.
    assert at(P, 405.0, 430.0, 0.05, 0.07, 1 / 12, 0.20).theta == pytest.approx(-31.1924, abs=1e-4)
    assert at(P, 405.0, 430.0, 0.05, 0.07, 1 / 12, 0.20).theta_per_day == pytest.approx(-0.0855, abs=1e-4)
    assert at(C, 75.0, 72.0, 0.00, 0.09, 1.0, 0.19).rho == pytest.approx(38.7325, abs=1e-4)
    assert at(P, 490.0, 500.0, 0.05, 0.08, 0.25, 0.15).dividend_rho == pytest.approx(42.2254, abs=1e-4)


# derivexyz/lyra-utils test/math/Black76.t.sol, "computed in python"; tolerance 10^-12 as there.
@pytest.mark.parametrize(
    ("seconds", "vol", "forward", "strike", "discount", "call", "put"),
    [
        (604_800, 1.00, 1500.0, 1500.0, 1.0, 82.805080668634559515, 82.805080668634559515),
        (2_592_000, 0.25, 1000.0, 1200.0, 0.9991784198737006, 0.137082128426579297, 199.972766103166719631),
        (172_800, 0.75, 1000.0, 700.0, 0.9998904169635637, 299.967125089526177817, 0.00000000045708468),
        (31_536_000, 25.0, 1000.0, 700.0, 0.9801986733067553, 980.198673306755267731, 686.139071314728653306),
        (31_536_000, 5.00, 1000.0, 700.0, 0.9801986733067553, 970.034553583819047162, 675.974951591792546424),
        (31_536_000, 4.00, 1000.0, 0.0, 0.99, 990.0, 0.0),
        (31_536_000, 4.00, 0.0, 1000.0, 0.99, 0.0, 990.0),
    ],
)
def test_prices_of_derive(
    seconds: int, vol: float, forward: float, strike: float, discount: float, call: float, put: float
) -> None:
    def value(kind: LineKind) -> float:
        return black76(
            forward=forward, strike=strike, years=years_of(seconds), vol=vol, discount=discount, kind=kind
        ).value

    assert value(C) == pytest.approx(call, abs=1e-12)
    assert value(P) == pytest.approx(put, abs=1e-12)


@pytest.mark.parametrize(
    ("years", "vol", "forward", "strike"),
    [
        (0.0, 0.5, 110.0, 100.0),
        (0.5, 0.0, 110.0, 100.0),
        (0.0, 0.0, 90.0, 100.0),
        (1e-300, 0.5, 110.0, 100.0),
        (0.5, 1e-300, 90.0, 100.0),
        (1e-12, 0.5, 90.0, 100.0),
    ],
)
def test_nothing_left_to_move_is_discounted_intrinsic_value(
    years: float, vol: float, forward: float, strike: float
) -> None:
    def value(kind: LineKind) -> float:
        return black76(forward=forward, strike=strike, years=years, vol=vol, discount=0.9, kind=kind).value

    assert value(C) == pytest.approx(0.9 * max(forward - strike, 0.0), abs=1e-12)
    assert value(P) == pytest.approx(0.9 * max(strike - forward, 0.0), abs=1e-12)
    assert value(LineKind.DIGITAL_CALL) == pytest.approx(0.9 if forward > strike else 0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"), [("forward", -1.0), ("strike", math.nan), ("vol", -0.1), ("years", math.inf)]
)
def test_what_is_no_price_is_refused(name: str, value: float) -> None:
    inputs = {"forward": 100.0, "strike": 100.0, "years": 0.5, "vol": 0.5, "discount": 1.0} | {name: value}
    with pytest.raises(ValueError, match=rf"expected a finite {name} >= 0, was"):
        black76(**inputs)  # type: ignore[arg-type]


_LINES = st.tuples(
    st.floats(0.01, 1e6),  # forward
    st.floats(0.05, 20.0),  # strike over forward
    st.floats(1e-6, 5.0),  # years
    st.floats(0.01, 5.0),  # vol
    st.floats(0.5, 1.0),  # discount
)


@settings(max_examples=200, deadline=None)
@given(_LINES)
def test_parity_bounds_and_digital_as_the_slope_in_strike(line: tuple[float, float, float, float, float]) -> None:
    forward, ratio, years, vol, discount = line
    strike = forward * ratio

    def at(kind: LineKind, k: float = strike) -> Greeks:
        return black76(forward=forward, strike=k, years=years, vol=vol, discount=discount, kind=kind)

    call, put, scale = at(C), at(P), max(forward, strike)
    assert call.value - put.value == pytest.approx(discount * (forward - strike), abs=1e-13 * scale)
    assert max(0.0, discount * (forward - strike)) - 1e-13 * scale <= call.value <= discount * forward + 1e-13 * scale
    assert call.delta - put.delta == pytest.approx(discount, abs=1e-13)
    assert call.gamma == put.gamma >= 0.0
    up, down = at(LineKind.DIGITAL_CALL), at(LineKind.DIGITAL_PUT)
    assert up.value + down.value == pytest.approx(discount, abs=1e-14)
    assert call.value == pytest.approx(
        call.delta * forward - strike * up.value, abs=1e-12 * scale
    )  # C = Δ·F - K·digital


@settings(max_examples=300, deadline=None)
@given(st.floats(-700.0, 700.0), st.floats(-9.0, 9.0))
def test_own_functions_agree_with_the_library(x: float, d: float) -> None:
    assert exp(x) == pytest.approx(math.exp(x), rel=4e-16)
    assert log(math.exp(x)) == pytest.approx(x, abs=2e-13)
    assert normal_cdf(d) == pytest.approx(0.5 * math.erfc(-d / math.sqrt(2.0)), abs=3e-16)


def test_the_grid_is_the_scalar_price_cell_by_cell() -> None:
    rng = np.random.default_rng(7)
    n = 60
    forwards, years = rng.uniform(10.0, 1e5, n), rng.uniform(0.0, 2.0, n)
    strikes, vols = forwards * np.exp(rng.normal(0.0, 0.5, n)), rng.uniform(0.05, 2.0, n)
    discounts, kinds = np.exp(-0.03 * years), rng.integers(0, 6, n)
    scenarios = GridScenarios(
        spot=np.array([0.5, 1.0, 1.6]),
        vol=np.array([0.7, 1.0, 1.4]),
        vol_floor=np.array([0.0, 0.0, 0.9]),
        years_passed=np.zeros(3),
    )
    prices, greeks = price_grid(forwards, strikes, years, vols, discounts, scenarios, kinds=kinds)
    for i in range(n):
        for k in range(3):
            one = black76(
                forward=forwards[i] * scenarios.spot[k],
                strike=strikes[i],
                years=years[i],
                vol=max(vols[i] * scenarios.vol[k], scenarios.vol_floor[k]),
                discount=discounts[i],
                kind=LineKind(int(kinds[i])),
            )
            assert prices[i, k] == pytest.approx(one.value, rel=1e-12, abs=1e-12 * forwards[i])
            assert greeks[DELTA, i, k] == pytest.approx(one.delta, rel=1e-9, abs=1e-12)
            assert greeks[VEGA, i, k] == pytest.approx(one.vega, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("forward", [0.0, 1e-30, 1.0, 6e4, 1e30])
@pytest.mark.parametrize("strike", [0.0, 1e-30, 6e4, 1e30])
def test_the_far_ends_of_every_input_give_numbers(forward: float, strike: float) -> None:
    for years in (0.0, 1e-300, 1e-9, 1.0, 1e9, 1e300):
        for vol in (0.0, 1e-300, 0.5, 25.0, 1e300):
            for kind in LineKind:
                got = black76(forward=forward, strike=strike, years=years, vol=vol, discount=0.5, kind=kind)
                assert math.isfinite(got.value)
                assert math.isfinite(got.delta)
                assert 0.0 <= got.value <= 0.5 * max(forward, strike, 1.0) * (1.0 + 1e-12)


def test_columns_of_another_length_are_refused() -> None:
    two, three = np.ones(2), np.ones(3)
    with pytest.raises(ValueError, match="expected a column of 2, was"):
        price_grid(two, three, two, two, two, scenarios_of(two))
    with pytest.raises(ValueError, match=r"expected 2 kinds in 0 \.\. 5"):
        price_grid(two, two, two, two, two, scenarios_of(two), kinds=np.array([0, 6]))


def test_time_that_passes_costs_theta_and_stops_at_expiry() -> None:
    forward, strike, years, vol, discount = (np.array([one]) for one in (100.0, 105.0, 0.5, 0.4, 0.98))
    hour = 1.0 / 8760.0
    scenarios = GridScenarios(np.ones(3), np.ones(3), np.zeros(3), np.array([0.0, hour, 9.0]))
    prices, greeks = price_grid(forward, strike, years, vol, discount, scenarios)
    assert (prices[0, 1] - prices[0, 0]) / hour == pytest.approx(greeks[THETA, 0, 0], rel=1e-3)
    assert prices[0, 2] == 0.0


def test_what_has_settled_no_longer_moves() -> None:
    forward, strike = np.array([100.0, 100.0]), np.array([0.0, 0.0])
    prices, _ = price_grid(
        forward,
        strike,
        np.zeros(2),
        np.zeros(2),
        np.ones(2),
        scenarios_of(np.array([0.5, 2.0])),
        fixed=np.array([100.0, 60.0]),
    )
    assert prices.tolist() == [[100.0, 100.0], [80.0, 140.0]]


def test_vol_shock_shrinks_with_tenor() -> None:
    # derivexyz/v2-core PMRM_2 portfolio case 57: 794,852 s and 18,938,852 s to expiry.
    shock = TenorShock(range_up=0.5, range_down=0.275, short_power=0.3, long_power=0.13, floor_days=1.0)
    up, down = shock.factors(np.array([794_852.0, 18_938_852.0]) / 31_536_000.0)
    assert up == pytest.approx([1.712811375927374, 1.3860882452894718], rel=1e-12)
    assert down == pytest.approx([0.6079537432399443, 0.7876514650907905], rel=1e-12)
    nothing_left = TenorShock(0.5, 2.0, 0.3, 0.13, 0.0).factors(np.array([0.0]))
    assert np.isfinite(nothing_left[0]).all()
    assert nothing_left[1][0] == 0.0
