"""The kernel: one account after the other, from its lines to published integers, without an array in between.

Accumulators are lanes in registers: a bucket's losses and the account's. Nothing is materialised by scenario. Sums run
in the order of `domain.lines`, so every bit is that of `domain.margin`; lanes hold losses, the negation of its changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from services.risk_evaluation.domain.arrays import F8, HAVE_MAX, I4, I8, NEED_MAX, U1
from services.risk_evaluation.domain.sweep.compiled import compiled, inlined
from services.risk_evaluation.domain.sweep.lanes import (
    Machine,
    at,
    fetch,
    first_equal,
    gains,
    lane,
    larger_of_pairs,
    largest,
    load,
    plus,
    shape,
    times,
    worst_pair,
    zeros,
)
from services.risk_evaluation.domain.sweep.layout import (
    AT_CAP,
    CAP,
    CLAIM,
    HALF_SPREAD,
    IMPACT,
    LIQUIDITY_WIDTH,
    MARGINAL,
    NOTIONAL,
    SLOW,
    VALUE,
)

MILLION = 1_000_000
integer: Machine = np.int64
byte: Machine = np.uint8
FOUR = shape(4)
AHEAD = 6


@compiled
def raised(value: int, ppm: int) -> int:
    """⌈value·ppm/10^6⌉ of a value that is not negative, without leaving 64 bits."""
    whole = value // MILLION
    return whole * ppm + ((value - whole * MILLION) * ppm + (MILLION - 1)) // MILLION


@inlined
def cost_of_exit(liquidity: F8, number: int, notional: float) -> float:
    """What trading a net notional of a bucket out costs (domain.liquidity, `cost_of_exit`)."""
    held, entry = abs(notional), number * LIQUIDITY_WIDTH
    cap = at(liquidity, entry + CAP)
    cost: float = held * (at(liquidity, entry + HALF_SPREAD) + at(liquidity, entry + IMPACT) * math.sqrt(held))
    if notional > cap:
        cost = at(liquidity, entry + AT_CAP) + at(liquidity, entry + MARGINAL) * (held - cap)
    return cost


@inlined
def worst_of(together: Any, losses: Any, tail: Any, scan: float, deepest: float, count: int, first: int) -> int:
    """The worst scenario of the maintenance grid, or the joint stress that binds, counted after the grid."""
    # Both are looked up and one chosen by arithmetic: which it is cannot be foretold.
    grid = integer(first_equal(losses, lane(together, 2)))
    stress = integer(count + first_equal(tail, deepest) - first)
    return grid + (deepest > scan) * (stress - grid)  # type: ignore[no-any-return]


@inlined
def scans(
    joint_i: Any, joint_m: Any, floors: Any, own: Any, blend: float, scenarios: int, first: int
) -> tuple[float, float, int]:
    """Scans of maintenance and initial margin, and the worst scenario (domain.scan, `scan`)."""
    rest, deepest, together = 1.0 - blend, largest(floors), worst_pair(joint_i, joint_m)
    scan_i = blend * max(lane(together, 0), 0.0) + rest * lane(own, 0)
    scan_m = blend * max(lane(together, 2), 0.0) + rest * lane(own, 2)
    which = worst_of(together, joint_m, floors, scan_m, deepest, scenarios, first)
    return max(scan_m, deepest), max(scan_i, deepest), which


@compiled
def down(value: float) -> int:
    """Whole 10^-6 USD, rounded down, cut where `arrays.floor_usd6` cuts."""
    return integer(max(-HAVE_MAX, min(HAVE_MAX, np.floor(value))))  # type: ignore[no-any-return]


@compiled
def up(value: float) -> int:
    """Whole 10^-6 USD, rounded up, cut where `arrays.ceil_usd6` cuts."""
    return integer(max(-NEED_MAX, min(NEED_MAX, np.ceil(value))))  # type: ignore[no-any-return]


@compiled
def rounded(value: float, needed: float, wanted: float, rho_ppm: int) -> tuple[int, int, int, int]:
    """Equity down, both margins up, and the state's number on these integers."""
    have, maintain = down(value), up(needed)
    begin = max(raised(maintain, rho_ppm), up(wanted))
    return have, maintain, begin, byte(1 + (have < begin) + (have < maintain) + (have < 0))


@inlined
def lost(
    rows: F8, row: int, size: float, initial: tuple[int, ...], maintenance: tuple[int, ...], tail: tuple[int, ...]
) -> Any:
    """What so much of a line loses, in lanes of the initial grid, the maintenance grid and the tail."""
    b, c = row + len(initial), row + len(initial) + len(maintenance)
    return (
        times(load(rows, row, initial), size),
        times(load(rows, b, maintenance), size),
        times(load(rows, c, tail), size),
    )


