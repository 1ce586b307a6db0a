"""The same house formula on what one would otherwise take: scipy, duckdb, polars, pandas, numpy account by account.

Each peer gets positions and tables in its own best form beforehand and returns published integers: equity, maintenance
and initial margin. Sums may differ in the last bits, so an integer may differ by one; states may not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from scipy.sparse import csr_array

from bench.risk.workload import BLEND, RHO_PPM, Positions
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.margin import times_ppm_up
from services.risk_evaluation.domain.sweep.layout import (
    AT_CAP,
    CAP,
    HALF_SPREAD,
    IMPACT,
    LIQUIDITY_WIDTH,
    MARGINAL,
    NOTIONAL,
    VALUE,
    KernelTable,
)

CHUNK = 500  # accounts at once: what it writes in between stays in the cache, which is its best
PER_ACCOUNT = 2_000
Published = tuple[I8, I8, I8]
Peer = Callable[[], Published]


class Lanes:
    """Where the scenarios stand in a row, and the table as a matrix."""

    def __init__(self, table: KernelTable) -> None:
        a, b, _ = table.widths.lanes
        self.rows = np.ascontiguousarray(table.rows.reshape(-1, table.width))
        self.initial, self.maintenance = slice(0, a), slice(a, a + b)
        self.stress = slice(a + b + 3, a + b + 3 + table.widths.stresses)
        self.value, self.notional = a + b + VALUE, a + b + NOTIONAL
        self.costs = table.liquidity.reshape(-1, LIQUIDITY_WIDTH)


def published(lanes: Lanes, buckets: F8, number: I8, first: I8, money: F8) -> Published:
    """Margins from the sums of each (account, bucket) pair.

    Args:
        buckets: (pairs, lanes), sorted by account. number: (pairs). first: (accounts) first pair; each has one.
    """
    own = [
        np.add.reduceat(np.maximum(buckets[:, part].max(axis=1), 0.0), first)
        for part in (lanes.initial, lanes.maintenance)
    ]
    held = np.abs(buckets[:, lanes.notional])
    costs = lanes.costs[number]
    cost = held * (costs[:, HALF_SPREAD] + costs[:, IMPACT] * np.sqrt(held))
    beyond = buckets[:, lanes.notional] > costs[:, CAP]
    cost = np.where(beyond, costs[:, AT_CAP] + costs[:, MARGINAL] * (held - costs[:, CAP]), cost)
    joint = np.add.reduceat(buckets, first, axis=0)
    return rounded(lanes, joint, own[0], own[1], np.add.reduceat(cost, first), money)


def rounded(lanes: Lanes, joint: F8, own_initial: F8, own_maintenance: F8, cost: F8, money: F8) -> Published:
    """Margins from the sums of each account."""
    floor = joint[:, lanes.stress].max(axis=1)
    together = [np.maximum(joint[:, part].max(axis=1), 0.0) for part in (lanes.initial, lanes.maintenance)]
    rest = 1.0 - BLEND
    wanted = np.maximum(BLEND * together[0] + rest * own_initial, floor) + cost
    needed = np.maximum(BLEND * together[1] + rest * own_maintenance, floor) + cost
    maintain = np.ceil(needed).astype(np.int64)
    begin = np.maximum(times_ppm_up(maintain, RHO_PPM), np.ceil(wanted).astype(np.int64))
    return np.floor(money + joint[:, lanes.value]).astype(np.int64), maintain, begin


class Pairs:
    """Positions by (account, bucket) pair, as a peer that groups by itself would keep them."""

    def __init__(self, book: Positions, bucket: I8) -> None:
        key = book.of * 1_024 + bucket[book.line]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        self.start = np.append(begins, key.shape[0])
        self.number = bucket[book.line][begins]
        self.first = np.searchsorted(book.of[begins], np.arange(book.accounts))


def scipy_peer(book: Positions, table: KernelTable) -> Peer:
    """A sparse matrix by a dense one, chunk by chunk, then numpy."""
    lanes, pairs = Lanes(table), Pairs(book, table.bucket.astype(np.int64))
    edges = [*range(0, book.accounts, CHUNK), book.accounts]
    chunks = []
    for low, high in pairwise(edges):
        begin = int(pairs.first[low])
        end = int(pairs.first[high]) if high < book.accounts else pairs.number.shape[0]
        start = pairs.start[begin : end + 1]
        entries = slice(start[0], start[-1])
        matrix = csr_array(
            (book.quantity[entries], book.line[entries].astype(np.int32), (start - start[0]).astype(np.int32)),
            shape=(end - begin, lanes.rows.shape[0]),
        )
        chunks.append((matrix, pairs.number[begin:end], pairs.first[low:high] - begin, book.money[low:high]))

    def run() -> Published:
        parts = [published(lanes, matrix @ lanes.rows, *rest) for matrix, *rest in chunks]
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))  # type: ignore[return-value]

    return run


def numpy_per_account(book: Positions, table: KernelTable, accounts: int = PER_ACCOUNT) -> Peer:
    """A handler an account: what an event-by-event service does."""
    lanes, bucket = Lanes(table), table.bucket.astype(np.int64)
    start = np.searchsorted(book.of, np.arange(accounts + 1))
    zero = np.zeros(1, dtype=np.int64)

    def run() -> Published:
        out = np.zeros((3, accounts), dtype=np.int64)
        for account in range(accounts):
            row = slice(start[account], start[account + 1])
            line = book.line[row]
            first = np.flatnonzero(np.diff(bucket[line], prepend=-1))
            sums = np.add.reduceat(lanes.rows[line] * book.quantity[row, None], first, axis=0)
            one = published(lanes, sums, bucket[line][first], zero, book.money[account : account + 1])
            out[:, account] = [each[0] for each in one]
        return out[0], out[1], out[2]

    return run


def _names(lanes: Lanes) -> list[str]:
    return [f"l{number}" for number in range(lanes.rows.shape[1])]


def _columns(lanes: Lanes, part: slice) -> list[str]:
    return _names(lanes)[part]


def _after_groups(lanes: Lanes, frame: dict[str, F8], money: F8) -> Published:
    joint = np.stack([frame[name] for name in _names(lanes)], axis=1)
    return rounded(lanes, joint, frame["own_i"], frame["own_m"], frame["cost"], money)


def duckdb_peer(book: Positions, table: KernelTable) -> Peer:
    """A join and two group-bys in one statement, one thread."""
    lanes = Lanes(table)
    base = duckdb.connect(config={"threads": 1})
    names = _names(lanes)
    lines = pd.DataFrame(lanes.rows, columns=names).assign(
        line=np.arange(lanes.rows.shape[0]).astype(np.int32), bucket=table.bucket
    )
    held = pd.DataFrame({"account": book.of.astype(np.int32), "line": book.line.astype(np.int32), "q": book.quantity})
    costs = pd.DataFrame(lanes.costs, columns=["half", "impact", "marginal", "cap", "at_cap"]).assign(
        bucket=np.arange(lanes.costs.shape[0]).astype(np.int32)
    )
    for name, frame in (("lines", lines), ("held", held), ("costs", costs)):
        base.register("frame", frame)
        base.execute(f"CREATE TABLE {name} AS SELECT * FROM frame")
        base.unregister("frame")
    sums = ", ".join(f"sum(q * {name}) AS {name}" for name in names)
    notional = names[lanes.notional]
    own = [f"greatest({', '.join(_columns(lanes, part))}, 0)" for part in (lanes.initial, lanes.maintenance)]
    cost = (
        f"CASE WHEN {notional} > cap THEN at_cap + marginal * (abs({notional}) - cap) "
        f"ELSE abs({notional}) * (half + impact * sqrt(abs({notional}))) END"
    )
    totals = ", ".join(f"sum({name}) AS {name}" for name in names)
    statement = f"""
        WITH pairs AS (SELECT account, bucket, {sums} FROM held JOIN lines USING (line) GROUP BY account, bucket)
        SELECT account, {totals}, sum({own[0]}) AS own_i, sum({own[1]}) AS own_m, sum({cost}) AS cost
        FROM pairs JOIN costs USING (bucket) GROUP BY account ORDER BY account"""

    def run() -> Published:
        return _after_groups(lanes, base.execute(statement).fetchnumpy(), book.money)

    return run


def polars_peer(book: Positions, table: KernelTable) -> Peer:
    """The same join and group-bys, lazily, one thread."""
    lanes = Lanes(table)
    names = _names(lanes)
    lines = pl.DataFrame(dict(zip(names, lanes.rows.T, strict=True))).with_columns(
        line=pl.Series(np.arange(lanes.rows.shape[0]).astype(np.int32)), bucket=pl.Series(table.bucket)
    )
    held = pl.DataFrame({"account": book.of.astype(np.int32), "line": book.line.astype(np.int32), "q": book.quantity})
    costs = pl.DataFrame(
        dict(zip(["half", "impact", "marginal", "cap", "at_cap"], lanes.costs.T, strict=True))
    ).with_columns(bucket=pl.Series(np.arange(lanes.costs.shape[0]).astype(np.int32)))
    notional, size = pl.col(names[lanes.notional]), pl.col(names[lanes.notional]).abs()
    cost = (
        pl.when(notional > pl.col("cap"))
        .then(pl.col("at_cap") + pl.col("marginal") * (size - pl.col("cap")))
        .otherwise(size * (pl.col("half") + pl.col("impact") * size.sqrt()))
    )
    plan = (
        held.lazy()
        .join(lines.lazy(), on="line")
        .group_by("account", "bucket")
        .agg([(pl.col("q") * pl.col(name)).sum().alias(name) for name in names])
        .join(costs.lazy(), on="bucket")
        .group_by("account")
        .agg(
            [pl.col(name).sum() for name in names]
            + [
                pl.max_horizontal(*_columns(lanes, part), pl.lit(0.0)).sum().alias(name)
                for name, part in (("own_i", lanes.initial), ("own_m", lanes.maintenance))
            ]
            + [cost.sum().alias("cost")]
        )
        .sort("account")
    )

    def run() -> Published:
        found = plan.collect()
        return _after_groups(lanes, {name: found[name].to_numpy() for name in found.columns}, book.money)

    return run


def pandas_peer(book: Positions, table: KernelTable) -> Peer:
    """A merge and a group-by, then numpy."""
    lanes = Lanes(table)
    names = _names(lanes)
    lines = pd.DataFrame(lanes.rows, columns=names).assign(line=np.arange(lanes.rows.shape[0]), bucket=table.bucket)
    held = pd.DataFrame({"account": book.of, "line": book.line, "q": book.quantity})

    def run() -> Published:
        merged = held.merge(lines, on="line")
        merged[names] = merged[names].to_numpy() * merged["q"].to_numpy()[:, None]
        pairs = merged.groupby(["account", "bucket"], sort=True)[names].sum()
        account = pairs.index.get_level_values(0).to_numpy()
        first = np.searchsorted(account, np.arange(book.accounts))
        number = pairs.index.get_level_values(1).to_numpy().astype(np.int64)
        return published(lanes, pairs.to_numpy(), number, first, book.money)

    return run


PEERS: dict[str, Callable[[Positions, KernelTable], Peer]] = {
    "scipy": scipy_peer,
    "duckdb": duckdb_peer,
    "polars": polars_peer,
    "pandas": pandas_peer,
    "numpy_per_account": numpy_per_account,
}
