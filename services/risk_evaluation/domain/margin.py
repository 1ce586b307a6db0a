"""The margin of every row: equity, requirements, state, and what may leave (docs/margin.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8, U1, Mask, ceil_usd6, floor_usd6, nearest_usd6
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.lines import Sums, bucket_sums, line_table, quantities, still_money
from services.risk_evaluation.domain.liquidity import order_notional
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import OptionRows
from services.risk_evaluation.domain.option_sums import (
    AddOns,
    add_ons,
    long_option_value,
    option_delta,
    option_sums,
)
from services.risk_evaluation.domain.packages import options_in
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.scan import Scan, capped_lots, order_losses, scan, scan_with_orders


class State(IntEnum):
    """Where an account stands; the numbers of ballast.events.v1.MarginState."""

    HEALTHY = 1
    CALL = 2
    LIQUIDATION = 3
    BANKRUPT = 4


@dataclass(frozen=True, slots=True)
class Margins:
    """Published integers, 10^-6 USD, one a row; requirements rounded up, equity down.

    Args:
        worst_scenario: index among maintenance grid and stresses. validity: worst ValidityClass of the lines held.
        scan_loss: (underlyings, rows) maintenance scan by underlying.
        add_on: A in maintenance. open_orders: Open. gross_notional: Σ over underlyings of the absolute net notional.
    """

    equity: I8
    equity_for_new_risk: I8
    equity_for_withdrawal: I8
    initial_margin: I8
    maintenance_margin: I8
    withdrawal_margin: I8
    state: U1
    worst_scenario: I8
    validity: U1
    scan_loss: I8
    add_on: I8
    open_orders: I8
    gross_notional: I8

    @property
    def may_add_risk(self) -> Mask:
        """Rows whose equity on slow marks covers the initial margin, open orders counted."""
        return self.equity_for_new_risk >= self.initial_margin

    @property
    def may_withdraw(self) -> Mask:
        """Rows that, as they stand after the removal, cover initial and withdrawal margin without unrealised gains."""
        equity = np.minimum(self.equity_for_new_risk, self.equity_for_withdrawal)
        return equity >= np.maximum(self.initial_margin, self.withdrawal_margin)


def evaluate(model: Model, prices: Prices, book: BookRows) -> Margins:
    """The margin of every row.

    Everything is summed element by element, column after column: a row's bits depend on nothing but its entity (I8).
    """
    sums = all_sums(model, prices, book)
    change = sums.change
    equity = still_money(model, prices, book) + _total(sums.value)
    charged = add_ons(model, prices, book, sums.notional, book.options)
    cost = _total(charged.total)
    maintenance = scan(model, change, model.maintenance_rows)
    initial = scan(model, change, model.initial_rows)
    filled, charged_filled = with_orders(model, prices, book, sums, charged, initial)
    open_loss = filled.loss - initial.loss
    maintenance_margin = ceil_usd6(maintenance.loss + cost)
    initial_margin = np.maximum(
        times_ppm_up(maintenance_margin, model.initial_over_maintenance_ppm),
        ceil_usd6(initial.loss + _total(charged_filled) + open_loss),
    )
    published = floor_usd6(equity)
    gross = _total(np.abs(sums.notional + option_delta(model, prices, book)))
    return Margins(
        equity=published,
        equity_for_new_risk=floor_usd6(equity - _above_slow_marks(change)),
        equity_for_withdrawal=floor_usd6(
            equity - _unrealised_gains(model, prices, book) - long_option_value(model, prices, book)
        ),
        initial_margin=initial_margin,
        maintenance_margin=maintenance_margin,
        withdrawal_margin=ceil_usd6(model.withdrawal_notional * gross),
        state=states(published, initial_margin, maintenance_margin),
        worst_scenario=maintenance.worst,
        validity=_validity(prices, book),
        scan_loss=nearest_usd6(maintenance.parts),
        add_on=nearest_usd6(cost),
        open_orders=ceil_usd6(open_loss),
        gross_notional=nearest_usd6(gross),
    )


def states(equity: I8, initial_margin: I8, maintenance_margin: I8) -> U1:
    """Bankrupt E < 0; liquidation E < MM; healthy E ≥ IM; else call. On the published integers."""
    state = np.where(equity >= initial_margin, State.HEALTHY, State.CALL)
    state = np.where(equity < maintenance_margin, State.LIQUIDATION, state)
    return np.where(equity < 0, State.BANKRUPT, state).astype(np.uint8)


def times_ppm_up(value: I8, ppm: int) -> I8:
    """⌈value·ppm/10^6⌉ in 64 bits, for values of either sign below 2^53."""
    whole, rest = np.divmod(value, PPM)
    scaled: I8 = whole * ppm - np.floor_divide(-rest * ppm, PPM)
    return scaled


def line_values(model: Model, prices: Prices, book: BookRows) -> tuple[I8, I8]:
    """Value of each asset's units, (assets, rows), and of each margined line, (margined, rows), rounded down."""
    assets = np.stack([book.net_units[column] * prices.unit[column] for column in range(len(model.assets))])
    variation = _variation_units(model, prices, book)
    return floor_usd6(assets), floor_usd6(variation * prices.settle[:, None])


