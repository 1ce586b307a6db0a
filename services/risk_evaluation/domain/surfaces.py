"""Volatility surfaces as published with the marks."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.types.v1 import market_pb2
from libs.common.units import YEAR_NS
from libs.common.validity import ValidityClass
from libs.options.svi import SviSlice

RATE_ONE = 10**12


@dataclass(frozen=True, slots=True)
class Smile:
    """One expiry: forward as an integer with the exponent of the underlying's price instrument, rate in 10^-12."""

    expiry_ns: int
    forward_price: int
    discount_rate: int
    svi: SviSlice


@dataclass(frozen=True, slots=True)
class VolatilitySurface:
    """An underlying's surface: tenors count from `made_at_ns`."""

    made_at_ns: int
    validity: ValidityClass
    smiles: tuple[Smile, ...]

    def smile_at(self, expiry_ns: int) -> Smile | None:
        """The smile of an expiry; None when it is not published."""
        return next((one for one in self.smiles if one.expiry_ns == expiry_ns), None)


def surface_of(message: market_pb2.VolatilitySurface) -> VolatilitySurface:
    """The surface of a message. Raises ValueError, a validity class that is unknown."""
    smiles = tuple(
        Smile(
            one.expiry_ns,
            one.forward_price,
            one.discount_rate,
            SviSlice(one.a, one.b, one.rho, one.m, one.sigma, 1.0, (one.expiry_ns - message.made_at_ns) / YEAR_NS),
        )
        for one in message.smiles
    )
    return VolatilitySurface(message.made_at_ns, ValidityClass(message.validity), smiles)
