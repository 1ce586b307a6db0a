"""A pool, instruments and states that several tests start from."""

from __future__ import annotations

from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import Instrument, InstrumentKind, Pool
from libs.common.units import RATE_ONE, Lots, Ppm, Rate12, Units
from services.interest_accrual.domain.accrual import PoolState

BTC, USD = AssetId(2), AssetId(1)


def rate(percent: float) -> Rate12:
    return Rate12(round(percent * RATE_ONE / 100))


def pool(
    optimal: float = 0.8,
    base: float = 0,
    below: float = 4,
    above: float = 75,
    reserve: float = 0.1,
    penalty: float = 20,
) -> Pool:
    """A pool; rates in per cent a year, the rest as shares."""
    return Pool(
        asset=USD,
        optimal_utilisation=Ppm(round(optimal * 1_000_000)),
        base_rate=rate(base),
        slope_below=rate(below),
        slope_above=rate(above),
        reserve_factor=Ppm(round(reserve * 1_000_000)),
        overdraft_penalty=rate(penalty),
        dust=Units(10_000),
    )


def state(*, idle: int, debt_shares: int, supply_shares: int, loss: int = 0) -> PoolState:
    """A pool right after it was opened."""
    return PoolState(USD, 0, Units(idle), debt_shares, supply_shares, Units(loss))


def perpetual(kind: InstrumentKind, *, c_num: int, c_den: int = 1) -> Instrument:
    """A perpetual with that value of a lot."""
    return Instrument(
        id=InstrumentId(11),
        symbol="BTC-USD-PERP",
        kind=kind,
        underlying=BTC,
        quote=USD,
        settlement=BTC if kind is InstrumentKind.INVERSE_PERP else USD,
        base_units_per_lot=0,
        price_exponent=-2,
        c_num=c_num,
        c_den=c_den,
        max_order_lots=Lots(10**6),
        max_price=10**12,
    )
