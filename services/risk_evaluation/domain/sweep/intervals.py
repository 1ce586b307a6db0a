"""How far prices, vols and time may move before an account's state can change: only who is beyond is valued again.

An account is `slack` away from the nearest threshold of its state. For each mover (the spot of an underlying, its vols,
time) a bound holds on how much the account's equity less requirement can change per unit of move, the worst scenario
taken, hedges netted. The slack is shared out over the movers in proportion to their bounds, so each (account, mover)
pair has an interval of its own: while every mover is inside, no state can have changed, whatever moves together.

Why the bound holds: E − Scan = λ·min_k[E + Σ_u π_u(k)] + (1−λ)·Σ_u min_k[W_u + π_u(k)], k over the scenarios and no
move at all; a minimum changes by no more than the largest change of what it is taken over. Between MM and ρ·MM lies a
convex combination. Slopes are intervals that hold over the whole window around the reference. Instruments that settle
in a moving coin other than their underlying are not covered: their books are swept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.common.errors import invariant
from services.risk_evaluation.domain.arrays import F8, I4, I8
from services.risk_evaluation.domain.sweep.compiled import compiled
from services.risk_evaluation.domain.sweep.kernel import bucket_at, integer
from services.risk_evaluation.domain.sweep.lanes import (
    aligned,
    at,
    fetch,
    lane,
    largest,
    load,
    plus,
    sizes,
    times,
    zeros,
)
from services.risk_evaluation.domain.sweep.layout import (
    CAP,
    CLAIM,
    HALF_SPREAD,
    IMPACT,
    LIQUIDITY_WIDTH,
    MARGINAL,
    NOTIONAL,
    VALUE,
    KernelTable,
    padded,
)

F4 = npt.NDArray[np.float32]
BLOCK = 256
LANES = (0,) * 16  # valued at once: more would not stay in registers
FAR, NEAR = 16, 6  # turns ahead of which memory is asked for
ROUNDING_USD6 = 8.0  # published integers, and ρ times one of them, are rounded four times in all
FLOAT_SHARE = 1e-9  # generous share of the amounts for the floats' own rounding
INWARD = 1.0 - 1e-6  # a float32 holds seven digits: intervals are rounded inwards


@dataclass(frozen=True, slots=True)
class Slopes:
    """Bounds on what a unit of each line changes per unit of move of its bucket's movers, in 10^-6 USD.

    Args:
        middle, spread: (movers a bucket · lines · width) flat, lanes as in `KernelTable.rows`: grids hold equity and π
            together, at ρ in the maintenance grid and the stresses; then value, notional. Within middle ± spread.
        scales: (movers a bucket) a mover is given `scale` times the room of the first one.
    """

    middle: F8
    spread: F8
    scales: F8


Bounds = tuple[F8, F8, F8, F8]


def slopes(table: KernelTable, movers: Sequence[tuple[Bounds, Bounds, float]]) -> Slopes:
    """The slopes of each kind of mover of a bucket.

    Args:
        movers: lower bound, upper bound, scale. A bound: of what a unit of each line is worth in the scenarios of the
            initial grid, the maintenance grid, the stresses, (lines, scenarios) each, then (lines, 2) value now and
            notional; per unit of move, over the whole window.
    """
    invariant(table.widths.claims == 0, "I8", "expected no instrument that settles in another moving coin")
    a, b, c = table.widths.lanes
    rho, lines = table.rho_ppm / 1e6, movers[0][0][3].shape[0]
    middle, spread = (aligned(len(movers) * lines * (a + b + c)) for _ in range(2))
    shape = (len(movers), lines, a + b + c)
    for number, (low, high, _) in enumerate(movers):
        least, most = np.zeros(shape[1:]), np.zeros(shape[1:])
        for rows, same, other in ((least, low, high), (most, high, low)):
            initial, maintenance, stresses, rest = same
            against = (rho - 1.0) * other[3][
                :, :1
            ]  # E − ρ·Scan holds the scenario's value ρ times, today's 1 − ρ times
            rows[:, :a], rows[:, a : a + b] = padded(initial, a), padded(rho * maintenance - against, b)
            rows[:, a + b + VALUE], rows[:, a + b + NOTIONAL] = rest[:, 0], rest[:, 1]
            rows[:, a + b + CLAIM : a + b + CLAIM + table.widths.stresses] = rho * stresses - against
        middle.reshape(shape)[number] = (least + most) / 2.0
        spread.reshape(shape)[number] = (most - least) / 2.0
    return Slopes(middle, spread, np.array([scale for _, _, scale in movers], dtype=np.float64))


@compiled
def _bound(
    place: int, end: int, base: int, index: Any, quantity: F8, middle: F8, spread: F8, mask: F8, marginal: float,
    grids: int, tail: tuple[int, ...],
) -> float:  # fmt: skip
    # The most that equity less requirement changes per unit of move, for the lines of one bucket. Few lanes at a time:
    # two grids of 40 at once took five times as long. Each grid has eight or more; the last may be valued twice.
    width, most = grids + len(tail), 0.0
    for at_least in range(0, grids, len(LANES)):
        part = min(at_least, grids - len(LANES))
        middles, spreads, line = zeros(LANES), zeros(LANES), place
        while line < end:
            row, amount = base + integer(at(index, line)) * width + part, at(quantity, line)
            middles = plus(middles, times(load(middle, row, LANES), amount))
            spreads = plus(spreads, times(load(spread, row, LANES), abs(amount)))
            line += 1
        most = max(most, largest(plus(sizes(middles), spreads)))
    middle_t, spread_t, line = zeros(tail), zeros(tail), place
    while line < end:
        row, amount = base + integer(at(index, line)) * width + grids, at(quantity, line)
        middle_t = plus(middle_t, times(load(middle, row, tail), amount))
        spread_t = plus(spread_t, times(load(spread, row, tail), abs(amount)))
        line += 1
    most_t = plus(sizes(middle_t), spread_t)
    most = max(most, largest(plus(most_t, load(mask, 0, tail))))
    return float(most + marginal * lane(most_t, NOTIONAL))


@compiled
def measure(
    chosen: Any, start: I8, count: Any, index: Any, quantity: F8, rows: F8, bucket: I4, liquidity: F8, mask: F8,
    middle: F8, spread: F8, scales: F8, window: float, rho: float, initial: tuple[int, ...],
    maintenance: tuple[int, ...], tail: tuple[int, ...], equity: I8, initial_margin: I8, maintenance_margin: I8,
    room: F4, first: I8, movers: Any, writes: bool,
) -> int:  # fmt: skip
    """How far each chosen account's movers may go, in `room`; with `writes` also which they are, pair after pair.

    Returns: pairs.
    """
    c = len(initial) + len(maintenance)
    width, buckets, pairs = c + len(tail), liquidity.shape[0] // LIQUIDITY_WIDTH, 0
    size = middle.shape[0] // scales.shape[0]
    for turn in range(chosen.shape[0]):
        account = integer(chosen[turn])
        have, begin, maintain = equity[account], initial_margin[account], maintenance_margin[account]
        slack = float(min(abs(have), min(abs(have - maintain), abs(have - begin))))
        slack -= ROUNDING_USD6 + FLOAT_SHARE * (abs(float(have)) + float(begin))
        place, total = integer(start[account]), 0.0
        end = place + count[account]
        if writes:
            first[account] = pairs
        while place < end:
            number, after, held = bucket_at(bucket, index, place), place, 0.0
            while after < end and bucket_at(bucket, index, after) == number:
                row = integer(at(index, after)) * width + c + NOTIONAL
                most = abs(at(rows, row))
                for kind in range(scales.shape[0]):  # and what the window can add to it
                    most += window * scales[kind] * (abs(at(middle, kind * size + row)) + at(spread, kind * size + row))
                held += most * abs(at(quantity, after))
                after += 1
            entry = number * LIQUIDITY_WIDTH
            marginal = liquidity[entry + HALF_SPREAD] + 1.5 * liquidity[entry + IMPACT] * math.sqrt(held)
            if held > liquidity[entry + CAP]:  # what cannot be sold in time costs its cap at once
                marginal = max(marginal, liquidity[entry + MARGINAL])
            marginal *= rho
            for kind in range(scales.shape[0]):
                most = _bound(place, after, kind * size, index, quantity, middle, spread, mask, marginal, c, tail)
                total += most * scales[kind]
                if most > 0.0:
                    if writes:
                        movers[pairs] = kind * buckets + number
                    pairs += 1
            place = after
        free = max(slack, 0.0) / total if total > 0.0 else window
        room[account] = np.float32(min(free, window) * INWARD)
    if writes:
        first[chosen.shape[0]] = pairs
    return pairs


@compiled
def file_pairs(order: I8, first: I8, movers: Any, room: F4, filled: I8, account: I4, edge: F4, scale: F8,
               buckets: int, place: I4) -> None:  # fmt: skip
    """Puts pairs into their mover's column, the narrowest first; `filled` begins as the columns' starts."""
    for turn in range(order.shape[0]):
        one = order[turn]
        for pair in range(first[one], first[one + 1]):
            mover = integer(movers[pair])
            at_pair = filled[mover]
            filled[mover] += 1
            width = room[one] * scale[mover // buckets]
            account[at_pair], edge[2 * at_pair], edge[2 * at_pair + 1] = one, -width, width
            place[pair] = at_pair


@compiled
def _narrowest(begin: int, end: int, edge: F4, block: int, blocks: F4) -> None:
    least, most = np.float32(-np.inf), np.float32(np.inf)
    for pair in range(begin, end):
        least, most = max(least, edge[2 * pair]), min(most, edge[2 * pair + 1])
    blocks[2 * block], blocks[2 * block + 1] = least, most


@compiled
def edges(begin: int, end: int, block: int, edge: F4, blocks: F4) -> None:
    """The narrowest interval of each block of a column, so that a tick passes over whole blocks."""
    while begin < end:
        last = min(begin + BLOCK, end)
        _narrowest(begin, last, edge, block, blocks)
        begin, block = last, block + 1


@compiled
def broken(
    begin: int, end: int, block: int, moved: float, account: I4, edge: F4, blocks: F4, stamp: I4, now: int, out: I4,
    found: int,
) -> int:  # fmt: skip
    """Adds the accounts of a column whose interval does not hold the move; returns how many there are by then."""
    while begin < end:
        last = min(begin + BLOCK, end)
        if moved <= blocks[2 * block] or moved >= blocks[2 * block + 1]:
            for pair in range(begin, last):
                if moved <= edge[2 * pair] or moved >= edge[2 * pair + 1]:
                    one = account[pair]
                    if stamp[one] != now:
                        stamp[one] = now
                        out[found] = one
                        found += 1
            _narrowest(begin, last, edge, block, blocks)
        begin, block = last, block + 1
    return found


@compiled
def recentre(
    chosen: I4, first: I8, movers: Any, place: I4, room: F4, scale: F8, buckets: int, moved: F8, column: I8,
    block_start: I8, window: float, edge: F4, blocks: F4,
) -> None:  # fmt: skip
    """New intervals around where the movers stand now, for accounts that were valued again."""
    for turn in range(chosen.shape[0]):
        if turn + FAR < chosen.shape[0]:
            fetch(place, first[chosen[turn + FAR]])
            fetch(movers, first[chosen[turn + FAR]])
        if turn + NEAR < chosen.shape[0]:
            for pair in range(first[chosen[turn + NEAR]], first[chosen[turn + NEAR] + 1]):
                fetch(edge, 2 * integer(place[pair]))
        one = chosen[turn]
        for pair in range(first[one], first[one + 1]):
            mover, at_pair = integer(movers[pair]), integer(place[pair])
            width, reach = room[one] * scale[mover // buckets], np.float32(window * scale[mover // buckets] * INWARD)
            least = max(np.float32(moved[mover] - width) + np.float32(1e-7), -reach)
            most = min(np.float32(moved[mover] + width) - np.float32(1e-7), reach)
            edge[2 * at_pair], edge[2 * at_pair + 1] = least, most
            block = block_start[mover] + (at_pair - column[mover]) // BLOCK
            blocks[2 * block], blocks[2 * block + 1] = max(blocks[2 * block], least), min(blocks[2 * block + 1], most)


@compiled
def signatures(chosen: Any, start: I8, count: Any, index: Any, held: Any) -> None:
    """Tells which lines each chosen account holds, whatever the quantities: a mixed sum, of 64 bits."""
    for turn in range(chosen.shape[0]):
        account, total = integer(chosen[turn]), np.uint64(0)
        place = integer(start[account])
        for at_line in range(place, place + integer(count[account])):
            mixed = (np.uint64(index[at_line]) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            total += mixed ^ (mixed >> np.uint64(32))
        held[turn] = total
