"""Surfaces made from recorded prices, one a venue: the level at the money follows what that venue's prices did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from libs.common.ids import AssetId
from libs.common.option_parameters import SurfaceRule
from libs.common.parameters import Parameters
from libs.common.units import YEAR_NS, UnixNs
from services.price_ingestion.adapters.recorded import TABLES
from services.price_ingestion.domain.replay_path import ReferencePath
from services.price_ingestion.domain.smiles import realised_variance, smile_of
from services.price_ingestion.domain.surfaces import SurfaceQuote


class RecordedSurfaces:
    """Implements SurfaceSource. The recording is there as a whole, so a restart makes the same surfaces again."""

    def __init__(self, path: ReferencePath, parameters: Parameters) -> None:
        self._path = path
        self._symbols = {one.id: one.symbol for one in parameters.assets}
        self._venues = [one.name for one in parameters.venues]
        self._rules: dict[AssetId, SurfaceRule] = {rule.asset: rule for rule in parameters.surfaces}
        self._expiries = {
            asset: sorted(
                {one.expiry_ns for one in parameters.instruments if one.is_option and one.underlying == asset}
            )
            for asset in self._rules
        }
        self._sampled: dict[tuple[str, str, int], int | None] = {}

    def latest(self, now_ns: UnixNs) -> Mapping[AssetId, Sequence[SurfaceQuote]]:
        """The surface of each venue that has prices, by underlying."""
        found: dict[AssetId, list[SurfaceQuote]] = {}
        for asset, rule in self._rules.items():
            ahead = [at for at in self._expiries[asset] if at > now_ns]
            for venue in self._venues if ahead else ():
                prices = self._samples(venue, self._symbols[asset], rule, now_ns)
                if not prices:
                    continue
                variance = realised_variance(prices, rule)
                smiles = tuple((at, smile_of(rule, variance=variance, years=(at - now_ns) / YEAR_NS)) for at in ahead)
                found.setdefault(asset, []).append(SurfaceQuote(venue, smiles))
        return found

    def _samples(self, venue: str, asset: str, rule: SurfaceRule, now_ns: UnixNs) -> list[tuple[int, int]]:
        """Prices at whole sample times within the window, and now."""
        if (venue, asset) not in TABLES:
            return []
        last = now_ns // rule.sample_every_ns
        first = last - rule.window_ns // rule.sample_every_ns
        times = [number * rule.sample_every_ns for number in range(first, last + 1)]
        found = [(at, self._sample(venue, asset, at)) for at in times]
        if times[-1] != now_ns:
            found.append((now_ns, self._path.price(now_ns, venue=venue, asset=asset)))
        for key in [key for key in self._sampled if key[2] < times[0] and key[:2] == (venue, asset)]:
            del self._sampled[key]
        return [(at, price) for at, price in found if price]

    def _sample(self, venue: str, asset: str, at_ns: int) -> int | None:
        key = (venue, asset, at_ns)
        if key not in self._sampled:
            self._sampled[key] = self._path.price(UnixNs(at_ns), venue=venue, asset=asset)
        return self._sampled[key]
