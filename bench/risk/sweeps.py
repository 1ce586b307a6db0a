"""Measures of full sweeps: against peers, against the gather that no sweep can beat, and as books grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.risk.peers import PEERS, PER_ACCOUNT, Peer
from bench.risk.timing import cpu_s, interleaved, measure
from bench.risk.workload import RHO_PPM, UNDERLYINGS, Market, Positions, market, orders, positions
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.sweep.compiled import compiled
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone, run_entities, split
from services.risk_evaluation.domain.sweep.joint import sweep_joint
from services.risk_evaluation.domain.sweep.lanes import aligned, at, lane, load, plus, shape, times, zeros
from services.risk_evaluation.domain.sweep.layout import KernelTable
from tools.report import Measure

GOALS = {"scipy": 10.0, "duckdb": 25.0, "polars": 50.0, "pandas": 60.0, "numpy_per_account": 400.0}
SMALL, LARGE = 100_000, 1_000_000
JOINT_LANES = 32


@compiled
def gather(index: Any, quantity: F8, rows: F8, width: int, lanes: tuple[int, ...]) -> float:
    """Row gather, multiply, add: what any sweep over these positions must do, and nothing else."""
    total = zeros(lanes)
    for place in range(index.shape[0]):
        row = np.int64(at(index, place)) * width
        total = plus(total, times(load(rows, row, lanes), at(quantity, place)))
    return lane(total, 0) + lane(total, 7)  # type: ignore[no-any-return]


class House:
    """A book under the house formula, ready to be swept."""

    def __init__(self, one: Market, table: KernelTable, book: Positions) -> None:
        self.table, self.book, self.arena = table, book, book.arena()
        self.out = Standings.of(book.accounts)
        self.everyone = np.arange(book.accounts)
        self.orders = orders(one, table, book.accounts)
        entity = self.everyone.copy()
        entity[1 : book.accounts // 20 : 2] -= 1  # one account in twenty shares its entity with another
        self.split = split(entity, np.diff(self.orders.start) > 0)

    def plain(self) -> None:
        """Every account as if it were alone and had no orders."""
        run_alone(self.arena, self.book.money, self.table, self.everyone, self.out)

    def whole(self) -> None:
        """Open orders and shared add-ons too."""
        run_alone(self.arena, self.book.money, self.table, self.split.alone, self.out)
        run_entities(self.arena, self.book.money, self.table, self.orders, self.split, self.out)


def joint_rows(table: KernelTable) -> F8:
    """The table of the single joint grid: the same 32 moved scenarios, a contingency of 1 % of notional a line."""
    a, b, _ = table.widths.lanes
    lines = table.rows.reshape(-1, table.width)
    rows = aligned(lines.shape[0] * (JOINT_LANES + 8))
    out = rows.reshape(lines.shape[0], JOINT_LANES + 8)
    out[:, :JOINT_LANES] = lines[:, :JOINT_LANES]
    out[:, JOINT_LANES], out[:, JOINT_LANES + 1] = lines[:, a + b], 0.01 * lines[:, a + b + 2]
    return rows


def joint(house: House, rows: F8) -> Callable[[], object]:
    """A sweep of the single joint grid."""
    arena, out = house.arena, Standings.of(house.book.accounts)

    def run() -> None:
        sweep_joint(
            house.everyone, arena.start, arena.count, arena.index, arena.quantity, house.book.money, rows, RHO_PPM,
            shape(JOINT_LANES), shape(8), out.equity, out.initial_margin, out.maintenance_margin, out.state,
            out.emitted,
        )  # fmt: skip

    return run


def roofline(house: House, rows: F8) -> Callable[[], object]:
    """The gather of the scenario lanes of all positions, packed."""
    index, quantity = house.book.line.astype(np.uint16), house.book.quantity
    return lambda: gather(index, quantity, rows, JOINT_LANES + 8, shape(JOINT_LANES))


def against_peers(one: Market, table: KernelTable, rounds: int) -> tuple[list[Measure], House, bool]:
    """Measures of 100,000 accounts, and whether every peer publishes the same states."""
    house = House(one, table, positions(one, table, SMALL))
    rows = joint_rows(table)
    works: dict[str, Callable[[], object]] = {
        "house": house.plain,
        "orders": house.whole,
        "joint": joint(house, rows),
        "gather": roofline(house, rows),
    }
    taken = interleaved(works, 3 * rounds)
    peers = {name: make(house.book, table) for name, make in PEERS.items()}
    house.plain()
    same = all(_agrees(name, peer, house.out) for name, peer in peers.items())
    slow = interleaved({"house": house.plain, **peers}, rounds)
    out = [
        measure(f"sweep_vs_{name}", "x", [
            each * (SMALL / PER_ACCOUNT if name == "numpy_per_account" else 1.0) / own
            for each, own in zip(slow[name], slow["house"], strict=True)
        ], at_least=GOALS[name])
        for name in PEERS
    ]  # fmt: skip
    out += [
        measure("house_100k", "ms", [each * 1e3 for each in taken["house"]]),
        measure("house_100k_with_orders_and_shared_add_ons", "ms", [each * 1e3 for each in taken["orders"]]),
        measure("joint_grid_100k", "ms", [each * 1e3 for each in taken["joint"]]),
        measure("gather_100k", "ns/position", [each * 1e9 / house.book.line.shape[0] for each in taken["gather"]]),
        measure("joint_grid_of_the_gather_roofline", "share", _ratios(taken, "gather", "joint"), at_least=0.45),
        measure("house_of_the_gather_roofline", "share", _ratios(taken, "gather", "house")),
    ]
    return out, house, same


def _ratios(taken: dict[str, list[float]], above: str, below: str) -> list[float]:
    return [one / other for one, other in zip(taken[above], taken[below], strict=True)]


def _agrees(name: str, peer: Peer, out: Standings) -> bool:
    equity, maintain, begin = peer()
    count = equity.shape[0]
    near = all(
        int(np.abs(found - ours[:count]).max()) <= 1
        for found, ours in (
            (equity, out.equity), (maintain, out.maintenance_margin), (begin, out.initial_margin)
        )
    )  # fmt: skip
    state = 1 + (equity < begin).astype(np.int64) + (equity < maintain) + (equity < 0)
    different = int(np.count_nonzero(state != out.state[:count]))
    if not near or different:
        print(f"{name}: {different} states differ")
    return near and not different


def growth(one: Market, table: KernelTable, small: House, rounds: int) -> tuple[list[Measure], House]:
    """Measures of 1,000,000 accounts, some in turns with 100,000."""
    house = House(one, table, positions(one, table, LARGE))
    rows = joint_rows(table)
    works = {
        "whole": house.whole,
        "plain": house.plain,
        "joint": joint(house, rows),
        "small": small.plain,
        "small joint": joint(small, rows),
    }
    taken = interleaved(works, rounds)
    each = {name: [1e3 * value for value in values] for name, values in taken.items()}
    share = SMALL / LARGE
    out = [
        measure("house_1m_with_orders_and_shared_add_ons", "ms", each["whole"], at_most=90.0),
        measure("house_1m", "ms", each["plain"], at_most=90.0),
        measure("joint_grid_1m", "ms", each["joint"], at_most=50.0),
        measure("house_ns_per_account_1m_on_100k", "x", [
            value * share / other for value, other in zip(each["plain"], each["small"], strict=True)
        ], at_most=1.15),
        measure("joint_ns_per_account_1m_on_100k", "x", [
            value * share / other for value, other in zip(each["joint"], each["small joint"], strict=True)
        ], at_most=1.15),
        measure("house_1m_with_two_grids_of_33", "ms", _wide(house, rounds)),
    ]  # fmt: skip
    lines, accounts = house.arena.bytes
    accounts += house.out.bytes + house.book.money.nbytes
    out += [
        measure("memory_of_a_position", "bytes", [lines / house.book.line.shape[0]], at_most=20.0),
        measure("memory_of_an_account", "bytes", [accounts / LARGE], at_most=200.0),
    ]
    return out, house


def _wide(house: House, rounds: int) -> list[float]:
    table = market(wide=True).table(np.zeros(UNDERLYINGS))
    out = Standings.of(house.book.accounts)

    def run() -> None:
        run_alone(house.arena, house.book.money, table, house.everyone, out)

    run()
    return [1e3 * cpu_s(run) for _ in range(rounds)]


def rows_of(measures: list[Measure]) -> Iterator[str]:
    """A line of text each."""
    for one in measures:
        spread = f"[{one.min} .. {one.max}]" if one.rounds and one.rounds > 1 else ""
        met = "" if one.met is None else ("met" if one.met else "MISSED")
        yield f"{one.name:<46} {one.value!s:>10} {one.unit:<14} {one.goal or '':<10} {met:<7} {spread}"
