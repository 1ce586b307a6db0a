"""What options and dated futures are charged beside what lines lose: their part of the kernel's table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8, U1
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices


@dataclass(frozen=True, slots=True)
class AddOnTable:
    """What lines do to add-ons under the marks in force, 10^-6 USD.

    Args:
        kind, expiry, expiries, strike: as in `WideOrder`.
        notional: (lines) of a dated future, or of the coins an option stands for. coins: (lines) of all an option's.
        naked, basis: shares.
    """

    kind: U1
    expiry: I8
    expiries: I8
    strike: I8
    notional: F8
    coins: F8
    naked: float
    basis: float


def add_on_table(model: Model, prices: Prices) -> AddOnTable:
    """The table of a model at these prices."""
    wide = model.wide
    notional, coins = np.zeros(wide.kind.shape[0]), np.zeros(wide.kind.shape[0])
    notional[list(wide.order.margined)] = prices.lot_notional
    notional[wide.option], coins[wide.option] = prices.options.delta_notional, prices.options.index_notional
    risk = model.option_risk
    return AddOnTable(
        wide.kind, wide.expiry, wide.expiries, wide.strike, notional, coins, risk.naked_short / PPM, risk.basis / PPM
    )


def no_add_ons(lines: int, buckets: int) -> AddOnTable:
    """The table of lines none of which is an option or ends."""
    nothing, none = np.zeros(lines), np.zeros(lines, dtype=np.int64)
    ones = np.ones(buckets, dtype=np.int64)
    return AddOnTable(np.zeros(lines, dtype=np.uint8), none, ones, none, nothing, nothing, 0.0, 0.0)
