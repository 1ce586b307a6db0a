"""What venues have done to our account, as the journals have it: each notice once, whole, over all partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import lifecycle_pb2
from libs.common.units import to_units
from tools.simulate.house import House


class Noticed:
    """Adds up the parts of every notice.

    Args:
        found: told the invariant and what contradicts it.
    """

    def __init__(self, house: House, *, found: Callable[[str, str], None]) -> None:
        self._house, self._found = house, found
        self._parts: defaultdict[tuple[int, int], dict[int, tuple[int, int]]] = defaultdict(dict)

    def take(self, where: str, partition: int, one: lifecycle_pb2.VenueEvent) -> None:
        """A partition has its part on record."""
        parts = self._parts[one.venue, one.number]
        if partition in parts:
            self._found("once", f"{where}: notice {one.number} of venue {one.venue} is on record already")
        parts[partition] = one.lots, one.units

    def finish(self, venue: int, said: Sequence[venue_pb2.VenueNotice]) -> None:
        """The end: the parts of each notice add up to what the venue has said."""
        for notice in said:
            instrument = self._house.directory.instrument_by_symbol.get(notice.symbol)
            asset = self._house.directory.asset_by_symbol.get(notice.asset)
            if asset is None and instrument is not None:
                asset = self._house.directory.asset_by_id[instrument.settlement]
            units = to_units(notice.amount, asset.decimals) if asset is not None and notice.amount else 0
            parts = self._parts[venue, notice.sequence]
            found = [sum(each) for each in zip(*parts.values(), strict=True)]
            if found != [notice.lots, units]:
                self._found(
                    "once",
                    f"notice {notice.sequence} of venue {venue}: {notice.lots} lots and {units} units, "
                    f"partitions have {parts}",
                )
