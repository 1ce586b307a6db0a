"""What a coin is worth out there, and how badly it is told: it walks and falls, sources lie or fall silent."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.ids import InstrumentId
from libs.common.units import UnixNs, from_scaled
from services.price_ingestion.domain.guard import Quote
from tools.simulate.house import BTC_INVERSE, BTC_PERP, BTC_USD, parameters

SOURCES = ("north", "south")
_START_PRICE = 1_500_000  # of one coin, in 10^-2 USD
_LOWEST_PRICE = 50_000
_GARBAGE = ("", "NaN", "-1", "0", "1e9", "15000000000", "12.345")


@dataclass(slots=True)
class Market:
    """The true price, and how each source tells it now.

    Args:
        telling: per source: "well", "apart" (beyond the band), "not" or "garbage".
    """

    rng: random.Random
    price: int = _START_PRICE
    telling: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self.telling = dict.fromkeys(SOURCES, "well")

    def walk(self, *, crisis: bool) -> None:
        """The price moves: as a rule a little, in a crisis at times by a third."""
        wide = self.rng.random() < (0.3 if crisis else 0.04)
        by = self.rng.uniform(-0.3, 0.15) if wide and crisis else self.rng.uniform(-0.08, 0.08) if wide else 0.0
        by = by or self.rng.gauss(0.0, 0.004)
        self.price = max(_LOWEST_PRICE, round(self.price * (1.0 + by)))

    def disturb(self) -> str:
        """One source begins to tell it otherwise; says how."""
        telling = self._telling()
        source = self.rng.choice(SOURCES)
        telling[source] = self.rng.choice(("well", "well", "apart", "not", "garbage"))
        return f"{source} tells prices {telling[source]}"

    def settle(self) -> None:
        """Every source tells it well from now on."""
        self.telling = dict.fromkeys(SOURCES, "well")

    def _telling(self) -> dict[str, str]:
        return self.telling if self.telling is not None else {}

    def quotes(self, now_ns: int) -> Mapping[InstrumentId, list[Quote]]:
        """What the sources say now."""
        found: dict[InstrumentId, list[Quote]] = {}
        for instrument in (BTC_USD, BTC_PERP, BTC_INVERSE):
            found[InstrumentId(instrument)] = [
                Quote(source, self._said(how), UnixNs(now_ns - self.rng.randrange(10**9)))
                for source, how in self._telling().items()
                if how != "not"
            ]
        return found

    def _said(self, how: str) -> str:
        if how == "garbage":
            return self.rng.choice(_GARBAGE)
        factor = 1.15 if how == "apart" else 1.0 + self.rng.uniform(-0.0005, 0.0005)
        return from_scaled(round(self.price * factor), parameters().instruments[0].price_exponent)
