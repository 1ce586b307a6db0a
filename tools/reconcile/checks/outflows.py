"""I22: no more leaves than may, by the gate of each partition and by the limits of the house."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ballast.events.v1 import custody_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_kind
from libs.common.parameters import OutflowRule
from libs.common.units import SECOND_NS
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_OUTSIDE = (SystemAccount.CUSTODY, SystemAccount.VENUE)


class _Departure(NamedTuple):
    """Units that left, at a run time; what their partition held before."""

    at_ns: int
    units: int
    where: str
    held: int


class _Window(NamedTuple):
    """An hour or a day, and its parts: a grant is good in its own and the next one."""

    name: str
    number: int
    length_ns: int
    part_ns: int


_WINDOWS = (
    _Window("hour", 0, 3_600 * SECOND_NS, 300 * SECOND_NS),
    _Window("day", 1, 86_400 * SECOND_NS, 3_600 * SECOND_NS),
)


class NoMoreLeavesThanMay(Watch):
    """I22: in no hour and no day more leaves than the limit, and nothing while the gate is closed."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._outside: dict[tuple[int, int, int], int] = {}  # account, asset, kind -> balance as at this outcome
        self._held: defaultdict[tuple[int, int], int] = defaultdict(int)  # partition, asset
        self._left: defaultdict[int, list[_Departure]] = defaultdict(list)  # by asset
        self._pots: defaultdict[int, list[tuple[int, int]]] = defaultdict(
            list
        )  # asset -> run time, what the house held
        self._gates: dict[int, custody_pb2.Gate] = {}

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Looks at each withdrawal that left, as the house was before it."""
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("reservation"):
                    one = effect.reservation
                    if one.state == ledger_pb2.RESERVATION_STATE_SETTLED and not one.to_account:
                        self._leaves(frame, one)
            closes = False
            for effect in outcome.effects:
                closes |= effect.HasField("waterfall")
                if effect.HasField("gate"):
                    self._gates[frame.partition] = effect.gate
                elif effect.HasField("outflow_pot"):
                    self._pots[effect.outflow_pot.asset].append((frame.run_time_ns, effect.outflow_pot.held_units))
                elif effect.HasField("episode"):
                    closes |= effect.episode.opened_sequence == frame.sequence and effect.episode.equity < 0
                elif effect.HasField("posting") and system_kind(effect.posting.account) in _OUTSIDE:
                    self._hold(frame, effect.posting)
            self._closed(frame, outcome, closes)

    def _closed(self, frame: JournalFrame, outcome: journal_pb2.Outcome, closes: bool) -> None:
        gate = self._gates.get(frame.partition)
        least_ns = frame.run_time_ns + self.world.parameters.guards.gate_after_negative_ns
        if closes and (gate is None or gate.until_ns < least_ns):
            self.findings.add(f"{where(frame)}: {outcome.command}: an account is below zero and the gate stays open")

    def _hold(self, frame: JournalFrame, one: journal_pb2.Posting) -> None:
        if one.kind in (_CASH, _RESERVED):
            line = (one.account, one.asset, one.kind)
            self._held[frame.partition, one.asset] -= one.balance - self._outside.get(line, 0)
            self._outside[line] = one.balance

    def _leaves(self, frame: JournalFrame, one: journal_pb2.Reservation) -> None:
        gate, now_ns = self._gates.get(frame.partition), frame.run_time_ns
        if gate is not None and (gate.closed or now_ns < gate.until_ns):
            self.findings.add(f"{where(frame)}: {one.units} units of asset {one.asset} leave by a closed gate")
        held = self._held[frame.partition, one.asset]
        self._left[one.asset].append(_Departure(now_ns, one.units, where(frame), held))

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Over all partitions no more left in any window than the house's limit, as its bank reckoned it by then."""
        for asset, left in self._left.items():
            rule = self.world.parameters.guards.outflow(asset)
            if rule is not None:
                left.sort()
                for window in _WINDOWS:
                    self._window(rule, left, window)

    def _window(self, rule: OutflowRule, left: Sequence[_Departure], window: _Window) -> None:
        first, units = 0, 0
        for one in left:
            units += one.units
            while left[first].at_ns <= one.at_ns - window.length_ns:
                units -= left[first].units
                first += 1
            limit = self._limit(rule, one, window)
            if units > limit:
                self.findings.add(
                    f"{one.where}: {units} units of asset {rule.asset} left in a {window.name}, limit {limit}"
                )

    def _limit(self, rule: OutflowRule, one: _Departure, window: _Window) -> int:
        """The highest limit under which something that left in the window may have been granted."""
        if self.world.parameters.partitions == 1:
            return rule.limits(one.held)[window.number]
        first_ns, last_ns = one.at_ns - window.length_ns - 2 * window.part_ns, one.at_ns + window.part_ns
        before, in_force = 0, []
        for at_ns, held in self._pots[rule.asset]:
            if at_ns < first_ns:
                before = held
            elif at_ns <= last_ns:
                in_force.append(held)
        return max(rule.limits(held)[window.number] for held in (before, *in_force))
