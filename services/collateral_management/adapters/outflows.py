"""How much of what may leave the house its bank has granted, from the accepted book of the bank's partition."""

from __future__ import annotations

from collections.abc import Iterator

from ballast.events.v1 import custody_pb2
from libs.common.book import PartitionBook
from libs.common.ids import home_partition
from libs.common.parameters import Parameters
from services.collateral_management.adapters.locations import of_house
from services.collateral_management.domain.outflows import granted_in, pot_limits


def outflow_used(book: PartitionBook, parameters: Parameters, asset: int) -> Iterator[tuple[str, float]]:
    """(window, share that is granted of what the bank may grant) for hour and day; nothing where the bank is not."""
    rule, partitions = parameters.guards.outflow(asset), parameters.partitions
    if rule is None or home_partition(asset, partitions=partitions) != book.partition:
        return
    pot = book.custody.pots.get(asset) or custody_pb2.OutflowPot()
    held = pot.held_units
    if partitions == 1:
        held = sum(one.units for one in of_house(book, parameters) if one.asset == asset)
    granted = granted_in(pot, book.run_time_ns, partitions=partitions)
    limits = pot_limits(rule, held, partitions=partitions)
    for name, units, limit in zip(("hour", "day"), granted, limits, strict=True):
        yield name, units / limit if limit else 1.0
