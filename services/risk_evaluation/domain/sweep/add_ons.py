"""Add-ons of an entity in machine code: liquidity, naked shorts, basis, shared by its accounts (`domain.option_sums`).

An entry is what an account has in a bucket. Options of an entry are its positions, dated futures its dated ones; both
stand in the order of their lines. Every sum runs in the order of the oracle's, so its bits are the same.
"""

from __future__ import annotations

from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.sweep.compiled import compiled, inlined
from services.risk_evaluation.domain.sweep.kernel import cost_of_exit

BASE, BOUGHT, SOLD = range(3)  # as it stands, with all buys filled, with all sells
VARIANTS = 3
WIDE = 2 * VARIANTS
NET, SIZE = range(2)  # of a group: what is held, and how much of what counts


@inlined
def _share(own: float, size: float) -> float:
    return own / size if size > 0.0 else 0.0


@compiled
def _shorts(
    variant: int, positions: int, of: I8, line: I8, lots: F8, notional: F8, coins: F8, strike: I8, naked: float,
    by_line: F8, by_strike: F8, added: F8,
) -> None:  # fmt: skip
    # Of each entry: notional of the options it is short, net within the entity, and its share of naked shorts.
    for each in range(positions):
        option, group = line[each] * 2, strike[line[each]] * 2
        by_line[option + NET], by_line[option + SIZE] = 0.0, 0.0
        by_strike[group + NET], by_strike[group + SIZE] = 0.0, 0.0
        added[2 * of[each]], added[2 * of[each] + 1] = 0.0, 0.0
    for each in range(positions):
        held = lots[VARIANTS * each] + (lots[VARIANTS * each + variant] if variant else 0.0)
        option, group, whole = line[each] * 2, strike[line[each]] * 2, coins[line[each]] * held
        by_line[option + NET] += held
        by_line[option + SIZE] += max(-held, 0.0)
        by_strike[group + NET] += whole
        by_strike[group + SIZE] += max(-whole, 0.0)
    for each in range(positions):
        held = lots[VARIANTS * each] + (lots[VARIANTS * each + variant] if variant else 0.0)
        option, group, whole = line[each] * 2, strike[line[each]] * 2, coins[line[each]] * held
        counted = max(-by_line[option + NET], 0.0) * _share(max(-held, 0.0), by_line[option + SIZE])
        borne = max(-by_strike[group + NET], 0.0) * _share(max(-whole, 0.0), by_strike[group + SIZE])
        added[2 * of[each]] += notional[line[each]] * -counted
        added[2 * of[each] + 1] += naked * borne


@compiled
def _bases(
    variant: int, entries: int, bucket: I8, sums: F8, positions: int, of: I8, line: I8, lots: F8, dated: int,
    dated_of: I8, dated_line: I8, dated_lots: F8, notional: F8, expiry: I8, expiries: I8, rate: float, width: int,
    own: F8, together: F8, size: F8, basis: F8,
) -> None:  # fmt: skip
    # Of each entry: a share of the notional that one expiry of its bucket hedges of another.
    for entry in range(entries):
        own[entry * width] = sums[VARIANTS * entry + variant]
        size[bucket[entry]] = 0.0
        for each in range(expiries[bucket[entry]]):
            together[bucket[entry] * width + each] = 0.0
            if each:
                own[entry * width + each] = 0.0
    for each in range(dated):
        part, first = dated_lots[each] * notional[dated_line[each]], dated_of[each] * width
        own[first] -= part
        own[first + expiry[dated_line[each]]] += part
    for each in range(positions):
        held = lots[VARIANTS * each] + (lots[VARIANTS * each + variant] if variant else 0.0)
        own[of[each] * width + expiry[line[each]]] += notional[line[each]] * held
    for entry in range(entries):
        basis[entry] = 0.0
        for each in range(expiries[bucket[entry]]):
            part = own[entry * width + each]
            basis[entry] += abs(part)
            together[bucket[entry] * width + each] += part
        size[bucket[entry]] += basis[entry]
    for entry in range(entries):
        net, gross = 0.0, 0.0
        for each in range(expiries[bucket[entry]]):
            part = together[bucket[entry] * width + each]
            net, gross = net + part, gross + abs(part)
        basis[entry] = rate * (0.5 * (gross - abs(net))) * _share(basis[entry], size[bucket[entry]])


