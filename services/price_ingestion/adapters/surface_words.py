"""Volatility surfaces in the words of the wire."""

from __future__ import annotations

from ballast.types.v1 import market_pb2
from libs.common.ids import AssetId
from libs.common.units import YEAR_NS, UnixNs
from libs.common.validity import ValidityClass
from libs.options.surface import Repair, SurfaceFlag
from libs.options.svi import SviSlice
from services.price_ingestion.domain.surfaces import SmileRow, SurfaceRow

_REPAIRS = {
    SurfaceFlag.BUTTERFLY_REPAIRED: market_pb2.SMILE_REPAIR_BUTTERFLY,
    SurfaceFlag.CALENDAR_REPAIRED: market_pb2.SMILE_REPAIR_CALENDAR,
}
_FLAGS = {word: flag for flag, word in _REPAIRS.items()}


def surface_message(row: SurfaceRow) -> market_pb2.VolatilitySurface:
    """The surface as published."""
    return market_pb2.VolatilitySurface(
        underlying=row.underlying,
        made_at_ns=row.made_at_ns,
        validity=market_pb2.ValidityClass.Name(row.validity),
        smiles=[
            market_pb2.Smile(
                expiry_ns=one.expiry_ns,
                forward_price=one.forward_price,
                discount_rate=one.discount_rate,
                a=one.smile.a,
                b=one.smile.b,
                rho=one.smile.rho,
                m=one.smile.m,
                sigma=one.smile.sigma,
                repairs=[_REPAIRS[repair.flag] for repair in one.repairs],
            )
            for one in row.smiles
        ],
    )


def surface_of(message: market_pb2.VolatilitySurface) -> SurfaceRow:
    """The surface of a message. Raises ValueError, a validity class that is unknown."""
    smiles = []
    for one in message.smiles:
        years = (one.expiry_ns - message.made_at_ns) / YEAR_NS
        smile = SviSlice(one.a, one.b, one.rho, one.m, one.sigma, forward=1.0, years=years)
        repairs = tuple(Repair(_FLAGS[flag], years, 0.0) for flag in one.repairs if flag in _FLAGS)
        smiles.append(SmileRow(UnixNs(one.expiry_ns), one.forward_price, one.discount_rate, smile, repairs))
    made_at = UnixNs(message.made_at_ns)
    return SurfaceRow(AssetId(message.underlying), made_at, ValidityClass(message.validity), tuple(smiles))
