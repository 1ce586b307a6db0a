"""The kernel for what a sum over lines does not decide: open orders, options, add-ons that an entity's accounts share.

The same sums in the same order as `kernel.sweep`, once over the lines of an entity's accounts; what each has in a
bucket is an entry, which `add_ons.charge` then takes together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.risk_evaluation.domain.arrays import F8, I4, I8, U1
from services.risk_evaluation.domain.lines import OPTION, PLAIN
from services.risk_evaluation.domain.sweep.add_ons import BASE, BOUGHT, SOLD, VARIANTS, charge
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
from services.risk_evaluation.domain.sweep.layout import CLAIM, NOTIONAL, SLOW, VALUE, KernelTable

ACCOUNTS_MAX = 256  # of an entity, docs/architecture.md
ENTRIES, POSITIONS, ENDING, COUNTS = range(4)
FIGURES = 8  # of an account: value, slow marks' part, both scans, what orders open, worst scenario, charges so far


@dataclass(frozen=True, slots=True)
class Scratch:
    """What the kernel works in, for the largest entity.

    Args:
        bucket, sums, cost: (entries). of, line, lots: (positions). dated_of, dated_line, dated_lots: (dated futures).
        figures: (accounts · 6). counts: entries, positions, dated futures so far; then first entry of each account.
        The others: (lines · 2), (strikes · 2), (entries · 2), (entries · width), (buckets · width), (buckets),
            (entries), (buckets · 2).
    """

    bucket: I8
    sums: F8
    cost: F8
    of: I8
    line: I8
    lots: F8
    dated_of: I8
    dated_line: I8
    dated_lots: F8
    figures: F8
    counts: I8
    by_line: F8
    by_strike: F8
    added: F8
    own: F8
    together: F8
    size: F8
    basis: F8
    exposure: F8

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All of it, as the kernel takes it."""
        return tuple(getattr(self, name) for name in type(self).__slots__)

    @classmethod
    def of_size(cls, table: KernelTable, *, lines: int, accounts: int) -> Scratch:
        """Room for entities of so many accounts that have so many lines and orders in all."""
        buckets, width = table.add_ons.expiries.shape[0], int(table.add_ons.expiries.max(initial=1))
        entries = lines + accounts * table.widths.claims + 1
        one, two, three = (np.zeros(entries * each) for each in (1, 2, 3))
        places = [np.zeros(entries, dtype=np.int64) for _ in range(5)]
        return cls(
            places[0], three, two, places[1], places[2], three.copy(), places[3], places[4], one,
            np.zeros(accounts * FIGURES), np.zeros(COUNTS + accounts + 1, dtype=np.int64),
            np.zeros(2 * table.bucket.shape[0]), np.zeros(2 * table.bucket.shape[0]), two.copy(),
            np.zeros(entries * width), np.zeros(buckets * width), np.zeros(buckets), one.copy(), np.zeros(2 * buckets),
        )  # fmt: skip


@compiled
def _note_order(
    entry: int, first: int, line: int, bought: float, sold: float, of: I8, position_line: I8, position_lots: F8,
    counts: I8,
) -> None:  # fmt: skip
    # An order on an option adds to that position of its entry, in the order of lines.
    place = counts[POSITIONS]
    while place > first and position_line[place - 1] >= line:
        place -= 1
    if place == counts[POSITIONS] or position_line[place] != line:
        for each in range(counts[POSITIONS], place, -1):
            of[each], position_line[each] = of[each - 1], position_line[each - 1]
            for variant in range(VARIANTS):
                position_lots[VARIANTS * each + variant] = position_lots[VARIANTS * (each - 1) + variant]
        of[place], position_line[place] = entry, line
        for variant in range(VARIANTS):
            position_lots[VARIANTS * place + variant] = 0.0
        counts[POSITIONS] += 1
    position_lots[VARIANTS * place + BOUGHT] += bought
    position_lots[VARIANTS * place + SOLD] += sold


