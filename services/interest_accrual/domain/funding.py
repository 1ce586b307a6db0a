"""Cumulative funding of a perpetual: what one long lot has paid so far."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import FUNDING_ONE, RATE_ONE, Price, Rate12, mul_div_zero


@dataclass(frozen=True, slots=True)
class FundingState:
    """After a tick.

    Args:
        cumulative: 10^-9 settlement units a long lot, signed.
        carried: what truncation left, in 10^-21 settlement units / c_den; linear perpetuals only.
    """

    tick: int
    cumulative: int
    carried: int = 0


def accrue(instrument: Instrument, state: FundingState, *, rate: Rate12, index_price: Price) -> FundingState:
    """The next tick: adds trunc(10^9 x rate x c x index), or / index for inverse perpetuals.

    Linear: the remainder is carried to the next tick. Inverse: truncated each tick, the denominator is another price.
    """
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        step = mul_div_zero(FUNDING_ONE * rate, instrument.c_num, RATE_ONE * instrument.c_den * index_price)
        return FundingState(state.tick + 1, state.cumulative + step)
    exact = FUNDING_ONE * rate * instrument.c_num * index_price + state.carried
    denominator = RATE_ONE * instrument.c_den
    step = mul_div_zero(exact, 1, denominator)
    return FundingState(state.tick + 1, state.cumulative + step, exact - step * denominator)
