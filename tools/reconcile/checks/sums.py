"""I1: per asset and kind all lines sum to zero, after every frame."""

from __future__ import annotations

from collections import defaultdict

from libs.common.book import PartitionBook
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World


class SumsToZero(Watch):
    """Sums the balances as they stand in the journal, house accounts counted."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._balances: dict[tuple[int, int, int], int] = {}
        self._sums: dict[tuple[int, int, int], int] = defaultdict(int)  # partition, asset, kind

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every sum that the frame touched is zero after it."""
        touched = set()
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("posting"):
                    one = effect.posting
                    line = (one.account, one.asset, one.kind)
                    total = (frame.partition, one.asset, one.kind)
                    self._sums[total] += one.balance - self._balances.get(line, 0)
                    self._balances[line] = one.balance
                    touched.add(total)
        for total in sorted(touched):
            if self._sums[total]:
                _, asset, kind = total
                self.findings.add(f"{where(frame)}: lines of asset {asset}, kind {kind} sum to {self._sums[total]}")
                self._sums[total] = 0  # named once, not in every frame that follows
