"""The house's account is what its clients hold together, and each model demands by its own rules."""

import pytest

from libs.common.errors import ConfigurationError
from libs.common.units import MalformedNumber
from tools.omnibus.__main__ import demands, dydx_fractions, lines, measures
from tools.reconcile.tests.story import BUY, PERP, SELL, SPOT, Story


def _story() -> Story:
    story = Story()
    story.mark(1_500_000, hours=0)  # 15,000 USD
    alice, bob, carol = (story.account(name, usd=90_000) for name in ("alice", "bob", "carol"))
    story.trade("alice", alice, BUY, 3_000, 1_500_000, instrument=PERP)
    story.trade("bob", bob, SELL, 1_000, 1_500_000, instrument=PERP)
    story.trade("carol", carol, BUY, 1_000, 1_500_000, instrument=SPOT)
    return story


def test_clients_positions_net_before_a_venue_sees_them() -> None:
    found = demands(_story().reconcile(), 50_000, 600_000)
    deribit, dydx = found["deribit_pm BTC"], found["dydx_v4"]
    # Three coins long and one short are two: 10 % of 30,000 USD, and the coin of spot is what the account has.
    assert deribit.parts["worst"] == pytest.approx(3_000, rel=1e-6)
    assert deribit.maintenance.has == pytest.approx(15_000, rel=1e-3)
    assert dydx.initial.needs == pytest.approx(0.05 * 30_000, rel=1e-6)
    assert dydx.maintenance.needs == pytest.approx(0.6 * 0.05 * 30_000, rel=1e-6)
    # Dollars of all three, less the coin that carol paid for; positions are at their price.
    assert dydx.maintenance.has == pytest.approx(3 * 90_000 - 15_000, rel=1e-3)
    assert {one.name for one in measures(found)} >= {"deribit_pm_BTC_initial", "dydx_v4_maintenance"}
    assert len(lines(found)) == len(found) + 1


def test_a_book_that_nets_to_nothing_needs_nothing() -> None:
    story = Story()
    story.mark(1_500_000, hours=0)
    alice, bob = story.account("alice", usd=90_000), story.account("bob", usd=90_000)
    story.trade("alice", alice, BUY, 1_000, 1_500_000, instrument=PERP)
    story.trade("bob", bob, SELL, 1_000, 1_500_000, instrument=PERP)
    found = demands(story.reconcile(), 50_000, 600_000)
    assert all(one.maintenance.needs == 0.0 for one in found.values())


def test_shares_that_make_no_sense_are_refused() -> None:
    assert dydx_fractions("0.05", "0.6") == (50_000, 600_000)
    with pytest.raises(ConfigurationError, match="shares above 0 to 1"):
        dydx_fractions("1.5", "0.6")
    with pytest.raises(MalformedNumber):
        dydx_fractions("much", "0.6")