@inlined
def _note_line(
    entry: int, kind: int, line: int, amount: float, of: I8, position_line: I8, position_lots: F8, dated_of: I8,
    dated_line: I8, dated_lots: F8, counts: I8,
) -> None:  # fmt: skip
    if kind == PLAIN:
        return
    if kind == OPTION:
        place = counts[POSITIONS]
        of[place], position_line[place], position_lots[VARIANTS * place] = entry, line, amount
        position_lots[VARIANTS * place + BOUGHT] = position_lots[VARIANTS * place + SOLD] = 0.0
        counts[POSITIONS] += 1
    else:
        place = counts[ENDING]
        dated_of[place], dated_line[place], dated_lots[place] = entry, line, amount
        counts[ENDING] += 1


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
            _note_order(entry, first, at(leg_line, leg), max(many, 0.0) * at(leg_lots, leg),
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
def _walk(
    account: int, start: I8, count: Any, index: Any, quantity: F8, rows: F8, single: F8, bucket: I4, settles: I8,
    ordinary: int, liquidity: F8, kind: U1, buckets: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8,
    leg_start: I8, leg_line: I8, leg_lots: F8, lot_notional: F8, order_row: F8, entry_bucket: I8, sums: F8, of: I8,
    position_line: I8, position_lots: F8, dated_of: I8, dated_line: I8, dated_lots: F8, counts: I8, simple: bool,
) -> Any:  # fmt: skip
    # Sums over the buckets of an account, and over its orders; what it has in each bucket is charged or an entry.
    b, c = len(initial), len(initial) + len(maintenance)
    width, claims, settled, entry = c + len(tail), settles.shape[0], 0, counts[ENTRIES]
    place, order = start[account], order_start[account]
    end, last = place + count[account], order_start[account + 1]
    joint_i, joint_m, joint_t, own, slower = zeros(initial), zeros(maintenance), zeros(tail), zeros(FOUR), zeros(tail)
    orders_i, orders_t, more, cost, filled = zeros(initial), zeros(tail), 0.0, 0.0, 0.0
    held = bucket_at(bucket, index, place) if place < end else buckets
    waits = at(order_bucket, order) if order < last else buckets
    while held < buckets or waits < buckets or settled < claims:
        number, owed, first, terms = min(held, waits), False, counts[POSITIONS], 0
        if settled < claims and number >= ordinary + settled:
            number, owed = ordinary + settled, True  # the coin is owed after the options on it
            settled += 1
        line, amount = 0, 0.0  # where only orders stand: nothing of any line
        lost_i, lost_m, lost_t = zeros(initial), zeros(maintenance), zeros(tail)
        while held == number or owed:
            if owed and not _is_option(held, number, kind, index, place):
                line, amount, owed = settles[settled - 1], lane(joint_t, CLAIM + settled - 1), False
            else:
                line, amount = integer(at(index, place)), at(quantity, place)
                if not simple:
                    _note_line(entry, at(kind, line), line, amount, of, position_line, position_lots, dated_of,
                               dated_line, dated_lots, counts)  # fmt: skip
                place += 1
                held = bucket_at(bucket, index, place) if place < end else buckets
            more_i, more_m, more_t = lost(rows, line * width, amount, initial, maintenance, tail)
            lost_i, lost_m, lost_t, terms = plus(lost_i, more_i), plus(lost_m, more_m), plus(lost_t, more_t), terms + 1
        if terms > 1:
            worst = gains(worst_pair(lost_i, lost_m))
        else:
            worst = larger_of_pairs(times(load(single, line * 4, FOUR), amount))
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
def _is_simple(account: int, start: I8, count: Any, index: Any, kind: U1, order_start: I8, order_instrument: I8,
               leg_start: I8) -> bool:  # fmt: skip
    # Whether an account has neither options nor what ends, nor orders on options.
    for place in range(start[account], start[account] + count[account]):
        if at(kind, integer(at(index, place))) != PLAIN:
            return False
    for order in range(order_start[account], order_start[account + 1]):
        if at(leg_start, at(order_instrument, order)) != at(leg_start, at(order_instrument, order) + 1):
            return False
    return True


@inlined
def _publish(
    begin: int, end: int, members: I8, figures: F8, cost: F8, counts: I8, rho_ppm: int, equity: I8, initial_margin: I8,
    maintenance_margin: I8, new_risk: I8, worst: U1, state: U1, emitted: I8, emits: int, odd: int,
) -> tuple[int, int]:  # fmt: skip
    for turn in range(begin, end):
        account, figure = members[turn], FIGURES * (turn - begin)
        now, filled = figures[figure + 6], figures[figure + 7]
        for entry in range(counts[COUNTS + turn - begin], counts[COUNTS + 1 + turn - begin]):
            now, filled = now + cost[2 * entry], filled + cost[2 * entry + 1]
        value, scan_i = figures[figure], figures[figure + 3]
        needed, wanted = figures[figure + 2] + now, scan_i + filled + figures[figure + 4]
        odd += np.isnan(value + needed + wanted)
        have, maintain, first, standing = rounded(value, needed, wanted, rho_ppm)
        equity[account], maintenance_margin[account], initial_margin[account] = have, maintain, first
        new_risk[account], worst[account] = down(value - figures[figure + 1]), integer(figures[figure + 5])
        emitted[emits] = account
        emits += standing != state[account]
        state[account] = standing
    return emits, odd


@compiled
def sweep_entities(
    members_start: I8, members: I8, start: I8, count: Any, index: Any, quantity: F8, money: F8,
    rows: F8, single: F8, bucket: I4, settles: I8, ordinary: int, liquidity: F8, floor_mask: F8,
    blend: float, rho_ppm: int, scenarios: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], order_start: I8, order_bucket: I8, order_instrument: I8, lots: F8, paid: F8, fee: F8,
    leg_start: I8, leg_line: I8, leg_lots: F8, lot_notional: F8, order_row: F8, kind: U1, expiry: I8, expiries: I8,
    strike: I8, notional: F8, coins: F8, naked: float, basis: float, width: int, equity: I8, initial_margin: I8,
    maintenance_margin: I8, new_risk: I8, worst: U1, state: U1, emitted: I8, entry_bucket: I8, sums: F8, cost: F8,
    of: I8, position_line: I8, position_lots: F8, dated_of: I8, dated_line: I8, dated_lots: F8, figures: F8,
    counts: I8, by_line: F8, by_strike: F8, added: F8, own_groups: F8, together: F8, size: F8, based: F8,
    exposure: F8,
) -> tuple[int, int]:  # fmt: skip
    """Margins of the accounts of some entities.

    Args:
        members_start, members: (entities + 1), accounts of each. order_start .. order_row: `OrderTable`.
        kind .. basis: `AddOnTable`; width: most expiries of a bucket. entry_bucket .. exposure: `Scratch`.
        The others, and what is returned: as of `kernel.sweep`.
    """
    emits, odd = 0, 0
    for entity in range(members_start.shape[0] - 1):
        begin, end, ordered = members_start[entity], members_start[entity + 1], 0
        counts[ENTRIES] = counts[POSITIONS] = counts[ENDING] = counts[COUNTS] = 0
        for turn in range(begin, end):
            account, figure = members[turn], FIGURES * (turn - begin)
            fetch_ahead(members, turn, start, count, index, quantity, money, equity)
            ordered += order_start[account + 1] - order_start[account]
            simple = end - begin == 1 and _is_simple(
                account, start, count, index, kind, order_start, order_instrument, leg_start
            )
            joint_i, joint_m, joint_t, own, slower, orders_i, orders_t, more, now, filled = _walk(
                account, start, count, index, quantity, rows, single, bucket, settles, ordinary, liquidity, kind,
                expiries.shape[0], initial, maintenance, tail, order_start, order_bucket, order_instrument, lots, paid,
                fee, leg_start, leg_line, leg_lots, lot_notional, order_row, entry_bucket, sums, of, position_line,
                position_lots, dated_of, dated_line, dated_lots, counts, simple,
            )  # fmt: skip
            mask = load(floor_mask, 0, tail)
            scan_m, scan_i, which = scans(
                joint_i, joint_m, plus(joint_t, mask), own, blend, scenarios, CLAIM + settles.shape[0]
            )
            with_orders = blend * max(largest(plus(joint_i, orders_i)), 0.0) + (1.0 - blend) * (lane(own, 0) + more)
            opened = max(with_orders, largest(plus(plus(joint_t, orders_t), mask))) - scan_i
            figures[figure], figures[figure + 1] = money[account] + lane(joint_t, VALUE), lane(slower, SLOW)
            figures[figure + 2], figures[figure + 3], figures[figure + 4] = scan_m, scan_i, opened
            figures[figure + 5], figures[figure + 6], figures[figure + 7] = which, now, filled
            counts[COUNTS + 1 + turn - begin] = counts[ENTRIES]
        if counts[ENTRIES]:
            charge(
                counts[ENTRIES], entry_bucket, sums, cost, counts[POSITIONS], of, position_line, position_lots,
                counts[ENDING], dated_of, dated_line, dated_lots, ordered > 0, liquidity, notional, coins, expiry,
                expiries, strike, naked, basis, width, by_line, by_strike, added, own_groups, together, size, based,
                exposure,
            )  # fmt: skip
        emits, odd = _publish(
            begin, end, members, figures, cost, counts, rho_ppm, equity, initial_margin, maintenance_margin, new_risk,
            worst, state, emitted, emits, odd,
        )  # fmt: skip
    return emits, odd
