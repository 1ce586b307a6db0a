"""The planner: the least reduction that makes an account safe again, found by asking risk's own kernel.

A plan is a generator: it yields candidates and is sent their margins, so that the search is pure and one round trip
judges many candidates. Goals in this order: never add risk; reach E' >= b·IM' with the fewest lots of the cheapest
slice; where depth does not suffice, the most that keeps E/MM from falling (I5); else everything depth permits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from libs.common.parameters import LiquidationRules
from libs.common.units import PPM, mul_div_down, mul_div_up
from services.liquidation_execution.domain.router import VenueOrder
from services.liquidation_execution.domain.slices import (
    Candidate,
    Judged,
    Line,
    Margin,
    Quantity,
    Slice,
    between,
    bundles,
    candidate,
    first_guess,
    orders,
    span,
)

CANDIDATES_MAX = 64  # of one round trip: risk's kernel takes 0.4 ms for one and 1.1 ms for 64
ROUNDS_MAX = 10  # of one search: far more than any position needs, the bound is for a kernel that moves
_PARTS = 4
_EVEN = 6
_WIDTHS = (0, 1, 2, 4, 8, 16)
_ALTERNATIVES_MAX = 12
_COST_FLOOR = 100  # ppm of notional: below it a cost says nothing about which slice is better


class PlanKind(StrEnum):
    """What the planner found."""

    REDUCE = "least reduction to the target"
    PARTIAL = "most that depth permits, more to come"
    CLOSE = "full closing as depth permits"
    RECOVERED = "already at its initial margin"
    NO_DEPTH = "no depth within participation and collar"
    NO_RELIEF = "every slice that depth permits adds risk"


@dataclass(frozen=True, slots=True)
class Problem:
    """Lines to reduce, and the rules."""

    lines: tuple[Line, ...]
    rules: LiquidationRules


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Risk's answer: the account as it is, and after each candidate."""

    now: Margin
    after: tuple[Margin, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A slice that was judged, and why it was not chosen."""

    judged: Judged
    fraction: int  # of the reducible notional, 10^-6
    rejected_because: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do in the next step; `chosen` is None when nothing is to be done now."""

    kind: PlanKind
    chosen: Judged | None = None
    orders: tuple[VenueOrder, ...] = ()
    first_guess: int | None = None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class _Ray:
    """Quantities on the way from a base to a slice, judged from the nearest to the farthest."""

    base: Quantity
    points: tuple[int, ...]  # steps above the base
    judged: tuple[Judged, ...]
    slice: Slice

    @property
    def end(self) -> Judged:
        """The farthest one."""
        return self.judged[-1]


Asking = Generator[tuple[Candidate, ...], Evaluation, Plan]
_Judging = Generator[tuple[Candidate, ...], Evaluation, list[Judged]]
_Rays = Generator[tuple[Candidate, ...], Evaluation, list[_Ray]]
_Found = Generator[tuple[Candidate, ...], Evaluation, tuple[Judged, Judged] | None]  # chosen, end of its ray
_Fewest = Generator[tuple[Candidate, ...], Evaluation, Judged]


def plan(problem: Problem) -> Asking:
    """Yields batches of candidates, wants each one's evaluation, returns the plan."""
    zero = tuple(0 for _ in problem.lines)
    firsts = bundles(problem.lines)[:CANDIDATES_MAX]
    if not firsts:
        return Plan(PlanKind.NO_DEPTH)
    rays = yield from _judge_rays(problem, [(zero, one) for one in firsts])
    now = rays[0].end.before
    if now.equity >= now.initial:
        return Plan(PlanKind.RECOVERED)
    found = None
    if now.equity >= 0:
        usable = [cut for cut in (_up_to_admissible(problem, ray) for ray in rays) if cut is not None]
        found = (yield from _least(problem, _ranked(problem, usable))) if usable else None
    if found is None:
        return _close(problem, rays)
    kind = PlanKind.REDUCE if found[0].reaches(problem.rules.target) else PlanKind.PARTIAL
    return _planned(problem, kind, found[0], found[1], rays)


def _judge(problem: Problem, slices: Sequence[Slice]) -> _Judging:
    found: list[Judged] = []
    for start in range(0, len(slices), CANDIDATES_MAX):
        batch = slices[start : start + CANDIDATES_MAX]
        answer = yield tuple(candidate(problem.lines, one.lots) for one in batch)
        found += [Judged(one, answer.now, after) for one, after in zip(batch, answer.after, strict=True)]
    return found


def _judge_rays(problem: Problem, wanted: Sequence[tuple[Quantity, Slice]]) -> _Rays:
    # Parts of each slice come along in the same round trip: the last lots of a deep one cost most, and the search for
    # the fewest lots begins between two of them.
    parts = max(1, min(_PARTS, mul_div_down(CANDIDATES_MAX, 1, len(wanted))))
    points = [
        sorted({mul_div_up(span(base, top.lots), part, parts) for part in range(1, parts + 1)}) for base, top in wanted
    ]
    slices = [
        Slice(top.name, between(base, top.lots, at))
        for (base, top), steps in zip(wanted, points, strict=True)
        for at in steps
    ]
    judged = iter((yield from _judge(problem, slices)))
    return [
        _Ray(base, tuple(steps), tuple(next(judged) for _ in steps), top)
        for (base, top), steps in zip(wanted, points, strict=True)
    ]


def _adds_risk(problem: Problem, one: Judged) -> bool:
    touched = [line for line, lots in zip(problem.lines, one.slice.lots, strict=True) if lots]
    return one.after.maintenance > one.before.maintenance and not all(line.reducible.is_residue for line in touched)


def _only_rounds(problem: Problem, one: Judged) -> bool:
    # Legs that close together part by less than a lot each.
    touched = [line for line, lots in zip(problem.lines, one.slice.lots, strict=True) if lots]
    lots = sum(mul_div_up(line.notional, 1, line.reducible.lots) for line in touched)
    return one.before.equity < 0 and one.after.maintenance <= one.before.maintenance + lots


def _up_to_admissible(problem: Problem, ray: _Ray) -> _Ray | None:
    for count in range(len(ray.points), 0, -1):
        one = ray.judged[count - 1]
        if one.relief(problem.rules.target) > 0 and not _adds_risk(problem, one) and one.keeps_ratio:
            return _Ray(ray.base, ray.points[:count], ray.judged[:count], one.slice)
    return None


def _notional(problem: Problem, lots: Quantity) -> int:
    parts = zip(problem.lines, lots, strict=True)
    return sum(mul_div_down(line.notional, some, line.reducible.lots) for line, some in parts)


def _ranked(problem: Problem, rays: Sequence[_Ray]) -> list[_Ray]:
    def relief_per_cost(ray: _Ray) -> int:
        one = ray.end
        least = mul_div_up(_notional(problem, one.slice.lots), _COST_FLOOR, PPM)
        return mul_div_down(one.relief(problem.rules.target), PPM, max(one.cost, least, 1))

    return sorted(rays, key=relief_per_cost, reverse=True)


def _least(problem: Problem, usable: Sequence[_Ray]) -> _Found:
    """The fewest lots along the best slices, one after another, that reach the target; else all that helps."""
    rays, path = [usable[0]], _cumulative(usable)
    if not _good(problem, rays[0].end) and path:
        rays += yield from _judge_rays(problem, path)
    before: Judged | None = None
    for ray in rays:
        if _good(problem, ray.end):
            return (yield from _fewest(problem, ray, before)), ray.end
        worse = before is not None and ray.end.after.maintenance > before.after.maintenance
        if worse or not ray.end.keeps_ratio or _adds_risk(problem, ray.end):
            break
        before = ray.end
    return (before, before) if before else None


def _cumulative(usable: Sequence[_Ray]) -> list[tuple[Quantity, Slice]]:
    # Greedy: a slice joins when it shares no line with those before it. The first one stands by itself already.
    path: list[tuple[Quantity, Slice]] = []
    so_far = usable[0].slice
    for ray in usable[1:]:
        if not any(a and b for a, b in zip(so_far.lots, ray.slice.lots, strict=True)):
            joint = tuple(a + b for a, b in zip(so_far.lots, ray.slice.lots, strict=True))
            path.append((so_far.lots, Slice(f"{so_far.name}, then {ray.slice.name}", joint)))
            so_far = path[-1][1]
    return path[:CANDIDATES_MAX]


def _fewest(problem: Problem, ray: _Ray, before: Judged | None) -> _Fewest:
    """The least quantity of a ray that reaches the target, one step above one that does not."""
    target = problem.rules.target
    low, high, best = 0, ray.points[-1], ray.end
    gap_low = before.after.gap(target) if before else ray.end.before.gap(target)
    points, judged = list(ray.points), list(ray.judged)
    for _ in range(ROUNDS_MAX):
        reached = next((at for at, one in enumerate(judged) if _good(problem, one)), None)
        below = len(judged) - 1 if reached is None else reached - 1
        if reached is not None:
            best, high = judged[reached], points[reached]
        if below >= 0:
            low, gap_low = points[below], judged[below].after.gap(target)
        points = _probes(low, high, _interpolated(low, high, gap_low, best.after.gap(target)))
        if not points:
            break
        slices = [Slice(ray.slice.name, between(ray.base, ray.slice.lots, point)) for point in points]
        judged = yield from _judge(problem, slices)
    return best


def _good(problem: Problem, one: Judged) -> bool:
    return one.reaches(problem.rules.target) and not _adds_risk(problem, one)


def _interpolated(low: int, high: int, gap_low: int, gap_high: int) -> int:
    if gap_low >= gap_high:
        return mul_div_down(low + high, 1, 2)
    return low + mul_div_up(high - low, max(0, -gap_low), gap_high - gap_low)


def _probes(low: int, high: int, guess: int) -> list[int]:
    """At most CANDIDATES_MAX points strictly between: dense around the guess, and evenly spread."""
    if high - low - 1 <= CANDIDATES_MAX:
        return list(range(low + 1, high))
    near = [guess + step for width in _WIDTHS for step in (-width, width)]
    even = [low + mul_div_down(high - low, part, _EVEN) for part in range(1, _EVEN)]
    return sorted({point for point in (*near, *even) if low < point < high})


def _close(problem: Problem, rays: Sequence[_Ray]) -> Plan:
    """No slice is worth its cost, or equity is gone: the one that frees most requirement without adding risk.

    Where none frees any, as of a hedge that needs next to nothing, one that leaves lots apart only by rounding will do:
    an account that is never closed is never emptied.
    """
    judged = [one for ray in rays for one in ray.judged]
    zero_risk = [one for one in judged if not _adds_risk(problem, one)]
    zero_risk = zero_risk or [one for one in judged if _only_rounds(problem, one)]
    if not zero_risk:
        return Plan(PlanKind.NO_RELIEF, alternatives=_alternatives(problem, None, rays))
    best = min(zero_risk, key=lambda one: (one.after.maintenance, -_notional(problem, one.slice.lots)))
    return _planned(problem, PlanKind.CLOSE, best, best, rays)


def _planned(problem: Problem, kind: PlanKind, chosen: Judged, whole: Judged, rays: Sequence[_Ray]) -> Plan:
    guess = first_guess(
        margin=whole.before,
        target=problem.rules.target,
        initial_closed=whole.before.initial - whole.after.initial,
        cost=whole.cost,
    )
    return Plan(
        kind,
        chosen,
        orders(problem.lines, chosen.slice.lots),
        guess,
        _alternatives(problem, chosen, rays),
    )


def _alternatives(problem: Problem, chosen: Judged | None, rays: Sequence[_Ray]) -> tuple[Alternative, ...]:
    whole = max(1, sum(line.notional for line in problem.lines))

    def alternative(one: Judged, why: str) -> Alternative:
        return Alternative(one, mul_div_down(_notional(problem, one.slice.lots), PPM, whole), why)

    others = [alternative(ray.end, _why_not(problem, ray.end)) for ray in rays if ray.end is not chosen]
    return tuple(([alternative(chosen, "")] if chosen else []) + others)[:_ALTERNATIVES_MAX]


def _why_not(problem: Problem, one: Judged) -> str:
    reasons: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: _adds_risk(problem, one), "adds risk"),
        (lambda: one.relief(problem.rules.target) <= 0, "brings the target no nearer"),
        (lambda: not one.keeps_ratio, "costs more than it relieves (I5)"),
        (lambda: one.reaches(problem.rules.target), "closes more than needed"),
    )
    return next((why for holds, why in reasons if holds()), "relieves less for its cost")
