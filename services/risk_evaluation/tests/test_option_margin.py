"""Options in the house margin: value, scan, add-ons, orders, what may leave, and what must hold for any book."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.ids import AssetId
from libs.common.parameters import JointStress
from libs.common.units import YEAR_NS, Ppm
from libs.common.validity import Action, ValidityClass, permits
from libs.options.black import LineKind, black76
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.explanation import contributions
from services.risk_evaluation.domain.margin import Margins, all_sums
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.scan import scan
from services.risk_evaluation.domain.whatif import one_row
from services.risk_evaluation.tests.option_world import (
    CALL,
    COIN_CALL,
    COIN_PUT,
    ETH_CALL,
    FAR_CALL,
    FUTURE,
    NEAR,
    OPTIONS,
    PUT,
    RISK,
    USDC_CALL,
    Market,
    market,
    option_parameters,
    surface,
    surfaces,
)  # fmt: skip
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    COIN,
    DOLLAR,
    ETH,
    ETH_PERP,
    USD,
    USDC,
    Book,
    account,
    marks,
)  # fmt: skip

MODEL = build_model(option_parameters())
AT = market()
YEARS = 1 / 12

Lots = dict[int, int]
lots = st.dictionaries(st.sampled_from(OPTIONS), st.integers(-50, 50).filter(bool), max_size=5)
perps = st.dictionaries(st.sampled_from([BTC_PERP, ETH_PERP, BTC_INVERSE, FUTURE]), st.integers(-50, 50), max_size=3)
cash = st.dictionaries(st.sampled_from([USD, BTC, ETH, USDC]), st.integers(-(10**11), 10**11), max_size=4)
at_markets = st.builds(
    lambda btc, eth, vol: market(btc=btc, eth=eth, vol=vol),
    st.integers(20_000, 150_000), st.integers(800, 9_000), st.floats(0.2, 3.0),
)  # fmt: skip
Given = tuple[Lots, Lots, Lots]
books = st.tuples(cash, perps, lots)


def book_of(given_: Given, book: Book | None = None, *, of: int | None = None) -> Book:
    book = book or Book(MODEL)
    book.columns.row(of or account())
    for asset, units in given_[0].items():
        book.cash(asset, units, of=of)
    for held in given_[1:]:
        for instrument, count in held.items():
            book.line(Column.LOTS, instrument, count, of=of)
    return book


def usd(margins: Margins, name: str, row: int = 0) -> float:
    return float(getattr(margins, name)[row]) / DOLLAR


def black(strike: float, kind: LineKind = LineKind.CALL, *, spot: float = 60_000, option: int = CALL) -> float:
    vol = float(AT.prices(Book(MODEL)).options.vols[MODEL.option_column[option]])
    return black76(forward=spot, strike=strike, years=YEARS, vol=vol, discount=1.0, kind=kind).value


@pytest.mark.parametrize(
    ("option", "strike", "kind"), [(CALL, 60_000, LineKind.CALL), (PUT, 55_000, LineKind.PUT),
                                   (COIN_CALL, 65_000, LineKind.CALL), (USDC_CALL, 60_000, LineKind.CALL)],
)  # fmt: skip
@pytest.mark.parametrize("count", [2, -3])
def test_equity_counts_an_option_at_its_value(option: int, strike: int, kind: LineKind, count: int) -> None:
    margins = AT.margins(book_of(({USD: 10**12}, {}, {option: count})))
    assert usd(margins, "equity") == pytest.approx(1_000_000 + count * black(strike, kind, option=option), rel=1e-12)


def test_a_coin_settled_value_is_a_claim_on_coins() -> None:
    # Value 0.02 coins of a coin: what the coin loses, the claim loses, beside what the option itself does.
    book, prices = book_of(({}, {}, {COIN_CALL: 1})), AT.prices(book_of(({}, {}, {})))
    bucket = MODEL.risky.index(MODEL.asset_column[BTC])
    change = all_sums(MODEL, prices, book.columns.all_rows()).change[bucket, :, 0]
    for name in ("spot -1.00 of range", "spot +1.00 of range"):
        k = MODEL.names.index(name)
        moved = 60_000 * (1 + MODEL.moves[k, MODEL.asset_column[BTC]])
        expected = black(65_000, spot=moved, option=COIN_CALL) - black(65_000, option=COIN_CALL)
        assert change[k] / DOLLAR == pytest.approx(expected, rel=1e-9)


def test_a_long_option_never_needs_more_than_its_value() -> None:
    for option in OPTIONS:
        margins = AT.margins(book_of(({}, {}, {option: 7})))
        assert 0 < usd(margins, "maintenance_margin") <= usd(margins, "equity") + 1e-6
        assert usd(margins, "add_on") == 0.0


def test_a_short_option_pays_for_being_naked_and_a_covered_one_needs_less() -> None:
    naked = AT.margins(book_of(({USD: 10**12}, {}, {CALL: -10})))
    covered = AT.margins(book_of(({BTC: 10 * COIN}, {}, {CALL: -10})))
    spread = AT.margins(book_of(({USD: 10**12}, {}, {CALL: -10, PUT: 10})))
    assert usd(naked, "add_on") > 0.005 * 600_000
    assert usd(covered, "maintenance_margin") < usd(naked, "maintenance_margin") + 0.15 * 600_000
    assert usd(spread, "add_on") >= 0.005 * 600_000  # another strike nets nothing


def test_calls_and_puts_of_one_strike_net_and_two_shorts_add() -> None:
    put = replace(next(one for one in MODEL.options if one.id == PUT), strike=60_000)
    base = option_parameters(impact=0)
    same = replace(base, instruments=tuple(put if one.id == PUT else one for one in base.instruments))
    model = build_model(same)

    def naked(held: Lots) -> float:
        book = Book(model)
        for option, count in held.items():
            book.line(Column.LOTS, option, count)
        rows = book.columns.all_rows()
        parts = contributions(model, AT.prices(book), rows, AT.margins(book), row=0)
        return sum(one.maintenance for one in parts if one.contingency.name == "NAKED_SHORTS") / DOLLAR

    assert naked({CALL: -2, PUT: 2}) == 0.0
    assert naked({CALL: -2, PUT: -1}) == pytest.approx(3 * 300)


def test_an_entitys_accounts_net_before_they_share() -> None:
    book = book_of(({USD: 10**12}, {}, {CALL: -10}))
    book_of(({USD: 10**12}, {}, {CALL: 10}), book, of=account(sub=1))
    alone = AT.margins(book_of(({USD: 10**12}, {}, {CALL: -10})))
    together = AT.margins(book)
    assert usd(alone, "add_on") > 0
    assert [usd(together, "add_on", row) for row in (0, 1)] == [0.0, 0.0]


def test_basis_is_charged_between_expiries_and_never_between_spot_and_perpetual() -> None:
    def basis(given_: Given) -> float:
        book = book_of(given_)
        rows = book.columns.all_rows()
        parts = contributions(MODEL, AT.prices(book), rows, AT.margins(book), row=0)
        return sum(one.maintenance for one in parts if one.contingency.name == "BASIS") / DOLLAR

    assert basis(({BTC: 100 * COIN}, {BTC_PERP: -100}, {})) == 0.0
    assert basis(({BTC: 100 * COIN}, {FUTURE: -100}, {})) == pytest.approx(0.002 * 6_000_000)
    assert basis(({}, {FUTURE: -10}, {})) == 0.0
    delta = AT.prices(Book(MODEL)).options.delta_notional[MODEL.option_column[CALL]] / DOLLAR
    assert basis(({}, {BTC_PERP: -10}, {CALL: 10})) == pytest.approx(0.002 * 10 * delta)


def test_sources_that_disagree_cost_what_they_disagree_by() -> None:
    wide = {key: replace(mark, confidence=mark.price * 3 // 100) for key, mark in marks().items()}
    plain, doubted = (
        Market(found, surfaces()).margins(book_of(({BTC: 10 * COIN}, {}, {}))) for found in (marks(), wide)
    )
    assert usd(doubted, "add_on") - usd(plain, "add_on") == pytest.approx(0.02 * 600_000, rel=1e-3)


def test_what_may_leave_counts_neither_unrealised_gains_nor_long_options() -> None:
    margins = AT.margins(book_of(({USD: 10**11}, {}, {CALL: 2, COIN_CALL: 1, ETH_CALL: -1})))
    gap = usd(margins, "equity") - usd(margins, "equity_for_withdrawal")
    assert gap == pytest.approx(2 * black(60_000) + black(65_000, option=COIN_CALL), rel=1e-6)


def test_an_open_sale_of_options_is_charged_as_if_filled_before_the_scenario() -> None:
    before = AT.margins(book_of(({USD: 10**12}, {}, {})))
    fair = round(black(60_000) * 100)
    book = book_of(({USD: 10**12}, {}, {}))
    book.order(1, CALL, -10, fair)
    after = AT.margins(book)
    short = AT.margins(book_of(({USD: 10**12}, {}, {CALL: -10})))
    assert usd(before, "initial_margin") == 0
    assert usd(after, "initial_margin") == pytest.approx(usd(short, "initial_margin"), rel=0.01)
    better = book_of(({USD: 10**12}, {}, {}))
    better.order(1, CALL, -10, 2 * fair)
    assert usd(AT.margins(better), "initial_margin") < usd(after, "initial_margin")


def test_a_reduce_only_order_counts_up_to_the_options_held() -> None:
    book = book_of(({USD: 10**12}, {}, {CALL: -10}))
    alone = AT.margins(book)
    book.order(1, CALL, 500, round(black(60_000) * 100), reduce_only=True)
    assert book.columns.closable_lots(0, CALL) == -10
    assert usd(AT.margins(book), "open_orders") < 11 * black(60_000)
    assert usd(AT.margins(book), "maintenance_margin") == usd(alone, "maintenance_margin")


def test_without_a_smile_an_option_is_stale_and_nothing_is_decided_on_it() -> None:
    held = book_of(({USD: 10**12}, {}, {FAR_CALL: 1}))
    for missing in ({}, {BTC: surface(expiries=(NEAR,))}, {BTC: surface(validity=ValidityClass.HOLD)}):
        margins = Market(marks(), missing).margins(held)
        assert not permits(ValidityClass(margins.validity[0]), Action.LIQUIDATION)
        assert not permits(ValidityClass(margins.validity[0]), Action.WITHDRAWAL)
    assert AT.margins(held).validity[0] == ValidityClass.VALID
    none = Market(marks(), {}).margins(book_of(({USD: 10**12}, {}, {})))
    assert none.validity[0] == ValidityClass.VALID  # who holds none does not wait


def test_past_its_expiry_an_option_is_worth_what_it_pays_at_the_index() -> None:
    late = {BTC: replace(surface(), made_at_ns=NEAR + 1, smiles=())}
    margins = Market(marks(btc=63_000), late).margins(book_of(({}, {}, {CALL: 1, PUT: 1, COIN_CALL: 1})))
    assert usd(margins, "equity") == pytest.approx(3_000)


@given(given_=books, at=at_markets)
@settings(max_examples=40, deadline=None)
def test_the_parts_add_up_to_the_numbers(given_: Given, at: Market) -> None:
    book = book_of(given_)
    margins = at.margins(book)
    parts = contributions(MODEL, at.prices(book), book.columns.all_rows(), margins, row=0)
    assert sum(one.maintenance for one in parts) == margins.maintenance_margin[0]
    assert sum(one.initial for one in parts) == margins.initial_margin[0]


@given(given_=books, at=at_markets, asset=st.sampled_from([USD, BTC, ETH, USDC]), more=st.integers(0, 10**11))
@settings(max_examples=60, deadline=None)
def test_more_collateral_never_lowers_what_is_left(given_: Given, at: Market, asset: int, more: int) -> None:
    book = book_of(given_)
    before = one_row(at.margins(book), 0)
    book.cash(asset, given_[0].get(asset, 0) + more)
    after = at.margins(book)
    drift = 4 + int(abs(before.gross_notional[0]) + abs(after.equity[0])) // 2**49
    for margin in ("maintenance_margin", "initial_margin"):
        was, now = (int(one.equity[0]) - int(getattr(one, margin)[0]) for one in (before, after))
        assert now >= was - drift


# One that settles in a third coin that moves may lose its value and, in that coin's bucket, a share of it again.
@given(given_=books, at=at_markets, option=st.sampled_from(OPTIONS[:-1]), more=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_an_option_given_for_nothing_never_lowers_the_scan_by_more_than_it_is_worth(
    given_: Given, at: Market, option: int, more: int
) -> None:
    losses, values = [], []
    for count in (0, more):
        held = {**given_[2], option: given_[2].get(option, 0) + count}
        book = book_of((given_[0], given_[1], held))
        sums = all_sums(MODEL, at.prices(book), book.columns.all_rows())
        losses.append(float(scan(MODEL, sums.change, MODEL.maintenance_rows).loss[0]))
        values.append(float(np.sum(sums.value[:, 0])))
    assert values[1] - values[0] >= (losses[1] - losses[0]) * (1 - 1e-9) - 10


@given(first=books, second=books, at=at_markets)
@settings(max_examples=40, deadline=None)
def test_scan_is_subadditive(first: Given, second: Given, at: Market) -> None:
    both = tuple({key: a.get(key, 0) + b.get(key, 0) for key in {*a, *b}} for a, b in zip(first, second, strict=True))
    losses = []
    for given_ in (first, second, both):
        book = book_of(given_)  # type: ignore[arg-type]
        sums = all_sums(MODEL, at.prices(book), book.columns.all_rows())
        losses.append(float(scan(MODEL, sums.change, MODEL.initial_rows).loss[0]))
    assert losses[2] <= (losses[0] + losses[1]) * (1 + 2**-40) + 1e-2


@pytest.mark.parametrize("count", [1, -1])
@pytest.mark.parametrize("option", OPTIONS)
def test_wider_shocks_never_ask_for_less(option: int, count: int) -> None:
    needed = []
    for factor in (0, 1, 2):
        risk_ = replace(RISK, vol_up=Ppm(RISK.vol_up * factor), vol_down=Ppm(RISK.vol_down * factor), tails=())
        base = option_parameters(option_risk=risk_)
        assets = tuple(replace(one, sigma=Ppm(one.sigma * (factor + 1))) for one in base.margin.assets)
        book = Book(build_model(replace(base, margin=replace(base.margin, assets=assets))))
        book.line(Column.LOTS, option, count)
        needed.append(int(AT.margins(book).maintenance_margin[0]))
    assert needed == sorted(needed)


def test_a_tilt_of_the_smile_is_felt_by_a_risk_reversal_alone() -> None:
    prices = AT.prices(Book(MODEL))
    column: dict[int, int] = {one.id: at for at, one in enumerate(MODEL.options)}
    up, down = (MODEL.names.index(f"skew {tilt}") for tilt in ("+1.00", "-1.00"))
    change = prices.options.table
    assert change[column[COIN_CALL], up] > 0 > change[column[COIN_CALL], down]  # strikes above the forward
    assert change[column[PUT], up] < 0 < change[column[PUT], down]
    assert change[column[CALL], up] == change[column[CALL], down] == 0.0  # at the forward nothing tilts


def test_a_named_stress_moves_volatility_too() -> None:
    needed = []
    for vol in (0, 1_000_000, 3_000_000):
        base = option_parameters()
        stress = JointStress("fall", ((AssetId(BTC), Ppm(-300_000)),), Ppm(vol))
        book = Book(build_model(replace(base, margin=replace(base.margin, stresses=(stress,)))))
        book.line(Column.LOTS, PUT, -1)
        needed.append(int(AT.margins(book).maintenance_margin[0]))
    assert needed[0] < needed[1] < needed[2]


@pytest.mark.parametrize("vol", [0.0, 1e-9, 1e-3, 50.0, 1e6])
@pytest.mark.parametrize("left", [1, 10**9, 100 * YEAR_NS])
@pytest.mark.parametrize("btc", [1, 10**7])
def test_no_input_of_any_size_makes_a_margin_that_is_no_number(vol: float, left: int, btc: int) -> None:
    made = surface(vol=vol, spot=btc)
    smiles = tuple(
        replace(one, svi=replace(one.svi, years=(one.expiry_ns - NEAR + left) / YEAR_NS)) for one in made.smiles
    )
    squeezed = replace(made, made_at_ns=NEAR - left, smiles=smiles)
    at = Market(marks(btc=btc), {BTC: squeezed, ETH: surface(spot=3_000)})
    for count in (5, -5):
        margins = at.margins(book_of(({USD: 10**12}, {}, {CALL: count, PUT: count, COIN_PUT: count})))
        assert margins.maintenance_margin[0] >= 0
        assert margins.initial_margin[0] >= margins.maintenance_margin[0]
        if count > 0:
            assert margins.maintenance_margin[0] <= margins.equity[0] - 10**12 + 8
