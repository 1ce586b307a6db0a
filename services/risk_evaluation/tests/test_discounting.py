"""Static discounting: scenarios in which prices stand still and only what money at an expiry is worth moves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from libs.common.option_parameters import NO_OPTION_RISK, StaticDiscount
from libs.common.units import Ppm
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.margin import all_sums
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.scan import scan
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.tests.option_world import (
    CALL,
    COIN_CALL,
    FAR_CALL,
    PUT,
    RISK,
    Market,
    option_parameters,
    surface,
)
from services.risk_evaluation.tests.test_option_margin import AT, MODEL, Given, at_markets, books, usd
from services.risk_evaluation.tests.world import BTC, BTC_PERP, Book, account, marks


def test_static_discounting_marks_down_what_is_owned_and_up_what_is_owed() -> None:
    long, short = (
        StaticDiscount(True, Ppm(990_000), Ppm(2_000_000), Ppm(120_000)),
        StaticDiscount(False, Ppm(1_010_000), Ppm(1_000_000), Ppm(60_000)),
    )
    base = option_parameters(option_risk=replace(NO_OPTION_RISK, discounts=(long, short)))
    model = build_model(base)
    rates = {BTC: replace(surface(), smiles=tuple(replace(one, discount_rate=10**11) for one in surface().smiles))}
    prices = price_book(model, marks(), rates)
    for option, years in ((CALL, 1 / 12), (PUT, 1 / 12), (FAR_CALL, 1 / 4), (COIN_CALL, 1 / 12)):
        column = model.option_column[option]
        value = prices.options.table[column]
        now = prices.options.units[column] * prices.options.settle[column]
        coin = prices.unit_change[:, model.asset_column[BTC]] * prices.options.units[column] * (option == COIN_CALL)
        for name, factor in (
            ("discount long", 0.99 * math.exp(-years * (0.1 * 2 + 0.12))),
            ("discount short", min(math.exp(0.1 * years), 1.01 * math.exp(years * (0.1 + 0.06)))),
        ):
            k = model.names.index(name)
            assert (value[k] - coin[k]) / now == pytest.approx(factor - 1.0, rel=1e-9)


def test_static_discounting_is_a_scenario_and_the_worst_one_of_a_box() -> None:
    # Long a call and short a put of one strike, hedged by the perpetual: spot and volatility move nothing.
    discount = StaticDiscount(True, Ppm(1_000_000), Ppm(0), Ppm(500_000))
    base = option_parameters(option_risk=replace(NO_OPTION_RISK, discounts=(discount,)), impact=0)
    deep = replace(next(one for one in MODEL.options if one.id == CALL), strike=30_000)
    model = build_model(replace(base, instruments=tuple(deep if one.id == CALL else one for one in base.instruments)))
    book = Book(model)
    book.line(Column.LOTS, CALL, 10)
    book.line(Column.LOTS, BTC_PERP, -10)
    margins = AT.margins(book)
    assert model.scenario_name(int(margins.worst_scenario[0])) == "discount long"
    assert usd(margins, "maintenance_margin") >= 300_000 * (1 - math.exp(-0.5 / 12))


@given(given_=books, more=books, at=at_markets)
@settings(max_examples=20, deadline=None)
def test_static_discounting_leaves_the_scan_subadditive_and_never_lowers_it(
    given_: Given, more: Given, at: Market
) -> None:
    discounted = replace(RISK, discounts=(
        StaticDiscount(True, Ppm(1_000_000), Ppm(1_000_000), Ppm(100_000)),
        StaticDiscount(False, Ppm(1_005_000), Ppm(1_000_000), Ppm(100_000)),
    ))  # fmt: skip
    model = build_model(option_parameters(option_risk=discounted))

    def loss(which: Model, *parts: Given) -> float:
        book = Book(which)
        book.columns.row(account())
        totals: dict[tuple[bool, int], int] = {}
        for cash_, margined, options in parts:
            for key, units in cash_.items():
                totals[True, key] = totals.get((True, key), 0) + units
            for key, count in (*margined.items(), *options.items()):
                totals[False, key] = totals.get((False, key), 0) + count
        for (is_cash, key), amount in totals.items():
            if is_cash:
                book.cash(key, amount)
            else:
                book.line(Column.LOTS, key, amount)
        sums = all_sums(which, at.prices(book), book.columns.all_rows())
        return float(scan(which, sums.change, which.maintenance_rows).loss[0])

    together, apart = loss(model, given_, more), loss(model, given_) + loss(model, more)
    assert together <= apart * (1 + 1e-12) + 1e-3
    assert loss(model, given_) >= loss(MODEL, given_)


def test_the_worker_counts_it_as_the_oracle_does_bit_for_bit() -> None:
    discounts = (StaticDiscount(True, Ppm(1_000_000), Ppm(0), Ppm(300_000)),)
    model = build_model(option_parameters(option_risk=replace(RISK, discounts=discounts)))
    book = Book(model)
    for entity in range(1, 40):
        book.cash(BTC, entity * 10**7, of=account(entity))
        book.line(Column.LOTS, (CALL, PUT, FAR_CALL, BTC_PERP)[entity % 4], entity - 20, of=account(entity))
    prices, margins = AT.prices(book), AT.margins(book)
    swept = LiveBook(model, book.columns).standings(prices)
    for name in ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state", "worst_scenario"):
        assert np.array_equal(getattr(swept, name), getattr(margins, name)), name
