"""Digitals under a smile: the limit of call spreads, parity, bounds, and Greeks against differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.options.black import Greeks, LineKind, black76
from libs.options.digital import smile_digital
from libs.options.svi import SviSlice

SMILE = SviSlice(a=0.01, b=0.08, rho=-0.4, m=0.02, sigma=0.15, forward=1.0, years=0.25)
CALL, PUT = LineKind.DIGITAL_CALL, LineKind.DIGITAL_PUT
strikes = st.floats(0.6, 1.6)
rates = st.floats(0.0, 0.2)


def digital(strike: float, kind: LineKind = CALL, *, forward: float = 1.0, rate: float = 0.05, **over: float) -> Greeks:
    """A digital at the smile's volatility and slope at its strike, or at others."""
    years = over.get("years", SMILE.years)
    return smile_digital(
        forward=forward, strike=strike, years=years, vol=over.get("vol", SMILE.vol(strike)),
        slope=over.get("slope", SMILE.vol_slope(strike)), discount=math.exp(-rate * years), kind=kind,
    )  # fmt: skip


def call(strike: float, rate: float = 0.05) -> float:
    """A call at the smile's volatility at its own strike."""
    discount = math.exp(-rate * SMILE.years)
    return black76(forward=1.0, strike=strike, years=SMILE.years, vol=SMILE.vol(strike), discount=discount).value


@given(strike=strikes, rate=rates)
@settings(max_examples=100)
def test_it_is_the_limit_of_call_spreads_with_the_smile(strike: float, rate: float) -> None:
    width = 1e-4 * strike
    spread = (call(strike - width, rate) - call(strike + width, rate)) / (2.0 * width)
    assert digital(strike, rate=rate).value == pytest.approx(spread, abs=2e-6)
    halved = (call(strike - width / 2, rate) - call(strike + width / 2, rate)) / width
    assert abs(digital(strike, rate=rate).value - halved) <= abs(digital(strike, rate=rate).value - spread) + 1e-9


@given(strike=strikes, rate=rates)
@settings(max_examples=100)
def test_a_call_and_a_put_pay_the_discount_between_them(strike: float, rate: float) -> None:
    both = digital(strike, rate=rate), digital(strike, PUT, rate=rate)
    assert both[0].value + both[1].value == pytest.approx(math.exp(-rate * SMILE.years), rel=1e-14)
    for name in ("delta", "gamma", "vega"):
        assert getattr(both[0], name) == pytest.approx(-getattr(both[1], name), abs=1e-12)


def test_skew_makes_a_digital_dearer_than_its_flat_price() -> None:
    assert SMILE.vol_slope(0.95) < 0.0
    assert digital(0.95).value > digital(0.95, slope=0.0).value


@given(strike=strikes, forward=st.floats(0.7, 1.4), kind=st.sampled_from([CALL, PUT]))
@settings(max_examples=100)
def test_greeks_are_the_slopes_of_the_value(strike: float, forward: float, kind: LineKind) -> None:
    vol, slope, years, rate, step = SMILE.vol(strike), SMILE.vol_slope(strike), 0.25, 0.05, 1e-5

    def value(**moved: float) -> float:
        at = {"forward": forward, "vol": vol, "years": years, **moved}
        return smile_digital(
            forward=at["forward"], strike=strike, years=at["years"], vol=at["vol"], slope=slope,
            discount=math.exp(-rate * at["years"]), kind=kind,
        ).value  # fmt: skip

    one = digital(strike, kind, forward=forward)
    if not 1e-6 < one.value < math.exp(-rate * years) - 1e-6:
        return  # at its bounds
    up, down = value(forward=forward + step), value(forward=forward - step)
    assert one.delta == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6)
    assert one.gamma == pytest.approx((up - 2 * one.value + down) / step**2, rel=1e-3, abs=1e-3)
    assert one.vega == pytest.approx((value(vol=vol + step) - value(vol=vol - step)) / (2 * step), rel=1e-5, abs=1e-6)
    later = (value(years=years - step) - value(years=years + step)) / (2 * step)
    assert one.theta == pytest.approx(later, rel=1e-4, abs=1e-5)


