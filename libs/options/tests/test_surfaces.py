"""Smiles: SVI, its clamps, arbitrage found, mended within a bound and flagged, or refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.options.surface import (
    Surface,
    SurfaceBounds,
    SurfaceFlag,
    SurfaceRefusal,
    SurfaceRefused,
    check_surface,
    shortfall,
)
from libs.options.svi import SviSlice, has_butterfly, jump_wings, raw_of

# Gatheral and Jacquier (2014), example 3.1: Axel Vogt's smile, which has butterfly arbitrage.
_VOGT = SviSlice(a=-0.0410, b=0.1331, rho=0.3060, m=0.3586, sigma=0.4153, forward=100.0, years=1.0)
_NEAR = SviSlice(a=0.02, b=0.10, rho=-0.3, m=0.0, sigma=0.2, forward=100.0, years=0.5)
_FAR = SviSlice(a=0.05, b=0.12, rho=-0.3, m=0.0, sigma=0.3, forward=101.0, years=1.0)


def test_smile_of_derive() -> None:
    # derivexyz/v2-core PMRM_2 portfolio case 57: SVI parameters and the vols they were marked at.
    one = SviSlice(
        a=0.007565004123347051,
        b=0.056657535290617424,
        rho=-0.550126934432354304,
        m=-0.063306755636129112,
        sigma=0.04832319830307816,
        forward=2682.9997436016715,
        years=0.02520674784373,
    )
    assert one.vols(np.array([4000.0, 1000.0])) == pytest.approx([0.8795543651099665, 1.225482363870083], rel=1e-10)
    # Far from the forward the smile is flat: log-moneyness counts within ±4·sqrt(a + b·sigma).
    far = one.vols(np.array([0.0, 1e-9, 1e9, 1e12]))
    assert far[0] == far[1]
    assert far[2] == far[3]


def test_jump_wings_of_gatheral_and_jacquier() -> None:
    # Example 5.1 there.
    wings = jump_wings(_VOGT)
    got = (wings.v, wings.psi, wings.p, wings.c, wings.v_min)
    assert got == pytest.approx((0.01742625, -0.1752111, 0.6997381, 1.316798, 0.0116249), rel=1e-5)
    back = raw_of(wings, _VOGT)
    assert back is not None
    assert (back.a, back.b, back.rho, back.m, back.sigma) == pytest.approx(
        (_VOGT.a, _VOGT.b, _VOGT.rho, _VOGT.m, _VOGT.sigma)
    )


def test_butterfly_is_mended_and_flagged() -> None:
    assert has_butterfly(_VOGT)
    got = check_surface([_VOGT])
    assert isinstance(got, Surface)
    assert [one.flag for one in got.repairs] == [SurfaceFlag.BUTTERFLY_REPAIRED]
    assert 0.0 < got.repairs[0].moved <= 0.25
    assert not has_butterfly(got.slices[0])
    assert got.slices[0].at_the_money() == pytest.approx(_VOGT.at_the_money(), rel=1e-9)


def test_butterfly_beyond_the_bound_is_refused() -> None:
    got = check_surface([_VOGT], SurfaceBounds(repair_max=0.01))
    assert isinstance(got, SurfaceRefused)
    assert got.reason is SurfaceRefusal.BUTTERFLY
    assert "slices[0]" in got.detail


def test_crossed_expiries_are_raised_and_flagged() -> None:
    low = replace(_FAR, a=0.0)
    assert shortfall(_NEAR, low) > 0.0
    got = check_surface([_NEAR, low])
    assert isinstance(got, Surface)
    assert [one.flag for one in got.repairs] == [SurfaceFlag.CALENDAR_REPAIRED]
    assert shortfall(got.slices[0], got.slices[1]) == pytest.approx(0.0, abs=1e-12)


def test_expiries_crossed_beyond_the_bound_are_refused() -> None:
    got = check_surface([_NEAR, replace(_FAR, a=-0.03, b=0.12)])
    assert isinstance(got, SurfaceRefused)
    assert got.reason is SurfaceRefusal.CROSSED


def test_a_sound_surface_stays_as_it_is() -> None:
    assert check_surface([_NEAR, _FAR]) == Surface((_NEAR, _FAR), ())


@pytest.mark.parametrize(
    ("slices", "reason", "says"),
    [
        ([], SurfaceRefusal.EMPTY, "at least one"),
        ([replace(_NEAR, a=math.nan)], SurfaceRefusal.MALFORMED, "finite"),
        ([replace(_NEAR, forward=0.0)], SurfaceRefusal.MALFORMED, "forward > 0"),
        ([replace(_NEAR, years=-0.1)], SurfaceRefusal.MALFORMED, "years >= 0"),
        ([replace(_NEAR, b=-0.1)], SurfaceRefusal.MALFORMED, "b >= 0"),
        ([replace(_NEAR, rho=1.1)], SurfaceRefusal.MALFORMED, "rho in -1 .. 1"),
        ([replace(_NEAR, a=-0.5)], SurfaceRefusal.MALFORMED, "total variance >= 0"),
        ([_FAR, _NEAR], SurfaceRefusal.MALFORMED, "rising expiries"),
        ([_NEAR, _NEAR], SurfaceRefusal.MALFORMED, "rising expiries"),
    ],
)
def test_what_is_no_surface_is_refused(slices: list[SviSlice], reason: SurfaceRefusal, says: str) -> None:
    got = check_surface(slices)
    assert isinstance(got, SurfaceRefused)
    assert got.reason is reason
    assert says in got.detail


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-0.05, 0.3), st.floats(0.001, 1.5), st.floats(-0.95, 0.95), st.floats(-0.5, 0.5), st.floats(0.01, 1.0),
    st.floats(0.001, 3.0),
)  # fmt: skip
def test_what_is_taken_has_no_butterfly_and_moved_within_the_bound(
    a: float, b: float, rho: float, m: float, sigma: float, years: float
) -> None:
    got = check_surface([SviSlice(a, b, rho, m, sigma, 100.0, years)])
    if isinstance(got, Surface):
        assert not has_butterfly(got.slices[0])
        assert all(one.moved <= 0.25 for one in got.repairs)
    else:
        assert got.reason in (SurfaceRefusal.BUTTERFLY, SurfaceRefusal.MALFORMED)


def test_at_and_after_expiry_there_is_no_volatility() -> None:
    assert replace(_NEAR, years=0.0).vols(np.array([50.0, 100.0])).tolist() == [0.0, 0.0]
