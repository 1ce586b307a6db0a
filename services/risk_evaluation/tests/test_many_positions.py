"""Ten thousand positions in one account: margined alike by kernel and oracle, as one position of the same sum is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, Parameters
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.sweep.engine import standings
from services.risk_evaluation.tests.option_world import CALL, market, option_parameters
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    DOLLAR,
    ETH,
    ETH_PERP,
    USD,
    Book,
    account,
    marks,
    parameters,
    risk,
)

MANY = 10_000
FIRST = 20_000


def _copies(base: Parameters, of: int, count: int, *, first: int) -> tuple[Instrument, ...]:
    one = next(each for each in base.instruments if each.id == of)
    return tuple(replace(one, id=InstrumentId(first + number), symbol=f"COPY-{number}") for number in range(count))


def _same(one: Margins, other: Margins, *, row: int, of: int, within: int) -> None:
    for name in ("equity", "maintenance_margin", "initial_margin", "gross_notional", "add_on"):
        found, expected = int(getattr(one, name)[row]), int(getattr(other, name)[of])
        assert found == pytest.approx(expected, abs=within), name


def test_ten_thousand_perpetuals_are_the_one_they_sum_to() -> None:
    base = parameters(risk(BTC, half_spread=1_000, impact=50_000), risk(ETH, impact=90_000))
    half = MANY // 2
    copies = _copies(base, BTC_PERP, half, first=FIRST) + _copies(base, ETH_PERP, half, first=FIRST + half)
    model = build_model(replace(base, instruments=(*base.instruments, *copies)))
    random = np.random.default_rng(5)
    lots = random.integers(-50, 60, MANY)
    lots[lots == 0] = 1
    at = marks()
    at = at | {one.id: at[BTC_PERP if one.underlying == BTC else ETH_PERP] for one in copies}
    book = Book(model).cash(USD, 10**8 * DOLLAR, of=account(entity=1))
    for one, each in zip(copies, lots.tolist(), strict=True):
        book.position(one.id, each, -each * at[one.id].price * DOLLAR, of=account(entity=1))
    book.cash(USD, 10**8 * DOLLAR, of=account(entity=2))
    for instrument, part in ((BTC_PERP, lots[:half]), (ETH_PERP, lots[half:])):
        net = int(part.sum())
        book.position(instrument, net, -net * at[instrument].price * DOLLAR, of=account(entity=2))
    margins = book.margins(at)
    _same(margins, margins, row=0, of=1, within=MANY)  # a rounding each, 10^-6 USD
    found = standings(model, book.prices(at), book.columns.all_rows())
    for name in ("equity", "initial_margin", "maintenance_margin", "state"):
        assert np.array_equal(getattr(found, name), getattr(margins, name)), name


def test_ten_thousand_options_are_margined_and_none_is_lost() -> None:
    base = option_parameters()
    calls = _copies(base, CALL, MANY, first=FIRST)
    copies = tuple(replace(one, strike=20_000 + 10 * number) for number, one in enumerate(calls))
    model = build_model(replace(base, instruments=(*base.instruments, *copies)))
    book = Book(model).cash(USD, 10**8 * DOLLAR)
    for number, one in enumerate(copies):
        book.line(Column.LOTS, one.id, 1 if number % 2 else -1)
    at = market()
    margins = at.margins(book)
    assert margins.validity[0] == 1
    assert 0 < margins.maintenance_margin[0] <= margins.initial_margin[0]
    # Five thousand call spreads, ten dollars wide each: bought at the higher strike, they lose at most their width.
    assert 0 <= 10**8 * DOLLAR - int(margins.equity[0]) <= MANY // 2 * 10 * DOLLAR
    held = Book(model).cash(USD, 10**8 * DOLLAR)
    for number, one in enumerate(copies[:-1]):
        held.line(Column.LOTS, one.id, 1 if number % 2 else -1)
    last = at.margins(held)
    assert int(last.equity[0]) != int(margins.equity[0])  # the last one counts too
