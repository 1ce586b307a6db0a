"""How much a pool may owe for shares that moved while a tick was on its way (docs/architecture.md, Interest).

A tick is decided on the shares as they stood at the cut that its reason names. What moves between that cut and the
tick's arrival in a partition is paid, or is spared, one step of the index too much; later ticks make it up from what
borrowers pay, and the house from its own when that does not suffice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence

from ballast.events.v1 import interest_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, system_index, system_kind
from libs.common.units import INDEX_ONE

_SUPPLY, _DEBT = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_DEBT_SHARES

Reasons = Callable[[int, int], Sequence[interest_pb2.RateDecision]]


class Moved:
    """Shares moved in a partition's pool so far, by sequence."""

    def __init__(self) -> None:
        self._sequences: list[int] = []
        self._totals: list[int] = []

    def add(self, sequence: int, shares: int) -> None:
        """So many more moved, in whichever direction."""
        self._totals.append(self.total + shares)
        self._sequences.append(sequence)

    @property
    def total(self) -> int:
        """All that moved."""
        return self._totals[-1] if self._totals else 0

    def since(self, sequence: int) -> int:
        """What moved after a sequence."""
        at = bisect_right(self._sequences, sequence)
        return self.total - (self._totals[at - 1] if at else 0)


class Transit:
    """Adds up what each pool may owe.

    Args:
        reasons: by asset and tick.
    """

    def __init__(self, reasons: Reasons) -> None:
        self.allowed_15: defaultdict[int, int] = defaultdict(int)  # by asset, 10^-15 units
        self._reasons = reasons
        self._moved: defaultdict[tuple[int, int, int], Moved] = defaultdict(Moved)  # partition, asset, kind
        self._indices: defaultdict[tuple[int, int], tuple[int, int]] = defaultdict(lambda: (INDEX_ONE, INDEX_ONE))

    def take(self, partition: int, sequence: int, outcome: journal_pb2.Outcome) -> None:
        """Takes an applied outcome."""
        for effect in outcome.effects:
            if effect.HasField("posting"):
                one = effect.posting
                if one.kind in (_SUPPLY, _DEBT) and system_kind(one.account) is SystemAccount.POOL:
                    self._moved[partition, system_index(one.account), one.kind].add(sequence, abs(one.delta))
            elif effect.HasField("pool_index"):
                self._tick(partition, effect.pool_index)

    def _tick(self, partition: int, one: journal_pb2.PoolIndex) -> None:
        borrow, supply = self._indices[partition, one.asset]
        self._indices[partition, one.asset] = one.borrow_index, one.supply_index
        cuts = [
            reason.journal_sequence[partition]
            for reason in self._reasons(one.asset, one.tick)
            if (reason.borrow_index, reason.supply_index) == (one.borrow_index, one.supply_index)
        ]
        for kind, step in ((_SUPPLY, one.supply_index - supply), (_DEBT, one.borrow_index - borrow)):
            moved = self._moved[partition, one.asset, kind].since(min(cuts, default=0))
            self.allowed_15[one.asset] += moved * abs(step)
