"""Measures of what moves: ticks, updates, joint moves that must miss nothing, and bits that must not change."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from bench.risk.sweeps import House
from bench.risk.timing import cpu_s, measure, middle
from bench.risk.workload import SEED, UNDERLYINGS, WINDOW, Market, Positions, market, positions
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.engine import Standings, run_alone
from services.risk_evaluation.domain.sweep.layout import KernelTable
from services.risk_evaluation.domain.sweep.ticks import Ticks
from tools.report import Measure

BASIS_POINT = 1e-4
TICK_GOALS = {1: 100.0, 10: 15.0, 50: None}
TICKS_IN_A_ROW = 6  # the first two find cold caches
BATCH = 5_000
FUZZ = {2: 12, 10: 12, 50: 12}  # draws by basis points of a move
RESTART_ACCOUNTS = 20_000
FIELDS = ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "worst_scenario", "state")


def ticks(one: Market, table: KernelTable, house: House, rounds: int) -> list[Measure]:
    """A tick of the most held underlying against valuing its holders with the same kernel."""
    out, slopes = Standings.of(house.book.accounts), one.slopes(table)
    began = time.process_time()
    live = Ticks(house.arena, house.book.money, table, slopes, out, window=WINDOW)
    built = time.process_time() - began
    held = np.unique(house.book.of[one.underlying[house.book.line] == 0])
    again = Standings.of(house.book.accounts)

    def holders() -> None:
        run_alone(house.arena, house.book.money, table, held, again)

    holders()
    found = [
        measure("holders_of_the_first_underlying", "%", [100.0 * held.shape[0] / house.book.accounts]),
        measure("holders_valued", "ms", [1e3 * cpu_s(holders) for _ in range(rounds)]),
        measure("intervals_laid_for_1m", "s", [built]),
        measure("memory_of_intervals", "bytes/account", [live.bytes / house.book.accounts]),
    ]
    random, moved = np.random.default_rng(SEED), np.zeros(UNDERLYINGS)
    for points, goal in TICK_GOALS.items():
        step = points * BASIS_POINT
        path = [0.0]
        for _ in range(rounds * TICKS_IN_A_ROW):
            side = 1.0 if random.random() < 0.5 else -1.0
            path.append(path[-1] + (-step * side if abs(path[-1] + step * side) > WINDOW * 0.9 else step * side))
        tables = {}
        for each in path[1:]:
            moved[0] = each
            tables[each] = tables.get(each) or one.table(moved)
        live.renew(table, slopes)
        cold, warm, valued, whole = [], [], [], []
        for turn, each in enumerate(path[1:]):
            began = time.process_time()
            tick = live.tick(tables[each], {0: each})
            taken = time.process_time() - began
            (warm if turn % TICKS_IN_A_ROW >= 2 else cold).append(1e3 * taken)
            valued.append(100.0 * tick.valued / held.shape[0])
            if turn % TICKS_IN_A_ROW == TICKS_IN_A_ROW - 1:  # a row of ticks, then the holders: caches go cold
                whole.append(1e3 * cpu_s(holders))
        found += [
            measure(f"tick_of_{points}_bp_vs_holders", "x", [middle(whole) / each for each in warm], at_least=goal),
            measure(f"tick_of_{points}_bp", "ms", warm),
            measure(f"tick_of_{points}_bp_from_cold", "ms", cold),
            measure(f"valued_at_{points}_bp", "% of holders", valued),
        ]
    return found


def fuzz(one: Market, table: KernelTable, small: House) -> tuple[list[Measure], bool]:
    """Joint moves of all underlyings against full sweeps, and whether no state change was missed."""
    out, swept = Standings.of(small.book.accounts), Standings.of(small.book.accounts)
    slopes, random = one.slopes(table), np.random.default_rng(SEED)
    missed = changes = 0
    valued: list[float] = []
    for points, draws in FUZZ.items():
        live = Ticks(small.arena, small.book.money, table, slopes, out, window=WINDOW)
        moved = np.zeros(UNDERLYINGS)
        for _ in range(draws):
            step = random.normal(size=UNDERLYINGS) * points * BASIS_POINT
            moved = np.clip(moved + step, -WINDOW * 0.999, WINDOW * 0.999)
            moved_table = one.table(moved)
            tick = live.tick(moved_table, dict(enumerate(moved.tolist())))
            run_alone(small.arena, small.book.money, moved_table, small.everyone, swept)
            missed += int(np.count_nonzero(out.state != swept.state))
            changes += tick.changed
            valued.append(100.0 * tick.valued / small.book.accounts)
    return [
        measure("missed_state_changes_in_joint_moves", "accounts", [float(missed)], at_most=0.0),
        measure("state_changes_in_joint_moves", "accounts", [float(changes)]),
        measure("valued_in_joint_moves", "% of accounts", valued),
    ], missed == 0


def updates(one: Market, house: House, rounds: int) -> list[Measure]:
    """Batches of position updates: most change a quantity, some open or close a position."""
    arena, book, random = house.book.arena(), house.book, np.random.default_rng(SEED)
    rates = []
    for _ in range(4 * rounds):
        those = random.integers(0, book.line.shape[0], BATCH)
        accounts, lines = book.of[those], book.line[those].copy()
        opens = random.random(BATCH) < 0.15
        lines[opens] = random.integers(0, one.lines, int(opens.sum()))
        values = random.normal(size=BATCH)
        values[random.random(BATCH) < 0.15] = 0.0
        began = time.process_time()
        arena.set(accounts, lines, values)
        rates.append(BATCH / (time.process_time() - began) / 1e6)
        arena.take_dirty()
    return [measure("position_updates_at_1m_accounts", "M/s", rates[rounds:], at_least=2.0)]


def _bits(arena: Arena, money: F8, table: KernelTable, chosen: slice) -> Iterator[bytes]:
    out = Standings.of(arena.accounts)
    run_alone(arena, money, table, np.arange(money.shape[0]), out)
    for name in FIELDS:
        yield getattr(out, name)[chosen].tobytes()


def _shard(book: Positions, shard: int, shards: int) -> tuple[Arena, F8]:
    mine = book.of % shards == shard
    accounts = len(range(shard, book.accounts, shards))
    money = book.money[shard::shards].copy()
    part = Positions(accounts, book.of[mine] // shards, book.line[mine], book.quantity[mine], money)
    return part.arena(), part.money


def digest_of_a_fresh_book() -> str:
    """What a process that starts from nothing publishes."""
    one = market()
    table = one.table(np.zeros(UNDERLYINGS))
    book = positions(one, table, RESTART_ACCOUNTS)
    return hashlib.sha256(b"".join(_bits(book.arena(), book.money, table, slice(None)))).hexdigest()


def determinism(one: Market, table: KernelTable) -> tuple[list[Measure], bool]:
    """Share of accounts with the same bits over row history, shard counts and restarts."""
    book = positions(one, table, RESTART_ACCOUNTS)
    whole = list(_bits(book.arena(), book.money, table, slice(None)))
    random, shaken = np.random.default_rng(SEED), Arena(lines=one.lines, accounts=book.accounts)
    order = random.permutation(book.of.shape[0])
    noise = random.integers(0, one.lines, book.of.shape[0])
    shaken.set(book.of[order], noise, random.normal(size=order.shape[0]))
    shaken.set(book.of[order], book.line[order], book.quantity[order])
    held = set((book.of * 4096 + book.line).tolist())
    extra = np.array([key for key in np.unique(book.of[order] * 4096 + noise).tolist() if key not in held])
    shaken.set(extra >> 12, extra & 4095, np.zeros(extra.shape[0]))
    ways = {"history": list(_bits(shaken, book.money, table, slice(book.accounts))) == whole}
    for shards in (2, 4, 8, 64):
        parts = [list(_bits(*_shard(book, shard, shards), table, slice(None))) for shard in range(shards)]
        ways[f"{shards} shards"] = all(
            parts[shard][number] == _every(each, shard, shards, book.accounts)
            for number, each in enumerate(whole)
            for shard in range(shards)
        )
    command = [sys.executable, "-c", "from bench.risk.moving import digest_of_a_fresh_book as d; print(d())"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout.strip()
    ways["restart"] = again == hashlib.sha256(b"".join(whole)).hexdigest()
    share = 100.0 * sum(ways.values()) / len(ways)
    if share < 100.0:
        print("bits differ:", [name for name, same in ways.items() if not same])
    return [measure("same_bits_over_history_shards_restart", "% of ways", [share], at_least=100.0)], share == 100.0


def _every(whole: bytes, shard: int, shards: int, accounts: int) -> bytes:
    size = len(whole) // accounts
    return np.frombuffer(whole, dtype=np.uint8).reshape(accounts, size)[shard::shards].tobytes()
