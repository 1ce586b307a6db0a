"""I8: the same journal gives the same state, and the same inputs give the same margin, bit for bit."""

from __future__ import annotations

from ballast.events.v1 import journal_pb2
from libs.common.book import PartitionBook
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.margins import Recomputation
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World


class SameAgain(Watch):
    """Folds the journal a second way, by adding what moved, and recomputes published margins.

    Followers overwrite with the balance that a posting carries; here deltas are added and versions counted.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._lines: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._margins = Recomputation(world)
        self.margins_recomputed = 0
        self.rows_recomputed = 0

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every posting follows from the one before it; sampled margins of this very state come out again."""
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("posting"):
                    self._posting(frame, effect.posting)
        for published in self.world.samples.get((frame.partition, frame.sequence), ()):
            rows, differences = self._margins.compare(published, book)
            self.margins_recomputed += 1
            self.rows_recomputed += rows
            for each in differences:
                self.findings.add(f"margin at {where(frame)}, mark {published.mark_sequence}: {each}")

    def _posting(self, frame: JournalFrame, one: journal_pb2.Posting) -> None:
        line = (one.account, one.asset, one.kind)
        balance, version = self._lines.get(line, (0, 0))
        if (balance + one.delta, version + 1) != (one.balance, one.version):
            self.findings.add(
                f"{where(frame)}: line {line} goes from {balance} by {one.delta} to {one.balance}, "
                f"version {version} to {one.version}"
            )
        self._lines[line] = (one.balance, one.version)

    def finish(self, books: object) -> None:
        """Two margins published for the same inputs are the same."""
        for each in self.world.contradictions.shown:
            self.findings.add(each)
