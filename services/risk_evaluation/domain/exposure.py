"""Exposure at default of an account: everything it owes."""

from __future__ import annotations

from services.risk_evaluation.domain.columns import Column, Columns
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import USD6, Prices


def exposure_at_default(
    model: Model, prices: Prices, columns: Columns, *, account: int, short_options: float = 0.0
) -> float:
    """Gross debt and the value of the options it is short, USD; nothing the account has is set against it.

    Debt is what debt and overdraft shares stand for, variation that would have to be paid, and what packages owe.

    Args:
        prices: of the partition, funding counted. short_options: USD, not negative.
    """
    owed = 0.0
    for column, asset in enumerate(model.assets):
        units = columns.claim_units(account, Column.DEBT, asset.id)
        units += columns.claim_units(account, Column.OVERDRAFT, asset.id)
        owed -= units * float(prices.unit[column])
        owed += max(0, -columns.package_units(account, column)) * float(prices.unit[column])
    for number, one in enumerate(model.margined):
        lots = columns.line(account, Column.LOTS, one.id)
        worth = lots * float(prices.lot_units[number]) + columns.line(account, Column.VARIATION, one.id)
        owed += max(0.0, -worth) * float(prices.settle[number])
    return owed / USD6 + short_options
