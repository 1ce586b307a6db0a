"""How much of what may leave a partition has left, from an accepted book."""

from __future__ import annotations

from collections.abc import Iterator

from ballast.events.v1 import custody_pb2
from libs.common.book import PartitionBook
from libs.common.parameters import Parameters
from libs.common.units import PPM, mul_div_down
from services.collateral_management.adapters.locations import of_house
from services.collateral_management.domain.guards import left_in


def outflow_used(book: PartitionBook, parameters: Parameters, asset: int) -> Iterator[tuple[str, float]]:
    """(window, share of its limit that is used) for the hour and the day; nothing for an asset without limit."""
    rule = parameters.guards.outflow(asset)
    if rule is None:
        return
    window = book.custody.outflows.get(asset) or custody_pb2.OutflowWindow()
    held = max(0, sum(one.units for one in of_house(book, parameters) if one.asset == asset))
    windows = (("hour", rule.hour_share, rule.hour_floor), ("day", rule.day_share, rule.day_floor))
    for (name, share, floor), left in zip(windows, left_in(window, book.run_time_ns), strict=True):
        limit = max(mul_div_down(held, share, PPM), mul_div_down(floor, 1, parameters.partitions))
        yield name, left / limit if limit else 1.0