@given(strike=strikes)
@settings(max_examples=50)
def test_the_slope_of_the_smile_is_its_derivative(strike: float) -> None:
    width = 1e-6
    slope = (SMILE.vol(strike + width) - SMILE.vol(strike - width)) / (2 * width)
    assert SMILE.vol_slope(strike) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("years", [0.0, 1e-12, 1e-6, 1.0, 100.0])
@pytest.mark.parametrize("vol", [0.0, 1e-9, 0.5, 50.0])
@pytest.mark.parametrize("slope", [-1e6, -1.0, 0.0, 1.0, 1e6])
@pytest.mark.parametrize("kind", [CALL, PUT])
def test_it_stays_between_nothing_and_its_discount(years: float, vol: float, slope: float, kind: LineKind) -> None:
    for forward in (1e-9, 0.5, 1.0, 1.0 + 1e-12, 2.0, 1e9):
        discount = math.exp(-0.05 * years)
        one = smile_digital(
            forward=forward, strike=1.0, years=years, vol=vol, slope=slope, discount=discount, kind=kind
        )
        assert 0.0 <= one.value <= discount
        assert all(math.isfinite(getattr(one, name)) for name in Greeks.__slots__)


def test_at_its_expiry_a_call_pays_above_the_strike_and_a_put_at_it() -> None:
    paid = [
        (digital(1.0, CALL, forward=forward, years=0.0).value, digital(1.0, PUT, forward=forward, years=0.0).value)
        for forward in (0.999, 1.0, 1.001)
    ]
    assert paid == [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0)]


def test_struck_at_nothing_it_is_money_at_the_expiry() -> None:
    assert digital(0.0).value == math.exp(-0.05 * SMILE.years)
    assert digital(0.0).delta == digital(0.0).vega == 0.0


# Cash or nothing on a forward of 1, 90 days, volatility 80 %, rate 5 %, by QuantLib 1.44 (AnalyticEuropeanEngine over
# BlackProcess): kind, strike, value, delta, gamma, vega.
QUANTLIB = [
    (CALL, 0.7, 0.7485113996332209, 0.7768226467495587, -2.144170151544985, -0.42295959153764096),
    (CALL, 0.95, 0.4665068751645289, 0.9895595223402288, -0.8164218667446185, -0.1610476011112673),
    (CALL, 1.0, 0.41611593506191336, 0.9725770918707067, -0.48628854593535337, -0.09592541180094641),
    (CALL, 1.1, 0.32644430425811377, 0.9010064238062718, 0.09367049910566697, 0.018477468316734365),
    (CALL, 1.5, 0.1100000019303812, 0.47169150592256925, 0.9760964921176749, 0.19254506145882896),
    (PUT, 0.7, 0.23923552112747815, -0.7768226467495587, 2.144170151544985, 0.42295959153764096),
    (PUT, 0.95, 0.5212400455961702, -0.9895595223402288, 0.8164218667446185, 0.1610476011112673),
    (PUT, 1.0, 0.5716309856987857, -0.9725770918707067, 0.48628854593535337, 0.09592541180094641),
    (PUT, 1.1, 0.6613026165025854, -0.9010064238062718, -0.09367049910566697, -0.018477468316734365),
    (PUT, 1.5, 0.8777469188303179, -0.47169150592256925, -0.9760964921176749, -0.19254506145882896),
]


@pytest.mark.parametrize(("kind", "strike", "value", "delta", "gamma", "vega"), QUANTLIB)
def test_quantlib_prices_it_alike_where_the_smile_is_flat(
    kind: LineKind, strike: float, value: float, delta: float, gamma: float, vega: float
) -> None:
    years = 90 / 365.0
    ours = smile_digital(
        forward=1.0, strike=strike, years=years, vol=0.8, slope=0.0, discount=math.exp(-0.05 * years), kind=kind
    )
    assert ours.value == pytest.approx(value, rel=1e-12)
    assert ours.delta == pytest.approx(delta, rel=1e-10)
    assert ours.gamma == pytest.approx(gamma, rel=1e-9)
    assert ours.vega == pytest.approx(vega, rel=1e-9)


def test_a_digital_is_not_priced_from_another_kind() -> None:
    with pytest.raises(ValueError, match="expected a digital"):
        digital(1.0, LineKind.CALL)
    assert replace(digital(1.0), value=0.0).elasticity(1.0) == 0.0
