"""What must hold for any book: determinism, monotony, subadditivity, invariance, rounding (I8)."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.ids import AssetId
from libs.common.parameters import JointStress
from libs.common.units import Ppm
from services.risk_evaluation.domain.columns import BookRows, Column, Indices
from services.risk_evaluation.domain.lines import Sums, bucket_sums, line_table, quantities
from services.risk_evaluation.domain.margin import Margins, evaluate, times_ppm_up
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.prices import Mark, Prices
from services.risk_evaluation.domain.scan import order_losses, scan
from services.risk_evaluation.domain.whatif import one_row
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BTC_USDC_PERP,
    COIN,
    DOLLAR,
    ETH,
    ETH_PERP,
    USD,
    USDC,
    Book,
    account,
    marks,
    parameters,
    risk,
)

STRESS = JointStress("fall", ((AssetId(BTC), Ppm(-150_000)), (AssetId(ETH), Ppm(-200_000))))
MODEL = build_model(
    parameters(
        risk(BTC, half_spread=1_000, impact=50_000),
        risk(
            ETH, sigma=1_300_000, half_spread=1_500, impact=50_000, daily_volume_usd=400_000_000, participation=10_000
        ),
        risk(USDC, sigma=50_000, half_spread=100),
        stresses=(STRESS,),
    )
)

cash = st.dictionaries(st.sampled_from([USD, BTC, ETH, USDC]), st.integers(-(10**12), 10**12), max_size=4)
positions = st.dictionaries(
    st.sampled_from([BTC_PERP, ETH_PERP, BTC_INVERSE, BTC_USDC_PERP]),
    st.tuples(st.integers(-2_000, 2_000), st.integers(-(10**12), 10**12)),
    max_size=4,
)
orders = st.lists(
    st.tuples(
        st.sampled_from([BTC_PERP, ETH_PERP, BTC_SPOT, BTC_INVERSE]),
        st.integers(-500, 500).filter(bool),
        st.integers(100, 100_000),
        st.booleans(),
    ),
    max_size=4,
)
at_marks = st.builds(
    lambda btc, eth, usdc, slow: marks(btc=btc, eth=eth, usdc=usdc, slow={BTC_PERP: slow, BTC_SPOT: slow}),
    st.integers(1_000, 100_000),
    st.integers(100, 10_000),
    st.integers(9_000, 10_100),
    st.integers(1_000, 100_000),
)
books = st.tuples(cash, positions, orders)
Marks = dict[int, Mark]
Given = tuple[dict[int, int], dict[int, tuple[int, int]], list[tuple[int, int, int, bool]]]


def fill(book: Book, given_: Given, *, of: int) -> None:
    book.columns.row(of)
    for asset, units in given_[0].items():
        book.cash(asset, units, of=of)
    for instrument, (lots, variation) in given_[1].items():
        book.position(instrument, lots, variation, of=of)
    for number, (instrument, lots, limit, reduce_only) in enumerate(given_[2]):
        book.order(number, instrument, lots, limit, of=of, reduce_only=reduce_only, fee=0.0005)


def sums_of(prices: Prices, rows: BookRows) -> Sums:
    return bucket_sums(MODEL, line_table(MODEL, prices), quantities(MODEL, rows))


def bits(margins: Margins) -> list[bytes]:
    return [getattr(margins, name).tobytes() for name in Margins.__slots__]


def test_one_account_alone_and_among_a_thousand_has_identical_bits() -> None:
    random = np.random.default_rng(7)
    given_: list[Given] = []
    for _ in range(1_000):
        lots = {key: (int(random.integers(-2_000, 2_000)), int(random.integers(-(10**12), 10**12)))
                for key in (BTC_PERP, ETH_PERP, BTC_INVERSE, BTC_USDC_PERP) if random.random() < 0.5}  # fmt: skip
        held = {key: int(random.integers(-(10**12), 10**12)) for key in (USD, BTC, ETH, USDC)}
        placed = [(int(random.choice([BTC_PERP, BTC_SPOT])), int(random.integers(1, 99)), 59_123, False)
                  for _ in range(int(random.integers(0, 3)))]  # fmt: skip
        given_.append((held, lots, placed))
    at = marks(btc=61_237, eth=2_911, usdc=9_871, slow={BTC_PERP: 60_111})
    whole = Book(MODEL)
    for number, one in enumerate(given_):
        fill(whole, one, of=account(entity=1 + number // 2, sub=number % 2))  # two accounts an entity
    together = whole.margins(at)
    subset = [2 * pair + sub for pair in range(3, 500, 7) for sub in (0, 1)]
    some = evaluate(MODEL, whole.prices(at), whole.columns.some_rows(subset))
    for position, row in enumerate(subset):
        assert bits(one_row(some, position)) == bits(one_row(together, row))
    for pair in range(0, 500, 11):
        alone = Book(MODEL)
        for sub in (0, 1):
            fill(alone, given_[2 * pair + sub], of=account(entity=1 + pair, sub=sub))
        margins = alone.margins(at)
        for sub in (0, 1):
            assert bits(one_row(margins, sub)) == bits(one_row(together, 2 * pair + sub))


@given(given_=books, at=at_marks, asset=st.sampled_from([USD, BTC, ETH, USDC]), more=st.integers(0, 10**12))
def test_more_collateral_never_lowers_what_is_left_over_a_requirement(
    given_: Given, at: Marks, asset: int, more: int
) -> None:
    book = Book(MODEL)
    fill(book, (given_[0], given_[1], []), of=account())
    before = book.margins(at)
    book.cash(asset, given_[0].get(asset, 0) + more)
    after = book.margins(at)
    drift = 3 + int(abs(before.gross_notional[0])) // 2**50  # both sides are rounded, floats to 2^-53
    if not _shorts_huge(before):
        assert after.equity[0] - after.maintenance_margin[0] >= before.equity[0] - before.maintenance_margin[0] - drift
        assert after.equity[0] - after.initial_margin[0] >= before.equity[0] - before.initial_margin[0] - drift


def _shorts_huge(margins: Margins) -> bool:
    # A short whose add-on exceeds its notional does not exist: it is above a hundred days of volume.
    return bool(margins.add_on[0] > margins.gross_notional[0])


@given(first=books, second=books, at=at_marks)
def test_scan_is_subadditive(first: Given, second: Given, at: Marks) -> None:
    losses = []
    for given_ in (first, second, _sum(first, second)):
        book = Book(MODEL)
        fill(book, (given_[0], given_[1], []), of=account())
        prices, rows = book.prices(at), book.columns.all_rows()
        losses.append(float(scan(MODEL, sums_of(prices, rows).change, MODEL.initial_rows).loss[0]))
    assert losses[2] <= (losses[0] + losses[1]) * (1 + 2**-40) + 1e-3


def _sum(first: Given, second: Given) -> Given:
    held = {key: first[0].get(key, 0) + second[0].get(key, 0) for key in {*first[0], *second[0]}}
    none = (0, 0)
    lots = {
        key: tuple(a + b for a, b in zip(first[1].get(key, none), second[1].get(key, none), strict=True))
        for key in {*first[1], *second[1]}
    }
    return held, lots, []  # type: ignore[return-value]


@given(given_=books, at=at_marks, moved=st.integers(-(10**11), 10**11))
def test_settling_or_realising_changes_neither_equity_nor_scan(given_: Given, at: Marks, moved: int) -> None:
    found = []
    for shift in (0, moved):
        book = Book(MODEL)
        fill(book, (given_[0], given_[1], []), of=account())
        for instrument, asset in ((BTC_PERP, USD), (BTC_INVERSE, BTC), (BTC_USDC_PERP, USDC)):
            lots, variation = given_[1].get(instrument, (0, 0))
            book.position(instrument, lots, variation - shift)
            book.cash(asset, book.columns.line(account(), Column.CASH, asset) + shift)
        found.append(book.margins(at))
    before, after = found
    for name in ("equity", "maintenance_margin", "initial_margin", "add_on"):
        one, other = int(getattr(before, name)[0]), int(getattr(after, name)[0])
        assert abs(one - other) <= 4 + (abs(one) + abs(int(before.gross_notional[0])) + 10**13) // 2**48, name


@given(given_=books, at=at_marks)
def test_equity_is_never_rounded_in_favour_of_the_account(given_: Given, at: Marks) -> None:
    book = Book(MODEL)
    fill(book, (given_[0], given_[1], []), of=account())
    prices = book.prices(at)
    unit = [Fraction(float(one)) for one in prices.unit]
    exact = sum((units * unit[asset - 1] for asset, units in given_[0].items()), Fraction(0))
    size = sum((abs(units) * unit[asset - 1] for asset, units in given_[0].items()), Fraction(0))
    for instrument, (lots, variation) in given_[1].items():
        column = MODEL.margined_column[instrument]
        value = lots * Fraction(float(prices.lot_units[column])) + variation
        exact += value * Fraction(float(prices.settle[column]))
        size += (abs(lots * Fraction(float(prices.lot_units[column]))) + abs(variation)) * Fraction(
            float(prices.settle[column])
        )
    assert int(book.margins(at).equity[0]) <= exact + size / 2**49
    assert int(book.margins(at).equity[0]) > exact - 1 - size / 2**49


@given(value=st.integers(-(2**53), 2**53), ppm=st.integers(1_000_000, 2_000_000))
def test_times_ppm_rounds_up_exactly(value: int, ppm: int) -> None:
    assert times_ppm_up(np.array([value]), ppm)[0] == -(-value * ppm // 10**6)


@given(given_=books, at=at_marks)
@settings(max_examples=50)
def test_initial_margin_covers_rho_times_maintenance_and_orders_only_add(given_: Given, at: Marks) -> None:
    book = Book(MODEL)
    fill(book, given_, of=account())
    margins = book.margins(at)
    plain = Book(MODEL)
    fill(plain, (given_[0], given_[1], []), of=account())
    without = plain.margins(at)
    least = int(margins.maintenance_margin[0]) * MODEL.initial_over_maintenance_ppm
    assert int(margins.initial_margin[0]) * 10**6 >= least
    assert margins.initial_margin[0] >= without.initial_margin[0]
    assert margins.maintenance_margin[0] == without.maintenance_margin[0]
    assert margins.open_orders[0] >= 0


@given(given_=books, at=at_marks)
@settings(max_examples=50)
def test_an_order_is_charged_exactly_in_each_scenario(given_: Given, at: Marks) -> None:
    placed = [(instrument, lots, limit) for instrument, lots, limit, _ in given_[2] if instrument != BTC_INVERSE]
    book = Book(MODEL)
    for number, (instrument, lots, limit) in enumerate(placed):
        book.order(number, instrument, lots, limit)
    book.columns.row(account())
    prices = book.prices(at)
    found = order_losses(MODEL, prices, book.columns.all_rows()).sum(axis=0)[:, 0]
    for scenario in range(MODEL.moves.shape[0]):
        loss = 0.0
        for instrument, lots, limit in placed:
            move = MODEL.moves[scenario, ETH - 1 if instrument == ETH_PERP else BTC - 1]
            price = at[instrument].price * (1 + move)
            loss += max(0.0, -lots * (price - limit)) * DOLLAR
        assert math.isclose(found[scenario], loss, rel_tol=1e-9, abs_tol=1e-2)


def test_an_add_on_is_shared_by_the_accounts_of_an_entity() -> None:
    model = build_model(parameters(risk(BTC, half_spread=10_000, impact=0)))
    book = Book(model)
    book.cash(BTC, 3 * COIN, of=account(sub=0)).cash(BTC, COIN, of=account(sub=1))
    book.position(BTC_PERP, -2, 2 * 60_000 * DOLLAR, of=account(sub=2))
    margins = book.margins(marks())
    net_cost = 2 * 60_000 * DOLLAR // 100
    assert list(margins.add_on) == [net_cost * 3 // 6, net_cost * 1 // 6, net_cost * 2 // 6]


def test_a_long_asset_never_needs_more_than_its_value() -> None:
    model = build_model(parameters(risk(BTC, impact=50_000, daily_volume_usd=1_000)))
    for coins in (1, 100, 10_000):
        margins = Book(model).cash(BTC, coins * COIN).margins(marks())
        assert margins.maintenance_margin[0] <= margins.equity[0]
        assert margins.initial_margin[0] <= margins.equity[0]


def test_claims_follow_the_indices() -> None:
    book = Book(MODEL).line(Column.SUPPLY, USD, 3 * DOLLAR).line(Column.DEBT, BTC, COIN)
    book.columns.set_indices(USD, Indices(supply=2 * 10**15))
    book.columns.set_indices(BTC, Indices(borrow=11 * 10**14))
    assert book.margins(marks()).equity[0] == (6 - 66_000) * DOLLAR


def test_exposure_of_a_settled_inverse_position_stays() -> None:
    rows = []
    for variation, coins in ((1_666_666, 0), (0, 1_666_666)):
        book = Book(MODEL).position(BTC_INVERSE, 10, variation).cash(BTC, coins)
        prices, found = book.prices(marks()), book.columns.all_rows()
        rows.append(sums_of(prices, found).notional)
    assert np.array_equal(rows[0], rows[1])


def test_rows_of_a_model_without_stresses_are_scanned() -> None:
    assert build_model(replace(parameters())).stress_rows == slice(10, 10)
