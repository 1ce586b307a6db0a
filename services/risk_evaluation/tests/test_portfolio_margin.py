"""Scenario margin of Derive and Deribit: published figures, and what must always hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.options.grid import TenorShock
from services.risk_evaluation.domain.venue_models import deribit_pm, derive_pm2, load_model
from services.risk_evaluation.domain.venue_models.derive_book import Book, Expiries
from services.risk_evaluation.domain.venue_models.parameters import read

# The parameters of derivexyz/v2-core test/risk-managers/unit-tests/PMRM_2/portfolio_cases, spot moves thinned out.
_MOVES = [
    (1.18, 1, 1.0),
    (1.09, 0, 1.0),
    (1.0, 0, 1.0),
    (0.955, 2, 1.0),
    (0.82, 1, 1.0),
    (0.67, 1, 0.10909090909090907),
]
_RAW = {
    "scenarios": [
        *({"spot": spot, "vol": vol, "damping": damping} for spot, vol, damping in _MOVES),
        {"spot": 1.0, "vol": 3, "damping": 1.0},
        {"spot": 1.0, "vol": 4, "damping": 1.0},
    ],
    "vol": {
        "range_up": 0.5, "range_down": 0.275, "short_power": 0.3, "long_power": 0.13, "floor_days": 1.0,
        "vol_floor": 0.45,
    },
    "skew": {
        "linear_base_cap": 0.15, "linear_cap_slope": -0.05, "abs_base_cap": 0.15, "abs_cap_slope": -0.05,
        "k_star_min": 0.01, "width": 4.0, "vol_base": 0.6, "vol_slope": -0.1,
    },
    "discount": {
        "base_positive": 0.95, "base_negative": 1.04, "rate_times_long": 1, "rate_add_long": 0.08,
        "rate_times_short": 0.5, "rate_add_short": 0.08, "initial_loss": 1.0, "maintenance_loss": 0.8,
    },
    "contingencies": {
        "basis_spot_up": 1.045, "basis_spot_down": 0.955, "basis_add": 0.5, "basis_times": 2.0,
        "perp_maintenance": 0.015, "perp_initial": 0.005, "option_maintenance": 0.003, "option_initial": 0.002,
        "confidence_threshold": 0.55, "confidence_margin": 1.0, "peg_threshold": 0.98, "peg_factor": 2.0,
    },
}  # fmt: skip
_PARAMETERS = read(derive_pm2.Parameters, _RAW, "derive_pm2")


def _book(
    options: list[tuple[int, float, bool, float, float]] | None = None,
    feeds: list[tuple[float, float, float]] | None = None,
    **changes: float,
) -> Book:
    """Options as (expiry row, strike, is call, vol, amount); feeds as (seconds, forward, rate)."""
    options, feeds = options or [], feeds or []
    empty = np.zeros(0)
    book = Book(
        spot=2681.6029850999994, spot_confidence=1.0, stable_price=1.00019088635, cash=0.0, perps=0.0, perp_price=0.0,
        perp_confidence=0.0, perp_pnl=0.0, perp_funding=0.0,
        expiries=Expiries(
            seconds=np.array([one[0] for one in feeds]),
            forwards=np.array([one[1] for one in feeds]),
            rates=np.array([one[2] for one in feeds]),
            confidences=np.full(len(feeds), 0.95),
        ),
        at=np.array([one[0] for one in options], dtype=np.int64),
        kinds=np.array([int(LineKind.CALL if one[2] else LineKind.PUT) for one in options], dtype=np.int64),
        strikes=np.array([one[1] for one in options]),
        vols=np.array([one[3] for one in options]),
        amounts=np.array([one[4] for one in options]),
        collateral_amounts=empty, collateral_prices=empty, collateral_confidences=empty, collateral_thresholds=empty,
        cancelling=empty, haircut_maintenance=empty, haircut_initial=empty,
    )  # fmt: skip
    return replace(book, **changes)  # type: ignore[arg-type]


# Portfolio case 57: four options at two expiries, no collateral; the figures of its options alone.
_CASE_57 = _book(
    [
        (0, 4000.0, False, 0.8795543651099665, 0.01),
        (0, 1000.0, True, 1.225482363870083, -0.6),
        (1, 5000.0, False, 0.7065777498085652, 0.01),
        (1, 500.0, True, 0.9537288427123918, -0.6),
    ],
    [(794_852.0, 2682.9997436016715, 0.15), (18_938_852.0, 2801.18485249767, 0.29)],
)


def test_options_of_portfolio_case_57() -> None:
    parts = derive_pm2.assess(_PARAMETERS, _CASE_57)
    assert _CASE_57.expiry_marks() == pytest.approx([-992.8661913372353, -1141.6892585865924], rel=1e-9)
    positive, negative = derive_pm2.static_discounts(_PARAMETERS, _CASE_57.expiries)
    assert positive == pytest.approx([0.9445087287221925, 0.7607156031658348], rel=1e-12)
    assert negative == pytest.approx([1.0037878445554764, 1.1902443790976243], rel=1e-12)
    assert -parts["option_maintenance"] == pytest.approx(-9.653770746359998, rel=1e-12)
    assert -parts["option_initial"] == pytest.approx(-6.43584716424, rel=1e-12)
    # With no move at all the discount costs: shocked expiries -996.6270 and -1358.8892 against their marks.
    still = derive_pm2.scenario_profits(_PARAMETERS, _CASE_57)[2]
    assert still == pytest.approx(-996.6270141344086 - 1358.8892227088256 + 992.8661913372353 + 1141.6892585865924)


def test_a_short_perp_with_unsure_feeds_is_portfolio_case_31() -> None:
    book = _book(spot=3000.0, spot_confidence=0.2, perps=-1.0, perp_price=4000.0, perp_confidence=0.1, perp_pnl=-900.0)
    parts = derive_pm2.assess(_PARAMETERS, book)
    got = (parts["worst"], parts["oracle"], parts["initial"], parts["maintenance"])
    assert got == pytest.approx((-720.0, 2700.0, -4380.0, -1521.0), rel=1e-12)
    asked = derive_pm2.demand(_PARAMETERS, book)
    assert (asked.initial.free, asked.maintenance.free) == pytest.approx((-4380.0, -1521.0))


def test_an_expired_call_is_portfolio_case_66() -> None:
    book = _book([(0, 2500.0, True, 2511.421980938193, -1.0)], [(0.0, 2691.6029850999994, 0.22)])
    parts = derive_pm2.assess(_PARAMETERS, book)
    assert parts["worst"] == 0.0  # all of the forward has settled
    assert parts["initial"] == pytest.approx(-205.01100002549938, rel=1e-12)
    assert parts["maintenance"] == pytest.approx(-199.64779405529939, rel=1e-12)


def test_cash_alone_needs_nothing_even_off_its_peg() -> None:
    parts = derive_pm2.assess(_PARAMETERS, _book(cash=1000.0, stable_price=0.52))
    assert (parts["initial"], parts["maintenance"]) == (1000.0, 1000.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scenarios": [{"spot": 1.1, "vol": 3, "damping": 1.0}]}, "expected spot 1 with vol LINEAR, was 1.1"),
        ({"scenarios": [{"spot": 1.0, "vol": 4, "damping": 1.0}] * 2}, "at most one with vol ABS, was 2"),
        ({"scenarios": [{"spot": 1.0, "vol": 0, "damping": 1.0}] * 41}, "expected at most 40, was 41"),
        ({"scenarios": [{"spot": 1.0, "vol": 9, "damping": 1.0}]}, r"scenarios\[0\].vol: expected 0 .. 4, was 9"),
        ({"vol": {**_RAW["vol"], "range_up": math.nan}}, r"venues\[1\].derive_pm2.vol.range_up: expected 0.0"),  # type: ignore[dict-item]
    ],
)
def test_parameters_of_derive_are_refused_with_path_and_bound(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_model("derive_pm2", {**_RAW, **change}, path="venues[1]")


_OPTIONS = st.lists(
    st.tuples(
        st.integers(0, 1), st.floats(100.0, 20_000.0), st.booleans(), st.floats(0.0, 4.0), st.floats(-50.0, 50.0)
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(_OPTIONS, st.floats(-20.0, 20.0), st.floats(1.0, 1e6))
def test_cash_counts_in_full_and_margin_is_finite(
    options: list[tuple[int, float, bool, float, float]], perps: float, cash: float
) -> None:
    feeds = [(600.0, 2690.0, 0.1), (8_000_000.0, 2750.0, 0.2)]
    poor = _book(options, feeds, perps=perps, perp_price=2700.0, perp_confidence=1.0)
    rich = replace(poor, cash=cash)
    before, after = derive_pm2.assess(_PARAMETERS, poor), derive_pm2.assess(_PARAMETERS, rich)
    for test in ("initial", "maintenance"):
        assert math.isfinite(before[test])
        assert after[test] - before[test] == pytest.approx(cash, rel=1e-6, abs=1e-3)
    assert before["worst"] <= 0.0
    assert before["initial"] <= before["maintenance"] + 1e-6


# --- Deribit ---------------------------------------------------------------------------------------------------------

_DERIBIT = read(deribit_pm.Parameters, {**deribit_pm.PUBLISHED, "initial_over_maintenance": 1.3}, "deribit_pm")
_NONE = np.zeros(0)


def _account(
    options: list[tuple[float, float, bool, float]] | None = None, futures: list[float] | None = None
) -> deribit_pm.Account:
    """Options as (strike, days, is call, amount)."""
    options, futures = options or [], futures or []
    return deribit_pm.Account(
        index=60_000.0, equity=10.0,
        forwards=np.full(len(options), 60_000.0),
        strikes=np.array([one[0] for one in options]),
        years=np.array([one[1] / 365.0 for one in options]),
        vols=np.full(len(options), 0.6),
        kinds=np.array([int(LineKind.CALL if one[2] else LineKind.PUT) for one in options], dtype=np.int64),
        amounts=np.array([one[3] for one in options]),
        futures=np.array(futures), future_prices=np.full(len(futures), 60_000.0),
    )  # fmt: skip


def test_contingencies_of_deribit_are_its_own_examples() -> None:
    # www.deribit.com/pages/docs/portfoliomargin: call +10 and put -20 at one strike are 10 net short, 0.1 BTC;
    # futures +100 BTC and -100 BTC in two expiries are 1 % of 100 BTC.
    short = deribit_pm.contingencies(_DERIBIT, _account([(60_000.0, 30.0, True, 10.0), (60_000.0, 30.0, False, -20.0)]))
    assert short["short_options"] == pytest.approx(10 * 0.01 * 60_000.0)
    offset = deribit_pm.contingencies(_DERIBIT, _account(futures=[100 * 60_000.0, -100 * 60_000.0]))
    assert offset["offset_futures"] == pytest.approx(0.01 * 100 * 60_000.0)


def test_one_future_needs_its_widest_move() -> None:
    asked = deribit_pm.demand(_DERIBIT, _account(futures=[60_000.0]))
    assert asked.maintenance.needs == pytest.approx(6_000.0)
    assert asked.initial.needs == pytest.approx(7_800.0)
    assert asked.maintenance.has == 600_000.0


def test_an_option_ten_days_out_is_shocked_by_more_than_one_of_thirty() -> None:
    up, _ = TenorShock(0.38, 0.38, 0.30, 0.30, 1.0).factors(np.array([10.0, 15.0, 30.0]) / 365.0)
    assert up == pytest.approx([1.0 + 0.38 * 3.0**0.3, 1.0 + 0.38 * 2.0**0.3, 1.38])


def test_a_hedged_short_straddle_needs_less_than_its_legs_alone() -> None:
    legs = [[(60_000.0, 30.0, True, -1.0)], [(60_000.0, 30.0, False, -1.0)]]
    alone = sum(deribit_pm.demand(_DERIBIT, _account(leg)).maintenance.needs for leg in legs)
    assert 0.0 < deribit_pm.demand(_DERIBIT, _account([*legs[0], *legs[1]])).maintenance.needs < alone


def test_far_moves_catch_what_the_grid_does_not_see() -> None:
    far = read(deribit_pm.Parameters, {**deribit_pm.PUBLISHED, "far": [{"spot": 2.0, "damping": 0.25}]}, "deribit_pm")
    account = _account([(90_000.0, 2.0, True, -10.0)])
    assert (
        deribit_pm.demand(far, account).maintenance.needs > 10 * deribit_pm.demand(_DERIBIT, account).maintenance.needs
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e4, 2e5), st.floats(0.0, 400.0), st.booleans(), st.floats(-20.0, 20.0)), max_size=5),
    st.lists(st.floats(-1e6, 1e6), max_size=3),
)
def test_requirement_is_finite_never_negative_and_positively_homogeneous(
    options: list[tuple[float, float, bool, float]], futures: list[float]
) -> None:
    once = deribit_pm.demand(_DERIBIT, _account(options, futures)).maintenance.needs
    doubled = [(strike, days, call, 2.0 * amount) for strike, days, call, amount in options]
    twice = deribit_pm.demand(_DERIBIT, _account(doubled, [2.0 * one for one in futures])).maintenance.needs
    assert math.isfinite(once)
    assert once >= 0.0
    assert twice == pytest.approx(2.0 * once, rel=1e-9, abs=1e-6)
