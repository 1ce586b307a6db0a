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

CANDIDATES_MAX = 16  # of one round trip
ROUNDS_MAX = 10  # of one search: 17^10 lots is beyond any position, the bound is for a kernel that moves
_ALTERNATIVES_MAX = 12
_COST_FLOOR = 100  # ppm of notional: below it a cost says nothing about which slice is better
_SMALLER = (2, 4, 8, 16)


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


Asking = Generator[tuple[Candidate, ...], Evaluation, Plan]
_Asking = Generator[tuple[Candidate, ...], Evaluation, list[Judged]]
_Found = Generator[tuple[Candidate, ...], Evaluation, tuple[Judged, Judged] | None]  # chosen, end of its path
_Fewest = Generator[tuple[Candidate, ...], Evaluation, Judged]


def plan(problem: Problem) -> Asking:
    """Yields batches of candidates, wants each one's evaluation, returns the plan."""
    firsts = bundles(problem.lines)[:CANDIDATES_MAX]
    if not firsts:
        return Plan(PlanKind.NO_DEPTH)
    judged = yield from _judge(problem, firsts)
    now = judged[0].before
    if now.equity >= now.initial:
        return Plan(PlanKind.RECOVERED)
    if now.equity < 0:
        return _close(problem, judged)
    admissible = _ranked(problem, [one for one in judged if _admissible(problem, one)])
    if not admissible:
        smaller = yield from _judge(problem, _smaller(problem, judged))
        admissible = _ranked(problem, [one for one in smaller if _admissible(problem, one)])
        judged = judged + smaller
    if not admissible:
        return _close(problem, judged)
    found = yield from _least(problem, admissible)
    if found is None:
        return _close(problem, judged)
    kind = PlanKind.REDUCE if found[0].reaches(problem.rules.target) else PlanKind.PARTIAL
    return _planned(problem, kind, found[0], found[1], judged)


def _judge(problem: Problem, slices: Sequence[Slice]) -> _Asking:
    found: list[Judged] = []
    for start in range(0, len(slices), CANDIDATES_MAX):
        batch = slices[start : start + CANDIDATES_MAX]
        answer = yield tuple(candidate(problem.lines, one.lots) for one in batch)
        found += [Judged(one, answer.now, after) for one, after in zip(batch, answer.after, strict=True)]
    return found


def _adds_risk(problem: Problem, one: Judged) -> bool:
    touched = [line for line, lots in zip(problem.lines, one.slice.lots, strict=True) if lots]
    return one.after.maintenance > one.before.maintenance and not all(line.reducible.is_residue for line in touched)


def _admissible(problem: Problem, one: Judged) -> bool:
    return one.relief(problem.rules.target) > 0 and not _adds_risk(problem, one) and one.keeps_ratio


def _notional(problem: Problem, lots: Quantity) -> int:
    parts = zip(problem.lines, lots, strict=True)
    return sum(mul_div_down(line.notional, some, line.reducible.lots) for line, some in parts)


def _ranked(problem: Problem, slices: Sequence[Judged]) -> list[Judged]:
    def relief_per_cost(one: Judged) -> int:
        least = mul_div_up(_notional(problem, one.slice.lots), _COST_FLOOR, PPM)
        return mul_div_down(one.relief(problem.rules.target), PPM, max(one.cost, least, 1))

    return sorted(slices, key=relief_per_cost, reverse=True)


def _smaller(problem: Problem, judged: Sequence[Judged]) -> list[Slice]:
    # The last lots of a deep slice cost most: a part of it may still be worth its price.
    helpful = [one for one in judged if not _adds_risk(problem, one)]
    zero = tuple(0 for _ in problem.lines)
    return [
        Slice(
            f"1/{part} of {one.slice.name}",
            between(zero, one.slice.lots, mul_div_up(span(zero, one.slice.lots), 1, part)),
        )
        for one in _ranked(problem, helpful)[:4]
        for part in _SMALLER
    ][:CANDIDATES_MAX]


def _least(problem: Problem, admissible: Sequence[Judged]) -> _Found:
    """The fewest lots along the best slices, one after another, that reach the target; else all that helps."""
    path = _cumulative(admissible)
    tops = [admissible[0]]
    if not tops[0].reaches(problem.rules.target) and len(path) > 1:
        tops += yield from _judge(problem, path[1:])
    before: Judged | None = None
    for top in tops:
        if _good(problem, top):
            return (yield from _fewest(problem, before, top)), top
        worse = before is not None and top.after.maintenance > before.after.maintenance
        if worse or not top.keeps_ratio or _adds_risk(problem, top):
            break
        before = top
    return (before, before) if before else None


