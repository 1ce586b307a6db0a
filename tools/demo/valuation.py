"""Units, lots and prices as the floats a screen shows; nothing is decided on them."""

from __future__ import annotations

import math
from collections.abc import Callable

from ballast.types.v1 import market_pb2
from libs.common.ids import partition_of
from libs.common.parameters import Asset, Instrument, InstrumentKind, Parameters
from libs.common.units import YEAR_NS

MarkOf = Callable[[int], int | None]  # instrument -> integer mark


def account_label(account: int, owner: str) -> str:
    """Short name of an account: owner, home partition and serial of its entity."""
    return f"{owner} {partition_of(account)}/{account >> 16 & 0xFFFFFFFF}".strip()


class Valuation:
    """Values at the marks of the moment.

    Args:
        mark_of: the mark in force of an instrument.
    """

    def __init__(self, parameters: Parameters, mark_of: MarkOf) -> None:
        self._assets: dict[int, Asset] = {asset.id: asset for asset in parameters.assets}
        self._instruments: dict[int, Instrument] = {one.id: one for one in parameters.instruments}
        self._mark_of = mark_of

    def price(self, instrument: Instrument, price: int) -> float:
        """A price in the quote asset."""
        return price * 10.0**instrument.price_exponent

    def amount(self, asset: int, units: int) -> float:
        """Whole units of an asset."""
        return units / 10.0 ** self._assets[asset].decimals if asset in self._assets else float(units)

    def usd(self, asset: int, units: int) -> float:
        """USD value of units of an asset, 0 while it has no mark."""
        known = self._assets.get(asset)
        if known is None:
            return 0.0
        if known.price_instrument is None:
            return self.amount(asset, units)
        instrument = self._instruments[known.price_instrument]
        mark = self._mark_of(instrument.id)
        return self.amount(asset, units) * self.price(instrument, mark) if mark else 0.0

    def notional(self, instrument: Instrument, *, lots: int, price: int) -> float:
        """Value of lots at a price, in the quote asset."""
        if price <= 0:
            return 0.0
        settlement = 10.0 ** self._assets[instrument.settlement].decimals
        ratio = lots * instrument.c_num / instrument.c_den
        if instrument.kind is InstrumentKind.INVERSE_PERP:
            return ratio / price / settlement * self.price(instrument, price)
        return ratio * price / settlement


def at_the_money(surface: market_pb2.VolatilitySurface) -> float:
    """Volatility a year at the forward, of the nearest expiry."""
    nearest = min(surface.smiles, key=lambda one: one.expiry_ns)
    root = math.sqrt(nearest.m * nearest.m + nearest.sigma * nearest.sigma)
    total = nearest.a + nearest.b * (root - nearest.rho * nearest.m)
    return math.sqrt(max(0.0, total) * YEAR_NS / max(1, nearest.expiry_ns - surface.made_at_ns))


def digits_of(price: float) -> int:
    """Digits after the point that show a price to about five figures."""
    return max(0, min(6, 4 - math.floor(math.log10(price)))) if price > 0 else 2


def slippage_bp(*, is_buy: bool, price: int, mark: int) -> float:
    """How much worse than the mark a trade was for its account, in bp."""
    return (price - mark if is_buy else mark - price) / mark * 10_000
