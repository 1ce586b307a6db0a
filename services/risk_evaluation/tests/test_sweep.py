"""The kernel publishes what its readable oracle does, whatever happened to the rows, to the last bit (I8)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2
from libs.common.errors import ConfigurationError, InvariantBroken
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import BookRows, Indices
from services.risk_evaluation.domain.lines import bucket_order, quantities, still_money
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, arena_of, run_alone, standings
from services.risk_evaluation.domain.sweep.layout import kernel_table
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.tests.hand import HASH, SESSION, Desk, Screen, attributes, order, posting
from services.risk_evaluation.tests.test_margin_properties import (
    MODEL,
    Given,
    Marks,
    at_marks,
    books,
    fill,
)
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BTC_USDC_PERP,
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

PUBLISHED = (
    "equity",
    "initial_margin",
    "maintenance_margin",
    "equity_for_new_risk",
    "worst_scenario",
    "state",
)
AT = marks(btc=61_237, eth=2_911, usdc=9_871, slow={BTC_PERP: 60_111})


def random_book(model: Model, accounts: int, *, seed: int, orders: bool) -> Book:
    random = np.random.default_rng(seed)
    book, entity = Book(model), 1
    for number in range(accounts):
        entity += int(random.random() < 0.7)
        held = {key: int(random.integers(-(10**12), 10**12)) for key in (USD, BTC, ETH, USDC) if random.random() < 0.6}
        lots = {key: (int(random.integers(-2_000, 2_000)), int(random.integers(-(10**12), 10**12)))
                for key in (BTC_PERP, ETH_PERP, BTC_INVERSE, BTC_USDC_PERP) if random.random() < 0.5}  # fmt: skip
        placed = [
            (int(random.choice([BTC_PERP, ETH_PERP, BTC_SPOT, BTC_INVERSE])), int(random.integers(-500, 500)) or 1,
             int(random.integers(100, 100_000)), bool(random.random() < 0.3))
            for _ in range(int(random.integers(0, 4)) if orders and random.random() < 0.4 else 0)
        ]  # fmt: skip
        fill(book, (held, lots, placed), of=account(entity=entity, sub=number))
    return book


def assert_same(found: Standings, margins: Margins) -> None:
    for name in PUBLISHED:
        assert np.array_equal(getattr(found, name), getattr(margins, name)), name


@pytest.mark.parametrize("orders", [False, True], ids=["no orders", "orders"])
@pytest.mark.parametrize("grid", [5, 17], ids=["one register", "three registers"])
def test_the_kernel_publishes_what_the_oracle_does(grid: int, orders: bool) -> None:
    points = tuple(round(-1_000_000 + each * 2_000_000 / (grid - 1)) for each in range(grid))
    base = parameters(
        risk(BTC, half_spread=1_000, impact=50_000),
        risk(ETH, impact=90_000, participation=10_000),
        risk(USDC, sigma=50_000),
    )
    model = build_model(replace(base, margin=replace(base.margin, grid=points)))  # type: ignore[arg-type]
    book = random_book(model, 1_500, seed=grid, orders=orders)
    assert_same(standings(model, book.prices(AT), book.columns.all_rows()), book.margins(AT))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(given_=st.lists(books, min_size=1, max_size=4), shared=st.booleans(), at=at_marks)
def test_any_book_at_any_marks_is_margined_alike(given_: list[Given], shared: bool, at: Marks) -> None:
    book = Book(MODEL)
    for number, one in enumerate(given_):
        fill(book, one, of=account(entity=1 if shared else 1 + number, sub=number))
    assert_same(standings(MODEL, book.prices(at), book.columns.all_rows()), book.margins(at))


def kernel_bits(arena: Arena, money: F8, prices: Prices) -> list[bytes]:
    out = Standings.of(arena.accounts)
    run_alone(arena, money, kernel_table(MODEL, prices), np.arange(arena.accounts), out)
    return [getattr(out, name).tobytes() for name in PUBLISHED]


@pytest.fixture(name="book", scope="module")
def _book() -> tuple[BookRows, Prices]:
    book = random_book(MODEL, 800, seed=3, orders=False)
    return book.columns.all_rows(), book.prices(AT)


@pytest.mark.parametrize("seed", range(4))
def test_the_history_of_rows_leaves_no_trace(seed: int, book: tuple[BookRows, Prices]) -> None:
    rows, prices = book
    random = np.random.default_rng(seed)
    held = quantities(MODEL, rows).T
    money = still_money(MODEL, prices, rows)
    accounts, _ = np.nonzero(held)
    arena = Arena(lines=held.shape[1], accounts=4, slots=8)
    for _ in range(3):  # what is there is overwritten, taken away, and comes back, in any order
        noise: I8 = random.permutation(accounts.shape[0])[: accounts.shape[0] // 2]
        values = random.integers(-1, 2, noise.shape).astype(np.float64)
        arena.set(accounts[noise], random.integers(0, held.shape[1], noise.shape), values)
    every = random.permutation(held.size)
    arena.set(every // held.shape[1], every % held.shape[1], held.reshape(-1)[every])
    fresh = arena_of(MODEL, rows)
    for one in range(rows.rows):
        assert np.array_equal(arena.row(one)[0], fresh.row(one)[0])
    wide = np.zeros(arena.accounts)
    wide[: rows.rows] = money
    before = kernel_bits(fresh, money, prices)
    assert [each[: len(other)] for each, other in zip(kernel_bits(arena, wide, prices), before, strict=True)] == before


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_the_number_of_shards_leaves_no_trace(shards: int, book: tuple[BookRows, Prices]) -> None:
    rows, prices = book
    held, money = quantities(MODEL, rows), still_money(MODEL, prices, rows)
    whole = kernel_bits(arena_of(MODEL, rows), money, prices)
    sizes = [len(each) // rows.rows for each in whole]
    for shard in range(shards):
        mine = np.arange(shard, rows.rows, shards)
        of, index = np.nonzero(held[:, mine].T)
        quantity = held[:, mine].T[of, index]
        arena = Arena.of(lines=held.shape[0], accounts=len(mine), of=of, index=index, quantity=quantity)
        for part, all_of, size in zip(kernel_bits(arena, money[mine], prices), whole, sizes, strict=True):
            assert part == b"".join(all_of[one * size : (one + 1) * size] for one in mine)


def test_a_changed_account_is_told_once() -> None:
    arena = Arena(lines=10, accounts=3)
    arena.set(np.array([2, 0, 2]), np.array([1, 1, 4]), np.array([1.0, 2.0, 3.0]))
    assert arena.take_dirty().tolist() == [2, 0]
    assert arena.take_dirty().tolist() == []
    assert arena.row(2)[0].tolist() == [1, 4]


def test_a_circle_of_settlement_is_refused() -> None:
    base = parameters()
    one, other = (each for each in base.instruments if each.id in (BTC_PERP, ETH_PERP))
    circle = [replace(one, settlement=one.underlying), replace(other, settlement=other.underlying)]
    crossed = [replace(circle[0], settlement=circle[1].underlying), replace(circle[1], settlement=circle[0].underlying)]
    column: dict[int, int] = {asset.id: number for number, asset in enumerate(base.assets)}
    assert bucket_order((1, 2, 3), circle, column) == (1, 2, 3)
    assert bucket_order((1, 2, 3), crossed[:1], column) == (1, 3, 2)
    with pytest.raises(ConfigurationError, match="circle"):
        bucket_order((1, 2, 3), crossed, column)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(steps=st.lists(st.tuples(books, at_marks), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_the_live_book_follows_every_change(steps: list[tuple[Given, Marks]], seed: int) -> None:
    random = np.random.default_rng(seed)
    book = Book(MODEL)
    live = LiveBook(MODEL, book.columns)
    for number, (one, at) in enumerate(steps):
        for sub in range(int(random.integers(1, 3))):
            fill(book, one, of=account(entity=1 + int(random.integers(0, 3)), sub=sub))
        for live_order in list(book.columns.orders.get(0, {})):
            if random.random() < 0.5:
                book.columns.remove_order(book.columns.accounts[0], live_order)
        book.columns.set_indices(BTC, Indices(10**15 + number, 10**15 + 2 * number, 10**15))
        book.columns.set_funding(BTC_PERP, number * 10**9)
        assert_same(live.standings(book.prices(at)), book.margins(at))


async def story(kernel_from: int) -> Screen:
    desk = Desk(live=False)
    desk.risk.partitions[0] = PartitionRisk(
        partition=0, model=desk.model, session=SESSION, parameters_hash=HASH, kernel_from=kernel_from
    )
    desk.risk.begin(0)
    cash, lots, variation = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
    for number in range(1, 6):
        of = account(entity=number)
        await desk.journal(attributes(of), posting(of, USD, cash, number * 1_000 * 10**6))
        await desk.journal(posting(of, BTC_PERP, lots, 1), posting(of, BTC_PERP, variation, -60_000 * 10**6))
    for btc in (60_000, 61_000, 58_500, 57_000):
        await desk.marks(btc)
        await desk.journal(order(btc, 1, of=account(entity=btc % 5 + 1), limit=btc))
    await desk.marks(50_000)
    return desk.screen


async def test_a_worker_says_the_same_with_the_kernel() -> None:
    with_kernel, without = await story(0), await story(10**9)
    assert [one.SerializeToString() for one in with_kernel.commands] == [
        one.SerializeToString() for one in without.commands
    ]
    assert any(one.WhichOneof("body") == "open_episode" for one in without.commands)
    assert [one.SerializeToString() for one in with_kernel.frames] == [
        one.SerializeToString() for one in without.frames
    ]


def test_what_does_not_fit_together_is_refused() -> None:
    arena = Arena(lines=4, accounts=2)
    with pytest.raises(InvariantBroken, match="lines below 4"):
        arena.set(np.array([0]), np.array([4]), np.array([1.0]))
    book = random_book(MODEL, 2, seed=1, orders=False)
    table = kernel_table(MODEL, book.prices(AT))
    with pytest.raises(InvariantBroken, match="same lines"):
        run_alone(arena, np.zeros(2), table, np.arange(2), Standings.of(2))