def _cumulative(admissible: Sequence[Judged]) -> list[Slice]:
    # Greedy: a slice joins when it shares no line with those before it.
    path: list[Slice] = []
    for one in admissible:
        so_far = path[-1] if path else None
        if so_far is None:
            path.append(one.slice)
        elif not any(a and b for a, b in zip(so_far.lots, one.slice.lots, strict=True)):
            joint = tuple(a + b for a, b in zip(so_far.lots, one.slice.lots, strict=True))
            path.append(Slice(f"{so_far.name}, then {one.slice.name}", joint))
    return path[:CANDIDATES_MAX]


def _fewest(problem: Problem, before: Judged | None, top: Judged) -> _Fewest:
    target = problem.rules.target
    base = before.slice.lots if before else tuple(0 for _ in problem.lines)
    low, high, best = 0, span(base, top.slice.lots), top
    gap_low = before.after.gap(target) if before else top.before.gap(target)
    for _ in range(ROUNDS_MAX):
        points = _probes(low, high, _interpolated(low, high, gap_low, best.after.gap(target)))
        if not points:
            break
        slices = [Slice(top.slice.name, between(base, top.slice.lots, point)) for point in points]
        judged = yield from _judge(problem, slices)
        reached = next((at for at, one in enumerate(judged) if _good(problem, one)), None)
        below = len(judged) - 1 if reached is None else reached - 1
        if reached is not None:
            best, high = judged[reached], points[reached]
        if below >= 0:
            low, gap_low = points[below], judged[below].after.gap(target)
    return best


def _good(problem: Problem, one: Judged) -> bool:
    return one.reaches(problem.rules.target) and not _adds_risk(problem, one)


def _interpolated(low: int, high: int, gap_low: int, gap_high: int) -> int:
    if gap_low >= gap_high:
        return mul_div_down(low + high, 1, 2)
    return low + mul_div_up(high - low, max(0, -gap_low), gap_high - gap_low)


def _probes(low: int, high: int, guess: int) -> list[int]:
    """At most CANDIDATES_MAX points strictly between: dense around the guess, and evenly spread."""
    inside = high - low - 1
    if inside <= CANDIDATES_MAX:
        return list(range(low + 1, high))
    near = [guess + step for width in (0, 1, 4, 16, 64) for step in (-width, width)]
    even = [low + mul_div_down(high - low, part, 8) for part in range(1, 8)]
    return sorted({point for point in (*near, *even) if low < point < high})


def _close(problem: Problem, judged: Sequence[Judged]) -> Plan:
    """No slice is worth its cost, or equity is gone: the one that frees most requirement without adding risk."""
    zero_risk = [one for one in judged if not _adds_risk(problem, one)]
    if not zero_risk:
        return Plan(PlanKind.NO_RELIEF, alternatives=_alternatives(problem, None, judged))
    best = min(zero_risk, key=lambda one: (one.after.maintenance, -_notional(problem, one.slice.lots)))
    return _planned(problem, PlanKind.CLOSE, best, best, judged)


def _planned(problem: Problem, kind: PlanKind, chosen: Judged, whole: Judged, judged: Sequence[Judged]) -> Plan:
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
        _alternatives(problem, chosen, judged),
    )


def _alternatives(problem: Problem, chosen: Judged | None, judged: Sequence[Judged]) -> tuple[Alternative, ...]:
    whole = max(1, sum(line.notional for line in problem.lines))

    def alternative(one: Judged, why: str) -> Alternative:
        return Alternative(one, mul_div_down(_notional(problem, one.slice.lots), PPM, whole), why)

    others = [alternative(one, _why_not(problem, one)) for one in judged if chosen is None or one is not chosen]
    return tuple(([alternative(chosen, "")] if chosen else []) + others)[:_ALTERNATIVES_MAX]


def _why_not(problem: Problem, one: Judged) -> str:
    reasons: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: _adds_risk(problem, one), "adds risk"),
        (lambda: one.relief(problem.rules.target) <= 0, "brings the target no nearer"),
        (lambda: not one.keeps_ratio, "costs more than it relieves (I5)"),
        (lambda: one.reaches(problem.rules.target), "closes more than needed"),
    )
    return next((why for holds, why in reasons if holds()), "relieves less for its cost")
