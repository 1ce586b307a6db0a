"""A second look at each step before it goes out, from the plan's own figures."""

from __future__ import annotations

import logging
from collections.abc import Callable

from services.liquidation_execution.app.ports import Decision, Step
from services.liquidation_execution.domain.planner import Plan, PlanKind

CHECKED = ("I4", "I5")
_LOG = logging.getLogger("ballast.liquidation_execution")
_PARTIAL = frozenset((PlanKind.REDUCE, PlanKind.PARTIAL))


def broken_by(decision: Decision) -> list[str]:
    """Numbers of the invariants that the step would break."""
    plan = decision.plan
    if plan is None or plan.chosen is None or not isinstance(decision.what, Step):
        return []
    lots = sum(order.lots for order in decision.what.orders)
    found = ["I4"] if lots > sum(plan.chosen.slice.lots) else []
    return found + (["I5"] if _worsens(plan) else [])


def _worsens(plan: Plan) -> bool:
    if plan.kind not in _PARTIAL or plan.chosen is None:
        return False
    before, after = plan.chosen.before, plan.chosen.after
    return (after.equity - before.equity) * before.maintenance < before.equity * (
        after.maintenance - before.maintenance
    )


class PlanChecks:
    """Tells which invariants a decision breaks.

    Args:
        broke: told the number of each.
    """

    def __init__(self, broke: Callable[[str], None]) -> None:
        self._broke = broke

    def look(self, decision: Decision) -> None:
        """Looks at a decision on its way out."""
        for number in broken_by(decision):
            _LOG.critical(
                "invariant broken", extra={"invariant": number, "episode": decision.episode, "step": decision.step}
            )
            self._broke(number)
