"""What is known of an instrument's settlement price before it ends, and what its mark then still decides.

In its last 30 minutes an instrument is worth the known part of the average that it settles at, and for the rest its
mark: what may still move fades, and with the last moment of the window it is worth what the ledger pays.
"""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.parameters import Delivery, Instrument
from libs.common.units import PPM, SETTLEMENT_WINDOW_NS


@dataclass(frozen=True, slots=True)
class Settling:
    """An average of which a part is known.

    Args:
        price: of the known part, integer with the instrument's settlement exponent. known: its share, above 0, up to 1.
    """

    price: int
    known: float


@dataclass(frozen=True, slots=True)
class Faded:
    """A price of which a part is known: now and under the slow mark, and what a relative move of the mark does to it.

    Args:
        moving: relative move of the price for one of the mark.
    """

    price: float
    slow: float
    moving: float


def settling_of(*, price: int, known_ppm: int, covered_ns: int, is_final: bool) -> Settling | None:
    """What a published average settles of a price; None while that is nothing.

    Time in which the index could not be used does not count, so the share is of the time that will have counted.
    """
    if is_final:
        return Settling(price, 1.0)
    if price <= 0 or covered_ns <= 0:
        return None
    left_ns = SETTLEMENT_WINDOW_NS * (PPM - known_ppm) / PPM
    return Settling(price, covered_ns / (covered_ns + left_ns))


def counted(instrument: Instrument, settling: Settling | None) -> Settling | None:
    """The average, where the instrument is paid by it: what is delivered is worth its coins to the last."""
    is_paid = (instrument.is_margined or instrument.is_option) and instrument.delivery is Delivery.CASH
    return settling if is_paid else None


def faded(settling: Settling | None, *, price: int, slow: int) -> Faded:
    """The price of a margined instrument; its settlement exponent is that of its price."""
    if settling is None or (price <= 0 and settling.known < 1.0):
        return Faded(price, slow, 1.0)
    if settling.known >= 1.0:
        return Faded(settling.price, settling.price, 0.0)
    known, rest = settling.known * settling.price, 1.0 - settling.known
    now = known + rest * price
    return Faded(now, known + rest * slow, rest * price / now)
