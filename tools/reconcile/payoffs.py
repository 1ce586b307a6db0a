"""What a position is worth at its settlement price, in exact fractions: the formulas of docs/margin.md once more."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from libs.common.parameters import Instrument, InstrumentKind, Parameters


def paid_units(
    parameters: Parameters, instrument: Instrument, *, lots: int, price: int, variation: int, funding: int
) -> int:
    """Units of the settlement asset that a position becomes when it is paid in cash, rounded down; each leg by itself.

    Args:
        price: integer with the instrument's settlement exponent.
        funding: cumulative, in 10^-9 units a long lot.
    """
    if not instrument.is_package:
        return floor(_worth(instrument, lots, price) - lots * Fraction(funding, 10**9) + variation)
    total = 0
    for leg in instrument.legs:
        option = parameters.instrument(leg.instrument) if leg.instrument else None
        if option is not None and option.settlement == instrument.settlement:
            total += floor(_worth(option, lots * leg.amount, price))
        elif option is None and leg.asset == instrument.settlement:
            total += lots * leg.amount
    return total


def _worth(instrument: Instrument, lots: int, price: int) -> Fraction:
    ratio = Fraction(instrument.c_num, instrument.c_den)
    if instrument.is_margined:
        return lots * (-ratio / price if instrument.kind is InstrumentKind.INVERSE_PERP else ratio * price)
    beyond = (price - instrument.strike) * (1 if instrument.is_call else -1)
    if instrument.is_digital:
        is_paid = beyond > 0 or (beyond == 0 and not instrument.is_call)
        return Fraction(lots * instrument.payout_units if is_paid else 0)
    if instrument.kind is InstrumentKind.COIN_OPTION:
        return Fraction(lots * instrument.base_units_per_lot * max(0, beyond), price)
    step = Fraction(10) ** (instrument.settlement_exponent - instrument.price_exponent)
    return lots * ratio * max(0, beyond) * step