@inlined
def _plain(entries: int, bucket: I8, sums: F8, cost: F8, ordered: bool, liquidity: F8, exposure: F8) -> None:
    # Of an entity without options and dated futures: leaving costs by the net of its accounts, shared by size.
    for entry in range(entries):
        for each in range(WIDE if ordered else 2):
            exposure[WIDE * bucket[entry] + each] = 0.0
    for entry in range(entries):
        for variant in range(VARIANTS if ordered else 1):
            mine, place = sums[VARIANTS * entry + variant], WIDE * bucket[entry] + 2 * variant
            exposure[place + NET] += mine
            exposure[place + SIZE] += abs(mine)
    for entry in range(entries):
        number, place = bucket[entry], WIDE * bucket[entry]
        share = _share(abs(sums[VARIANTS * entry]), exposure[place + SIZE])
        now = most = cost_of_exit(liquidity, number, exposure[place + NET]) * share
        for variant in range(BOUGHT, VARIANTS if ordered else BOUGHT):
            net, size = exposure[place + 2 * variant + NET], exposure[place + 2 * variant + SIZE]
            mine = sums[VARIANTS * entry + variant]
            if net != exposure[place + NET] or size != exposure[place + SIZE] or mine != sums[VARIANTS * entry]:
                most = max(most, cost_of_exit(liquidity, number, net) * _share(abs(mine), size))
        cost[2 * entry], cost[2 * entry + 1] = now, most


@compiled
def charge(
    entries: int, bucket: I8, sums: F8, cost: F8, positions: int, of: I8, line: I8, lots: F8, dated: int, dated_of: I8,
    dated_line: I8, dated_lots: F8, ordered: bool, liquidity: F8, notional: F8, coins: F8, expiry: I8, expiries: I8,
    strike: I8, naked: float, rate: float, width: int, by_line: F8, by_strike: F8, added: F8, own: F8, together: F8,
    size: F8, basis: F8, exposure: F8,
) -> None:  # fmt: skip
    """Writes what each entry of an entity is charged: now, and at the worse of all buys and all sells filled.

    Args:
        bucket, sums, cost: (entries) the bucket, net notional by variant, what is written.
        of, line, lots: (positions) entry, line, lots now and what buys and sells add. dated_*: of dated futures.
        ordered: whether the entity has orders. The others: tables, and `entities.Scratch`.
    """
    if positions + dated == 0:
        _plain(entries, bucket, sums, cost, ordered, liquidity, exposure)
        return
    for variant in range(VARIANTS if ordered else 1):
        for entry in range(entries):
            exposure[WIDE * bucket[entry] + NET], exposure[WIDE * bucket[entry] + SIZE] = 0.0, 0.0
            added[2 * entry], added[2 * entry + 1] = 0.0, 0.0
        _shorts(variant, positions, of, line, lots, notional, coins, strike, naked, by_line, by_strike, added)
        _bases(
            variant, entries, bucket, sums, positions, of, line, lots, dated, dated_of, dated_line, dated_lots,
            notional, expiry, expiries, rate, width, own, together, size, basis,
        )  # fmt: skip
        for entry in range(entries):
            mine = sums[VARIANTS * entry + variant] + added[2 * entry]
            exposure[WIDE * bucket[entry] + NET] += mine
            exposure[WIDE * bucket[entry] + SIZE] += abs(mine)
        for entry in range(entries):
            mine, number = sums[VARIANTS * entry + variant] + added[2 * entry], bucket[entry]
            exit_cost = cost_of_exit(liquidity, number, exposure[WIDE * number + NET])
            total = exit_cost * _share(abs(mine), exposure[WIDE * number + SIZE])
            total = total + added[2 * entry + 1] + basis[entry]
            if variant == BASE:
                cost[2 * entry] = cost[2 * entry + 1] = total
            else:
                cost[2 * entry + 1] = max(cost[2 * entry + 1], total)