def _total(parts: F8) -> F8:
    # Not np.sum: along the first axis of a single column it may add pairwise, and the bits would depend on the rows.
    total = np.zeros(parts.shape[1])
    for part in parts:
        total += part
    return total


def _variation_units(model: Model, prices: Prices, book: BookRows) -> F8:
    """q·P*+V of each margined line, settlement units: (margined, rows)."""
    out = np.zeros((len(model.margined), book.rows))
    for column in range(len(model.margined)):
        out[column] = book.lots[column] * prices.lot_units[column] + book.variation[column]
    return out


def _above_slow_marks(change: F8) -> F8:
    """Σ_u[W_u(M) − W_u(M_slow)]⁺: gains that the rate-limited mark does not yet confirm."""
    above = np.zeros(change.shape[2])
    for position in range(change.shape[0]):
        above += np.maximum(-change[position, -1], 0.0)
    return above


def _unrealised_gains(model: Model, prices: Prices, book: BookRows) -> F8:
    """Σ_u UPL_u⁺."""
    variation = _variation_units(model, prices, book)
    gains = np.zeros(variation.shape[1])
    for asset in model.risky:
        own = np.zeros(variation.shape[1])
        for column, one in enumerate(model.margined):
            if model.asset_column[one.underlying] == asset:
                own += variation[column] * prices.settle[column]
        gains += np.maximum(own, 0.0)
    return gains


def with_orders(
    model: Model, prices: Prices, book: BookRows, sums: Sums, charged: AddOns, initial: Scan
) -> tuple[Scan, F8]:
    """The initial scan with open orders, and A at the worse of all buys and all sells filled: (underlyings, rows)."""
    if book.orders.row.shape[0] == 0:
        return initial, charged.total
    losses = order_losses(model, prices, book)
    lots = capped_lots(model, book)
    buys, sells = order_notional(model, prices, book, lots.astype(np.float64))
    bought = add_ons(model, prices, book, sums.notional + buys, _filled(model, book, np.maximum(lots, 0)))
    sold = add_ons(model, prices, book, sums.notional - sells, _filled(model, book, np.minimum(lots, 0)))
    worse = np.maximum(charged.total, np.maximum(bought.total, sold.total))
    return scan_with_orders(model, sums.change, losses, model.initial_rows), worse


def all_sums(model: Model, prices: Prices, book: BookRows) -> Sums:
    """Sums of all lines of each row, options among them."""
    options = option_sums(model, prices, book)
    return bucket_sums(model, line_table(model, prices), quantities(model, book), options)


def _filled(model: Model, book: BookRows, lots: I8) -> OptionRows:
    """The options of each row once its orders are filled, those of one side."""
    if not model.options:
        return book.options
    orders = book.orders
    traded = [
        (int(orders.row[at]), option, int(lots[at]) * each)
        for at in np.flatnonzero(lots).tolist()
        for option, each in options_in(model, model.instruments[int(orders.instrument[at])])
    ]
    return book.options.plus(traded) if traded else book.options


def _validity(prices: Prices, book: BookRows) -> U1:
    worst = np.ones(book.rows, dtype=np.uint8)
    for column, validity in enumerate(prices.asset_validity):
        if validity > 1:
            worst = np.maximum(worst, np.where(book.held[column], validity, 1).astype(np.uint8))
    for column, validity in enumerate(prices.margined_validity):
        if validity > 1:
            held = (book.lots[column] != 0) | (book.variation[column] != 0)
            worst = np.maximum(worst, np.where(held, validity, 1).astype(np.uint8))
    if not book.options.is_empty:
        classes = np.array(prices.options.validity, dtype=np.uint8)
        np.maximum.at(worst, book.options.row, classes[book.options.option])
    return worst
