"""Sums over the options of each row, and the add-ons that only options and dated futures have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.common.parameters import Instrument
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.liquidity import add_on
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import OptionRows
from services.risk_evaluation.domain.prices import Prices


@dataclass(frozen=True, slots=True)
class AddOns:
    """A of each account on each underlying, (underlyings, rows) each, 10^-6 USD.

    Args:
        liquidity: cost of trading the net notional out. unconfirmed: of it, what the marks' confidence lacks.
        naked: for options sold and not bought at the same strike. basis: for what is hedged over two expiries.
    """

    liquidity: F8
    unconfirmed: F8
    naked: F8
    basis: F8

    @property
    def total(self) -> F8:
        """All of it."""
        whole: F8 = self.liquidity + self.naked + self.basis
        return whole


def option_sums(model: Model, prices: Prices, book: BookRows) -> F8 | None:
    """(underlyings, columns, rows) sums of what the options of each row do; None where nobody holds one."""
    held = book.options
    if held.is_empty:
        return None
    table = prices.options.table
    out = np.zeros((len(model.risky), book.rows, table.shape[1]))
    # One position after the other, in the order of each row's options: a row's bits depend on nothing but its own.
    np.add.at(out, (_bucket(model)[held.option], held.row), table[held.option] * held.lots[:, None])
    return out.transpose(0, 2, 1)


def option_delta(model: Model, prices: Prices, book: BookRows) -> F8:
    """(underlyings, rows) notional of the coins that options stand for, long positive."""
    held = book.options
    return _gathered(model, book, held, prices.options.delta_notional[held.option] * held.lots)


def long_option_value(model: Model, prices: Prices, book: BookRows) -> F8:
    """(rows) net value of options, by underlying, where it is above 0: it may be gone before it can be taken out."""
    held = book.options
    out = np.zeros(book.rows)
    if held.is_empty:
        return out
    value = prices.options.units * prices.options.settle
    for part in _gathered(model, book, held, value[held.option] * held.lots):
        out += np.maximum(part, 0.0)
    return out


def add_ons(model: Model, prices: Prices, book: BookRows, notional: F8, options: OptionRows) -> AddOns:
    """The add-ons of every row (docs/margin.md, Add-on).

    Args:
        notional: (underlyings, rows) net notional of everything but options. options: positions that count.
    """
    short = _short_notional(model, prices, book, options)
    exposure = notional + short
    liquidity = add_on(prices.liquidity, book, exposure)
    unconfirmed = liquidity - add_on(model.liquidity, book, exposure)
    return AddOns(
        liquidity, unconfirmed, _naked(model, prices, book, options), _basis(model, prices, book, notional, options)
    )


def _bucket(model: Model) -> I8:
    position = {asset: number for number, asset in enumerate(model.risky)}
    return np.array([position[model.asset_column[one.underlying]] for one in model.options], dtype=np.int64)


def _gathered(model: Model, book: BookRows, held: OptionRows, value: F8) -> F8:
    out = np.zeros((len(model.risky), book.rows))
    if not held.is_empty:
        np.add.at(out, (_bucket(model)[held.option], held.row), value)
    return out


def _short_notional(model: Model, prices: Prices, book: BookRows, options: OptionRows) -> F8:
    """Notional of options that the entity is net short, which must be bought back; long ones may be left to expire."""
    if options.is_empty:
        return np.zeros((len(model.risky), book.rows))
    group = _groups(book.entity[options.row] * len(model.options) + options.option)
    counted = _own_shorts(options.lots.astype(np.float64), group, np.maximum(-options.lots, 0).astype(np.float64))
    return _gathered(model, book, options, prices.options.delta_notional[options.option] * -counted)


def strike_of(option: Instrument) -> tuple[int, int, int, bool]:
    """Options of one strike net; a digital pays another sum than what it shares its strike with."""
    return option.underlying, option.expiry_ns, option.strike, option.is_digital


def _groups(keys: I8) -> I8:
    _, group = np.unique(keys, return_inverse=True)
    return group.astype(np.int64)


def _own_shorts(lots: F8, group: I8, short: F8) -> F8:
    """What each position bears of its group's net short, shared by the size of the shorts."""
    net, size = np.bincount(group, weights=lots), np.bincount(group, weights=short)
    share = np.divide(short, size[group], out=np.zeros_like(short), where=size[group] > 0.0)
    borne: F8 = np.maximum(-net, 0.0)[group] * share
    return borne


def _naked(model: Model, prices: Prices, book: BookRows, options: OptionRows) -> F8:
    """A share of the index for each option short by strike: calls and puts of a strike net, two shorts add.

    Source: formulas.md E 8; Deribit portfolio margin.
    """
    share = model.option_risk.naked_short / PPM
    if options.is_empty or not share:
        return np.zeros((len(model.risky), book.rows))
    strikes: dict[tuple[int, int, int, bool], int] = {}
    of = np.array([strikes.setdefault(strike_of(one), len(strikes)) for one in model.options], dtype=np.int64)
    coins = prices.options.index_notional[options.option] * options.lots  # options of a strike may differ in lots
    group = _groups(book.entity[options.row] * len(strikes) + of[options.option])
    borne = _own_shorts(coins, group, np.maximum(-coins, 0.0))
    return _gathered(model, book, options, share * borne)


def _basis(model: Model, prices: Prices, book: BookRows, notional: F8, options: OptionRows) -> F8:
    """A share of the notional that one expiry hedges of another: their forwards do not move as one."""
    rate = model.option_risk.basis / PPM
    out = np.zeros_like(notional)
    dated = [number for number, one in enumerate(model.margined) if one.expiry_ns]
    if not rate or (options.is_empty and not dated):
        return out
    for position, asset in enumerate(model.risky):
        groups = _by_expiry(model, prices, book, notional[position], options, asset, dated)
        if len(groups) < 2:
            continue
        size, net_size = np.zeros(book.rows), np.zeros(book.entities)
        net = np.zeros(book.entities)
        for own in groups:
            together = np.bincount(book.entity, weights=own, minlength=book.entities)
            size += np.abs(own)
            net_size += np.abs(together)
            net += together
        matched = 0.5 * (net_size - np.abs(net))
        of_entity = np.bincount(book.entity, weights=size, minlength=book.entities)[book.entity]
        share = np.divide(size, of_entity, out=np.zeros_like(size), where=of_entity > 0.0)
        out[position] = rate * matched[book.entity] * share
    return out


def _by_expiry(
    model: Model, prices: Prices, book: BookRows, notional: F8, options: OptionRows, asset: int, dated: list[int]
) -> list[F8]:
    """(rows) notional by expiry, what has none first."""
    spot = notional.copy()
    groups: dict[int, F8] = {}
    for number in dated:
        one = model.margined[number]
        if model.asset_column[one.underlying] == asset:
            own = book.lots[number] * prices.lot_notional[number]
            spot -= own
            groups[one.expiry_ns] = groups.get(one.expiry_ns, 0.0) + own
    expiries = np.array([one.expiry_ns for one in model.options], dtype=np.int64)[options.option]
    on_asset = np.array([model.asset_column[one.underlying] == asset for one in model.options], dtype=np.bool_)
    delta = prices.options.delta_notional[options.option] * options.lots
    for expiry in sorted(set(expiries[on_asset[options.option]].tolist())):
        at = np.flatnonzero(on_asset[options.option] & (expiries == expiry))
        own = groups.setdefault(expiry, np.zeros(book.rows))
        np.add.at(own, options.row[at], delta[at])
    return [spot, *(groups[expiry] for expiry in sorted(groups))] if groups else [spot]
