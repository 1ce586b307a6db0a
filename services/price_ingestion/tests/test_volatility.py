"""Volatility profiles: at once for new risk, after notice and slowly for maintenance, slow to fall."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.config import load_parameters
from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import VolatilityProfile
from libs.common.units import PPM, Ppm, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.domain.volatility import (
    HOUR_NS,
    LEVEL_STEP,
    Level,
    Profiles,
    ProfileState,
    Sample,
    begin,
    observe,
    target_of,
)
from services.price_ingestion.tests import REPOSITORY

BTC = AssetId(2)
NOTICE_H = 24
DAY_NS = 24 * HOUR_NS
PROFILE = VolatilityProfile(
    asset=BTC,
    floor=Ppm(600_000),
    stressed=Ppm(600_000),
    stressed_weight=Ppm(250_000),
    ceiling=Ppm(4_000_000),
    fast_half_life_ns=DAY_NS,
    slow_half_life_ns=14 * DAY_NS,
    realised_window_ns=7 * DAY_NS,
    sample_every_ns=HOUR_NS,
    fall_half_life_ns=30 * DAY_NS,
    notice_ns=NOTICE_H * HOUR_NS,
    maintenance_rise_per_hour=Ppm(20_000),
)
RAISED = replace(PROFILE, floor=Ppm(1_500_000), stressed=Ppm(1_500_000))
STARTED = begin(PROFILE, sigma=Ppm(600_000), price=60_000.0, now_ns=0)


def after(state: ProfileState, profile: VolatilityProfile, *, price: float, hours: int) -> ProfileState:
    """The state after so many hourly marks at one price."""
    first = state.now_ns // HOUR_NS + 1
    for hour in range(first, first + hours):
        state = observe(state, profile, price=price, now_ns=hour * HOUR_NS)
    return state


def test_a_parameter_alone_moves_nobodys_maintenance_within_the_notice() -> None:
    # sigma 60 -> 150 % with no price move; what that means for accounts: risk_evaluation, test_volatility.py.
    state = observe(STARTED, RAISED, price=60_000.0, now_ns=HOUR_NS)
    for _ in range(1, NOTICE_H + 1):
        assert state.level(BTC) == Level(BTC, Ppm(1_500_000), Ppm(600_000))
        state = after(state, RAISED, price=60_000.0, hours=1)


def test_maintenance_follows_after_the_notice_by_its_share_an_hour_and_arrives() -> None:
    state = after(STARTED, RAISED, price=60_000.0, hours=NOTICE_H)
    assert state.maintenance == 0.6
    seen = [state.maintenance]
    for _ in range(60):
        state = after(state, RAISED, price=60_000.0, hours=1)
        seen.append(state.maintenance)
    assert seen[1] == pytest.approx(0.6 * 1.02)
    assert all(later <= earlier * 1.02 * (1 + 1e-12) for earlier, later in pairwise(seen))
    assert seen[-1] == 1.5
    assert seen.index(1.5) == math.ceil(math.log(2.5) / math.log(1.02))


def test_a_spike_that_is_gone_within_the_notice_never_reaches_maintenance() -> None:
    quick = replace(PROFILE, fall_half_life_ns=HOUR_NS)
    state = observe(STARTED, replace(RAISED, fall_half_life_ns=HOUR_NS), price=60_000.0, now_ns=HOUR_NS)
    assert state.initial == 1.5
    for _ in range(5 * NOTICE_H):
        state = after(state, quick, price=60_000.0, hours=1)
        assert state.maintenance <= 0.6


def test_a_jump_counts_by_its_size_before_the_next_sample_is_due() -> None:
    # Squared return over a half-life's decay: 0.01 · ln 2 / (1 day) a year, blended with the stressed volatility.
    state = observe(STARTED, PROFILE, price=60_000.0 * math.exp(-0.1), now_ns=HOUR_NS // 60)
    fast = 0.36 * 2 ** (-1 / 1440) + 0.01 * 365 * 1440 * (1 - 2 ** (-1 / 1440))
    assert state.initial == pytest.approx(0.75 * math.sqrt(fast) + 0.25 * 0.6)
    assert state.initial > 1.3
    assert state.price_at_ns == 0  # not a sample yet: noise between marks is no volatility
    assert state.maintenance == 0.6


def test_it_falls_by_half_a_half_life_and_never_below_the_floor() -> None:
    state = replace(STARTED, initial=2.0, fast=0.0, slow=0.0)
    month = observe(state, PROFILE, price=60_000.0, now_ns=30 * DAY_NS)
    assert month.initial == pytest.approx(1.0)
    assert observe(month, PROFILE, price=60_000.0, now_ns=300 * DAY_NS).initial == 0.6


@pytest.mark.parametrize(
    ("fast", "slow", "realised", "stressed", "sigma"),
    [
        (0.36, 0.36, 0.0,  0.6, 0.60),
        (1.00, 0.36, 0.0,  0.6, 0.90),   # the highest measure, a quarter stressed
        (0.36, 1.00, 0.0,  0.6, 0.90),
        (0.36, 0.36, 1.44, 0.6, 1.05),
        (0.36, 0.36, 0.0,  2.6, 1.10),
        (0.04, 0.04, 0.0,  0.6, 0.60),   # floor
        (99.0, 0.36, 0.0,  0.6, 4.00),   # ceiling
    ],
)  # fmt: skip
def test_target(fast: float, slow: float, realised: float, stressed: float, sigma: float) -> None:
    week = 7 * DAY_NS
    samples = (Sample(week, week, realised * 7 / 365),)
    profile = replace(PROFILE, stressed=Ppm(int(stressed * PPM)))
    assert target_of(profile, fast=fast, slow=slow, samples=samples) == pytest.approx(sigma)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_price_is_refused(price: float) -> None:
    with pytest.raises(ValueError, match="price above 0"):
        observe(STARTED, PROFILE, price=price, now_ns=HOUR_NS)


def test_time_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a time from"):
        observe(after(STARTED, PROFILE, price=60_000.0, hours=1), PROFILE, price=60_000.0, now_ns=0)


@given(
    st.lists(
        st.tuples(st.floats(-0.3, 0.3), st.sampled_from([1, 60, 1800, 3600, 7200, 86_400, 200_000])), max_size=120
    ),
    st.integers(0, 119),
)
def test_any_prices_and_times_keep_the_promises(steps: list[tuple[float, int]], change_at: int) -> None:
    state, log_price = STARTED, math.log(60_000.0)
    stood: list[tuple[int, float]] = [(0, state.initial)]
    for number, (move, seconds) in enumerate(steps):
        profile = PROFILE if number < change_at else RAISED
        log_price += move
        now = state.now_ns + seconds * 10**9
        was, state = state, observe(state, profile, price=math.exp(log_price), now_ns=now)
        hours = min(1.0, seconds / 3600)
        assert state.maintenance <= state.initial <= 4.0
        assert state.initial >= profile.floor / PPM
        assert state.maintenance <= was.maintenance * 1.02**hours * (1 + 1e-12)
        assert state.initial >= was.initial * 2 ** (-seconds / (30 * 86_400)) * (1 - 1e-12) or state.initial == 4.0
        # The level in force between two marks is that of the first: all that stood within the notice binds.
        since = now - PROFILE.notice_ns
        within = [
            level for (at, level), (until, _) in zip(stood, [*stood[1:], (now, 0.0)], strict=True) if until > since
        ]
        assert state.maintenance <= min(within) * (1 + 1e-12)
        stood.append((now, state.initial))
        assert len(state.lows) <= NOTICE_H + 2
        assert len(state.samples) <= 7 * 24 + 1


def test_what_is_published_is_rounded_so_that_maintenance_promises_hold() -> None:
    state = replace(STARTED, initial=1.1, maintenance=0.6)
    assert state.level(BTC) == Level(BTC, Ppm(1_100_000), Ppm(600_000))
    state = replace(STARTED, initial=1.10001, maintenance=0.60499)
    assert state.level(BTC) == Level(BTC, Ppm(1_105_000), Ppm(600_000))


PARAMETERS = load_parameters(REPOSITORY / "config").parameters
PROFILED = {one.asset: one for one in PARAMETERS.margin.profiles}
SPOT = {one.id: one.price_instrument for one in PARAMETERS.assets if one.id in PROFILED}
SIGMA = {one.asset: one.sigma for one in PARAMETERS.margin.assets}


def rows(price: int, validity: ValidityClass = ValidityClass.VALID) -> list[MarkRow]:
    return [
        MarkRow(InstrumentId(spot), Mark(price, price, 0, validity), price)
        for spot in SPOT.values()
        if spot is not None
    ]


def test_a_first_mark_puts_every_profile_at_its_sigma() -> None:
    profiles = Profiles(PARAMETERS)
    moved = profiles.take(rows(1_500_000), now_ns=UnixNs(0))
    assert {one.asset: (one.initial, one.maintenance) for one in moved} == {
        asset: (SIGMA[asset], SIGMA[asset]) for asset in PROFILED
    }
    assert profiles.levels() == moved
    then = profiles.take(rows(1_500_000), now_ns=UnixNs(1))  # the stressed period counts from now on
    assert all(one.initial > SIGMA[one.asset] == one.maintenance for one in then)
    assert profiles.take(rows(1_500_000), now_ns=UnixNs(2)) == ()


def test_a_fall_moves_new_risk_at_once_and_a_mark_nobody_trusts_moves_nothing() -> None:
    profiles = Profiles(PARAMETERS)
    first = {one.asset: one for one in profiles.take(rows(1_500_000), now_ns=UnixNs(0))}
    assert profiles.take(rows(900_000, ValidityClass.HOLD), now_ns=UnixNs(60 * 10**9)) == ()
    moved = profiles.take(rows(900_000), now_ns=UnixNs(120 * 10**9))
    assert {one.asset for one in moved} == set(PROFILED)
    for one in moved:
        assert one.initial > first[one.asset].initial
        assert one.maintenance == first[one.asset].maintenance


@given(st.lists(st.tuples(st.integers(300_000, 3_000_000), st.integers(1, 40_000)), min_size=2, max_size=40), st.data())
def test_i8_who_goes_on_from_a_snapshot_comes_to_the_same_state(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(steps) - 1))
    whole, later, now = Profiles(PARAMETERS), Profiles(PARAMETERS), 0
    for number, (price, seconds) in enumerate(steps):
        now += seconds * 10**9
        whole.take(rows(price), now_ns=UnixNs(now))
        if number == cut:
            later.restore(whole.states, rows(price), closes=whole.closes, at_ns=UnixNs(now))
        elif number > cut:
            later.take(rows(price), now_ns=UnixNs(now))
    assert later.states == whole.states
    assert later.closes == whole.closes
    assert set(later.levels()) == set(whole.levels())
    assert all(one.initial % LEVEL_STEP == 0 and one.maintenance <= one.initial for one in whole.levels())


def test_every_hour_closes_at_the_last_price_before_its_end_and_a_gap_closes_nothing() -> None:
    profiles = Profiles(PARAMETERS)
    for minute, price in ((30, 1_500_000), (59, 1_510_000), (61, 1_600_000), (110, 1_610_000), (120, 1_620_000)):
        profiles.take(rows(price), now_ns=UnixNs(minute * 60 * 10**9))
    seen = [(one.at_ns // HOUR_NS, round(one.price / profiles.closes[BTC][0].price, 4)) for one in profiles.closes[BTC]]
    assert seen == [(1, 1.0), (2, 1.0662)]
    assert profiles.closed[BTC][0].at_ns == 2 * HOUR_NS
    profiles.take(rows(1_000_000), now_ns=UnixNs(400 * 60 * 10**9))  # the clock jumped
    assert not profiles.closed
    assert len(profiles.closes[BTC]) == 2
