"""Sensitivities against the kernel's own revaluation, and against hand-written books."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.options.grid import price_grid, scenarios_of
from services.risk_evaluation.domain.sensitivity import (
    OptionLines,
    Sensitivities,
    moved_marks,
    sensitivities,
    shapes,
)
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_USDC_PERP,
    COIN,
    DOLLAR,
    ETH,
    USD,
    USDC,
    Book,
    marks,
    model_of,
    risk,
)

MODEL = model_of(risk(BTC), risk(ETH), risk(USDC, sigma=50_000))
AT = {asset: MODEL.risky.index(MODEL.asset_column[asset]) for asset in (BTC, ETH, USDC)}


def of(book: Book, options: OptionLines | None = None) -> Sensitivities:
    return sensitivities(MODEL, book.prices(marks()), book.columns.all_rows(), options)


@pytest.mark.parametrize(
    ("what", "book", "coins", "lots"),
    [
        ("2 BTC",                    Book(MODEL).cash(BTC, 2 * COIN), 2.0, 0.0),
        ("2 BTC owed",               Book(MODEL).line(Column.DEBT, BTC, 2 * COIN), -2.0, 0.0),
        ("3 BTC reserved",           Book(MODEL).line(Column.RESERVED, BTC, 3 * COIN), 3.0, 0.0),
        ("short 4 perpetuals",       Book(MODEL).position(BTC_PERP, -4, 240_000 * DOLLAR), 0.0, -4.0),
        # An inverse lot is 100 USD of face: at 60,000 it stands for 1/600 BTC and is worth that much less.
        ("600 inverse, fresh",       Book(MODEL).position(BTC_INVERSE, 600, 100_000_000), 0.0, 1.0),
        ("600 inverse, gain 0.5",    Book(MODEL).position(BTC_INVERSE, 600, 150_000_000), 0.5, 1.0),
    ],
)  # fmt: skip
def test_delta_of_coin_lines_and_of_lots(what: str, book: Book, coins: float, lots: float) -> None:
    found = of(book)
    assert found.coin_delta[AT[BTC], 0] == pytest.approx(coins, abs=1e-9), what
    assert found.lot_delta[AT[BTC], 0] == pytest.approx(lots, abs=1e-9), what
    assert found.delta_usd[AT[BTC], 0] == pytest.approx(60_000 * (coins + lots), abs=1e-3)
    assert not found.gamma.any()


def test_settling_moves_nothing_between_kinds_of_delta() -> None:
    before = of(Book(MODEL).cash(USDC, 1_000 * DOLLAR).position(BTC_USDC_PERP, 2, -110_000 * DOLLAR))
    after = of(Book(MODEL).cash(USDC, 11_000 * DOLLAR).position(BTC_USDC_PERP, 2, -120_000 * DOLLAR))
    assert before.coin_delta == pytest.approx(after.coin_delta)
    assert before.lot_delta == pytest.approx(after.lot_delta)
    # Worth 10,000 USDC with 1,000 beside it; the quote moves against the mark of what is quoted in it.
    assert before.coin_delta[AT[USDC], 0] == pytest.approx(11_000)
    assert before.lot_delta[AT[USDC], 0] == pytest.approx(-120_000)


@settings(max_examples=40, deadline=None)
@given(
    cash=st.tuples(*(st.integers(-(10**12), 10**12) for _ in range(4))),
    lots=st.tuples(*(st.integers(-50, 50) for _ in range(3))),
    asset=st.sampled_from([BTC, ETH, USDC]),
)
def test_delta_is_what_equity_gains(cash: tuple[int, ...], lots: tuple[int, ...], asset: int) -> None:
    book = Book(MODEL)
    for one, units in zip((USD, BTC, ETH, USDC), cash, strict=True):
        book.cash(one, units)
    for instrument, count in zip((BTC_PERP, BTC_INVERSE, BTC_USDC_PERP), lots, strict=True):
        book.position(instrument, count, 1_000_000 * count)
    found = of(book)
    factor = 1.001
    moved = moved_marks(MODEL, marks(), asset=asset, factor=factor)
    at = AT[asset]
    gained = float(book.margins(moved).equity[0] - book.margins(marks()).equity[0]) / DOLLAR
    move = found.price[at] * (factor - 1.0)
    # Marks of USDC quotes are rounded to whole steps: half a USDC a lot, 60 USDC of lot value at most.
    rough = 0.5 * abs(lots[2]) * 1.001 + abs(lots[2]) * 120.0 * 1e-3 if asset == USDC else 0.0
    assert gained == pytest.approx(float(found.delta[at, 0]) * move, rel=1e-9, abs=1e-3 + rough)


def option(*, coin_settled: bool, held: float = 3.0) -> tuple[OptionLines, float]:
    """Calls on one BTC at 60,000, a tenth of a year, 80 %; and their value in USD."""
    one = np.array([60_000.0]), np.array([60_000.0]), np.array([0.1]), np.array([0.8]), np.array([1.0])
    prices, greeks = price_grid(*one, scenarios_of(np.ones(1)))
    lines = OptionLines(
        underlying=np.array([AT[BTC]]),
        coin_settled=np.array([coin_settled]),
        coins=np.ones(1),
        forward_over_spot=np.ones(1),
        value=prices[:, 0],
        greeks=greeks[:, :, 0],
        held=np.array([[held]]),
    )
    return lines, float(prices[0, 0])


def test_a_coin_lines_delta_stands_apart_from_a_coin_settled_options_value() -> None:
    book = Book(MODEL).cash(BTC, 2 * COIN)
    (coin, value), (linear, _) = option(coin_settled=True), option(coin_settled=False)
    in_coin, in_usd = of(book, coin), of(book, linear)
    at = AT[BTC]
    assert in_coin.coin_delta[at, 0] == in_usd.coin_delta[at, 0] == 2.0
    assert in_coin.option_value_delta[at, 0] == pytest.approx(3.0 * value / 60_000)
    assert in_usd.option_value_delta[at, 0] == 0.0
    assert in_coin.delta[at, 0] == pytest.approx(in_usd.delta[at, 0])  # in USD both gain the same
    assert in_coin.lot_delta[at, 0] == pytest.approx(in_usd.lot_delta[at, 0] - 3.0 * value / 60_000)


def test_option_greeks_are_the_slopes_of_its_value() -> None:
    lines, _ = option(coin_settled=False, held=1.0)
    found, at = of(Book(MODEL).cash(USD, 1), lines), AT[BTC]

    def value(spot: float = 60_000.0, years: float = 0.1, vol: float = 0.8) -> float:
        one = np.array([spot]), np.array([60_000.0]), np.array([years]), np.array([vol]), np.array([1.0])
        return float(price_grid(*one, scenarios_of(np.ones(1)))[0][0, 0])

    assert found.delta[at, 0] == pytest.approx((value(60_001) - value(59_999)) / 2, rel=1e-6)
    assert found.gamma[at, 0] == pytest.approx((value(60_060) - 2 * value() + value(59_940)) / 3_600, rel=1e-4)
    assert found.vega[at, 0] == pytest.approx((value(vol=0.8001) - value(vol=0.7999)) / 0.02 * 1.0, rel=1e-5)
    assert found.theta[at, 0] == pytest.approx((value(years=0.1 - 1e-6) - value()) / 1e-6 / 365, rel=1e-3)
    assert found.gamma_usd[at, 0] == pytest.approx(found.gamma[at, 0] * 60_000 * 600)
    assert found.vega_coins[at, 0] == pytest.approx(found.vega[at, 0] / 60_000)
    assert found.theta_coins[at, 0] == pytest.approx(found.theta[at, 0] / 60_000)


def test_shapes_follow_the_kernel() -> None:
    # 2 perpetuals at 60,000: equity gains 2 a dollar; MM is 2 · (1 − e^(−2.33·√(1/1460))) of the price.
    book = Book(MODEL).cash(USD, 50_000 * DOLLAR).position(BTC_PERP, 2, -120_000 * DOLLAR)
    found = shapes(MODEL, marks(), book.columns.all_rows(), funding=book.columns.funding, step=0.01)
    at = AT[BTC]
    margin = float(book.margins(marks()).maintenance_margin[0]) / DOLLAR
    assert found.price[at] == 60_000
    assert found.equity[0].value == 50_000
    assert found.equity[0].delta[at] == pytest.approx(2.0)
    assert found.buffer[0].value == pytest.approx(50_000 - margin)
    assert found.buffer[0].delta[at] == pytest.approx(2.0 - margin / 60_000)
    assert found.buffer[0].gamma[at] == pytest.approx(0.0, abs=1e-9)
