"""The job sees the house as risk does, and names who cannot pay."""

import numpy as np
import pytest

from libs.common.errors import ConfigurationError
from tools.contagion.__main__ import answer, concentration, failure_of, lines, measures
from tools.reconcile.margins import Recomputation
from tools.reconcile.tests.story import BUY, PARAMETERS, PERP, SPOT, Story

_SYMBOL = "BTC"


def _story() -> Story:
    story = Story()
    story.mark(1_500_000, hours=0)
    lender = story.account("lender", usd=500_000)
    story.send("supply", sender="lender", account=lender, asset=1, units=400_000 * 10**6)
    alice, bob = story.account("alice", usd=9_000), story.account("bob", usd=6_000)
    story.trade("alice", alice, BUY, 2_000, 1_500_100, instrument=PERP)
    story.trade("bob", bob, BUY, 1_000, 1_500_200, instrument=SPOT)  # 9,000 USD of it borrowed
    return story


def _fails(fall: float) -> list[str]:
    result = _story().reconcile()
    failure = failure_of(PARAMETERS, asset=_SYMBOL, fall=fall, venue="", recovery=0.0)
    house, view = answer(result, failure)
    assert {one.name for one in measures(view)} >= {"accounts_that_cannot_pay", "waves_of_selling"}
    return lines(PARAMETERS, house, view)


def test_equity_is_what_risk_publishes() -> None:
    story = _story()
    house, view = answer(story.reconcile(), failure_of(PARAMETERS, asset=_SYMBOL, fall=0.0, venue="", recovery=0.0))
    again = Recomputation(story.world())
    for book in story.books:
        columns, found = again.margins(book, mark_number=len(story.marks) - 1)
        for account, row in columns.row_of.items():
            if account in house.accounts:
                mine = view.equity_before[house.accounts.index(account)]
                assert mine * 1e6 == pytest.approx(int(found.equity[row]), abs=10.0)
    assert not np.any(view.cannot_pay)


def test_what_all_accounts_hold_together_is_their_net_notional() -> None:
    story = _story()
    house, _ = answer(story.reconcile(), failure_of(PARAMETERS, asset=_SYMBOL, fall=0.0, venue="", recovery=0.0))
    held = dict(zip((one.symbol for one in PARAMETERS.assets), concentration(house).tolist(), strict=True))
    assert held[_SYMBOL] == pytest.approx(3_000 * 0.001 * 15_000)  # two coins by perpetual, one by spot
    assert any("house_notional_usd" in one for one in _fails(0.1))


def test_a_deep_fall_names_who_cannot_pay() -> None:
    calm, deep = _fails(0.1), _fails(0.7)
    assert calm[0].startswith("0 of 3 accounts cannot pay")
    assert deep[0].startswith("2 of 3 accounts cannot pay")
    assert any("alice" in one for one in deep)
    assert any("pool USD" in one for one in deep)
    assert any(one.strip().startswith("BTC") for one in deep)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"asset": "", "venue": ""}, "expected --asset or --venue"),
        ({"asset": "XYZ", "venue": ""}, "--asset: expected one of"),
        ({"asset": "", "venue": "nowhere"}, "--venue: expected one of"),
    ],
)
def test_what_is_no_question_is_refused(question: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        failure_of(PARAMETERS, fall=0.5, recovery=0.0, **question)
    with pytest.raises(ConfigurationError, match=r"--fall: expected 0 up to below 1, was 1.5"):
        failure_of(PARAMETERS, asset=_SYMBOL, fall=1.5, venue="", recovery=0.0)
