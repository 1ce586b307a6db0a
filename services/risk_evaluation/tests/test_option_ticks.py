"""Intervals of option holders: every state is the oracle's at every mark, while few are valued."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from libs.common.parameters import Parameters
from services.risk_evaluation.app.market import settled
from services.risk_evaluation.domain.bumps import bumped_prices
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.settlement import Settling
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.tests.option_world import (
    FUTURE,
    OPTIONS,
    USDC_CALL,
    Market,
    market,
    option_parameters,
    surface,
)
from services.risk_evaluation.tests.test_live_ticks import FIELDS
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    BTC_USDC_PERP,
    ETH,
    ETH_PERP,
    USD,
    USDC,
    USDC_SPOT,
    Book,
    account,
)

HELD = tuple(one for one in OPTIONS if one != USDC_CALL)


def covered() -> Parameters:
    """Without what settles in, or is quoted in, a coin that moves."""
    base = option_parameters()
    gone = (BTC_USDC_PERP, USDC_SPOT, USDC_CALL)
    return replace(
        base,
        assets=tuple(replace(one, price_instrument=None) if one.id == USDC else one for one in base.assets),
        instruments=tuple(one for one in base.instruments if one.id not in gone),
        margin=replace(base.margin, assets=tuple(one for one in base.margin.assets if one.asset != USDC)),
    )


MODEL = build_model(covered())


def book_near_thresholds(accounts: int, *, seed: int) -> Book:
    """Accounts of which many are near a threshold of their state."""
    random, book = np.random.default_rng(seed), Book(MODEL)
    at = market()
    for number in range(accounts):
        of = account(entity=number // 20 * 19 + number % 19 + 1, sub=number)
        for instrument in (BTC_PERP, ETH_PERP, FUTURE):
            if random.random() < 0.3:
                book.position(instrument, int(random.integers(-20, 20)), 0, of=of)
        for option in random.choice(HELD, int(random.integers(0, 4)), replace=False):
            book.line(Column.LOTS, int(option), int(random.integers(-20, 20)), of=of)
        book.cash(USD, 0, of=of)
    margins = at.margins(book)
    for number, of in enumerate(book.columns.accounts):
        threshold = int(random.choice([margins.initial_margin[number], margins.maintenance_margin[number], 0]))
        aside = random.normal(0.0, 0.7) * (int(margins.initial_margin[number]) + 10**9)
        aimed = threshold - int(margins.equity[number]) + int(aside)
        book.cash(USD, aimed, of=of)
    return book


def moved(random: np.random.Generator, now: dict[str, float], *, spot: float, vol: float) -> Market:
    """The next market of a walk: both coins, the future's basis, volatility."""
    for key, size in (("btc", spot), ("eth", spot), ("basis", spot / 4), ("vol", vol)):
        now[key] *= 1.0 + random.normal(0.0, size)
    found = market(btc=round(now["btc"]), eth=round(now["eth"]))
    future = replace(found.marks[FUTURE], price=round(now["btc"] * now["basis"]))
    smiles = {
        BTC: surface(vol=now["vol"], spot=round(now["btc"])),
        ETH: surface(vol=now["vol"], spot=round(now["eth"])),
    }
    return Market({**found.marks, FUTURE: future}, smiles)


def assert_right(live: LiveBook, book: Book, at: Market) -> int:
    out, margins = live.standings(at.prices(book)), at.margins(book)
    assert np.array_equal(out.state, margins.state)
    fresh = np.flatnonzero(live.is_fresh)
    for name in FIELDS:
        assert np.array_equal(getattr(out, name)[fresh], getattr(margins, name)[fresh]), name
    if live.is_due:
        live.lay(at.prices(book), bumped_prices(MODEL, at.marks, at.surfaces, book.columns.funding))
    return int(fresh.shape[0])


@pytest.mark.parametrize(("spot", "vol"), [(0.0001, 0.0), (0.0001, 0.0003), (0.0005, 0.002), (0.004, 0.01)])
@pytest.mark.parametrize("seed", range(3))
def test_states_are_the_oracles_whatever_moves(seed: int, spot: float, vol: float) -> None:
    random, book = np.random.default_rng([seed, 3]), book_near_thresholds(900, seed=seed)
    live, now = LiveBook(MODEL, book.columns, ticks_from=0), {"btc": 60_000.0, "eth": 3_000.0, "basis": 1.0, "vol": 0.8}
    seen = [assert_right(live, book, moved(random, now, spot=spot, vol=vol)) for _ in range(25)]
    assert seen[0] == 900
    assert spot > 0.0001 or min(seen) < 450  # the smallest moves value few


def test_the_last_half_hour_of_a_future_is_swept() -> None:
    book = book_near_thresholds(300, seed=9)
    live, at = LiveBook(MODEL, book.columns, ticks_from=0), market()
    assert_right(live, book, at)
    for known in (0.1, 0.4, 0.8, 1.0):
        ending = {one: Settling(60_300, known) for one in (FUTURE, *HELD)}
        assert_right(live, book, Market({**at.marks, **settled(at.marks, ending)}, at.surfaces))


def test_holdings_may_change_between_marks() -> None:
    random, book = np.random.default_rng(4), book_near_thresholds(600, seed=4)
    live, now = LiveBook(MODEL, book.columns, ticks_from=0), {"btc": 60_000.0, "eth": 3_000.0, "basis": 1.0, "vol": 0.8}
    for step in range(40):
        for _ in range(int(random.integers(0, 5))):
            of = book.columns.accounts[int(random.integers(0, 600))]
            book.line(Column.LOTS, int(random.choice(HELD)), int(random.integers(-9, 9)), of=of)
        if step % 3 == 0:
            of = book.columns.accounts[int(random.integers(0, 600))]
            book.order(step, int(random.choice([*HELD, BTC_PERP])), 3, 60_000, of=of)
        if step % 5 == 4:
            row, orders = next(iter(book.columns.orders.items()))
            book.columns.remove_order(book.columns.accounts[row], next(iter(orders)))
        assert_right(live, book, moved(random, now, spot=0.0003, vol=0.001))
