"""Margins under hypothetical changes, and the most that may leave: copies of rows, changed, through the same kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import FUNDING_ONE, INDEX_ONE, mul_div_down, mul_div_up
from services.risk_evaluation.domain.arrays import Mask
from services.risk_evaluation.domain.columns import BookRows, Column, Columns
from services.risk_evaluation.domain.margin import Margins, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import legs_of, options_in
from services.risk_evaluation.domain.prices import Prices

UNITS_MAX = 2**62
ROWS_AT_ONCE_MAX = 16_384
CUTS_AT_ONCE = 64


class OutOfRange(ValueError):
    """A hypothetical balance that no ledger could hold."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade as if filled: instrument id, signed lots, price and fee in units of what the price is paid in."""

    instrument: int
    lots: int
    price: int
    fee: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """Trades and cash, by asset id, that change one account; its open orders may be left out."""

    trades: tuple[Trade, ...] = ()
    cash: tuple[tuple[int, int], ...] = ()
    without_orders: bool = False


def evaluate_candidates(
    model: Model, prices: Prices, columns: Columns, *, account: int, candidates: Sequence[Candidate]
) -> list[Margins]:
    """Margins of one row each, in the order of the candidates; reserved cash counts as gone. Raises OutOfRange."""
    rows = columns.entity_rows([columns.row_of[account]])
    own = rows.index(columns.row_of[account])
    at_once = max(1, ROWS_AT_ONCE_MAX // len(rows))
    out: list[Margins] = []
    for start in range(0, len(candidates), at_once):
        out += _evaluate_some(model, prices, columns, rows, own, candidates[start : start + at_once])
    return out


def _evaluate_some(
    model: Model, prices: Prices, columns: Columns, rows: list[int], own: int, candidates: Sequence[Candidate]
) -> list[Margins]:
    account = columns.accounts[rows[own]]
    book = columns.some_rows(rows, paid_out=True).repeated(len(candidates))
    dropped: list[int] = []
    options: list[tuple[int, int, int]] = []
    packages: list[tuple[int, int, int]] = []
    for turn, candidate in enumerate(candidates):
        row = turn * len(rows) + own
        for asset, delta in _cash_deltas(model, candidate).items():
            units = _net_units(model, columns, account, asset, delta)
            book.net_units[asset, row] = units
            book.held[asset, row] |= units != 0
        for trade in candidate.trades:
            one = model.instruments[model.instrument_column[trade.instrument]]
            options += [(row, option, _fits(trade.lots * each)) for option, each in options_in(model, one)]
            packages += [(row, model.package_column[one.id], trade.lots)] if one.is_package else []
            for asset, each in legs_of(model, one).units:
                book.net_units[asset, row] = _fits(int(book.net_units[asset, row]) + trade.lots * each)
                book.held[asset, row] = True
            if one.is_margined:
                column = model.margined_column[one.id]
                book.lots[column, row] = _fits(int(book.lots[column, row]) + trade.lots)
                change = _variation_of(one, trade, columns.funding[column])
                book.variation[column, row] = _fits(int(book.variation[column, row]) + change)
        if candidate.without_orders:
            dropped.append(row)
    if options or packages:
        book = replace(book, options=book.options.plus(options), packages=book.packages.plus(packages))
    if dropped:
        book = _without_orders(book, ~np.isin(book.orders.row, dropped))
    margins = evaluate(model, prices, book)
    return [one_row(margins, turn * len(rows) + own) for turn in range(len(candidates))]


def one_row(margins: Margins, row: int) -> Margins:
    """The margins of one row, as arrays of length one."""
    fields = {name: getattr(margins, name) for name in Margins.__slots__}
    return Margins(**{name: value[..., row : row + 1] for name, value in fields.items()})


def free_units(model: Model, prices: Prices, columns: Columns, *, account: int, asset: int) -> int:
    """The largest x that may be withdrawn, found on the kernel: min(E_I, E_W) ≥ max(IM, withdrawal margin) without it.

    Each round tries many amounts at once and keeps the gap between the last that passes and the first that fails.
    """
    cash = columns.line(account, Column.CASH, asset)
    if cash <= 0:
        return 0
    low, high = -1, cash + 1  # low passes (-1: nothing was tried), high fails
    while high - low > 1:
        step = max(1, (high - low) // CUTS_AT_ONCE)
        tried = range(low + step, high, step)[: CUTS_AT_ONCE + 1]
        candidates = [Candidate(cash=((asset, -amount),)) for amount in tried]
        found = evaluate_candidates(model, prices, columns, account=account, candidates=candidates)
        for amount, margins in zip(tried, found, strict=True):
            if not bool(margins.may_withdraw[0]):
                high = amount
                break
            low = amount
    return max(0, low)


def _cash_deltas(model: Model, candidate: Candidate) -> dict[int, int]:
    """Change of cash by asset column."""
    deltas: dict[int, int] = {}

    def add(asset: int, units: int) -> None:
        column = model.asset_column[asset]
        deltas[column] = deltas.get(column, 0) + units

    for asset, units in candidate.cash:
        add(asset, units)
    for trade in candidate.trades:
        one = model.instruments[model.instrument_column[trade.instrument]]
        if one.kind is InstrumentKind.SPOT:
            add(one.underlying, trade.lots * one.base_units_per_lot)
            add(one.quote, mul_div_down(-trade.lots * trade.price, one.c_num, one.c_den))
        elif one.is_paid_up:  # the premium: a buyer pays it rounded up, a seller gets it rounded down
            add(one.settlement, mul_div_down(-trade.lots * trade.price, one.c_num, one.c_den))
        add(one.settlement, -trade.fee)
    return deltas


def _net_units(model: Model, columns: Columns, account: int, asset: int, delta: int) -> int:
    """Net units after a change of cash: what lacks is borrowed, what is there repays, by shares (docs/margin.md)."""
    key, indices = model.assets[asset].id, columns.indices[asset]
    cash = columns.line(account, Column.CASH, key) + delta
    debt = columns.line(account, Column.DEBT, key)
    if cash < 0:
        debt += mul_div_up(-cash, INDEX_ONE, indices.borrow)
        cash = 0
    elif debt:
        owed = mul_div_up(debt, indices.borrow, INDEX_ONE)
        burned = debt if cash >= owed else min(debt, mul_div_down(cash, INDEX_ONE, indices.borrow))
        cash -= owed if burned == debt else mul_div_up(burned, indices.borrow, INDEX_ONE)
        debt -= burned
    supply = mul_div_down(columns.line(account, Column.SUPPLY, key), indices.supply, INDEX_ONE)
    overdraft = mul_div_up(columns.line(account, Column.OVERDRAFT, key), indices.overdraft, INDEX_ONE)
    inside = columns.package_units(account, asset)
    return _fits(cash + supply - mul_div_up(debt, indices.borrow, INDEX_ONE) - overdraft + inside)


def _variation_of(one: Instrument, trade: Trade, funding: int) -> int:
    """ΔV = floor(−d·P*(p, F)); what a closing trade realises moves between V and cash and leaves every margin as is."""
    if one.kind is InstrumentKind.INVERSE_PERP:
        numerator = trade.lots * (one.c_num * FUNDING_ONE + funding * one.c_den * trade.price)
        return mul_div_down(numerator, 1, one.c_den * trade.price * FUNDING_ONE)
    numerator = -trade.lots * (one.c_num * trade.price * FUNDING_ONE - funding * one.c_den)
    return mul_div_down(numerator, 1, one.c_den * FUNDING_ONE)


def _fits(units: int) -> int:
    if abs(units) >= UNITS_MAX:
        raise OutOfRange(f"expected a balance below 2^62, was {units}")
    return units


def _without_orders(book: BookRows, keep: Mask) -> BookRows:
    orders = book.orders
    kept = {name: getattr(orders, name)[keep] for name in type(orders).__slots__}
    return replace(book, orders=type(orders)(**kept))
