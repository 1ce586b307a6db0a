"""The process manager: looks at what changed, decides what each episode needs, worst first, a few at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from ballast.events.v1 import journal_pb2
from libs.common.errors import Fault
from libs.common.ids import AccountId
from libs.common.units import Lots, Units
from libs.common.validity import Action, ValidityClass, permits
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.planning import drive, problem_of
from services.liquidation_execution.app.ports import (
    Answer,
    Citation,
    CloseIt,
    Decision,
    DecisionPort,
    MeterPort,
    PlanPort,
    ResolveIt,
    RiskPort,
    Step,
    What,
)
from services.liquidation_execution.app.resort import deleveraging_of, is_due, positions, takeover_of
from services.liquidation_execution.domain.episodes import (
    Close,
    MarginRow,
    Next,
    Outcome,
    TakeStep,
    Wait,
    WaitReason,
    next_action,
    urgency,
)
from services.liquidation_execution.domain.last_resort import Position, TakeOver
from services.liquidation_execution.domain.planner import Plan, PlanKind, plan
from services.liquidation_execution.domain.router import Trade, VenueOrder
from services.liquidation_execution.domain.slices import Candidate, Margin
from services.liquidation_execution.errors import RiskBehind

_LOG = logging.getLogger("ballast.liquidation_execution")
PLANS_AT_ONCE = 16
BACKLOG_MAX = 256  # commands that the broker has not taken: beyond it nothing more is decided
_DEPTH_SECONDS = 0.02
_SOON_SECONDS = 0.02  # while something that changed could not be worked on yet
_LOOK_AGAIN_SECONDS = 0.25  # for what no event announces: a pause that ends, marks that fell silent


class Process:
    """Works on all open episodes of all partitions.

    Args:
        monotonic: wall seconds that never fall.
        is_ready: everything there was at the start has been read; nothing is decided before.
    """

    def __init__(
        self,
        live: Live,
        *,
        risk: RiskPort,
        decisions: DecisionPort,
        plans: PlanPort,
        meter: MeterPort,
        monotonic: Callable[[], float],
        is_ready: Callable[[], bool],
    ) -> None:
        self._live = live
        self._risk = risk
        self._decisions = decisions
        self._plans = plans
        self._meter = meter
        self._monotonic = monotonic
        self._is_ready = is_ready
        self._steps_max = live.catalogue.parameters.liquidation.steps_max
        self._wake = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by episode
        self._waiting: dict[int, str] = {}  # by episode: for what
        self._alerted: set[int] = set()
        self._looked_at_depth = self._looked_at_all = monotonic()

    def wake(self) -> None:
        """Something changed."""
        self._wake.set()

    def depth_changed(self) -> None:
        """A venue shows another book: who waited for depth looks again, but not at every update of a busy venue."""
        now = self._monotonic()
        if now - self._looked_at_depth >= _DEPTH_SECONDS:
            self._looked_at_depth = now
            waiting = [one for one, why in self._waiting.items() if why == PlanKind.NO_DEPTH.name]
            if waiting:
                self._live.dirty.update(waiting)
                self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns when asked to stop. Raises what a plan raised that is no fault of risk: a bug."""
        try:
            while not stopping.is_set() and not self._is_ready():
                await self._woken()
            while not stopping.is_set():
                await self._woken()
                if self._monotonic() - self._looked_at_all >= _LOOK_AGAIN_SECONDS:
                    self._looked_at_all = self._monotonic()
                    self._live.dirty.update(one.episode for one in self._live.episodes())
                self._look(sorted(self._live.dirty))
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(_SOON_SECONDS if self._live.dirty else _LOOK_AGAIN_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _look(self, episodes: Sequence[int]) -> None:
        self._raise_bugs()
        found = [(one, self._live.row(one)) for one in map(self._live.episode, episodes) if one is not None]
        found.sort(key=lambda pair: urgency(pair[1]))
        self._live.dirty.clear()
        for episode, row in found:
            is_busy = episode.episode in self._tasks or self._live.is_paused(episode.episode)
            if is_busy or len(self._tasks) >= PLANS_AT_ONCE or self._decisions.backlog >= BACKLOG_MAX:
                self._live.dirty.add(episode.episode)  # a task that ends, or the next look, comes back to it
            else:
                self._begin(episode, row)
        still_open = {one.episode for one in self._live.episodes()}
        self._waiting = {one: why for one, why in self._waiting.items() if one in still_open}
        self._meter.episodes(open_now=len(still_open), waiting=dict(Counter(self._waiting.values())))

    def _begin(self, episode: journal_pb2.Episode, row: MarginRow | None) -> None:
        if row is not None and self._live.marks.is_silent:
            row = replace(row, validity=ValidityClass.STALE)  # I9: without heartbeat every mark is stale here
        action = next_action(self._live.view(episode), row, steps_max=self._steps_max)
        if isinstance(action, Wait) or row is None:
            self._wait(episode.episode, action.reason.name if isinstance(action, Wait) else "")
            return
        self._waiting.pop(episode.episode, None)
        if isinstance(action, TakeStep):
            task = asyncio.create_task(self._step(episode, action.step), name=f"plan-{episode.episode}")
            self._tasks[episode.episode] = task
            task.add_done_callback(lambda _: self._wake.set())
        else:
            self._decide(episode, _without_orders(action), margin=_margin(row), citation=_cited(row), step=episode.step)

    def _wait(self, episode: int, why: str) -> None:
        self._waiting[episode] = why
        if why == "STEPS_EXHAUSTED" and episode not in self._alerted:
            self._alerted.add(episode)
            _LOG.error("episode exhausted its steps", extra={"episode": episode, "steps_max": self._steps_max})

    def _raise_bugs(self) -> None:
        for episode, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[episode]
                task.result()

    async def _step(self, episode: journal_pb2.Episode, step: int) -> None:
        began = self._monotonic()
        account = AccountId(episode.account)
        at_least = max(self._live.needed_sequence(account), episode.opened_sequence, episode.last_fill_sequence)

        without_orders = self._live.orders_are_leaving(account)

        async def evaluate(candidates: Sequence[Candidate]) -> Answer:
            return await self._risk.evaluate(
                account=account, at_least=at_least, candidates=candidates, without_orders=without_orders
            )

        try:
            found, answer = await drive(plan(problem_of(self._live, account)), evaluate)
        except Fault as fault:
            self._live.pause(episode.episode)
            self._wait(episode.episode, "RISK_BEHIND" if isinstance(fault, RiskBehind) else "RISK_REFUSED")
            _LOG.warning("plan put off", extra={"episode": episode.episode, "error": str(fault)})
            return
        self._meter.planned(seconds=self._monotonic() - began, kind=found.kind.name)
        if answer is not None and not permits(answer.validity, Action.LIQUIDATION):
            # I9: the margin that woke us stood on an earlier mark than the answer that the step would cite.
            self._wait(episode.episode, WaitReason.MARK_NOT_USABLE.name)
            return
        if found.chosen is None or answer is None:
            if await self._resorted(episode, step):
                return
            self._wait(episode.episode, found.kind.name)
            if found.kind is PlanKind.NO_RELIEF:
                self._live.pause(episode.episode)
            return
        if not self._still_fits(account, found.orders):
            self._live.dirty.add(episode.episode)  # another plan took the depth meanwhile
            return
        self._decide(
            episode,
            Step(step, found.orders),
            margin=found.chosen.before,
            citation=answer.citation,
            step=step,
            plan=found,
        )

    async def _resorted(self, episode: journal_pb2.Episode, step: int) -> bool:
        """No order helps: a position is taken over, or closed against those who hold the opposite."""
        row = self._live.row(episode)
        if row is None or not is_due(self._live, episode, row):
            return False
        for position in positions(self._live, episode.account, row):
            over = takeover_of(self._live, episode.account, position)
            if over is not None and not await self._may_carry(over, position, at_least=row.journal_sequence):
                over = None
            what = over or deleveraging_of(self._live, episode.account, position)
            if what is not None:
                self._decide(episode, what, margin=_margin(row), citation=_cited(row), step=step)
                return True
        return False

    async def _may_carry(self, what: TakeOver, position: Position, *, at_least: int) -> bool:
        """The taker stays at or above its initial margin."""
        lots = Lots(what.lots if position.lots > 0 else -what.lots)
        trade = Trade(what.instrument.id, lots, what.price, Units(0))
        try:
            answer = await self._risk.evaluate(
                account=what.taker, at_least=at_least, candidates=[(trade,)], without_orders=False
            )
        except Fault:
            return False
        after = answer.evaluation.after[0]
        return after.equity >= after.initial and permits(answer.validity, Action.LIQUIDATION)

    def _still_fits(self, account: AccountId, orders: Sequence[VenueOrder]) -> bool:
        ladders = {line.reducible.instrument.id: line.ladder for line in problem_of(self._live, account).lines}
        for order in orders:
            offers = ladders.get(order.instrument)
            free = sum(rung.lots for rung in offers.rungs if rung.venue == order.venue) if offers else 0
            if order.lots > free:
                return False
        return True

    def _decide(
        self,
        episode: journal_pb2.Episode,
        what: What,
        *,
        margin: Margin,
        citation: Citation,
        step: int,
        plan: Plan | None = None,
    ) -> None:
        decision = Decision(AccountId(episode.account), episode.episode, step, what, margin, citation, plan)
        self._live.submitted(decision, self._decisions.submit(decision))
        self._plans.publish(decision)
        self._meter.decided(kind=type(what).__name__)
        _LOG.info("liquidation decided", extra=_inputs(decision))


def _without_orders(action: Next) -> ResolveIt | CloseIt:
    return CloseIt(action.outcome) if isinstance(action, Close) else ResolveIt()


def _margin(row: MarginRow) -> Margin:
    return Margin(row.equity, row.initial, row.maintenance)


def _cited(row: MarginRow) -> Citation:
    return Citation(row.journal_sequence, row.mark_sequence, row.control_sequence, row.run_time_ns)


def _inputs(decision: Decision) -> dict[str, object]:
    what, plan = decision.what, decision.plan
    kind = what.outcome if isinstance(what, CloseIt) else type(what).__name__
    fields: dict[str, object] = {
        "account": decision.account,
        "episode": decision.episode,
        "step": decision.step,
        "what": kind if isinstance(kind, Outcome) else str(kind),
        "equity": decision.margin.equity,
        "initial_margin": decision.margin.initial,
        "maintenance_margin": decision.margin.maintenance,
        "journal_sequence": decision.citation.journal_sequence,
        "mark_sequence": decision.citation.mark_sequence,
        "control_sequence": decision.citation.control_sequence,
    }
    if plan is not None and plan.chosen is not None:
        fields |= {"plan": plan.kind.value, "slice": plan.chosen.slice.name, "cost": plan.chosen.cost}
        fields["orders"] = [
            f"{order.instrument}@{order.venue} {order.direction * order.lots} <= {order.limit_price}"
            for order in plan.orders
        ]
    return fields
