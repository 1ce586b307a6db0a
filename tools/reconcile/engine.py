"""Walks every partition's journal once and lets each check and the figures watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.errors import InvariantBroken
from tools.reconcile.checks import CHECKS, Check
from tools.reconcile.figures import Figures
from tools.reconcile.records import Chain, DeadRecord, JournalFrame
from tools.reconcile.world import Findings, World

EPISODES, DEAD_LETTERS = "episodes", "dead letters"


@dataclass(slots=True)
class Result:
    """What the walk found.

    Args:
        findings: by invariant, and for episodes that did not end and for dead letters.
        books: every partition at its end.
    """

    world: World
    checks: Mapping[str, Check]
    figures: Figures
    books: Mapping[int, PartitionBook]
    findings: dict[str, Findings]
    chains: Sequence[Chain] = ()
    dead: Sequence[DeadRecord] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """Names of what does not hold."""
        return [name for name, one in self.findings.items() if one.count]

    @property
    def ok(self) -> bool:
        """Everything holds."""
        return not self.broken


class Walk:
    """Takes the journal frame by frame, partition by partition."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._checks = {name: make(world) for name, make in CHECKS.items()}
        self._figures = Figures(world)
        self._books: dict[int, PartitionBook] = {}
        self._torn = Findings()

    def take(self, frame: JournalFrame) -> None:
        """The next frame of its partition."""
        book = self._books.setdefault(frame.partition, PartitionBook(frame.partition))
        try:
            book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=frame.body)
        except InvariantBroken as error:
            self._torn.add(f"partition {frame.partition}: {error}")
            return
        self._figures.frame(frame, book)
        for check in self._checks.values():
            check.frame(frame, book)

    def finish(self, *, chains: Sequence[Chain] = (), dead: Sequence[DeadRecord] = ()) -> Result:
        """The result, once every frame is taken."""
        for check in self._checks.values():
            check.finish(self._books)
        self._figures.finish(self._books)
        findings = {name: check.findings for name, check in self._checks.items()}
        for text in self._torn.shown:
            findings["I8"].add(text)
        for chain in chains:
            if chain.broken:
                findings["I8"].add(f"{chain.name}: {chain.broken}")
        findings[EPISODES] = self._unended()
        findings[DEAD_LETTERS] = Findings()
        for each in dead:
            findings[DEAD_LETTERS].add(f"{each.topic} offset {each.letter.offset}: {each.letter.reason}")
        return Result(self._world, self._checks, self._figures, self._books, findings, chains, dead)

    def _unended(self) -> Findings:
        found = Findings()
        for one in self._figures.episodes.values():
            if one.state == ledger_pb2.EPISODE_STATE_OPEN:
                found.add(f"episode {one.episode} of account {one.account} is still open after {one.steps} steps")
            elif one.state == ledger_pb2.EPISODE_STATE_HEALTHY:
                row = one.closed_on
                if row is None or row.equity < row.initial_margin:
                    found.add(f"episode {one.episode} of account {one.account} is closed as healthy on {row}")
        return found


def reconcile(
    world: World,
    frames: Iterable[JournalFrame],
    *,
    chains: Sequence[Chain] = (),
    dead: Sequence[DeadRecord] = (),
) -> Result:
    """The result over frames that come in order within each partition."""
    walk = Walk(world)
    for frame in frames:
        walk.take(frame)
    return walk.finish(chains=chains, dead=dead)
