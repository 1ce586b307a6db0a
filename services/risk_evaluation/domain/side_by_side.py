"""One book under two models: what another parameter set would make of the accounts that stand on it now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from libs.common.parameters import Asset, Instrument
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import I8, U1, Mask
from services.risk_evaluation.domain.columns import BookRows, Columns, order_columns
from services.risk_evaluation.domain.margin import Margins, State, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices, funded

_Rows = TypeVar("_Rows", I8, Mask)

STATES = len(State) + 1  # numbers of states, with 0, which no account has

_ASSET = ("symbol", "decimals")
_INSTRUMENT = (
    "symbol", "kind", "underlying", "quote", "settlement", "base_units_per_lot", "price_exponent", "c_num", "c_den",
    "expiry_ns", "option", "strike", "settlement_exponent", "legs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """A model with the marks as it prices them, without funding."""

    model: Model
    prices: Prices


@dataclass(frozen=True, slots=True)
class Cut:
    """A partition's accounts at one state, for both models; nothing in it changes any more.

    Args:
        accounts: (rows) ids.
    """

    accounts: Sequence[int]
    now: Callable[[], Margins]
    then: Callable[[], Margins]


@dataclass(frozen=True, slots=True)
class Compared:
    """The rows of a cut under both models."""

    accounts: I8
    now: Margins
    then: Margins

    @property
    def differs(self) -> Mask:
        """Rows whose published margin is another."""
        names = ("equity", "initial_margin", "maintenance_margin", "state")
        found = np.zeros(self.now.state.shape, dtype=np.bool_)
        for name in names:
            found |= getattr(self.now, name) != getattr(self.then, name)
        return found

    @property
    def counts(self) -> I8:
        """(states now, states then) number of accounts."""
        return transitions(self.now.state, self.then.state)


def misfit(live: Model, other: Model) -> str:
    """Why a book kept under one model cannot be read under another, with path and bound; empty when it can.

    Assets and instruments may be added. What is held keeps its units: an id means what it meant.
    """
    return _misfit("assets", live.assets, other.assets, _ASSET) or _misfit(
        "instruments", live.instruments, other.instruments, _INSTRUMENT
    )


def cut(live: Side, other: Side, columns: Columns, *, venues: Mapping[int, int]) -> Cut:
    """The accounts of a partition now, to be evaluated under both models later, elsewhere.

    Args:
        venues: venue of each live order, by order id: the other set may have other fees.
    """
    book, accounts = columns.all_rows(), tuple(columns.accounts)
    there = recast(book, columns, live.model, other.model, venues=venues)
    paid = dict(zip((one.id for one in live.model.margined), columns.funding, strict=True))
    now, then = (funded(side.prices, [paid.get(one.id, 0) for one in side.model.margined]) for side in (live, other))
    return Cut(
        accounts,
        lambda: evaluate(live.model, now, book),
        lambda: evaluate(other.model, then, there),
    )


def compare(one: Cut) -> Compared:
    """Evaluates both sides of a cut."""
    return Compared(np.array(one.accounts, dtype=np.int64), one.now(), one.then())


def recast(book: BookRows, columns: Columns, live: Model, other: Model, *, venues: Mapping[int, int]) -> BookRows:
    """The rows in the order of another model that `misfit` finds nothing against, with its fees."""
    same = (live.assets, live.instruments) == (other.assets, other.instruments)
    if same and live.taker_fee == other.taker_fee:
        return book
    found = [
        (row, replace(order, fee=other.taker_fee.get(venues.get(order.order, 0), 0.0)))
        for row in sorted(columns.orders)
        for _, order in sorted(columns.orders[row].items())
    ]
    assets = [(live.asset_column[one.id], other.asset_column[one.id]) for one in live.assets]
    margined = [(live.margined_column[one.id], other.margined_column[one.id]) for one in live.margined]
    return replace(
        book,
        net_units=_moved(book.net_units, assets, len(other.assets)),
        held=_moved(book.held, assets, len(other.assets)),
        lots=_moved(book.lots, margined, len(other.margined)),
        variation=_moved(book.variation, margined, len(other.margined)),
        orders=order_columns(other, found),
        options=book.options.renamed([other.option_column[one.id] for one in live.options]),
        packages=book.packages.renamed([other.package_column[one.id] for one in live.packages]),
    )


def transitions(now: U1, then: U1) -> I8:
    """(states now, states then) number of accounts."""
    return _by_states(now, then, np.ones(now.shape[0], dtype=np.int64))


def sums_by_states(now: U1, then: U1, amounts: I8) -> I8:
    """(states now, states then) sum of amounts over the accounts."""
    return _by_states(now, then, amounts)


def lacking(margins: Margins) -> I8:
    """What each account lacks: to initial margin when called, to maintenance when liquidated, to nothing owed else."""
    wanted = np.where(margins.state == State.CALL, margins.initial_margin, margins.maintenance_margin)
    wanted = np.where(margins.state == State.BANKRUPT, 0, wanted)
    return np.where(margins.state == State.HEALTHY, 0, wanted - margins.equity)


def to_close(margins: Margins, *, target_ppm: int) -> I8:
    """Notional that a liquidation would first close: f·N, f = (b·IM − E)/(b·IM − A), within 0 to 1; rounded up.

    Source: docs/margin.md, Closing, where what is closed is a slice of the whole book and its cost is A.
    """
    aim = margins.initial_margin.astype(np.float64) * (target_ppm / PPM)
    room = aim - margins.add_on
    share = np.divide(aim - margins.equity, room, out=np.ones_like(aim), where=room > 0.0)
    amount = np.ceil(np.clip(share, 0.0, 1.0) * margins.gross_notional)
    return np.where(margins.state >= State.LIQUIDATION, amount, 0.0).astype(np.int64)


def worst_first(one: Compared, count: int) -> I8:
    """Rows by the state they would be in, then by what they would lack; at most `count`, never healthy ones."""
    order: I8 = np.lexsort((one.accounts, -lacking(one.then), -one.then.state.astype(np.int64)))
    found: I8 = order[one.then.state[order] != State.HEALTHY][:count]
    return found


def most_telling(one: Compared, count: int) -> I8:
    """Rows that differ: those whose state does first, then by the difference of maintenance margin; at most `count`."""
    gap = np.abs(one.then.maintenance_margin - one.now.maintenance_margin)
    order = np.lexsort((one.accounts, -gap, one.now.state == one.then.state))
    found: I8 = order[one.differs[order]][:count]
    return found


def _misfit(
    where: str, live: Sequence[Asset | Instrument], other: Sequence[Asset | Instrument], names: Sequence[str]
) -> str:  # fmt: skip
    found: dict[int, tuple[int, Asset | Instrument]] = {one.id: (at, one) for at, one in enumerate(other)}
    for one in live:
        if one.id not in found:
            return f"{where}: expected id {one.id} ({one.symbol}), which the book may hold, found none"
        position, same = found[one.id]
        for name in names:
            if getattr(one, name) != getattr(same, name):
                return (
                    f"{where}.{position}.{name}: expected {getattr(one, name)} as in force, was {getattr(same, name)}"
                )
    return ""


def _moved(rows: _Rows, pairs: Sequence[tuple[int, int]], count: int) -> _Rows:
    out = np.zeros((count, rows.shape[1]), dtype=rows.dtype)
    for source, target in pairs:
        out[target] = rows[source]
    return out


def _by_states(now: U1, then: U1, amounts: I8) -> I8:
    out = np.zeros((STATES, STATES), dtype=np.int64)
    np.add.at(out, (now, then), amounts)
    return out