@compiled
def standing(have: int, begin: int, maintain: int) -> int:
    """The state's number, on published integers."""
    return 1 + (have < begin) + (have < maintain) + (have < 0)


@inlined
def bucket_at(bucket: I4, index: Any, place: int) -> int:
    """Bucket of the line that stands at a place of the arena."""
    return integer(at(bucket, integer(at(index, place))))  # type: ignore[no-any-return]


@inlined
def fetch_ahead(accounts: Any, turn: int, start: I8, count: Any, index: Any, quantity: F8, money: F8, out: I8) -> None:
    """Asks for the lines of an account a few turns ahead: accounts that do not follow one another are far apart."""
    if turn + AHEAD < accounts.shape[0]:
        account = integer(at(accounts, turn + AHEAD))
        place = integer(at(start, account))
        fetch(index, place)
        fetch(quantity, place)
        fetch(quantity, place + integer(at(count, account)) - 1)
        fetch(money, account)
        fetch(out, account)


@compiled
def sweep(
    chosen: Any, start: I8, count: Any, index: Any, quantity: F8, money: F8,
    rows: F8, single: F8, bucket: I4, settles: I8, ordinary: int, liquidity: F8, floor_mask: F8,
    blend: float, rho_ppm: int, scenarios: int, initial: tuple[int, ...], maintenance: tuple[int, ...],
    tail: tuple[int, ...], owing: tuple[int, ...], equity: I8, initial_margin: I8, maintenance_margin: I8,
    new_risk: I8, worst: U1,
    state: U1, emitted: I8,
) -> tuple[int, int]:  # fmt: skip
    """Margins of the chosen accounts, each alone in its entity and without orders.

    Args:
        chosen: accounts. start .. money: the arena. rows .. tail: `KernelTable`. equity .. state: (accounts,) written.
        emitted: written, accounts whose state changed. Returns: how many, and how many are no number.
    """
    emits, odd, claims, buckets = 0, 0, len(owing), liquidity.shape[0] // LIQUIDITY_WIDTH
    width = len(initial) + len(maintenance) + len(tail)
    for turn in range(chosen.shape[0]):
        account = integer(at(chosen, turn))
        fetch_ahead(chosen, turn, start, count, index, quantity, money, equity)
        place, end = integer(at(start, account)), integer(at(start, account)) + integer(at(count, account))
        joint_i, joint_m, joint_t = zeros(initial), zeros(maintenance), zeros(tail)
        own, slower, cost = zeros(FOUR), zeros(tail), 0.0
        following = bucket_at(bucket, index, place) if place < end else buckets
        for stage in range(claims + 1):  # last come the coins that settle others: what is owed in them is known by now
            owed = stage > 0
            while following < ordinary + stage or owed:
                if owed:
                    number, line = ordinary + stage - 1, integer(settles[stage - 1])
                    size, owed = lane(joint_t, CLAIM + stage - 1), False
                else:
                    number, line, size = following, integer(at(index, place)), at(quantity, place)
                    place += 1
                    following = bucket_at(bucket, index, place) if place < end else buckets
                lost_i, lost_m, lost_t = lost(rows, line * width, size, initial, maintenance, tail)
                if following == number:
                    while following == number:
                        row, size = integer(at(index, place)) * width, at(quantity, place)
                        more_i, more_m, more_t = lost(rows, row, size, initial, maintenance, tail)
                        lost_i, lost_m, lost_t = plus(lost_i, more_i), plus(lost_m, more_m), plus(lost_t, more_t)
                        place += 1
                        following = bucket_at(bucket, index, place) if place < end else buckets
                    own = plus(own, gains(worst_pair(lost_i, lost_m)))
                else:  # of a line alone: the largest of the products is the product with an extreme
                    own = plus(own, larger_of_pairs(times(load(single, line * 4, FOUR), size)))
                joint_i, joint_m, joint_t = plus(joint_i, lost_i), plus(joint_m, lost_m), plus(joint_t, lost_t)
                slower = plus(slower, gains(lost_t))
                cost += cost_of_exit(liquidity, number, lane(lost_t, NOTIONAL))
        floors = plus(joint_t, load(floor_mask, 0, tail))
        scan_m, scan_i, which = scans(joint_i, joint_m, floors, own, blend, scenarios, CLAIM + claims)
        value, needed, wanted = at(money, account) + lane(joint_t, VALUE), scan_m + cost, scan_i + cost
        odd += np.isnan(value + needed + wanted)
        have, maintain, begin, now = rounded(value, needed, wanted, rho_ppm)
        equity[account], maintenance_margin[account], initial_margin[account] = have, maintain, begin
        new_risk[account] = down(value - lane(slower, SLOW))
        worst[account], emitted[emits] = which, account
        emits += now != state[account]
        state[account] = now
    return emits, odd
