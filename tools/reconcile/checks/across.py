"""I11 over partitions: who was chosen is who ranks first of all that every partition has offered, at one price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ballast.events.v1 import deleveraging_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.deleveraging import Candidate, chosen
from libs.common.ids import SystemAccount, partition_of, system_kind
from tools.reconcile.checks.check import where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import Findings

_LOTS = ledger_pb2.LINE_KIND_LOTS
_OFFER = ledger_pb2.MOVEMENT_KIND_DELEVERAGING_OFFER
_CLOSED = (kinds.CLOSING_CAUSE_DELEVERAGED, kinds.CLOSING_CAUSE_GIVEN_BACK)
_Step = tuple[int, int]  # episode, how many deleveragings of it came before


def lots_on_their_way(outcome: journal_pb2.Outcome) -> int:
    """Lots that an outcome sends to other partitions, less those that arrive with it."""
    return sum(
        effect.posting.delta
        for effect in outcome.effects
        if effect.posting.kind == _LOTS and system_kind(effect.posting.account) is SystemAccount.IN_TRANSIT
    )


class OverPartitions:
    """Gathers offers and choices, whichever partition is walked first, and compares them at the end."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._offers: defaultdict[_Step, list[Candidate]] = defaultdict(list)
        self._offered: defaultdict[tuple[int, int], int] = defaultdict(int)  # partition, episode -> offers so far
        self._chosen: dict[_Step, deleveraging_pb2.Deleveraging] = {}
        self._begun: defaultdict[int, int] = defaultdict(int)  # by episode
        self._prices: dict[int, int] = {}  # by episode, of the one under way

    def outcome(self, frame: JournalFrame, outcome: journal_pb2.Outcome) -> None:
        """Takes what an outcome says of deleveragings over partitions."""
        for effect in outcome.effects:
            match effect.WhichOneof("effect"):
                case "movement" if effect.movement.kind == _OFFER and not effect.movement.arrived:
                    one = effect.movement.deleveraging
                    self._offered[frame.partition, one.episode] += 1
                    step = (one.episode, self._offered[frame.partition, one.episode])
                    self._offers[step] += _candidates(one.ranked)
                case "deleveraging":
                    self._choice(effect.deleveraging, is_new=outcome.command == "deleverage_across")
                case "position_closed" if effect.position_closed.cause in _CLOSED and outcome.command == "arrive":
                    closed = effect.position_closed
                    price = self._prices.get(closed.episode)
                    if partition_of(closed.episode) == frame.partition and closed.price != price:
                        self._findings.add(
                            f"{where(frame)}: account {closed.account} closes at {closed.price}, decided was {price}"
                        )

    def _choice(self, one: deleveraging_pb2.Deleveraging, *, is_new: bool) -> None:
        if is_new:
            self._begun[one.episode] += 1
            self._prices[one.episode] = one.price
        if one.executed_at_ns:
            kept = self._chosen[one.episode, self._begun[one.episode]] = deleveraging_pb2.Deleveraging()
            kept.CopyFrom(one)

    def finish(self) -> None:
        """The choice is the one that the rule makes of all offers and the home partition's own holders."""
        for step, one in sorted(self._chosen.items()):
            wanted = [(each.account, each.lots) for each in one.ranked]
            lots, offered = sum(part for _, part in wanted), self._offers[step]
            said = f"episode {one.episode}, deleveraging {step[1]}"
            if lots > one.lots:
                self._findings.add(f"{said}: {lots} lots are closed, asked were {one.lots}")
            ranking = chosen([*offered, *_unoffered(_candidates(one.ranked), offered)], lots=lots)
            if ranking != wanted:
                self._findings.add(f"{said}: chosen were {wanted[:5]}, by rank they are {ranking[:5]}")


def _unoffered(chosen: Iterable[Candidate], offered: Iterable[Candidate]) -> list[Candidate]:
    """Those of the home partition: nobody had to offer them."""
    known = {one.account for one in offered}
    return [one for one in chosen if one.account not in known]


def _candidates(positions: Iterable[deleveraging_pb2.RankedPosition]) -> list[Candidate]:
    return [
        Candidate(account=one.account, lots=one.lots, profit=one.profit, notional=one.notional, cash=one.cash)
        for one in positions
    ]
