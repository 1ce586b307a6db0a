"""Margins of a whole book, kept current: the fast kernel for most accounts, the full one where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from libs.common.errors import invariant
from services.risk_evaluation.domain.arrays import F8, I4, I8, U1
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.lines import quantities, still_money
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.scan import capped_lots
from services.risk_evaluation.domain.sweep.arena import Arena
from services.risk_evaluation.domain.sweep.entities import ACCOUNTS_MAX, sweep_entities
from services.risk_evaluation.domain.sweep.entries import Scratch
from services.risk_evaluation.domain.sweep.kernel import sweep
from services.risk_evaluation.domain.sweep.layout import KernelTable, kernel_table
from services.risk_evaluation.domain.sweep.orders import OrderTable, order_table


@dataclass(frozen=True, slots=True)
class Standings:
    """What the kernels publish: (accounts,) each, 10^-6 USD; the fields as in `Margins`."""

    equity: I8
    initial_margin: I8
    maintenance_margin: I8
    equity_for_new_risk: I8
    worst_scenario: U1
    state: U1
    emitted: I8 = field(repr=False)

    @classmethod
    def of(cls, accounts: int) -> Standings:
        """Room for so many accounts, of no state yet."""
        a, b, c, d, emitted = (np.zeros(accounts, dtype=np.int64) for _ in range(5))
        return cls(a, b, c, d, np.zeros(accounts, dtype=np.uint8), np.zeros(accounts, dtype=np.uint8), emitted)

    def with_room(self, accounts: int) -> Standings:
        """The same with room for more accounts."""
        wider = Standings.of(accounts)
        for name in type(self).__slots__:
            mine = getattr(self, name)
            getattr(wider, name)[: mine.shape[0]] = mine
        return wider

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(int(getattr(self, name).nbytes) for name in type(self).__slots__)


@dataclass(frozen=True, slots=True)
class Split:
    """Which accounts the fast kernel may take.

    Args:
        alone: accounts whose margin is a sum over lines: the only one of its entity, without orders, options and
            dated futures. members_start, members: the rest by entity. is_beyond: (accounts) 1 for who holds options or
            dated futures.
    """

    alone: I8
    members_start: I8
    members: I8
    is_beyond: U1


def split(entity: I8, has_orders: Sequence[bool] | U1, is_beyond: U1 | None = None) -> Split:
    """The split of a book; accounts of an entity in their order.

    Args:
        entity: (accounts) number of the entity. has_orders: (accounts). is_beyond: as in `Split`; None: nobody.
    """
    accounts = np.arange(entity.shape[0])
    beyond = np.zeros(entity.shape[0], dtype=np.uint8) if is_beyond is None else is_beyond
    if not entity.shape[0]:
        return Split(accounts, np.zeros(1, dtype=np.int64), accounts, beyond)
    size = np.bincount(entity)
    special = np.bincount(entity, weights=np.asarray(has_orders, dtype=np.float64) + beyond) > 0.0
    needs_all = (size[entity] > 1) | special[entity]
    rest = accounts[needs_all]
    rest = rest[np.argsort(entity[rest], kind="stable")]
    begins = np.flatnonzero(np.diff(entity[rest], prepend=-1))
    start = np.append(begins, rest.shape[0]).astype(np.int64)
    invariant(not begins.shape[0] or int(np.diff(start).max()) <= ACCOUNTS_MAX, "I8", "too many accounts in an entity")
    return Split(accounts[~needs_all], start, rest, beyond)


def run_alone(arena: Arena, money: F8, table: KernelTable, chosen: I8 | I4, out: Standings) -> int:
    """Margins of accounts alone; returns how many states changed. Raises InvariantBroken (I8) for what is no number."""
    _check(arena, money, table, out)
    emits, odd = sweep(
        chosen, arena.start, arena.count, arena.index, arena.quantity, money, table.rows, table.single, table.bucket,
        table.settles, table.ordinary, table.liquidity, table.floor_mask, table.blend, table.rho_ppm,
        table.widths.maintenance, *table.shapes, table.owing, out.equity, out.initial_margin, out.maintenance_margin,
        out.equity_for_new_risk, out.worst_scenario, out.state, out.emitted,
    )  # fmt: skip
    invariant(odd == 0, "I8", "expected a number of 10^-6 USD")
    return int(emits)


def run_entities(arena: Arena, money: F8, table: KernelTable, orders: OrderTable, which: Split, out: Standings) -> int:
    """Margins of the members of a split; as `run_alone`."""
    _check(arena, money, table, out)
    invariant(orders.start.shape[0] == out.equity.shape[0] + 1, "I8", "expected orders of the same accounts")
    extra, scratch = table.add_ons, _scratch(arena, table, orders, which)
    emits, odd = sweep_entities(
        which.members_start, which.members, _special(which, orders), arena.start, arena.count, arena.index,
        arena.quantity, money,
        table.rows, table.single, table.bucket, table.settles, table.ordinary, table.liquidity,
        table.floor_mask, table.blend, table.rho_ppm, table.widths.maintenance, *table.shapes, table.owing,
        orders.start,        orders.bucket, orders.instrument, orders.lots, orders.paid, orders.fee, orders.leg_start,
        orders.leg_line, orders.leg_lots, orders.notional, orders.rows, extra.kind, extra.expiry,
        extra.expiries, extra.strike, extra.notional, extra.coins, extra.naked, extra.basis,
        int(extra.expiries.max(initial=1)), out.equity, out.initial_margin, out.maintenance_margin,
        out.equity_for_new_risk, out.worst_scenario, out.state, out.emitted, *scratch.arrays,
    )  # fmt: skip
    invariant(odd == 0, "I8", "expected a number of 10^-6 USD")
    return int(emits)


def _special(which: Split, orders: OrderTable) -> U1:
    # Whose add-ons are more than what leaving costs: who holds options or dated futures, or has orders on options.
    if not orders.leg_line.shape[0]:
        return which.is_beyond
    found = which.is_beyond.copy()
    of = np.repeat(np.arange(found.shape[0]), np.diff(orders.start))
    found[of[np.diff(orders.leg_start)[orders.instrument] > 0]] = 1
    return found


def _scratch(arena: Arena, table: KernelTable, orders: OrderTable, which: Split) -> Scratch:
    # Room for the largest entity.
    if not which.members.shape[0]:
        return Scratch.of_size(table, lines=0, accounts=0)
    each = arena.count[which.members] + np.diff(orders.start)[which.members]
    lines = np.add.reduceat(each, which.members_start[:-1])
    return Scratch.of_size(table, lines=int(lines.max()), accounts=int(np.diff(which.members_start).max()))


def _check(arena: Arena, money: F8, table: KernelTable, out: Standings) -> None:
    # The kernels look at no bound.
    accounts = out.equity.shape[0]
    fits = arena.lines == table.bucket.shape[0] and arena.accounts >= accounts == money.shape[0]
    invariant(fits, "I8", f"expected arena, money and table of {accounts} accounts and the same lines")


def arena_of(model: Model, book: BookRows) -> Arena:
    """The arena of a book."""
    held = quantities(model, book).T
    of, index = np.nonzero(held)
    line, quantity = model.wide.ordinary[index], held[of, index]
    if not book.options.is_empty:
        of = np.concatenate([of, book.options.row])
        line = np.concatenate([line, model.wide.option[book.options.option]])
        quantity = np.concatenate([quantity, book.options.lots.astype(np.float64)])
        order = np.lexsort((line, of))
        of, line, quantity = of[order], line[order], quantity[order]
    return Arena.of(lines=len(model.wide.order.bucket), accounts=book.rows, of=of, index=line, quantity=quantity)


def beyond_lines(model: Model, book: BookRows) -> I8:
    """Rows whose margin is more than a sum over lines: those with options and dated futures."""
    dated = np.any(book.lots[[number for number, one in enumerate(model.margined) if one.expiry_ns]] != 0, axis=0)
    dated[book.options.row] = True
    return np.flatnonzero(dated)


def standings(model: Model, prices: Prices, book: BookRows) -> Standings:
    """Margins of a book, from nothing."""
    out, table = Standings.of(book.rows), kernel_table(model, prices)
    arena, money = arena_of(model, book), still_money(model, prices, book)
    has_orders, is_beyond = np.zeros(book.rows, dtype=np.uint8), np.zeros(book.rows, dtype=np.uint8)
    has_orders[book.orders.row], is_beyond[beyond_lines(model, book)] = 1, 1
    which = split(book.entity, has_orders, is_beyond)
    run_alone(arena, money, table, which.alone, out)
    if which.members.shape[0]:
        lots = capped_lots(model, book)
        orders = order_table(model, prices, table, book.orders, lots, accounts=book.rows)
        run_entities(arena, money, table, orders, which, out)
    return out
