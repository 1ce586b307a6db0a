"""The planner against a small kernel: tables from docs/margin.md and from published figures, then properties."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.units import PPM, Lots, Usd6
from services.liquidation_execution.domain.planner import PlanKind, Problem, _adds_risk
from services.liquidation_execution.domain.slices import (
    Candidate,
    Judged,
    Margin,
    Slice,
    between,
    candidate,
    first_guess,
    span,
)
from services.liquidation_execution.tests import kernel
from services.liquidation_execution.tests.kernel import (
    BTC,
    BTC_INV,
    BTC_PERP,
    BTC_USD,
    COIN,
    DOLLAR,
    ETH,
    ETH_PERP,
    LTC_PERP,
    USD,
    Account,
    planned,
    problem,
)

TARGET = kernel.CATALOGUE.parameters.liquidation.target


def usd(amount: float) -> Usd6:
    return Usd6(round(amount * DOLLAR))


def margin(equity: float, initial: float, maintenance: float) -> Margin:
    return Margin(usd(equity), usd(initial), usd(maintenance))


def judged(before: Margin, after: Margin) -> Judged:
    return Judged(Slice("slice", (1,)), before, after)


# docs/margin.md, example 12: b 1.05, E 60k, N 1M, c 0.5 %. Then no part suffices, and none helps.
FIRST_GUESSES = [
    # equity  IM       IM_x     cost    part, millionths
    (60_000, 100_000, 100_000, 5_000, 450_000),
    (60_000, 100_000, 60_000, 5_000, 775_863),
    (60_000, 100_000, 40_000, 5_000, 1_216_217),
    (60_000, 100_000, 4_000, 5_000, None),
    (105_000, 100_000, 100_000, 5_000, 0),
]


@pytest.mark.parametrize(("equity", "initial", "closed", "cost", "part"), FIRST_GUESSES)
def test_first_guess_follows_design_example_12(equity: int, initial: int, closed: int, cost: int, part: int) -> None:
    found = first_guess(margin=margin(equity, initial, 0), target=1_050_000, initial_closed=usd(closed), cost=usd(cost))
    assert found == part


def test_a_slice_that_costs_more_than_it_relieves_is_forbidden_as_in_design_example_13() -> None:
    before = margin(60_000, 100_000, 80_000)
    assert not judged(before, margin(56_000, 95_000, 75_000)).keeps_ratio
    assert judged(before, margin(56_000, 95_000, 74_666.666666)).keeps_ratio
    assert not judged(before, margin(56_000, 95_000, 74_666.666667)).keeps_ratio


# "Toxic liquidation": with C 100, bonus 10 %, repay 10, a part lowers LTV only while LTV < 1/(1+bonus) = .90909.
TOXIC = [(0.80, 0.7865, True), (0.90, 0.8989, True), (0.92, 0.9213, False)]


@pytest.mark.parametrize(("ltv", "ltv_after", "allowed"), TOXIC)
def test_a_toxic_part_is_forbidden(ltv: float, ltv_after: float, allowed: bool) -> None:
    collateral, debt, repay, bonus = 100.0, 100.0 * ltv, 10.0, 0.10
    left, owed = collateral - repay * (1 + bonus), debt - repay
    assert owed / left == pytest.approx(ltv_after, abs=5e-5)
    found = judged(margin(collateral - debt, 0, 0.1 * collateral), margin(left - owed, 0, 0.1 * left))
    assert found.keeps_ratio is allowed


# "Least repayment that restores health h": (h·D − LT·C)/(h − LT·(1+bonus)); C 100, D 82, LT .8, bonus .05.
LEAST_REPAYMENTS = [(1.0, 12.5), (1.1, 39.2308)]


@pytest.mark.parametrize(("health", "repaid"), LEAST_REPAYMENTS)
def test_first_guess_is_the_least_repayment(health: float, repaid: float) -> None:
    collateral, debt, threshold, bonus = 100.0, 82.0, 0.8, 0.05
    weight = 1 - threshold / health  # health h is the same as E >= IM with IM this part of the collateral
    part = first_guess(
        margin=margin(collateral - debt, collateral * weight, 0),
        target=PPM,
        initial_closed=usd(debt * (1 + bonus) * weight),
        cost=usd(debt * bonus),
    )
    assert part is not None
    assert debt * part / PPM == pytest.approx(repaid, abs=1e-3)


def test_two_steps_close_no_more_than_one_as_health_is_checked_again() -> None:
    # Qin et al. 2021: C 10,000, D 8,400, LT .8, bonus .1: a close factor takes 3,333.33 and 2,533.33 in two calls. The
    # least reduction takes 3,333.33 and nothing after it.
    collateral, debt, threshold, bonus = 10_000.0, 8_400.0, 0.8, 0.1
    weight, taken = 1 - threshold, []
    for _ in range(2):
        part = first_guess(
            margin=margin(collateral - debt, collateral * weight, 0),
            target=PPM,
            initial_closed=usd(debt * (1 + bonus) * weight),
            cost=usd(debt * bonus),
        )
        assert part is not None
        taken.append(debt * part / PPM)
        collateral, debt = collateral - taken[-1] * (1 + bonus), debt - taken[-1]
    assert taken == [pytest.approx(3_333.33, abs=0.01), pytest.approx(0, abs=0.02)]


LONG_BTC = Account({USD: 20_000 * DOLLAR}).open(BTC_PERP, 7_500)  # 112,500 notional, E 20,000, IM 23,400
SPOT_ON_MARGIN = Account({USD: -130_000 * DOLLAR, BTC: 10 * COIN})
SHORT_SPOT = Account({USD: 165_000 * DOLLAR, BTC: -10 * COIN})
HEDGED = Account({USD: -146_000 * DOLLAR, BTC: 10 * COIN}).open(BTC_PERP, -10_000)
INVERSE = Account({BTC: COIN // 2, USD: -5_000 * DOLLAR}).open(BTC_INV, 20_000)
MIXED = Account({USD: 14_000 * DOLLAR}).open(BTC_PERP, 3_000).open(ETH_PERP, -3_000).open(LTC_PERP, 2_000)
INSOLVENT = Account({USD: -151_000 * DOLLAR, BTC: 10 * COIN})
RESIDUE = Account({USD: 5 * DOLLAR, BTC: -30_000})  # 0.0003 BTC owed: less than half a lot

PLANS = [
    # account,        lots a level, kind
    (LONG_BTC,        4_000, PlanKind.REDUCE),
    (SPOT_ON_MARGIN,  4_000, PlanKind.REDUCE),
    (SHORT_SPOT,      4_000, PlanKind.REDUCE),
    (HEDGED,          4_000, PlanKind.REDUCE),
    (INVERSE,     4_000_000, PlanKind.REDUCE),
    (MIXED,          40_000, PlanKind.REDUCE),
    (LONG_BTC,           10, PlanKind.PARTIAL),
    (LONG_BTC,            0, PlanKind.NO_DEPTH),
    (INSOLVENT,       4_000, PlanKind.CLOSE),
    (INSOLVENT,          10, PlanKind.CLOSE),
    (RESIDUE,         4_000, PlanKind.CLOSE),
    (Account({USD: 90_000 * DOLLAR}).open(BTC_PERP, 7_500), 4_000, PlanKind.RECOVERED),
]  # fmt: skip


@pytest.mark.parametrize(("account", "lots", "kind"), PLANS)
def test_plans_by_case(account: Account, lots: int, kind: PlanKind) -> None:
    found, trips = planned(account, problem(account, lots=lots))
    assert found.kind is kind
    assert trips <= 4


def test_both_legs_of_a_hedge_go_together() -> None:
    found, _ = planned(HEDGED, problem(HEDGED))
    assert found.chosen is not None
    assert found.chosen.slice.name == "BTC-USD-PERP + BTC-USD"
    assert abs(found.chosen.slice.lots[0] - found.chosen.slice.lots[1]) <= 1
    assert {one.rejected_because for one in found.alternatives[1:]} >= {"adds risk"}


def test_a_bankrupt_hedge_without_depth_for_one_leg_is_not_torn_apart() -> None:
    account = Account({USD: -151_000 * DOLLAR, BTC: 10 * COIN}).open(BTC_PERP, -10_000)
    asked = problem(account)
    dry = problem(account, lots=0).lines
    found, _ = planned(account, Problem((asked.lines[0], dry[1]), asked.rules))
    assert found.kind is PlanKind.NO_RELIEF
    assert not found.orders


def test_orders_are_what_the_plan_counted() -> None:
    asked = problem(MIXED, lots=40_000)
    found, _ = planned(MIXED, asked)
    assert found.chosen is not None
    wanted = dict(zip((line.reducible.instrument.id for line in asked.lines), found.chosen.slice.lots, strict=True))
    for instrument, lots in wanted.items():
        assert sum(order.lots for order in found.orders if order.instrument == instrument) == lots


@st.composite
def _accounts(draw: st.DrawFn) -> Account:
    account = Account({USD: draw(st.integers(-200_000, 200_000)) * DOLLAR})
    account.cash[BTC] = draw(st.sampled_from((0, 0, 1, -1))) * draw(st.integers(1, 8 * COIN))
    account.cash[ETH] = draw(st.sampled_from((0, 0, 1, -1))) * draw(st.integers(1, 150 * COIN))
    for instrument, most in ((BTC_PERP, 10_000), (ETH_PERP, 15_000), (LTC_PERP, 40_000), (BTC_INV, 150_000)):
        lots = draw(st.sampled_from((0, 1, -1))) * draw(st.integers(1, most))
        if lots:
            account = account.open(instrument, lots)
    # Equity put somewhere below initial margin: that is where plans are made.
    now = account.margin()
    wanted = now.initial * draw(st.integers(-20, 99)) // 100
    account.cash[USD] += wanted - now.equity
    return account


@given(
    _accounts(), st.sampled_from((20, 400, 4_000, 60_000)), st.sampled_from((0, 10_000)), st.sampled_from((200, 2_000))
)
def test_a_plan_never_adds_risk_and_closes_the_fewest_lots(
    account: Account, lots: int, claimed: int, step: int
) -> None:
    asked = problem(account, lots=lots, claimed=claimed, step_ppm=step)
    found, trips = planned(account, asked)
    assert trips <= 12
    chosen = found.chosen
    if chosen is None:
        assert not found.orders
        return
    then = kernel.after(account, candidate(asked.lines, chosen.slice.lots))
    assert then.margin() == chosen.after  # what was judged is what would be done
    residue = all(line.reducible.is_residue for line, some in zip(asked.lines, chosen.slice.lots, strict=True) if some)
    assert chosen.after.maintenance <= chosen.before.maintenance or residue
    if found.kind in (PlanKind.REDUCE, PlanKind.PARTIAL):
        assert chosen.keeps_ratio
    for line, some in zip(asked.lines, chosen.slice.lots, strict=True):
        assert 0 <= some <= min(line.reducible.lots, line.ladder.capacity)
    if found.kind is PlanKind.REDUCE:
        assert chosen.reaches(TARGET)
        _assert_fewest(account, asked, chosen)


def _assert_fewest(account: Account, asked: Problem, chosen: Judged) -> None:
    """The step before it on its path, at most one lot less of each line, was judged and misses the target."""
    trips: list[Sequence[Candidate]] = []
    planned(account, asked, trips)
    before = [one for one in {(), *itertools.chain.from_iterable(trips)} if _is_one_less(asked, one, chosen)]
    missed = [Judged(chosen.slice, chosen.before, kernel.after(account, one).margin()) for one in before]
    # Of several slices that end one lot below, one is the path that was taken; a single line has no other.
    falls_short = [not one.reaches(TARGET) or _adds_risk(asked, one) for one in missed]
    assert any(falls_short) if len(asked.lines) > 1 else falls_short == [True]


def _is_one_less(asked: Problem, before: Candidate, chosen: Judged) -> bool:
    closed = {trade.instrument: abs(trade.lots) for trade in before}
    less = [
        some - closed.get(line.reducible.instrument.id, 0)
        for line, some in zip(asked.lines, chosen.slice.lots, strict=True)
    ]
    return any(less) and all(0 <= one <= 1 for one in less)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=4))
def test_a_path_adds_at_most_one_lot_a_line_at_each_step(ends: list[tuple[int, int]]) -> None:
    base, top = tuple(min(one) for one in ends), tuple(max(one) for one in ends)
    for at in range(span(base, top)):
        here, there = between(base, top, at), between(base, top, at + 1)
        assert all(0 <= b - a <= 1 for a, b in zip(here, there, strict=True))
    if base != top:
        assert between(base, top, 0) == base
        assert between(base, top, span(base, top)) == top


def test_a_spot_line_never_sells_more_than_the_coins_held() -> None:
    account = Account({USD: -130_000 * DOLLAR, BTC: 10 * COIN - 1})
    line = next(one for one in problem(account).lines if one.reducible.instrument.id == BTC_USD)
    assert line.reducible.lots == Lots(9_999)
