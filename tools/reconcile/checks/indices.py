"""I7: what is owed never falls by itself, claims only by a posted write-off; one value a tick in every partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import home_partition
from libs.common.units import INDEX_ONE
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

Values = tuple[int, int, int]


class IndicesNeverFall(Watch):
    """Follows every pool's indices in every partition."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._now: dict[tuple[int, int], tuple[int, Values]] = {}
        self._values: dict[tuple[int, int], dict[int, Values]] = defaultdict(dict)  # asset, tick -> by partition
        self._written_off: dict[int, int] = defaultdict(int)
        self._fallen_15: dict[int, int] = defaultdict(int)

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Compares each tick with the one before."""
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("pool_index"):
                    self._tick(frame, effect.pool_index)
                elif effect.HasField("waterfall") and effect.waterfall.step == ledger_pb2.WATERFALL_STEP_WRITE_OFF:
                    self._written_off[effect.waterfall.asset] += effect.waterfall.units

    def _tick(self, frame: JournalFrame, one: journal_pb2.PoolIndex) -> None:
        key = (frame.partition, one.asset)
        tick, before = self._now.get(key, (0, (INDEX_ONE, INDEX_ONE, INDEX_ONE)))
        now = (one.borrow_index, one.supply_index, one.overdraft_index)
        if one.tick != tick + 1:
            self.findings.add(f"{where(frame)}: pool {one.asset} goes from tick {tick} to {one.tick}")
        if now[0] < before[0] or now[2] < before[2]:
            self.findings.add(
                f"{where(frame)}: pool {one.asset} tick {one.tick}: what is owed falls, {before} to {now}"
            )
        if now[1] < before[1] and frame.partition == self._home(one.asset):
            reasons = self.world.rates.get((one.asset, one.tick), [])
            shares = max((each.supply_shares for each in reasons if each.supply_index == now[1]), default=0)
            if not shares:
                self.findings.add(f"{where(frame)}: pool {one.asset} tick {one.tick}: claims fall without a reason")
            self._fallen_15[one.asset] += shares * (before[1] - now[1]) - shares
        self._now[key] = (one.tick, now)
        self._values[one.asset, one.tick][frame.partition] = now

    def _home(self, asset: int) -> int:
        return home_partition(asset, partitions=self.world.parameters.partitions)

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Every partition took the value of the home partition; lenders lost no more than was posted."""
        for (asset, tick), by_partition in self._values.items():
            if len(set(by_partition.values())) > 1:
                self.findings.add(f"pool {asset} tick {tick} differs between partitions: {by_partition}")
            if self._home(asset) not in by_partition:
                self.findings.add(f"pool {asset} tick {tick} was never decided in its home partition")
        for asset, fallen in self._fallen_15.items():
            if fallen > self._written_off[asset] * INDEX_ONE:
                self.findings.add(
                    f"pool {asset}: claims fell by {fallen / INDEX_ONE:.3f} units, posted as lost are "
                    f"{self._written_off[asset]}"
                )
