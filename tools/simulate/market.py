"""What coins are worth out there, and how badly it is told: it walks and falls, sources lie or fall silent."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import PPM, YEAR_NS, UnixNs, from_scaled
from libs.options.black import LineKind, black76
from services.price_ingestion.domain.guard import Quote
from services.price_ingestion.domain.smiles import smile_of
from services.price_ingestion.domain.surfaces import SurfaceQuote
from tools.simulate.house import ETH_USD, House

SOURCES = ("north", "south")
_START_PRICE = 1_500_000  # of one coin, in 10^-2 USD
_LOWEST_PRICE = 50_000
_OTHER_COIN = 2  # a BTC is worth twenty ETH, whose price has one digit more
_GARBAGE = ("", "NaN", "-1", "0", "1e9", "15000000000", "12.345")


@dataclass(slots=True)
class Market:
    """The true price, and how each source tells it now.

    Args:
        telling: per source: "well", "apart" (beyond the band), "not" or "garbage".
    """

    rng: random.Random
    house: House
    price: int = _START_PRICE
    telling: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SOURCES, "well"))

    def walk(self, *, crisis: bool) -> None:
        """The price moves: as a rule a little, in a crisis at times by a third."""
        wide = self.rng.random() < (0.3 if crisis else 0.04)
        by = self.rng.uniform(-0.3, 0.15) if wide and crisis else self.rng.uniform(-0.08, 0.08) if wide else 0.0
        by = by or self.rng.gauss(0.0, 0.004)
        self.price = max(_LOWEST_PRICE, round(self.price * (1.0 + by)))

    def leap(self) -> None:
        """The price falls by a third, or doubles, or something in between, within a moment."""
        self.price = max(_LOWEST_PRICE, round(self.price * self.rng.choice((0.65, 0.75, 1.4, 1.7, 2.0))))

    def disturb(self) -> str:
        """One source begins to tell it otherwise; says how."""
        source = self.rng.choice(SOURCES)
        self.telling[source] = self.rng.choice(("well", "well", "apart", "not", "garbage"))
        return f"{source} tells prices {self.telling[source]}"

    def settle(self) -> None:
        """Every source tells it well from now on."""
        self.telling = dict.fromkeys(SOURCES, "well")

    def price_of(self, instrument: Instrument, now_ns: int) -> int:
        """What one is worth now, at least a step, with its own exponent."""
        if instrument.id == ETH_USD:
            return self.price // _OTHER_COIN
        if not instrument.is_option:
            return self.price
        spot, strike = float(self.price), float(instrument.strike)
        years = max(0.0, (instrument.expiry_ns - now_ns) / YEAR_NS)
        vol = self._vol(years, strike / spot)
        kind = LineKind.CALL if instrument.is_call else LineKind.PUT
        worth = black76(forward=spot, strike=strike, years=years, vol=vol, discount=1.0, kind=kind).value
        if instrument.kind is InstrumentKind.COIN_OPTION:
            worth /= spot * 10.0**instrument.price_exponent
        return max(1, round(worth))

    def _vol(self, years: float, moneyness: float) -> float:
        rule = self.house.parameters.surfaces[0]
        variance = (rule.long_run / PPM) ** 2
        return smile_of(rule, variance=variance, years=years).vol(moneyness) if years > 0.0 else 0.0

    def quotes(self, now_ns: int) -> Mapping[InstrumentId, list[Quote]]:
        """What the sources say now."""
        found: dict[InstrumentId, list[Quote]] = {}
        for instrument in self.house.parameters.instruments:
            if not instrument.is_option:
                found[instrument.id] = [
                    Quote(source, self._said(how, instrument), UnixNs(now_ns - self.rng.randrange(10**9)))
                    for source, how in self.telling.items()
                    if how != "not"
                ]
        return found

    def _said(self, how: str, instrument: Instrument) -> str:
        if how == "garbage":
            return self.rng.choice(_GARBAGE)
        factor = 1.15 if how == "apart" else 1.0 + self.rng.uniform(-0.0005, 0.0005)
        return from_scaled(round(self.price_of(instrument, 0) * factor), instrument.price_exponent)

    def surfaces(self, now_ns: int) -> Mapping[AssetId, list[SurfaceQuote]]:
        """The volatility surfaces that sources give now."""
        found: dict[AssetId, list[SurfaceQuote]] = {}
        for rule in self.house.parameters.surfaces:
            options = [one for one in self.house.parameters.instruments if one.is_option]
            ahead = sorted({one.expiry_ns for one in options if one.expiry_ns > now_ns})
            for source, how in self.telling.items():
                if not ahead or how == "not":
                    continue
                factor = {"apart": 4.0, "garbage": math.nan}.get(how, 1.0)
                variance = factor * (rule.long_run / PPM) ** 2
                smiles = [(at, smile_of(rule, variance=variance, years=(at - now_ns) / YEAR_NS)) for at in ahead]
                found.setdefault(rule.asset, []).append(SurfaceQuote(source, tuple(smiles)))
        return found
