"""The kernel for what one account alone does not decide: open orders, and add-ons that an entity's accounts share.

The same sums in the same order as `kernel.sweep`, twice over the lines: notionals of all accounts of an entity first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.common.parameters import InstrumentKind
from services.risk_evaluation.domain.arrays import F8, I4, I8, U1
from services.risk_evaluation.domain.columns import OrderColumns
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sweep.compiled import compiled, inlined
from services.risk_evaluation.domain.sweep.kernel import (
    FOUR,
    bucket_at,
    cost_of_exit,
    down,
    fetch_ahead,
    integer,
    lost,
    rounded,
    scans,
)
from services.risk_evaluation.domain.sweep.lanes import (
    aligned,
    at,
    gains,
    lane,
    larger,
    larger_of_pairs,
    largest,
    load,
    minus,
    plus,
    sizes,
    times,
    worst_pair,
    zeros,
)
from services.risk_evaluation.domain.sweep.layout import (
    CLAIM,
    LIQUIDITY_WIDTH,
    NOTIONAL,
    SLOW,
    VALUE,
    KernelTable,
    padded,
)

ACCOUNTS_MAX = 256  # of an entity, docs/architecture.md
BASE, BOUGHT, SOLD = range(3)
VARIANTS = 3


@dataclass(frozen=True, slots=True)
class OrderTable:
    """Orders by account, then bucket, then order id, and what they trade at the marks in force.

    Args:
        start: (accounts + 1) first order of each account. bucket, instrument, lots, paid, fee: (orders) bucket, column
            of the instrument, signed lots that count, price as units of what it is paid in, share of notional.
        notional: (instruments) of a lot. rows: (instruments · 2 · (initial + tail)) value of a lot, then of a unit of
            what its price is paid in.
    """

    start: I8
    bucket: I8
    instrument: I8
    lots: F8
    paid: F8
    fee: F8
    notional: F8
    rows: F8


def order_table(
    model: Model, prices: Prices, table: KernelTable, orders: OrderColumns, lots: I8, *, accounts: int
) -> OrderTable:
    """The orders of all accounts; an order on an asset that never moves is left out, as the scan does.

    Args:
        orders: their rows are accounts. lots: signed, of each order, as far as it counts (`capped_lots`).
    """
    position = {asset: number for number, asset in enumerate(model.risky)}
    of = np.array([position.get(model.asset_column[one.underlying], -1) for one in model.instruments], dtype=np.int64)
    bucket = of[orders.instrument]
    sequence = np.lexsort((np.arange(bucket.shape[0]), bucket, orders.row))
    sequence = sequence[bucket[sequence] >= 0]
    inverse = np.array([one.kind is InstrumentKind.INVERSE_PERP for one in model.instruments])[orders.instrument]
    limit, ratio = orders.limit.astype(np.float64), prices.ratio[orders.instrument]
    counts = np.bincount(orders.row[sequence], minlength=accounts)
    return OrderTable(
        start=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]),
        bucket=bucket[sequence],
        instrument=orders.instrument[sequence],
        lots=lots.astype(np.float64)[sequence],
        paid=np.where(inverse, -ratio / limit, ratio * limit)[sequence],
        fee=orders.fee[sequence],
        notional=prices.order_notional,
        rows=order_rows(
            prices.order_value.T, prices.order_settle.T, model.initial_rows, model.stress_rows, table=table
        ),
    )


def order_rows(value: F8, settle: F8, initial: slice, stresses: slice, *, table: KernelTable) -> F8:
    """The rows of an order table: (instruments, scenarios) each."""
    a, _, c = table.widths.lanes
    rows = aligned(value.shape[0] * 2 * (a + c))
    lanes = rows.reshape(value.shape[0], 2, a + c)
    first = a + CLAIM + table.widths.claims
    for half, of in enumerate((value, settle)):
        lanes[:, half, :a] = padded(of[:, initial], a)
        lanes[:, half, first : first + table.widths.stresses] = of[:, stresses]
    return rows


@inlined
def _order_loss(row: int, rows: F8, shape: tuple[int, ...], settle: int, lots: float, paid: float, fee: float) -> Any:
    value = load(rows, row, shape)
    price = times(load(rows, row + settle, shape), paid)
    charged = times(larger(sizes(value), sizes(price)), abs(lots) * fee)
    return gains(minus(charged, times(minus(value, price), lots)))


@inlined
def _notionals(
    account: int, start: I8, count: Any, index: Any, quantity: F8, notional: F8, rows: F8, bucket: I4, settles: I8,
    ordinary: int, width: int, tail_at: int, order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8,
    lot_notional: F8, net: F8, size: F8, claim: F8, stamp: I8, entity: int, ordered: bool,
) -> None:  # fmt: skip
    # Adds an account's notional on each bucket it touches to its entity's, with what its orders would buy and sell.
    place, order = start[account], order_start[account]
    end, last = place + count[account], order_start[account + 1]
    settled, claims = 0, settles.shape[0]
    for each in range(claims):
        claim[0, each] = 0.0
    buckets = net.shape[0] // VARIANTS
    following = bucket_at(bucket, index, place) if place < end else buckets
    while following < buckets or order < last or settled < claims:
        number = min(following, integer(at(order_bucket, order))) if order < last else following
        total = 0.0
        for each in range(claims):
            claim[1, each] = 0.0
        if settled < claims and number >= ordinary + settled:
            number = ordinary + settled
            total = at(notional, settles[settled]) * claim[0, settled]
            settled += 1
        while following == number:
            line, amount = integer(at(index, place)), at(quantity, place)
            total += at(notional, line) * amount
            for each in range(claims):
                claim[1, each] += at(rows, line * width + tail_at + CLAIM + each) * amount
            place += 1
            following = bucket_at(bucket, index, place) if place < end else buckets
        for each in range(claims):
            claim[0, each] += claim[1, each]
        bought, sold = 0.0, 0.0
        while order < last and integer(at(order_bucket, order)) == number:
            many = at(lots, order) * at(lot_notional, integer(at(order_instrument, order)))
            bought += max(many, 0.0)
            sold += max(-many, 0.0)
            order += 1
        # What another entity left is multiplied away: whether it was there cannot be foretold.
        entry, kept = number * VARIANTS, 1.0 * (at(stamp, number) == entity)
        stamp[number] = entity
        net[entry + BASE] = at(net, entry + BASE) * kept + total
        size[entry + BASE] = at(size, entry + BASE) * kept + abs(total)
        if ordered:
            net[entry + BOUGHT] = at(net, entry + BOUGHT) * kept + (total + bought)
            size[entry + BOUGHT] = at(size, entry + BOUGHT) * kept + abs(total + bought)
            net[entry + SOLD] = at(net, entry + SOLD) * kept + (total - sold)
            size[entry + SOLD] = at(size, entry + SOLD) * kept + abs(total - sold)


@compiled
def _shared(liquidity: F8, number: int, own: float, net: float, size: float) -> float:
    # The entity's cost, shared by size.
    return cost_of_exit(liquidity, number, net) * (abs(own) / size if size > 0.0 else 0.0)


@inlined
def _bucket_orders(
    order: int, last: int, number: int, initial: tuple[int, ...], tail: tuple[int, ...], tail_at: int,
    order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8, lot_notional: F8, order_row: F8,
) -> Any:  # fmt: skip
    # Losses of an account's orders in one bucket, what they would buy and sell, and the order that comes next.
    lost_i, lost_t, bought, sold, half = zeros(initial), zeros(tail), 0.0, 0.0, tail_at + len(tail)
    while order < last and at(order_bucket, order) == number:
        row, many = at(order_instrument, order) * 2 * half, at(lots, order)
        price, rate = at(paid, order), at(fee, order)
        lost_i = plus(lost_i, _order_loss(row, order_row, initial, half, many, price, rate))
        lost_t = plus(lost_t, _order_loss(row + tail_at, order_row, tail, half, many, price, rate))
        many *= at(lot_notional, at(order_instrument, order))
        bought, sold, order = bought + max(many, 0.0), sold + max(-many, 0.0), order + 1
    return lost_i, lost_t, bought, sold, order


@inlined
def _exits(
    liquidity: F8, number: int, mine: float, bought: float, sold: float, net: F8, size: F8, alone: bool, ordered: bool
) -> Any:
    # What leaving a bucket costs the account now, and at the worse of all its buys and all its sells filled.
    if alone:
        now = most = cost_of_exit(liquidity, number, mine)
        if bought + sold > 0.0:
            buys = cost_of_exit(liquidity, number, mine + bought)
            most = max(now, max(buys, cost_of_exit(liquidity, number, mine - sold)))
        return now, most
    entry = number * VARIANTS
    now = most = _shared(liquidity, number, mine, at(net, entry + BASE), at(size, entry + BASE))
    if ordered:
        buys = _shared(liquidity, number, mine + bought, at(net, entry + BOUGHT), at(size, entry + BOUGHT))
        sells = _shared(liquidity, number, mine - sold, at(net, entry + SOLD), at(size, entry + SOLD))
        most = max(now, max(buys, sells))
    return now, most


@inlined
def _sums(
    account: int, start: I8, count: Any, index: Any, quantity: F8, rows: F8, single: F8, bucket: I4,
    settles: I8, ordinary: int, liquidity: F8, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8,
    lot_notional: F8, order_row: F8, net: F8, size: F8, alone: bool, ordered: bool,
) -> Any:  # fmt: skip
    # Sums over the buckets of an account: without its orders, with them, and the add-on of both.
    b, c = len(initial), len(initial) + len(maintenance)
    width, claims, settled = c + len(tail), settles.shape[0], 0
    place, order, buckets = start[account], order_start[account], net.shape[0] // VARIANTS
    end, last = place + count[account], order_start[account + 1]
    joint_i, joint_m, joint_t, own, slower = zeros(initial), zeros(maintenance), zeros(tail), zeros(FOUR), zeros(tail)
    ordered_i, ordered_t, ordered_own, cost, filled = zeros(initial), zeros(tail), 0.0, 0.0, 0.0
    held = bucket_at(bucket, index, place) if place < end else buckets
    waits = at(order_bucket, order) if order < last else buckets
    apart = False  # up to the first order, sums with orders are those without
    while held < buckets or waits < buckets or settled < claims:
        number, line, amount = min(held, waits), 0, 0.0  # where only orders stand: nothing of any line
        if settled < claims and number >= ordinary + settled:
            number, line, amount = ordinary + settled, settles[settled], lane(joint_t, CLAIM + settled)
            settled += 1
        elif held == number:
            line, amount = integer(at(index, place)), at(quantity, place)
            place += 1
            held = bucket_at(bucket, index, place) if place < end else buckets
        lost_i, lost_m, lost_t = lost(rows, line * width, amount, initial, maintenance, tail)
        if held == number:
            while held == number:
                row, amount = integer(at(index, place)) * width, at(quantity, place)
                part_i, part_m, part_t = lost(rows, row, amount, initial, maintenance, tail)
                lost_i, lost_m, lost_t = plus(lost_i, part_i), plus(lost_m, part_m), plus(lost_t, part_t)
                place += 1
                held = bucket_at(bucket, index, place) if place < end else buckets
            worst = gains(worst_pair(lost_i, lost_m))
        else:
            worst = larger_of_pairs(times(load(single, line * 4, FOUR), amount))
        mine, bought, sold, with_i, with_t, deepest = lane(lost_t, NOTIONAL), 0.0, 0.0, lost_i, lost_t, lane(worst, 0)
        if waits == number:
            if not apart:
                apart, ordered_i, ordered_t, ordered_own = True, joint_i, joint_t, lane(own, 0)
            more_i, more_t, bought, sold, order = _bucket_orders(
                order, last, number, initial, tail, b, order_bucket, order_instrument, lots, paid, fee, lot_notional,
                order_row,
            )  # fmt: skip
            waits = at(order_bucket, order) if order < last else buckets
            if bought + sold > 0.0:
                with_i, with_t = plus(lost_i, more_i), plus(lost_t, more_t)
                deepest = max(largest(with_i), 0.0)
        own, slower = plus(own, worst), plus(slower, gains(lost_t))
        joint_i, joint_m, joint_t = plus(joint_i, lost_i), plus(joint_m, lost_m), plus(joint_t, lost_t)
        if apart:
            ordered_own += deepest
            ordered_i, ordered_t = plus(ordered_i, with_i), plus(ordered_t, with_t)
        now, most = _exits(liquidity, number, mine, bought, sold, net, size, alone, ordered)
        cost, filled = cost + now, filled + most
    if not apart:
        ordered_i, ordered_t, ordered_own = joint_i, joint_t, lane(own, 0)
    return joint_i, joint_m, joint_t, own, slower, ordered_i, ordered_t, ordered_own, cost, filled


def scratch(table: KernelTable) -> tuple[F8, F8, F8, I8]:
    """What `sweep_entities` works in: net and size of an entity by variant and bucket, claims, who was there last."""
    buckets = table.liquidity.shape[0] // LIQUIDITY_WIDTH
    sums = np.zeros((2, buckets * VARIANTS))
    return sums[0], sums[1], np.zeros((2, table.widths.claims)), np.full(buckets, -1, dtype=np.int64)


@compiled
def sweep_entities(
    members_start: I8, members: I8, start: I8, count: Any, index: Any, quantity: F8, money: F8,
    notional: F8, rows: F8, single: F8, bucket: I4, settles: I8, ordinary: int, liquidity: F8, floor_mask: F8,
    blend: float, rho_ppm: int, scenarios: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8,
    lot_notional: F8, order_row: F8, equity: I8, initial_margin: I8, maintenance_margin: I8, new_risk: I8, worst: U1,
    state: U1, emitted: I8, net: F8, size: F8, claim: F8, stamp: I8,
) -> tuple[int, int]:  # fmt: skip
    """Margins of the accounts of some entities.

    Args:
        members_start, members: (entities + 1), accounts of each. order_start .. order_row: `OrderTable`.
        net .. stamp: `scratch`. The others, and what is returned: as of `kernel.sweep`.
    """
    claims, rest = settles.shape[0], 1.0 - blend
    c = len(initial) + len(maintenance)
    emits, odd = 0, 0
    for entity in range(members_start.shape[0] - 1):
        first, last = members_start[entity], members_start[entity + 1]
        alone, waiting = last - first == 1, 0
        for at_member in range(first, last):
            waiting += order_start[members[at_member] + 1] - order_start[members[at_member]]
        if not alone:
            for at_member in range(first, last):
                _notionals(
                    members[at_member], start, count, index, quantity, notional, rows, bucket, settles, ordinary,
                    c + len(tail), c, order_start, order_bucket, order_instrument, lots, lot_notional, net, size, claim,
                    stamp, entity, waiting > 0,
                )  # fmt: skip
        for at_member in range(first, last):
            account = members[at_member]
            fetch_ahead(members, at_member, start, count, index, quantity, money, equity)
            joint_i, joint_m, joint_t, own, slower, ordered_i, ordered_t, ordered_own, cost, filled = _sums(
                account, start, count, index, quantity, rows, single, bucket, settles, ordinary, liquidity, initial,
                maintenance, tail, order_start, order_bucket, order_instrument, lots, paid, fee, lot_notional,
                order_row, net, size, alone, waiting > 0,
            )  # fmt: skip
            floors = plus(joint_t, load(floor_mask, 0, tail))
            scan_m, scan_i, which = scans(joint_i, joint_m, floors, own, blend, scenarios, CLAIM + claims)
            ordered = blend * max(largest(ordered_i), 0.0) + rest * ordered_own
            opened = max(ordered, largest(plus(ordered_t, load(floor_mask, 0, tail)))) - scan_i
            needed, wanted = scan_m + cost, scan_i + filled + opened
            value = money[account] + lane(joint_t, VALUE)
            odd += np.isnan(value + needed + wanted)
            have, maintain, begin, now = rounded(value, needed, wanted, rho_ppm)
            equity[account], maintenance_margin[account], initial_margin[account] = have, maintain, begin
            new_risk[account] = down(value - lane(slower, SLOW))
            worst[account] = which
            emitted[emits] = account
            emits += now != state[account]
            state[account] = now
    return emits, odd
