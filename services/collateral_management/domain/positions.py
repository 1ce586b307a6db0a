"""Exact arithmetic of margined instruments (docs/margin.md): dirty lot value, variation, realising, settlement."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.parameters import Instrument, InstrumentKind, OptionType
from libs.common.units import FUNDING_ONE, mul_div_down, mul_div_up


@dataclass(frozen=True, slots=True)
class Fill:
    """What a fill does to a position: changes of lots and variation, and what is realised into cash."""

    lots: int
    variation: int  # change of V, what is realised taken out
    realised: int


def dirty_value(instrument: Instrument, *, lots: int, price: int, funding: int) -> tuple[int, int]:
    """`lots · P*(price, funding)` in settlement units, as an exact fraction (numerator, positive denominator).

    Linear P* = c·M − F/10⁹; inverse P* = −c/M − F/10⁹.
    """
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        denominator = instrument.c_den * price * FUNDING_ONE
        return -lots * (instrument.c_num * FUNDING_ONE + funding * instrument.c_den * price), denominator
    denominator = instrument.c_den * FUNDING_ONE
    return lots * (instrument.c_num * price * FUNDING_ONE - funding * instrument.c_den), denominator


def notional_up(instrument: Instrument, *, lots: int, price: int) -> int:
    """Settlement units that `lots` (> 0) are worth at a price, rounded up."""
    return -_notional(instrument, -lots, price)


def notional_down(instrument: Instrument, *, lots: int, price: int) -> int:
    """Settlement units that `lots` (> 0) are worth at a price, rounded down."""
    return _notional(instrument, lots, price)


def premium(instrument: Instrument, *, traded: int, price: int) -> int:
    """Settlement units that a fill of an option or package pays to the account, negative when it buys; rounded down."""
    if traded > 0:
        return -notional_up(instrument, lots=traded, price=price)
    return notional_down(instrument, lots=-traded, price=price)


def strike_value(instrument: Instrument, *, lots: int) -> int:
    """Settlement units that signed `lots` of an option are worth at its strike, rounded down."""
    numerator, denominator = _a_strike_step(instrument)
    return mul_div_down(lots * numerator, instrument.strike, denominator)


def value_up(instrument: Instrument, *, lots: int, price: int) -> int:
    """Settlement units that signed `lots` are worth at a price, without funding, rounded up."""
    numerator, denominator = dirty_value(instrument, lots=lots, price=price, funding=0)
    return mul_div_up(numerator, 1, denominator)


def option_payoff(instrument: Instrument, *, lots: int, price: int) -> int:
    """Settlement units that `lots` of an option are worth at a settlement price, negative when short; rounded down.

    Args:
        price: of the underlying, integer with the instrument's settlement exponent, like its strike.
    """
    if instrument.is_digital:
        above = price > instrument.strike
        return lots * instrument.payout_units if above == instrument.is_call else 0
    beyond = max(0, price - instrument.strike if instrument.option is OptionType.CALL else instrument.strike - price)
    if instrument.kind is InstrumentKind.COIN_OPTION:  # lots of coins, each worth (S - K)/S of a coin
        return mul_div_down(lots * instrument.base_units_per_lot, beyond, price)
    numerator, denominator = _a_strike_step(instrument)
    return mul_div_down(lots * numerator, beyond, denominator)


def _a_strike_step(instrument: Instrument) -> tuple[int, int]:
    """Settlement units of a lot per step of the strike, exact: c is per step of the premium."""
    finer = instrument.settlement_exponent - instrument.price_exponent
    return instrument.c_num * 10 ** max(0, finer), instrument.c_den * 10 ** max(0, -finer)


def _notional(instrument: Instrument, lots: int, price: int) -> int:
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        return mul_div_down(lots, instrument.c_num, instrument.c_den * price)
    return mul_div_down(lots * price, instrument.c_num, instrument.c_den)


def fill(instrument: Instrument, *, lots: int, variation: int, traded: int, price: int, funding: int) -> list[Fill]:
    """Effect of trading `traded` signed lots on a position: one part, or two when it goes through zero.

    ΔV = floor(−d·P*(p, F)); a reducing part realises V + ΔV when it closes, else floor(V·|d|/|q|) + ΔV.
    """
    if lots and (lots > 0) != (traded > 0) and abs(traded) > abs(lots):
        closing = fill(instrument, lots=lots, variation=variation, traded=-lots, price=price, funding=funding)
        return closing + fill(instrument, lots=0, variation=0, traded=traded + lots, price=price, funding=funding)
    numerator, denominator = dirty_value(instrument, lots=-traded, price=price, funding=funding)
    change = mul_div_down(numerator, 1, denominator)
    if not lots or (lots > 0) == (traded > 0):
        return [Fill(traded, change, 0)]
    realised = variation + change if traded == -lots else mul_div_down(variation, abs(traded), abs(lots)) + change
    return [Fill(traded, change - realised, realised)]


def settlement(instrument: Instrument, *, lots: int, variation: int, price: int, funding: int) -> int:
    """`S = floor(q·P* + V)`: what settlement turns into cash."""
    numerator, denominator = dirty_value(instrument, lots=lots, price=price, funding=funding)
    return mul_div_down(numerator + variation * denominator, 1, denominator)
