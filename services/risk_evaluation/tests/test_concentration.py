"""What cannot be sold in time is no collateral, what the whole house holds costs each of its accounts, and hedges pay
for neither."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.tests.test_margin_properties import MODEL, Given, Marks, at_marks, books, fill
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    COIN,
    DOLLAR,
    ETH,
    USD,
    USDC,
    Book,
    account,
    marks,
    model_of,
    parameters,
    risk,
)

# 10 % of 600 M USD a day at 60,000 USD: a thousand coins can be sold within the day.
THIN = risk(BTC, half_spread=1_000, impact=50_000, daily_volume_usd=600_000_000, participation=100_000)
SELLABLE = 1_000


def left(coins: int) -> tuple[int, int]:
    """What coins held alone leave over maintenance and over initial margin, whole USD."""
    margins = Book(build_model(parameters(THIN, risk(ETH)))).cash(BTC, coins * COIN).margins(marks())
    equity = int(margins.equity[0])
    return (
        (equity - int(margins.maintenance_margin[0])) // DOLLAR,
        (equity - int(margins.initial_margin[0])) // DOLLAR,
    )


def test_credit_for_collateral_ends_with_what_can_be_sold_within_the_horizon() -> None:
    most = left(SELLABLE)
    assert left(SELLABLE // 2)[1] == pytest.approx(most[1] / 2, rel=0.02)
    last = most[1]
    for coins in (SELLABLE + 1, 2 * SELLABLE, 20 * SELLABLE, 50 * SELLABLE):
        found = left(coins)[1]
        assert last <= found + 1  # more never harms
        assert found <= SELLABLE * 60_000  # and never counts for more than what can be sold
        last = found
    assert left(100 * SELLABLE)[1] == pytest.approx(last, abs=2)
    without = Book(model_of(risk(BTC, half_spread=1_000, impact=50_000, daily_volume_usd=600_000_000), risk(ETH)))
    margins = without.cash(BTC, 2 * SELLABLE * COIN).margins(marks())
    assert int(margins.equity[0] - margins.initial_margin[0]) // DOLLAR > 1.8 * most[1]


def test_what_is_sold_short_and_what_is_hedged_is_not_bounded() -> None:
    bounded, free = build_model(parameters(THIN)), build_model(parameters(risk(
        BTC, half_spread=1_000, impact=50_000, daily_volume_usd=600_000_000)))  # fmt: skip
    lots = 5 * SELLABLE
    for hold in (0, lots):
        found = [
            Book(model)
            .cash(USD, 400_000_000 * DOLLAR)
            .cash(BTC, hold * COIN)
            .position(BTC_PERP, -lots, lots * 60_000 * DOLLAR)
            .margins(marks())
            for model in (bounded, free)
        ]
        assert found[0].initial_margin[0] == found[1].initial_margin[0]


@pytest.mark.parametrize("side", [1, -1])
def test_what_the_house_holds_is_sold_beside_what_the_account_holds(side: int) -> None:
    house = 160_000_000
    crowded = risk(BTC, impact=50_000, house_notional_usd=house)
    for lots in (1, 500):
        plain, found = (
            Book(build_model(parameters(one))).position(BTC_PERP, side * lots, -side * lots * 60_000 * DOLLAR)
            for one in (risk(BTC, impact=50_000), crowded)
        )
        more = int(found.margins(marks()).add_on[0]) - int(plain.margins(marks()).add_on[0])
        notional = lots * 60_000
        assert more == pytest.approx(notional * 0.05 * math.sqrt(house / 1e9) * DOLLAR, rel=1e-6)
        # Never less than selling both at once would cost, shared by size.
        both = 0.05 * math.sqrt((house + notional) / 1e9)
        assert int(found.margins(marks()).add_on[0]) >= notional * both * DOLLAR


def test_a_hedge_is_not_charged_market_risk_twice() -> None:
    # 100 coins against -100 perpetuals: no more than the add-ons, outside depegs and basis.
    model = build_model(parameters(risk(BTC, half_spread=1_000, impact=50_000), risk(ETH), risk(USDC)))
    both = Book(model).cash(BTC, 100 * COIN).position(BTC_PERP, -100, 100 * 60_000 * DOLLAR)
    for at in (marks(), marks(btc=20_000), marks(btc=200_000)):
        margins = both.margins(at)
        assert margins.add_on[0] == 0
        assert margins.maintenance_margin[0] <= 1  # 10^-6 USD: what floats leave, rounded up
        assert margins.initial_margin[0] <= 2
    # One coin less hedged asks for that coin alone.
    open_one = Book(model).cash(BTC, 101 * COIN).position(BTC_PERP, -100, 100 * 60_000 * DOLLAR).margins(marks())
    alone = Book(model).cash(BTC, COIN).margins(marks())
    assert abs(int(open_one.initial_margin[0]) - int(alone.initial_margin[0])) <= 2
    assert abs(int(open_one.maintenance_margin[0]) - int(alone.maintenance_margin[0])) <= 2


@given(given_=books, at=at_marks, parts=st.integers(2, 5))
def test_dividing_a_book_among_an_entitys_accounts_changes_no_add_on(given_: Given, at: Marks, parts: int) -> None:
    whole, divided = Book(MODEL), Book(MODEL)
    fill(whole, (given_[0], given_[1], []), of=account())
    for part in range(parts):
        held = {key: units // parts for key, units in given_[0].items()}
        lots = {key: (pair[0] // parts, pair[1] // parts) for key, pair in given_[1].items()}
        if part == 0:  # the first takes what does not divide, and offsets that the others never had
            held = {key: units - (parts - 1) * (units // parts) for key, units in given_[0].items()}
            lots = {
                key: (pair[0] - (parts - 1) * (pair[0] // parts), pair[1] - (parts - 1) * (pair[1] // parts))
                for key, pair in given_[1].items()
            }
        fill(divided, (held, lots, []), of=account(sub=part))
    one, many = whole.margins(at), divided.margins(at)
    scale = int(many.gross_notional.sum()) // 2**40
    assert abs(int(many.add_on.sum()) - int(one.add_on[0])) <= 3 * parts + scale


@given(
    coins=st.integers(-(10**11), 10**11), lots=st.integers(-2_000, 2_000), narrow=st.integers(100_000, 2_000_000),
    wider=st.integers(0, 2_000_000), btc=st.integers(1_000, 100_000),
)  # fmt: skip
def test_wider_shocks_never_ask_for_less(coins: int, lots: int, narrow: int, wider: int, btc: int) -> None:
    found: list[Margins] = []
    for sigma in (narrow, narrow + wider):
        model = build_model(parameters(risk(BTC, sigma=sigma)))
        found.append(Book(model).cash(BTC, coins).position(BTC_PERP, lots, 0).margins(marks(btc=btc)))
    assert found[1].maintenance_margin[0] >= found[0].maintenance_margin[0]
    assert found[1].initial_margin[0] >= found[0].initial_margin[0]
