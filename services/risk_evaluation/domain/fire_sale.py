"""Fire sales: accounts that hold the same assets sell into one another's prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8, Mask
from services.risk_evaluation.domain.options.normal import exp_each

ROUNDS_MAX = 1_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Holdings:
    """Who holds what, in USD.

    Args:
        quantities: (accounts, assets) units, long > 0.
        cash: (accounts,) cash less debt.
        prices: (assets,) USD of a unit.
        margin: (assets,) maintenance share of the value of a position, 0 .. 1.
        target: (accounts,) share of its requirement that an account in trouble sells to restore; at least 1.
        impact: (assets,) relative fall of the price when one unit of `depth` is sold.
        depth: (assets,) units.
    """

    quantities: F8
    cash: F8
    prices: F8
    margin: F8
    target: F8
    impact: F8
    depth: F8


@dataclass(frozen=True, slots=True)
class Spill:
    """Where it ends.

    Args:
        prices: (assets,) after all sales. sold: (accounts, assets) units, signed as what was held.
        equity: (accounts,) at those prices, negative for who cannot pay. in_trouble: (accounts,) who had to sell.
        rounds: waves of selling.
    """

    prices: F8
    sold: F8
    equity: F8
    in_trouble: Mask
    rounds: int


def spill_over(holdings: Holdings, shock: F8) -> Spill:
    """What the first fall of prices makes others sell, until nobody must.

    Sales in one wave move the price of each asset down by impact·sqrt(sold/depth) of all that was sold so far, buying
    back of shorts moves it up; who is below its requirement sells the same share of everything.

    Args:
        shock: (assets,) relative first move of each price, above -1.
    Raises: ConfigurationError, with what does not fit.
    Source: the mechanism of Cont and Schaanning (2017), "Fire sales, indirect contagion and systemic stress testing",
        section 3, with the square-root impact of the house's liquidity add-on.
    """
    _check(holdings, shock)
    first = holdings.prices * (1.0 + shock)
    quantities, cash, prices = holdings.quantities.copy(), holdings.cash.copy(), first.copy()
    in_trouble = np.zeros(cash.shape[0], dtype=bool)
    rounds = 0
    for _ in range(ROUNDS_MAX):
        share = _share_to_sell(holdings, quantities, cash, prices)
        if float(np.max(share, initial=0.0)) <= _TOLERANCE:
            break
        in_trouble |= share > _TOLERANCE
        selling = quantities * share[:, None]
        after = _moved(holdings, first, np.sum(holdings.quantities - quantities + selling, axis=0))
        # Who sells gets the price its own wave leaves: selling is never better than having sold before.
        cash = cash + selling @ after
        quantities = quantities - selling
        prices = after
        rounds += 1
    return Spill(
        prices=prices,
        sold=holdings.quantities - quantities,
        equity=np.asarray(cash + quantities @ prices),
        in_trouble=in_trouble,
        rounds=rounds,
    )


def common_holdings(holdings: Holdings) -> F8:
    """(accounts, accounts) what a sale of everything by column costs row, USD, at the impact of its size."""
    value = holdings.quantities * holdings.prices
    size = np.abs(holdings.quantities) / holdings.depth
    fall = holdings.impact * np.sqrt(size) * np.sign(holdings.quantities)
    return np.asarray(value @ fall.T)


def _share_to_sell(holdings: Holdings, quantities: F8, cash: F8, prices: F8) -> F8:
    value = quantities * prices
    equity = cash + np.sum(value, axis=1)
    needs = np.abs(value) @ holdings.margin
    short = (equity < needs) & (needs > 0.0)
    # Selling a share f of everything leaves the requirement at (1 - f)·needs and, before impact, equity as it is.
    wanted = 1.0 - np.maximum(equity, 0.0) / np.where(short, needs * holdings.target, 1.0)
    return np.asarray(np.where(short, np.clip(wanted, 0.0, 1.0), 0.0))


def _moved(holdings: Holdings, first: F8, sold: F8) -> F8:
    # The fall never reaches the whole price: e^-x of what the square-root rule gives.
    move = holdings.impact * np.sign(sold) * np.sqrt(np.abs(sold) / holdings.depth)
    return np.asarray(first * exp_each(-move))


def _check(holdings: Holdings, shock: F8) -> None:
    accounts, assets = holdings.quantities.shape
    shapes = {
        "cash": (holdings.cash, accounts),
        "target": (holdings.target, accounts),
        "prices": (holdings.prices, assets),
        "margin": (holdings.margin, assets),
        "impact": (holdings.impact, assets),
        "depth": (holdings.depth, assets),
        "shock": (shock, assets),
    }
    for name, (values, length) in shapes.items():
        if values.shape != (length,) or not np.all(np.isfinite(values)):
            raise ConfigurationError(f"{name}: expected {length} finite numbers, was {values.shape}")
    bounds = {
        "prices": holdings.prices >= 0.0,
        "margin": (holdings.margin >= 0.0) & (holdings.margin <= 1.0),
        "target": holdings.target >= 1.0,
        "impact": holdings.impact >= 0.0,
        "depth": holdings.depth > 0.0,
        "shock": shock > -1.0,
    }
    for name, within in bounds.items():
        if not np.all(within):
            raise ConfigurationError(f"{name}: out of its bound at {int(np.flatnonzero(~within)[0])}")
