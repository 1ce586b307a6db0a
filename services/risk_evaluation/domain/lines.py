"""Everything an account can hold as lines in one order: what a unit of each is worth and loses, and their sums.

Cash and variation in the same asset stand on one line, added as integers: settling and realising move nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from libs.common.errors import ConfigurationError
from libs.common.parameters import Instrument
from services.risk_evaluation.domain.arrays import F8, I8, U1

if TYPE_CHECKING:
    from services.risk_evaluation.domain.columns import BookRows
    from services.risk_evaluation.domain.model import Model
    from services.risk_evaluation.domain.prices import Prices


@dataclass(frozen=True, slots=True)
class LineOrder:
    """Lines by bucket: the coin of an underlying, then what is margined on it.

    Args:
        bucket: (lines) position of the underlying in `Model.risky`, never falling.
        coin: (buckets) line of the coin.
        margined: (margined) line of each margined column.
        settles: buckets whose coin settles instruments on other underlyings, the last ones: what those are worth
            moves with the coin and is known once all earlier buckets are.
    """

    bucket: tuple[int, ...]
    coin: tuple[int, ...]
    margined: tuple[int, ...]
    settles: tuple[int, ...]


def bucket_order(moving: Sequence[int], margined: Sequence[Instrument], column: Mapping[int, int]) -> tuple[int, ...]:
    """The moving assets, those that settle instruments on others after them. Raises ConfigurationError, a circle."""
    later: dict[int, set[int]] = {}
    for one in margined:
        u, settlement = column[one.underlying], column[one.settlement]
        if settlement != u and settlement in moving:
            later.setdefault(settlement, set()).add(u)
    order = [asset for asset in moving if asset not in later]
    left = [asset for asset in moving if asset in later]
    while left:
        ready = [asset for asset in left if later[asset] <= set(order)]
        if not ready:
            raise ConfigurationError(f"expected no circle of settlement, was one among assets {left}")
        order.append(ready[0])
        left.remove(ready[0])
    return tuple(order)


def line_order(
    risky: Sequence[int], margined: Sequence[Instrument], column: Mapping[int, int], options: Sequence[Instrument] = ()
) -> LineOrder:
    """The order of lines; `risky` as `bucket_order` gives it. Options have no line, but may settle in another coin."""
    bucket: list[int] = []
    coin: list[int] = []
    at: dict[int, int] = {}
    settles = set()
    for position, asset in enumerate(risky):
        coin.append(len(bucket))
        bucket.append(position)
        for number, one in enumerate(margined):
            if column[one.underlying] == asset:
                at[number] = len(bucket)
                bucket.append(position)
    for one in (*margined, *options):
        if one.settlement != one.underlying and column[one.settlement] in risky:
            settles.add(risky.index(column[one.settlement]))
    return LineOrder(
        tuple(bucket), tuple(coin), tuple(at[number] for number in range(len(margined))), tuple(sorted(settles))
    )


PLAIN, DATED, OPTION = range(3)  # kinds of a line


@dataclass(frozen=True, slots=True)
class WideOrder:
    """The order with a line for each option too, at the head of its bucket, as the kernel keeps them.

    Args:
        order: of all lines. ordinary: (lines of `LineOrder`) where each stands. option: (options) where each stands.
        kind: (lines) PLAIN, DATED or OPTION. expiry: (lines) number of its expiry in its bucket, 0 for none.
        expiries: (buckets) how many, what has none among them. strike: (lines) number of an option's expiry and strike.
    """

    order: LineOrder
    ordinary: I8
    option: I8
    kind: U1
    expiry: I8
    expiries: I8
    strike: I8


def wide_order(
    order: LineOrder, margined: Sequence[Instrument], options: Sequence[Instrument], of: Sequence[int]
) -> WideOrder:
    """The wider order; `of`: (options) bucket of each."""
    bucket_of = np.array(of, dtype=np.int64)
    every = np.concatenate([bucket_of, np.array(order.bucket, dtype=np.int64)])
    place = np.empty(every.shape[0], dtype=np.int64)
    place[np.argsort(every, kind="stable")] = np.arange(every.shape[0])
    option, ordinary = place[: bucket_of.shape[0]], place[bucket_of.shape[0] :]
    bucket = np.sort(every)
    dated = {int(ordinary[line]): one for one, line in zip(margined, order.margined, strict=True) if one.expiry_ns}
    ending = dated | {int(line): one for one, line in zip(options, option, strict=True)}
    kind, expiry, strike = np.zeros(every.shape[0], dtype=np.uint8), np.zeros_like(every), np.zeros_like(every)
    expiries, strikes = np.ones(len(order.coin), dtype=np.int64), dict[tuple[int, int, int, bool], int]()
    for position in range(len(order.coin)):
        mine = {line: one for line, one in ending.items() if bucket[line] == position}
        known = {at: 1 + number for number, at in enumerate(sorted({one.expiry_ns for one in mine.values()}))}
        expiries[position] += len(known)
        for line, one in mine.items():
            kind[line], expiry[line] = OPTION if one.is_option else DATED, known[one.expiry_ns]
            if one.is_option:
                strike[line] = strikes.setdefault((position, one.expiry_ns, one.strike, one.is_digital), len(strikes))
    wide = LineOrder(
        bucket=tuple(bucket.tolist()),
        coin=tuple(ordinary[list(order.coin)].tolist()),
        margined=tuple(ordinary[list(order.margined)].tolist()),
        settles=order.settles,
    )
    return WideOrder(wide, ordinary, option, kind, expiry, expiries, strike)


def line_table(model: Model, prices: Prices) -> F8:
    """What one unit or lot of each line does: (lines, columns) in 10^-6 USD.

    Columns: change in each scenario and under the slow marks, value, notional, then for each of `settles` the units of
    that coin which the line is worth (its value is then counted with the coin).
    """
    order = model.lines
    moves = prices.unit_change.shape[0]
    table = np.zeros((len(order.bucket), moves + 2 + len(order.settles)))
    for position, line in enumerate(order.coin):
        asset = model.risky[position]
        table[line, :moves] = prices.unit_change[:, asset]
        table[line, moves : moves + 2] = prices.unit[asset]
    for number, (one, line) in enumerate(zip(model.margined, order.margined, strict=True)):
        settlement, row = model.asset_column[one.settlement], table[line]
        row[:moves] = prices.lot_change[:, number]
        row[moves] = prices.lot_units[number] * prices.settle[number]
        row[moves + 1] = prices.lot_notional[number]
        if one.settlement == one.underlying:
            row[:moves] += prices.lot_units[number] * prices.unit_change[:, settlement]
            row[moves + 1] += prices.lot_units[number] * prices.unit[settlement]
        elif settlement in model.risky:
            row[moves] = 0.0
            row[moves + 2 + order.settles.index(model.risky.index(settlement))] = prices.lot_units[number]
    return table


def wide_table(model: Model, prices: Prices) -> F8:
    """The same with the rows of options, in the wider order."""
    table = line_table(model, prices)
    out = np.zeros((len(model.wide.order.bucket), table.shape[1]))
    out[model.wide.ordinary], out[model.wide.option] = table, prices.options.table
    return out


def quantities(model: Model, book: BookRows) -> F8:
    """(lines, rows): units of each coin with the variation that settles in it, lots of what is margined."""
    order = model.lines
    units = settled_units(model, book)
    out = np.zeros((len(order.bucket), book.rows))
    for position, line in enumerate(order.coin):
        out[line] = units[model.risky[position]]
    for number, line in enumerate(order.margined):
        out[line] = book.lots[number]
    return out


def settled_units(model: Model, book: BookRows) -> I8:
    """(assets, rows) net units and the variation that settles in the asset."""
    units = book.net_units.copy()
    for number, one in enumerate(model.margined):
        units[model.asset_column[one.settlement]] += book.variation[number]
    return units


def still_money(model: Model, prices: Prices, book: BookRows) -> F8:
    """(rows) value of the assets whose price never moves, 10^-6 USD."""
    units = settled_units(model, book)
    money = np.zeros(book.rows)
    for asset in range(len(model.assets)):
        if asset not in model.risky:
            money += units[asset] * prices.unit[asset]
    return money


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the lines of each bucket, 10^-6 USD.

    Args:
        change: (underlyings, scenarios + 1, rows), the last under the slow marks.
        value, notional: (underlyings, rows); net notional, long positive.
    """

    change: F8
    value: F8
    notional: F8


def bucket_sums(model: Model, table: F8, held: F8, options: F8 | None = None) -> Sums:
    """Line after line, bucket after bucket: a row's bits depend on nothing but its own lines, in their order.

    Args:
        options: (underlyings, columns, rows) sums over the options on each, which come first.
    """
    order = model.lines
    columns, rows = table.shape[1], held.shape[1]
    moves = model.moves.shape[0] + 1
    out = np.zeros((len(order.coin), columns, rows))
    claims = np.zeros((columns, rows))  # summed over the buckets so far
    first = {position: number for number, position in enumerate(order.settles)}
    line = 0
    for position in range(len(order.coin)):
        bucket = out[position]
        if options is not None:
            bucket += options[position]
        if position in first:
            bucket += table[order.coin[position]][:, None] * claims[moves + 2 + first[position]]
        while line < len(order.bucket) and order.bucket[line] == position:
            bucket += table[line][:, None] * held[line]
            line += 1
        claims += bucket
    return Sums(out[:, :moves], out[:, moves], out[:, moves + 1])
