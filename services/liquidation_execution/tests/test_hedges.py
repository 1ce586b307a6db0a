"""A bankrupt hedge that needs next to no margin is closed all the same, both legs together."""

from __future__ import annotations

import pytest

from services.liquidation_execution.domain.planner import PlanKind, Problem
from services.liquidation_execution.tests import kernel
from services.liquidation_execution.tests.kernel import BTC, BTC_INV, COIN, DOLLAR, USD, Account, planned, problem

# A part of a lot apart: 0.34159 coins against 5,123 dollars short at 15,000, and a debt beyond both.
BANKRUPT = Account({USD: -9_000 * DOLLAR, BTC: 34_159 * COIN // 100_000}).open(BTC_INV, -5_123)


@pytest.fixture(autouse=True)
def only_the_net_needs_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "GROSS", 0)


def test_a_bankrupt_hedge_is_closed_although_what_rounding_leaves_needs_more() -> None:
    found, _ = planned(BANKRUPT, problem(BANKRUPT, lots=400_000))
    assert found.kind is PlanKind.CLOSE
    assert found.chosen is not None
    assert found.chosen.after.maintenance > found.chosen.before.maintenance
    assert all(found.chosen.slice.lots)


def test_one_leg_alone_waits_for_the_depth_of_the_other() -> None:
    asked, dry = problem(BANKRUPT, lots=400_000), problem(BANKRUPT, lots=0).lines
    found, _ = planned(BANKRUPT, Problem((asked.lines[0], dry[1]), asked.rules))
    assert found.kind is PlanKind.NO_RELIEF


def test_a_solvent_hedge_is_not_closed_by_rounding() -> None:
    account = Account({USD: -4_900 * DOLLAR, BTC: 34_159 * COIN // 100_000}).open(BTC_INV, -5_123)
    found, _ = planned(account, problem(account, lots=400_000))
    assert found.kind is not PlanKind.CLOSE
