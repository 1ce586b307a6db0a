"""The kernel of a single joint grid: worst scenario of the whole account, one contingency a line, no buckets.

What exchanges that net everything compute; here the yardstick of what the house formula costs more.
"""

from __future__ import annotations

from typing import Any

from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.sweep.compiled import compiled
from services.risk_evaluation.domain.sweep.kernel import integer, rounded
from services.risk_evaluation.domain.sweep.lanes import at, lane, largest, load, plus, times, zeros

VALUE, CONTINGENCY = range(2)  # lanes of the tail


@compiled
def sweep_joint(
    chosen: Any, start: I8, count: Any, index: Any, quantity: F8, money: F8, rows: F8, rho_ppm: int,
    grid: tuple[int, ...], tail: tuple[int, ...], equity: I8, initial_margin: I8, maintenance_margin: I8, state: U1,
    emitted: I8,
) -> int:  # fmt: skip
    """Margins of the chosen accounts: MM the worst loss over the grid plus contingencies, IM ρ times as much.

    Args:
        rows: (lines · (grid + tail)) flat: losses of a unit, then its value and contingency.
        The others, and what is returned: as of `kernel.sweep`.
    """
    emits, width = 0, len(grid) + len(tail)
    for turn in range(chosen.shape[0]):
        account = integer(at(chosen, turn))
        place = integer(at(start, account))
        end = place + integer(at(count, account))
        lost, rest, cost = zeros(grid), zeros(tail), 0.0
        while place < end:
            row, amount = integer(at(index, place)) * width, at(quantity, place)
            lost = plus(lost, times(load(rows, row, grid), amount))
            part = times(load(rows, row + len(grid), tail), amount)
            rest = plus(rest, part)
            cost += abs(lane(part, CONTINGENCY))
            place += 1
        needed = max(largest(lost), 0.0) + cost
        have, maintain, begin, now = rounded(at(money, account) + lane(rest, VALUE), needed, needed, rho_ppm)
        equity[account], maintenance_margin[account], initial_margin[account] = have, maintain, begin
        emitted[emits] = account
        emits += now != state[account]
        state[account] = now
    return emits
