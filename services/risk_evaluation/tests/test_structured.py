"""Packages in the house margin: priced, margined and explained by their legs; digitals with the smile, pins bounded."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.ids import AssetId, InstrumentId
from libs.common.instruments import Instrument, InstrumentKind, Leg, OptionType
from libs.common.units import SECOND_NS, Lots, UnixNs
from libs.common.validity import ValidityClass
from libs.options.black import LineKind, black76
from libs.options.digital import smile_digital
from services.risk_evaluation.app.relief import mark_of
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.explanation import contributions
from services.risk_evaluation.domain.exposure import exposure_at_default
from services.risk_evaluation.domain.margin import Margins, all_sums, evaluate
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.prices import Mark, price_book
from services.risk_evaluation.domain.sensitivity import sensitivities
from services.risk_evaluation.domain.settlement import Settling
from services.risk_evaluation.domain.side_by_side import misfit, recast
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.domain.whatif import Candidate, Trade, evaluate_candidates, free_units
from services.risk_evaluation.tests.option_world import (
    CALL,
    COIN_CALL,
    FUTURE,
    MADE_AT,
    NEAR,
    PUT,
    Market,
    market,
    option_parameters,
    surface,
    surfaces,
)  # fmt: skip
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    COIN,
    DOLLAR,
    ETH,
    USD,
    Book,
    account,
    marks,
)  # fmt: skip

DIGITAL, DIGITAL_PUT, SURE, BELOW, ABOVE, STRANGLE, NOTE, MIX, SAME = range(121, 130)
STRIKE = 60_000


def digital(number: int, kind: OptionType, strike: int, **changes: Any) -> Instrument:
    """A digital that pays 1,000 USD a lot; strikes in cents."""
    one = Instrument(
        id=InstrumentId(number), symbol=f"DIGITAL-{number}", kind=InstrumentKind.DIGITAL_OPTION,
        underlying=AssetId(BTC), quote=AssetId(USD), settlement=AssetId(USD), base_units_per_lot=0, price_exponent=-4,
        c_num=1_000 * DOLLAR // 10**4, c_den=1, max_order_lots=Lots(10**6), max_price=10**4, expiry_ns=UnixNs(NEAR),
        option=kind, strike=strike * 100, settlement_exponent=-2,
    )  # fmt: skip
    return replace(one, **changes)


def vanilla(number: int, cents: int) -> Instrument:
    """A call with a strike in cents."""
    known = next(one for one in option_parameters().instruments if one.id == CALL)
    return replace(known, id=InstrumentId(number), symbol=f"CALL-{number}", strike=cents, settlement_exponent=-2)


def package(number: int, *legs: Leg) -> Instrument:
    """A package on one coin."""
    known = next(one for one in option_parameters().instruments if one.id == CALL)
    return replace(
        known, id=InstrumentId(number), symbol=f"PACKAGE-{number}", kind=InstrumentKind.PACKAGE, option=None,
        strike=0, legs=legs,
    )  # fmt: skip


MORE = (
    digital(DIGITAL, OptionType.CALL, STRIKE),
    digital(DIGITAL_PUT, OptionType.PUT, STRIKE),
    digital(SURE, OptionType.CALL, 0),
    vanilla(BELOW, STRIKE * 100 - 100),
    vanilla(ABOVE, STRIKE * 100 + 100),
    vanilla(SAME, STRIKE * 100),
    package(STRANGLE, Leg(BTC, 0, COIN), Leg(0, PUT, -1), Leg(0, CALL, -1)),
    package(NOTE, Leg(0, SURE, 55), Leg(0, PUT, -1), Leg(0, DIGITAL, 2)),
    package(MIX, Leg(BTC, 0, -COIN // 2), Leg(USD, 0, 20_000 * DOLLAR), Leg(0, COIN_CALL, 3), Leg(0, DIGITAL_PUT, -7)),
)
BASE = option_parameters()
MODEL = build_model(replace(BASE, instruments=(*BASE.instruments, *MORE)))
AT = market()
FIELDS = tuple(name for name in Margins.__slots__)

packages = st.dictionaries(st.sampled_from([STRANGLE, NOTE, MIX]), st.integers(-20, 20).filter(bool), max_size=3)
others = st.dictionaries(
    st.sampled_from([CALL, PUT, COIN_CALL, DIGITAL, DIGITAL_PUT, SURE, BTC_PERP, FUTURE]),
    st.integers(-20, 20),
    max_size=4,
)
cash = st.dictionaries(st.sampled_from([USD, BTC, ETH]), st.integers(-(10**11), 10**11), max_size=3)
at_markets = st.builds(
    lambda btc, vol: market(btc=btc, vol=vol), st.integers(20_000, 150_000), st.floats(0.2, 3.0)
)  # fmt: skip


def book_of(money: dict[int, int], lots: dict[int, int], book: Book | None = None, *, of: int | None = None) -> Book:
    book = book or Book(MODEL)
    book.columns.row(of or account())
    for asset, units in money.items():
        book.cash(asset, units, of=of)
    for instrument, count in lots.items():
        book.line(Column.LOTS, instrument, count, of=of)
    return book


def unfolded(money: dict[int, int], lots: dict[int, int]) -> tuple[dict[int, int], dict[int, int]]:
    """The same with each package sold, and its legs bought one by one."""
    money, out = dict(money), dict[int, int]()
    for number, count in lots.items():
        legs = MODEL.instruments[MODEL.instrument_column[number]].legs or (Leg(0, number, 1),)
        for one in legs:
            into, key = (money, one.asset) if one.asset else (out, one.instrument)
            into[key] = into.get(key, 0) + count * one.amount
    return money, out


def same(a: Margins, b: Margins) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@given(money=cash, held=packages, more=others, at=at_markets)
@settings(max_examples=60, deadline=None)
def test_a_package_needs_what_its_legs_need_to_the_last_bit(
    money: dict[int, int], held: dict[int, int], more: dict[int, int], at: Market
) -> None:
    together = at.margins(book_of(money, {**more, **held}))
    one_by_one = at.margins(book_of(*unfolded(money, {**more, **held})))
    assert same(together, one_by_one)


def test_in_every_move_of_spot_a_covered_strangle_is_the_coin_less_both_options() -> None:
    book = book_of({}, {STRANGLE: 1})
    prices = AT.prices(book)
    bucket = MODEL.risky.index(MODEL.asset_column[BTC])
    change = all_sums(MODEL, prices, book.columns.all_rows()).change[bucket, :, 0]

    def worth(spot: float) -> float:
        vols = {one: float(prices.options.vols[MODEL.option_column[one]]) for one in (PUT, CALL)}
        put, call = (
            black76(forward=spot, strike=strike, years=1 / 12, vol=vols[one], discount=1.0, kind=kind).value
            for one, strike, kind in ((PUT, 55_000.0, LineKind.PUT), (CALL, 60_000.0, LineKind.CALL))
        )
        return spot - put - call

    still = [k for k, name in enumerate(MODEL.names) if name.startswith("spot") and "vol" not in name]
    assert len(still) == 10
    for k in still:
        moved = 60_000.0 * (1.0 + MODEL.moves[k, MODEL.asset_column[BTC]])
        assert change[k] / DOLLAR == pytest.approx(worth(moved) - worth(60_000.0), rel=1e-9, abs=1e-6)


def test_a_package_sold_against_its_legs_needs_nothing() -> None:
    for number in (STRANGLE, NOTE, MIX):
        money, lots = unfolded({}, {number: -10})
        margins = AT.margins(book_of(money, {**lots, number: 10}))
        for name in ("equity", "maintenance_margin", "initial_margin", "gross_notional"):
            assert getattr(margins, name)[0] == 0, (number, name)


@given(
    money=cash,
    steps=st.lists(st.tuples(st.sampled_from([STRANGLE, MIX, CALL, COIN_CALL]), st.integers(-9, 9)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_lines_are_overwritten_in_any_order(money: dict[int, int], steps: list[tuple[int, int]]) -> None:
    book = book_of(money, {})
    for number, count in steps:
        book.line(Column.LOTS, number, count)
    last = dict(steps)
    for number, count in last.items():
        assert book.columns.line(account(), Column.LOTS, number) == count
        assert book.columns.closable_lots(0, number) == count
    assert book.columns.closable_lots(0, BTC_SPOT) == money.get(BTC, 0) // COIN  # coins of packages are not for sale
    assert same(AT.margins(book), AT.margins(book_of(money, last)))


def test_the_worker_margins_packages_as_the_oracle_does_bit_for_bit() -> None:
    book = Book(MODEL)
    for entity in range(1, 60):
        held = {(STRANGLE, NOTE, MIX, DIGITAL, CALL, BTC_PERP)[entity % 6]: entity - 30}
        book_of({USD: entity * 10**9, BTC: entity * 10**6}, held, book, of=account(entity))
    book.order(1, NOTE, 5, 5_500_000, of=account(7))
    book.order(2, STRANGLE, -5, 5_500_000, of=account(8))
    for entity, order in ((61, (NOTE, -4)), (62, (STRANGLE, 4)), (63, (MIX, 2)), (64, (DIGITAL, -9))):
        book_of({USD: 10**12}, {}, book, of=account(entity))
        book.order(entity, order[0], order[1], 5_000, of=account(entity))
    book_of({USD: 10**12}, {SAME: -10, DIGITAL: 10, DIGITAL_PUT: -4}, book, of=account(65))
    book_of({USD: 10**12}, {SAME: 3}, book, of=account(66))
    book_of({USD: 10**12}, {NOTE: -3}, book, of=account(66, sub=1))
    live = LiveBook(MODEL, book.columns)
    for at in (AT, market(btc=57_000, vol=1.1)):
        swept, margins = live.standings(at.prices(book)), at.margins(book)
        for name in ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state"):
            assert np.array_equal(getattr(swept, name), getattr(margins, name)), name
        book.line(Column.LOTS, STRANGLE, 3, of=account(5))


def test_a_digital_nets_no_strike_of_another_kind() -> None:
    def naked(lots: dict[int, int]) -> float:
        book = book_of({USD: 10**12}, lots)
        parts = contributions(MODEL, AT.prices(book), book.columns.all_rows(), AT.margins(book), row=0)
        return sum(one.maintenance for one in parts if one.contingency.name == "NAKED_SHORTS") / DOLLAR

    assert naked({SAME: -1}) == pytest.approx(300)
    assert naked({SAME: -1, DIGITAL: 100}) == pytest.approx(300)
    assert naked({DIGITAL: -10}) == pytest.approx(0.005 * 10_000)
    assert naked({DIGITAL: -10, DIGITAL_PUT: 10}) == 0.0


def test_the_parts_of_a_packages_margin_add_up() -> None:
    book = book_of({USD: 10**12}, {NOTE: -10, STRANGLE: 4})
    margins = AT.margins(book)
    parts = contributions(MODEL, AT.prices(book), book.columns.all_rows(), margins, row=0)
    assert sum(one.maintenance for one in parts) == margins.maintenance_margin[0]
    assert sum(one.initial for one in parts) == margins.initial_margin[0]


def test_greeks_of_a_package_are_those_of_its_legs() -> None:
    lots = {STRANGLE: 3, NOTE: -2}
    found = []
    for money, held in (({}, lots), unfolded({}, lots)):
        book = book_of(money, held)
        found.append(sensitivities(MODEL, AT.prices(book), book.columns.all_rows()))
    for name in ("delta", "gamma", "vega", "theta"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name))
    assert float(np.sum(found[0].gamma)) != 0.0


def test_an_open_order_of_a_package_is_charged_as_if_filled() -> None:
    before = AT.margins(book_of({USD: 10**12}, {}))
    book = book_of({USD: 10**12}, {})
    one = MODEL.instruments[MODEL.instrument_column[STRANGLE]]
    fair = round(mark_of(MODEL, AT.prices(book), one))
    book.order(1, STRANGLE, 10, fair)
    bought = AT.margins(book_of({USD: 10**12 - 10 * fair * DOLLAR // 100}, {STRANGLE: 10}))
    ordered = AT.margins(book)
    assert before.initial_margin[0] == 0
    assert ordered.initial_margin[0] == pytest.approx(bought.initial_margin[0], rel=0.02)
    assert ordered.maintenance_margin[0] == 0


def test_a_reduce_only_order_counts_up_to_the_packages_held() -> None:
    book = book_of({USD: 10**12}, {STRANGLE: 5})
    book.order(1, STRANGLE, -500, 1, reduce_only=True)
    held = AT.margins(book)
    plain = AT.margins(book_of({USD: 10**12}, {}))
    assert held.open_orders[0] < 6 * 60_000 * DOLLAR
    assert plain.open_orders[0] == 0


def test_what_if_trades_packages_and_what_may_leave_counts_them() -> None:
    book = book_of({USD: 2 * 10**11, BTC: COIN}, {STRANGLE: 2})
    prices = AT.prices(book)
    price = 5_000_000
    candidate = Candidate(trades=(Trade(NOTE, 3, price, fee=7), Trade(MIX, -2, price, fee=0)))
    (found,) = evaluate_candidates(MODEL, prices, book.columns, account=account(), candidates=[candidate])
    paid = 3 * price * DOLLAR // 100 + 7 - 2 * price * DOLLAR // 100
    after = AT.margins(book_of({USD: 2 * 10**11 - paid, BTC: COIN}, {STRANGLE: 2, NOTE: 3, MIX: -2}))
    assert same(found, after)
    free = free_units(MODEL, prices, book.columns, account=account(), asset=BTC)
    one_by_one = book_of(*unfolded({USD: 2 * 10**11}, {STRANGLE: 2}))
    assert free <= COIN
    assert int(one_by_one.margins(marks()).equity[0]) != 0


def test_a_package_that_owes_coins_is_exposure() -> None:
    book = book_of({USD: 10**12}, {STRANGLE: -2})
    assert exposure_at_default(MODEL, AT.prices(book), book.columns, account=account()) == pytest.approx(120_000)


def test_without_a_smile_a_package_is_stale() -> None:
    book = book_of({USD: 10**12}, {NOTE: 1})
    assert AT.margins(book).validity[0] == ValidityClass.VALID
    assert Market(marks(), {}).margins(book).validity[0] == ValidityClass.STALE
    assert AT.prices(book).instrument_validity[MODEL.instrument_column[NOTE]] == ValidityClass.VALID


def test_another_set_may_not_change_the_legs_of_what_is_held() -> None:
    other = build_model(
        replace(BASE, instruments=(*BASE.instruments, *MORE[:-1], replace(MORE[-1], legs=MORE[-1].legs[:-1])))
    )
    assert "legs" in misfit(MODEL, other)


def test_another_set_with_more_packages_margins_the_same_book_alike() -> None:
    more = package(111, Leg(BTC, 0, COIN), Leg(0, CALL, -1))
    base = MODEL.parameters
    other = build_model(replace(base, instruments=(more, *base.instruments)))
    book = book_of({USD: 10**12}, {STRANGLE: 3, NOTE: -2, CALL: 1})
    book.order(1, NOTE, 2, 5_000_000, reduce_only=True)
    assert misfit(MODEL, other) == ""
    rows = recast(book.columns.all_rows(), book.columns, MODEL, other, venues={})
    there = evaluate(other, price_book(other, AT.marks, AT.surfaces), rows)
    assert same(there, AT.margins(book))


# digitals


def test_in_every_scenario_a_digital_is_a_narrow_call_spread() -> None:
    # 1,000 USD is paid by 500 spreads of 2 USD; every move of spot, volatility and skew is there, stresses too.
    for btc, vol in ((60_000, 0.8), (57_000, 0.5), (63_500, 1.2)):
        table = market(btc=btc, vol=vol).prices(Book(MODEL)).options.table
        spread = 500.0 * (table[MODEL.option_column[BELOW]] - table[MODEL.option_column[ABOVE]])
        own = table[MODEL.option_column[DIGITAL]]
        assert own == pytest.approx(spread, abs=0.1 * DOLLAR)
        both = own + table[MODEL.option_column[DIGITAL_PUT]]
        moved = MODEL.moves.shape[0]
        assert both[:moved] == pytest.approx(np.zeros(moved), abs=1e-3)


@pytest.mark.parametrize("known", [0.25, 0.75, 0.99])
def test_while_its_settlement_price_becomes_known_it_stays_a_narrow_call_spread(known: float) -> None:
    # The last half hour: 60,100 USD is the average of the known part.
    at = market(btc=59_900)
    known_marks = {
        one: Mark(0, 0, ValidityClass.STALE, settling=Settling(6_010_000, known)) for one in (DIGITAL, BELOW, ABOVE)
    }
    made = replace(at.surfaces[BTC], made_at_ns=NEAR - 900 * SECOND_NS)
    years = 900 / (365 * 86_400)
    smiles = tuple(
        replace(one, svi=replace(one.svi, a=0.8 * years, b=0.3 * years, years=years)) for one in made.smiles[:1]
    )
    late = Market({**at.marks, **known_marks}, {**at.surfaces, BTC: replace(made, smiles=smiles)})
    prices = late.prices(Book(MODEL))
    table = prices.options.table
    spread = 500.0 * (table[MODEL.option_column[BELOW]] - table[MODEL.option_column[ABOVE]])
    assert table[MODEL.option_column[DIGITAL]] == pytest.approx(spread, abs=3 * DOLLAR)
    assert 0 <= prices.options.units[MODEL.option_column[DIGITAL]] <= 1_000 * DOLLAR


def test_a_digital_is_worth_its_price_with_the_smile() -> None:
    prices = AT.prices(Book(MODEL))
    smile = surface().smile_at(NEAR)
    assert smile is not None
    one = smile_digital(
        forward=60_000.0, strike=60_000.0, years=1 / 12, vol=smile.svi.vol(1.0),
        slope=smile.svi.vol_slope(1.0) / 60_000.0, discount=1.0, kind=LineKind.DIGITAL_CALL,
    )  # fmt: skip
    at = MODEL.option_column[DIGITAL]
    assert prices.options.units[at] == pytest.approx(1_000 * DOLLAR * one.value, rel=1e-12)
    assert prices.options.greeks[:, at] == pytest.approx((one.delta, one.gamma, one.vega, one.theta), rel=1e-12)
    assert prices.options.units[MODEL.option_column[SURE]] == 1_000 * DOLLAR


@pytest.mark.parametrize("left_s", [1, 60, 3_600, 86_400, 30 * 86_400])
@pytest.mark.parametrize("number", [DIGITAL, DIGITAL_PUT])
@pytest.mark.parametrize("spot", [57_000, 59_990, 60_000, 60_010, 63_000])
def test_a_pin_near_the_end_costs_no_more_than_the_notional(left_s: int, number: int, spot: int) -> None:
    # However large delta and gamma are at the strike, what is at stake is what is paid.
    made = replace(surface(spot=spot), made_at_ns=NEAR - left_s * SECOND_NS)
    years = left_s / (365 * 86_400)
    smiles = tuple(
        replace(one, svi=replace(one.svi, a=0.5 * years, b=0.2 * years, years=years)) for one in made.smiles[:1]
    )
    at = Market(marks(btc=spot), {**surfaces(btc=spot), BTC: replace(made, smiles=smiles)})
    short = at.margins(book_of({USD: 10**12}, {number: -100}))
    long = at.margins(book_of({}, {number: 100}))
    notional = 100 * 1_000 * DOLLAR
    value = int(long.equity[0])
    assert 0 <= value <= notional
    assert long.maintenance_margin[0] <= value + 1
    assert short.maintenance_margin[0] <= notional - value + 0.02 * notional
    assert short.equity[0] - short.maintenance_margin[0] >= 10**12 - 1.02 * notional
    delta = at.prices(book_of({}, {number: 1})).options.delta_notional[MODEL.option_column[number]]
    assert abs(delta) <= 1_000 * DOLLAR
    assert MADE_AT < NEAR
    assert math.isfinite(float(delta))
