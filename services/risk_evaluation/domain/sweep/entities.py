"""The kernel for what a sum over lines does not decide: open orders, options, add-ons that an entity's accounts share.

The same sums in the same order as `kernel.sweep`, once over the lines of an entity's accounts; what each has in a
bucket is an entry, which `add_ons.charge` then takes together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I4, I8, U1
from services.risk_evaluation.domain.lines import OPTION
from services.risk_evaluation.domain.sweep.add_ons import BASE, BOUGHT, SOLD, VARIANTS, charge
from services.risk_evaluation.domain.sweep.compiled import compiled, inlined
from services.risk_evaluation.domain.sweep.entries import (
    COUNTS,
    ENDING,
    ENTRIES,
    FIGURES,
    POSITIONS,
    note_line,
    note_order,
)
from services.risk_evaluation.domain.sweep.kernel import (
    FOUR,
    bucket_at,
    cost_of_exit,
    down,
    integer,
    lost,
    rounded,
    scans,
)
from services.risk_evaluation.domain.sweep.lanes import (
    at,
    fetch,
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
from services.risk_evaluation.domain.sweep.layout import CLAIM, NOTIONAL, SLOW, VALUE

ACCOUNTS_MAX = 256  # of an entity, docs/architecture.md
FAR, NEAR = 12, 5  # turns ahead of which memory is asked for


@inlined
def _order_loss(row: int, rows: F8, shape: tuple[int, ...], settle: int, lots: float, paid: float, fee: float) -> Any:
    value = load(rows, row, shape)
    price = times(load(rows, row + settle, shape), paid)
    charged = times(larger(sizes(value), sizes(price)), abs(lots) * fee)
    return gains(minus(charged, times(minus(value, price), lots)))


@inlined
def _bucket_orders(
    entry: int, first: int, order: int, last: int, number: int, initial: tuple[int, ...], tail: tuple[int, ...],
    tail_at: int, order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8, leg_start: I8, leg_line: I8,
    leg_lots: F8, lot_notional: F8, order_row: F8, of: I8, position_line: I8, position_lots: F8, counts: I8,
) -> Any:  # fmt: skip
    # Losses of an account's orders in one bucket, what they would buy and sell, and the order that comes next.
    lost_i, lost_t, bought, sold, half = zeros(initial), zeros(tail), 0.0, 0.0, tail_at + len(tail)
    while order < last and at(order_bucket, order) == number:
        instrument, many = at(order_instrument, order), at(lots, order)
        row, price, rate = instrument * 2 * half, at(paid, order), at(fee, order)
        lost_i = plus(lost_i, _order_loss(row, order_row, initial, half, many, price, rate))
        lost_t = plus(lost_t, _order_loss(row + tail_at, order_row, tail, half, many, price, rate))
        for leg in range(at(leg_start, instrument), at(leg_start, instrument + 1)):
            note_order(entry, first, at(leg_line, leg), max(many, 0.0) * at(leg_lots, leg),
                        min(many, 0.0) * at(leg_lots, leg), of, position_line, position_lots, counts)  # fmt: skip
        many *= at(lot_notional, instrument)
        bought, sold, order = bought + max(many, 0.0), sold + max(-many, 0.0), order + 1
    return lost_i, lost_t, bought, sold, order


@inlined
def _is_option(held: int, number: int, kind: U1, index: Any, place: int) -> bool:
    return held == number and at(kind, integer(at(index, place))) == OPTION


@inlined
def _exits(liquidity: F8, number: int, mine: float, bought: float, sold: float) -> tuple[float, float]:
    # What leaving a bucket costs an account alone, now and at the worse of all its buys and all its sells filled.
    now = most = cost_of_exit(liquidity, number, mine)
    if bought + sold > 0.0:
        buys = cost_of_exit(liquidity, number, mine + bought)
        most = max(now, max(buys, cost_of_exit(liquidity, number, mine - sold)))
    return now, most


@inlined
def _lines(
    number: int, owed: bool, coin: int, claim: float, place: int, end: int, held: int, index: Any, quantity: F8,
    rows: F8, single: F8, bucket: I4, kind: U1, buckets: int, width: int, initial: tuple[int, ...],
    maintenance: tuple[int, ...], tail: tuple[int, ...], entry: int, of: I8, position_line: I8, position_lots: F8,
    dated_of: I8, dated_line: I8, dated_lots: F8, counts: I8, simple: bool,
) -> Any:  # fmt: skip
    # Sums over the lines of a bucket, and over what is owed in its coin, which stands after the options on it.
    line, amount = 0, 0.0  # where only orders stand: nothing of any line
    if owed and not _is_option(held, number, kind, index, place):
        line, amount, owed = coin, claim, False
    elif held == number:
        line, amount = integer(at(index, place)), at(quantity, place)
        if not simple:
            note_line(entry, at(kind, line), line, amount, of, position_line, position_lots, dated_of, dated_line,
                       dated_lots, counts)  # fmt: skip
        place += 1
        held = bucket_at(bucket, index, place) if place < end else buckets
    lost_i, lost_m, lost_t = lost(rows, line * width, amount, initial, maintenance, tail)
    if held == number or owed:
        while held == number or owed:
            if owed and not _is_option(held, number, kind, index, place):
                line, amount, owed = coin, claim, False
            else:
                line, amount = integer(at(index, place)), at(quantity, place)
                if not simple:
                    note_line(entry, at(kind, line), line, amount, of, position_line, position_lots, dated_of,
                               dated_line, dated_lots, counts)  # fmt: skip
                place += 1
                held = bucket_at(bucket, index, place) if place < end else buckets
            more_i, more_m, more_t = lost(rows, line * width, amount, initial, maintenance, tail)
            lost_i, lost_m, lost_t = plus(lost_i, more_i), plus(lost_m, more_m), plus(lost_t, more_t)
        worst = gains(worst_pair(lost_i, lost_m))
    else:
        worst = larger_of_pairs(times(load(single, line * 4, FOUR), amount))
    return lost_i, lost_m, lost_t, worst, place, held


@inlined
def _walk(
    account: int, start: I8, count: Any, index: Any, quantity: F8, rows: F8, single: F8, bucket: I4, settles: I8,
    ordinary: int, liquidity: F8, kind: U1, buckets: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], owing: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8,
    paid: F8, fee: F8, leg_start: I8, leg_line: I8, leg_lots: F8, lot_notional: F8, order_row: F8, entry_bucket: I8,
    sums: F8, of: I8, position_line: I8, position_lots: F8, dated_of: I8, dated_line: I8, dated_lots: F8, counts: I8,
    simple: bool,
) -> Any:  # fmt: skip
    # Sums over the buckets of an account, and over its orders; what it has in each bucket is charged or an entry.
    b, c = len(initial), len(initial) + len(maintenance)
    width, claims, settled, entry = c + len(tail), len(owing), 0, counts[ENTRIES]
    place, order = start[account], order_start[account]
    end, last = place + count[account], order_start[account + 1]
    joint_i, joint_m, joint_t, own, slower = zeros(initial), zeros(maintenance), zeros(tail), zeros(FOUR), zeros(tail)
    orders_i, orders_t, more, cost, filled = zeros(initial), zeros(tail), 0.0, 0.0, 0.0
    held = bucket_at(bucket, index, place) if place < end else buckets
    waits = at(order_bucket, order) if order < last else buckets
    while held < buckets or waits < buckets or settled < claims:
        number, owed, first = min(held, waits), False, counts[POSITIONS]
        if settled < claims and number >= ordinary + settled:
            number, owed = ordinary + settled, True  # the coin is owed after the options on it
            settled += 1
        claim = lane(joint_t, CLAIM + settled - 1) if owed else 0.0
        coin = settles[settled - 1] if owed else 0
        lost_i, lost_m, lost_t, worst, place, held = _lines(
            number, owed, coin, claim, place, end, held, index, quantity, rows, single, bucket, kind, buckets, width,
            initial, maintenance, tail, entry, of, position_line, position_lots, dated_of, dated_line, dated_lots,
            counts, simple,
        )  # fmt: skip
        mine, bought, sold = lane(lost_t, NOTIONAL), 0.0, 0.0
        if waits == number:
            more_i, more_t, bought, sold, order = _bucket_orders(
                entry, first, order, last, number, initial, tail, b, order_bucket, order_instrument, lots, paid, fee,
                leg_start, leg_line, leg_lots, lot_notional, order_row, of, position_line, position_lots, counts,
            )  # fmt: skip
            waits = at(order_bucket, order) if order < last else buckets
            orders_i, orders_t = plus(orders_i, more_i), plus(orders_t, more_t)
            more += max(largest(plus(lost_i, more_i)), 0.0) - lane(worst, 0)
        own, slower = plus(own, worst), plus(slower, gains(lost_t))
        joint_i, joint_m, joint_t = plus(joint_i, lost_i), plus(joint_m, lost_m), plus(joint_t, lost_t)
        if simple:
            now, most = _exits(liquidity, number, mine, bought, sold)
            cost, filled = cost + now, filled + most
        else:
            entry_bucket[entry], sums[VARIANTS * entry + BASE] = number, mine
            sums[VARIANTS * entry + BOUGHT], sums[VARIANTS * entry + SOLD] = mine + bought, mine - sold
            entry += 1
    counts[ENTRIES] = entry
    return joint_i, joint_m, joint_t, own, slower, orders_i, orders_t, more, cost, filled


@inlined
def _fetch_ahead(
    members: I8, turn: int, start: I8, count: Any, index: Any, quantity: F8, money: F8, equity: I8, initial_margin: I8,
    maintenance_margin: I8, new_risk: I8, state: U1, order_start: I8,
) -> None:  # fmt: skip
    # Members are far apart: where each stands is asked for first, what stands there some turns later.
    if turn + FAR < members.shape[0]:
        account = at(members, turn + FAR)
        fetch(start, account)
        fetch(count, account)
        fetch(order_start, account)
        fetch(state, account)
    if turn + NEAR < members.shape[0]:
        account = at(members, turn + NEAR)
        place = at(start, account)
        fetch(index, place)
        fetch(quantity, place)
        fetch(quantity, place + 8)
        fetch(quantity, place + integer(at(count, account)) - 1)
        fetch(money, account)
        fetch(equity, account)
        fetch(initial_margin, account)
        fetch(maintenance_margin, account)
        fetch(new_risk, account)


@inlined
def _publish(
    account: int, value: float, slower: float, scan_m: float, scan_i: float, opened: float, which: int, now: float,
    filled: float, rho_ppm: int, equity: I8, initial_margin: I8, maintenance_margin: I8, new_risk: I8, worst: U1,
    state: U1, emitted: I8, emits: int,
) -> tuple[int, int]:  # fmt: skip
    needed, wanted = scan_m + now, scan_i + filled + opened
    have, maintain, first, standing = rounded(value, needed, wanted, rho_ppm)
    equity[account], maintenance_margin[account], initial_margin[account] = have, maintain, first
    new_risk[account], worst[account], emitted[emits] = down(value - slower), which, account
    emits += standing != state[account]
    state[account] = standing
    return emits, integer(np.isnan(value + needed + wanted))


@compiled
def _publish_all(
    begin: int, end: int, members: I8, figures: F8, counts: I8, cost: F8, rho_ppm: int, equity: I8, initial_margin: I8,
    maintenance_margin: I8, new_risk: I8, worst: U1, state: U1, emitted: I8, emits: int,
) -> tuple[int, int]:  # fmt: skip
    # The accounts of an entity, once each entry has its charge.
    odd = 0
    for turn in range(begin, end):
        figure, now, filled = FIGURES * (turn - begin), 0.0, 0.0
        for entry in range(counts[COUNTS + turn - begin], counts[COUNTS + 1 + turn - begin]):
            now, filled = now + cost[2 * entry], filled + cost[2 * entry + 1]
        emits, wrong = _publish(
            members[turn], figures[figure], figures[figure + 1], figures[figure + 2], figures[figure + 3],
            figures[figure + 4], integer(figures[figure + 5]), now, filled, rho_ppm, equity, initial_margin,
            maintenance_margin, new_risk, worst, state, emitted, emits,
        )  # fmt: skip
        odd += wrong
    return emits, odd


@compiled
def sweep_entities(
    members_start: I8, members: I8, is_special: U1, start: I8, count: Any, index: Any, quantity: F8, money: F8,
    rows: F8, single: F8, bucket: I4, settles: I8, ordinary: int, liquidity: F8, floor_mask: F8,
    blend: float, rho_ppm: int, scenarios: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], owing: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8,
    paid: F8, fee: F8, leg_start: I8, leg_line: I8, leg_lots: F8, lot_notional: F8, order_row: F8, kind: U1,
    expiry: I8, expiries: I8, strike: I8, notional: F8, coins: F8, naked: float, basis: float, most: int, equity: I8,
    initial_margin: I8, maintenance_margin: I8, new_risk: I8, worst: U1, state: U1, emitted: I8, entry_bucket: I8,
    sums: F8, cost: F8, of: I8, position_line: I8, position_lots: F8, dated_of: I8, dated_line: I8, dated_lots: F8,
    figures: F8, counts: I8, by_line: F8, by_strike: F8, added: F8, groups: F8, together: F8, size: F8, based: F8,
    exposure: F8,
) -> tuple[int, int]:  # fmt: skip
    """Margins of the accounts of some entities.

    Args:
        members_start, members: (entities + 1), accounts of each. is_special: (accounts) 1 for options, dated futures,
            orders on options. order_start .. order_row: `OrderTable`. kind .. basis: `AddOnTable`; most: expiries of a
            bucket. entry_bucket .. exposure: `Scratch`. The others, and what is returned: as of `kernel.sweep`.
    """
    emits, odd = 0, 0
    for entity in range(members_start.shape[0] - 1):
        begin, end, ordered, simple = members_start[entity], members_start[entity + 1], 0, False
        counts[ENTRIES] = counts[POSITIONS] = counts[ENDING] = counts[COUNTS] = 0
        for turn in range(begin, end):
            account, figure = members[turn], FIGURES * (turn - begin)
            _fetch_ahead(members, turn, start, count, index, quantity, money, equity, initial_margin,
                         maintenance_margin, new_risk, state, order_start)  # fmt: skip
            ordered += order_start[account + 1] - order_start[account]
            simple = end - begin == 1 and at(is_special, account) == 0
            joint_i, joint_m, joint_t, own, slower, orders_i, orders_t, more, now, filled = _walk(
                account, start, count, index, quantity, rows, single, bucket, settles, ordinary, liquidity, kind,
                expiries.shape[0], initial, maintenance, tail, owing, order_start, order_bucket, order_instrument,
                lots, paid, fee, leg_start, leg_line, leg_lots, lot_notional, order_row, entry_bucket, sums, of,
                position_line, position_lots, dated_of, dated_line, dated_lots, counts, simple,
            )  # fmt: skip
            mask = load(floor_mask, 0, tail)
            first = CLAIM + len(owing)
            scan_m, scan_i, which = scans(joint_i, joint_m, plus(joint_t, mask), own, blend, scenarios, first)
            with_orders = blend * max(largest(plus(joint_i, orders_i)), 0.0) + (1.0 - blend) * (lane(own, 0) + more)
            opened = max(with_orders, largest(plus(plus(joint_t, orders_t), mask))) - scan_i
            value, lower = money[account] + lane(joint_t, VALUE), lane(slower, SLOW)
            if simple:
                emits, wrong = _publish(account, value, lower, scan_m, scan_i, opened, which, now, filled, rho_ppm,
                                        equity, initial_margin, maintenance_margin, new_risk, worst, state, emitted,
                                        emits)  # fmt: skip
                odd += wrong
            figures[figure], figures[figure + 1], figures[figure + 2] = value, lower, scan_m
            figures[figure + 3], figures[figure + 4], figures[figure + 5] = scan_i, opened, which
            counts[COUNTS + 1 + turn - begin] = counts[ENTRIES]
        if simple:
            continue
        charge(
            counts[ENTRIES], entry_bucket, sums, cost, counts[POSITIONS], of, position_line, position_lots,
            counts[ENDING], dated_of, dated_line, dated_lots, ordered > 0, liquidity, notional, coins, expiry, expiries,
            strike, naked, basis, most, by_line, by_strike, added, groups, together, size, based, exposure,
        )  # fmt: skip
        emits, wrong = _publish_all(begin, end, members, figures, counts, cost, rho_ppm, equity, initial_margin,
                                    maintenance_margin, new_risk, worst, state, emitted, emits)  # fmt: skip
        odd += wrong
    return emits, odd
