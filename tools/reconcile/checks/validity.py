"""I9: no decision on a mark whose validity class forbids that action."""

from __future__ import annotations

from ballast.events.v1 import journal_pb2
from libs.common.book import PartitionBook
from libs.common.ids import system_kind
from libs.common.validity import Action, permits, worst
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.checks.held import Dependence, HeldHistory
from tools.reconcile.records import JournalFrame, key_of
from tools.reconcile.world import Decision, World

_EPISODE_COMMANDS = frozenset(
    ("open_episode", "step_episode", "close_episode", "take_over_position", "deleverage", "deleverage_across")
)


class UsableMarks(Watch):
    """Looks up the marks that each accepted decision cites, for the lines held at the state it cites."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._dependence = Dependence(world.parameters)
        self._held = HeldHistory(self._dependence)
        self._orders: dict[int, tuple[int, bool]] = {}  # order -> instrument, reduce only
        self.decisions = 0

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every accepted decision of the frame stood on marks that permit it."""
        for outcome in frame.body.outcomes:
            if outcome.refusal or outcome.repeated:
                continue
            for effect in outcome.effects:
                if effect.HasField("order"):
                    self._orders[effect.order.order] = (effect.order.instrument, effect.order.reduce_only)
                elif effect.HasField("settlement"):
                    self._settlement(frame, effect.settlement)
            if outcome.command in _EPISODE_COMMANDS or outcome.command == "verdict":
                self._decision(frame, outcome)
        for account in {e.posting.account for o in frame.body.outcomes for e in o.effects if e.HasField("posting")}:
            if system_kind(account) is None:
                self._held.note(book, account)

    def _settlement(self, frame: JournalFrame, one: journal_pb2.Settlement) -> None:
        self.decisions += 1
        number = self.world.marks.number_of(one.mark_sequence)
        mark = self.world.marks.mark(one.instrument, number)
        if number < 0 or mark.price != one.price:
            self.findings.add(
                f"{where(frame)}: instrument {one.instrument} settles at {one.price}, mark {one.mark_sequence} "
                f"is {mark.price}"
            )
        elif not permits(mark.validity, Action.MARGIN):
            self.findings.add(
                f"{where(frame)}: instrument {one.instrument} settles on a mark that is {mark.validity.name}"
            )

    def _decision(self, frame: JournalFrame, outcome: journal_pb2.Outcome) -> None:
        decision = self.world.decisions.get(key_of(frame.partition, outcome))
        if decision is None:
            self.findings.add(f"{where(frame)}: {outcome.command} of {outcome.subject} is on no commands topic")
            return
        action = self._action(decision)
        if action is None:
            return
        self.decisions += 1
        number = self.world.marks.number_of(decision.mark_sequence)
        if number < 0:
            self.findings.add(f"{where(frame)}: {decision.command} cites mark {decision.mark_sequence}, which is none")
            return
        held = self._held.at(decision.account, decision.journal_sequence)
        classes = {one: self.world.marks.mark(one, number).validity for one in held | self._traded(decision)}
        if not permits(worst(classes.values()), action):
            named = {one: each.name for one, each in classes.items() if not permits(each, action)}
            self.findings.add(
                f"{where(frame)}: {decision.command} of account {decision.account} needs marks for {action.name}, "
                f"cites mark {decision.mark_sequence} with {named}"
            )

    def _action(self, decision: Decision) -> Action | None:
        if decision.command in _EPISODE_COMMANDS:
            return Action.LIQUIDATION
        if not decision.settle:
            return None
        if decision.subject not in self._orders:
            return Action.WITHDRAWAL
        return None if self._orders[decision.subject][1] else Action.NEW_RISK

    def _traded(self, decision: Decision) -> frozenset[int]:
        if decision.command == "verdict" and decision.subject in self._orders:
            return self._dependence.of_instrument(self._orders[decision.subject][0])
        return frozenset()
