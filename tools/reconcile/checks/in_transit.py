"""I15: what leaves a partition enters the other, once and whole, and the in-transit accounts hold what is on its way.

Partitions are walked one after another, so an arrival may be seen before its departure: they are matched either way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from ballast.events.v1 import journal_pb2, movement_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_index, system_kind
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

Lines = Counter[tuple[int, int]]  # units by asset and kind
Pair = tuple[int, int, int]  # from, to, transfer sequence
_PREFIX = "transit/"


class InTransit(Watch):
    """Matches departures with arrivals, and both with the postings of the in-transit accounts."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._sent: dict[Pair, Lines] = {}
        self._arrived: dict[Pair, Lines] = {}
        self._last: defaultdict[tuple[int, int], int] = defaultdict(int)  # by pair: last sequence sent
        self._held: defaultdict[tuple[int, int], int] = defaultdict(int)  # all in-transit lines by asset and kind

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every outcome posts to an in-transit account what it sends less what it receives."""
        for outcome in frame.body.outcomes:
            if outcome.refusal or outcome.repeated:
                continue
            posted: defaultdict[int, Lines] = defaultdict(Counter)
            for effect in outcome.effects:
                match effect.WhichOneof("effect"):
                    case "posting":
                        self._posting(effect.posting, posted)
                    case "movement":
                        self._movement(frame, effect.movement, posted)
            if outcome.command == "arrive":
                self._arrival(frame, outcome, posted)
            for other, lines in posted.items():
                if any(lines.values()):
                    self.findings.add(f"{where(frame)}: {outcome.command} leaves {dict(lines)} in transit with {other}")

    def _posting(self, one: journal_pb2.Posting, posted: dict[int, Lines]) -> None:
        if system_kind(one.account) is SystemAccount.IN_TRANSIT:
            posted[system_index(one.account)][one.asset, one.kind] += one.delta
            self._held[one.asset, one.kind] += one.delta

    def _movement(self, frame: JournalFrame, one: movement_pb2.Movement, posted: dict[int, Lines]) -> None:
        pair = (frame.partition, one.to_partition, one.sequence)
        if one.arrived:
            return
        if one.sequence != self._last[pair[:2]] + 1 or one.from_partition != frame.partition:
            self.findings.add(f"{where(frame)}: movement {pair} follows {self._last[pair[:2]]}")
        self._last[pair[:2]] = one.sequence
        lines = _sum(one)
        posted[one.to_partition].subtract(lines)
        self._sent[pair] = lines
        self._match(frame, pair)

    def _arrival(self, frame: JournalFrame, outcome: journal_pb2.Outcome, posted: dict[int, Lines]) -> None:
        origin = int(outcome.fact.stream.removeprefix(_PREFIX))
        pair = (origin, frame.partition, outcome.fact.sequence)
        if pair in self._arrived:
            self.findings.add(f"{where(frame)}: movement {pair} arrives twice")
        arrived = Counter({key: -units for key, units in posted.pop(origin, Counter()).items() if units})
        self._arrived[pair] = arrived
        self._match(frame, pair)

    def _match(self, frame: JournalFrame, pair: Pair) -> None:
        sent, arrived = self._sent.get(pair), self._arrived.get(pair)
        if sent is None or arrived is None:
            return
        if {key: units for key, units in sent.items() if units} != dict(arrived):
            self.findings.add(f"{where(frame)}: movement {pair} sends {dict(sent)}, what arrives is {dict(arrived)}")

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Nothing arrived that was not sent; what is pending is still told; the rest is zero."""
        for pair in sorted(self._arrived.keys() - self._sent.keys()):
            self.findings.add(f"movement {pair} arrived and was never sent")
        on_its_way: Counter[tuple[int, int]] = Counter()
        for pair in sorted(self._sent.keys() - self._arrived.keys()):
            on_its_way.update(self._sent[pair])
            if pair[0] in books and (pair[1], pair[2]) not in books[pair[0]].movements:
                self.findings.add(f"movement {pair} has not arrived and is forgotten")
        held = {key: units for key, units in self._held.items() if units}
        if held != {key: units for key, units in on_its_way.items() if units}:
            self.findings.add(f"in transit stand {held}, on their way are {dict(on_its_way)}")


def _sum(one: movement_pb2.Movement) -> Lines:
    lines: Lines = Counter()
    for each in one.lines:
        lines[each.asset, each.kind] += each.units
    return lines
