"""The examples of docs/margin.md that belong to risk; results in USD."""

from __future__ import annotations

import pytest

from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.grid import price_range
from services.risk_evaluation.domain.margin import State
from services.risk_evaluation.domain.scan import order_losses
from services.risk_evaluation.domain.whatif import free_units
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_USDC_PERP,
    COIN,
    DOLLAR,
    USD,
    USDC,
    Book,
    account,
    marks,
    model_of,
    moves,
    parameters,
    with_scenarios,
)

FUNDING_10 = 10 * DOLLAR * 10**9  # +10 USD a lot, in 10^-9 units


@pytest.mark.parametrize(
    ("what", "lots", "variation", "cash", "mark", "value"),
    [
        ("1: long 10 @60,000, F +10",   10, -600_000, 0,      61_000, 9_900),
        ("1: settled",                  10, -609_900, 9_900,  61_000, 9_900),
        ("2: settled, sold 4 @61,500",   6, -365_940, 11_900, 61_000, 11_900),
        ("3: late sell 4 @61,000",       6, -360_000, 4_000,  61_000, 9_940),
        ("4: through zero",             -5, +304_950, 9_900,  61_000, 9_900),
    ],
)  # fmt: skip
def test_value_counts_variation_and_funding(
    what: str, lots: int, variation: int, cash: int, mark: int, value: int
) -> None:
    book = Book(model_of()).cash(USD, cash * DOLLAR).position(BTC_PERP, lots, variation * DOLLAR)
    book.columns.set_funding(BTC_PERP, FUNDING_10)
    assert book.margins(marks(btc=mark)).equity[0] == value * DOLLAR, what


def test_inverse_value_is_the_fill_price_less_one_unit_of_rounding() -> None:
    # 5: long 10 @60,000 gives V = 1,666,666 units of BTC; at the same mark it is worth less than one unit.
    book = Book(model_of()).position(BTC_INVERSE, 10, 1_666_666)
    assert -2 * 600 <= book.margins(marks(btc=60_000)).equity[0] <= 0  # one unit is 600 of 10^-6 USD
    # After selling 4 @66,000: cash 60,605 and V 1,000,000 on 6 lots, in all as at 66,000 before.
    before = Book(model_of()).position(BTC_INVERSE, 10, 1_666_666).margins(marks(btc=66_000)).equity[0]
    after = Book(model_of()).cash(BTC, 60_605).position(BTC_INVERSE, 6, 1_000_000).margins(marks(btc=66_000)).equity[0]
    assert 0 <= before - after <= 2 * 660


@pytest.mark.parametrize(("blend", "scan"), [(0, 110_000), (500_000, 100_000)])
@pytest.mark.parametrize("settled", [False, True])
def test_scan_charges_a_depeg_of_the_settlement_asset(blend: int, scan: int, settled: bool) -> None:
    # 8: cash 1M USDC, long 10 @120k, mark 60k; +-15 %, 5 % depeg.
    scenarios = moves({BTC: -0.15}, {BTC: 0.15}, {USDC: -0.05}, {USDC: 0.05})
    book = Book(with_scenarios(parameters(blend=blend), scenarios))
    cash, variation = (400_000, -600_000) if settled else (1_000_000, -1_200_000)
    book.cash(USDC, cash * DOLLAR).position(BTC_USDC_PERP, 10, variation * DOLLAR)
    margins = book.margins(marks(btc=60_000))
    assert margins.equity[0] == 400_000 * DOLLAR
    assert margins.maintenance_margin[0] == pytest.approx(scan * DOLLAR, abs=1)
    assert margins.initial_margin[0] == pytest.approx(scan * 1.1 * DOLLAR, abs=2)


def test_orders_are_charged_one_by_one() -> None:
    # 9: buy 10 @100 and 10 @50; at 85 the first loses 150, and the gain of the second does not pay for it.
    model = with_scenarios(parameters(), moves({BTC: -0.15}))
    book = Book(model).cash(USD, 10**6 * DOLLAR).order(1, BTC_PERP, 10, 100).order(2, BTC_PERP, 10, 50)
    prices = book.prices(marks(btc=100))
    losses = order_losses(model, prices, book.columns.all_rows())
    assert losses.sum(axis=0)[0, 0] == pytest.approx(150 * DOLLAR, abs=1)
    assert book.margins(marks(btc=100)).open_orders[0] == pytest.approx(150 * DOLLAR, abs=1)


def test_collateral_of_a_hedge_cannot_be_withdrawn() -> None:
    # 10: 100 spot against -100 perp @60k: no market risk, yet taking 99 coins away is refused.
    book = Book(model_of()).cash(BTC, 100 * COIN).position(BTC_PERP, -100, 100 * 60_000 * DOLLAR)
    assert book.margins(marks()).may_withdraw[0]
    assert free_units(book.model, book.prices(marks()), book.columns, account=account(), asset=BTC) < 99 * COIN
    book.cash(BTC, 1 * COIN)
    margins = book.margins(marks())
    assert margins.withdrawal_margin[0] == 99 * 60_000 * DOLLAR // 5
    assert not margins.may_withdraw[0]


def test_a_jump_does_not_carry_new_risk() -> None:
    # 11: long 10 @60k, E 100k, IM 15 %, +20 %: healthy, new risk refused.
    model = with_scenarios(parameters(), moves({BTC: -0.15}, {BTC: 0.15}), moves({BTC: -0.10}, {BTC: 0.10}))
    book = Book(model).cash(USD, 100_000 * DOLLAR).position(BTC_PERP, 10, -600_000 * DOLLAR)
    margins = book.margins(marks(btc=72_000, slow={BTC_PERP: 60_000, 1: 60_000}))
    assert margins.equity[0] == 220_000 * DOLLAR
    assert margins.initial_margin[0] == pytest.approx(108_000 * DOLLAR, abs=1)
    assert margins.state[0] == State.HEALTHY
    assert margins.equity_for_new_risk[0] == 100_000 * DOLLAR
    assert not margins.may_add_risk[0]
    assert book.margins(marks(btc=72_000)).may_add_risk[0]


@pytest.mark.parametrize(
    ("sigma", "down", "up"), [(0.60, 0.07056, 0.07592), (1.50, 0.16718, 0.20074)]
)  # fmt: skip
def test_ranges_are_lognormal(sigma: float, down: float, up: float) -> None:
    # 14: z 2.33, one day.
    found = price_range(sigma=sigma, z=2.33, horizon_s=86_400)
    assert (round(found.down, 5), round(found.up, 5)) == (down, up)


def test_debt_is_owed_at_the_borrow_index_rounded_up() -> None:
    # 7: index 1.5, one share owed is two units.
    book = Book(model_of()).line(Column.DEBT, USD, 1).cash(USD, 10)
    book.columns.set_indices(USD, type(book.columns.indices[0])(borrow=15 * 10**14))
    assert book.margins(marks()).equity[0] == 8
