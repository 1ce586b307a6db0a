"""Slices: which lines a step could reduce together, and how much of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from libs.common.units import PPM, Lots, Usd6, mul_div_down, mul_div_up
from services.liquidation_execution.domain.holdings import Reducible
from services.liquidation_execution.domain.router import Ladder, Trade, VenueOrder

Quantity = tuple[int, ...]  # lots to close of each line, in the order of the problem's lines
Candidate = tuple[Trade, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A reducible line with what the venues offer for it and its value at the mark."""

    reducible: Reducible
    ladder: Ladder
    notional: Usd6

    @property
    def available(self) -> Lots:
        """Lots that can go in one step."""
        return min(self.reducible.lots, self.ladder.capacity)


@dataclass(frozen=True, slots=True)
class Margin:
    """A margin of the account, 10^-6 USD."""

    equity: Usd6
    initial: Usd6
    maintenance: Usd6

    def gap(self, target: int) -> int:
        """Equity over `target` millionths of initial margin, in 10^-12 USD."""
        return PPM * self.equity - target * self.initial


@dataclass(frozen=True, slots=True)
class Slice:
    """Lots to close of each line in one step, with a name a person understands."""

    name: str
    lots: Quantity


@dataclass(frozen=True, slots=True)
class Judged:
    """A slice with the margin before and after it, as one answer of risk gave them."""

    slice: Slice
    before: Margin
    after: Margin

    @property
    def cost(self) -> Usd6:
        """Equity it takes: slippage against the mark and fees."""
        return Usd6(self.before.equity - self.after.equity)

    def relief(self, target: int) -> int:
        """How much nearer to the target it brings the account, in 10^-12 USD."""
        return self.after.gap(target) - self.before.gap(target)

    def reaches(self, target: int) -> bool:
        """Equity is at `target` millionths of initial margin or above."""
        return self.after.gap(target) >= 0

    @property
    def keeps_ratio(self) -> bool:
        """I5: E·ΔMM >= cost·MM, which is the same as E/MM not falling."""
        return self.after.equity * self.before.maintenance >= self.before.equity * self.after.maintenance


def first_guess(*, margin: Margin, target: int, initial_closed: int, cost: int) -> int | None:
    """Part to close, in millionths rounded up, by (b·IM − E)/(b·IM_x − c·N) (docs/margin.md); None when none helps.

    Args:
        target: b in millionths.
        initial_closed: IM_x, initial margin that closing all of it frees, 10^-6 USD.
        cost: c·N, what closing all of it costs, 10^-6 USD.
    """
    relief = target * initial_closed - PPM * cost
    return mul_div_up(max(0, -margin.gap(target)), PPM, relief) if relief > 0 else None


def bundles(lines: Sequence[Line]) -> list[Slice]:
    """Slices to judge first: each line, each underlying in proportion, everything in proportion, everything shown."""
    single = [
        Slice(line.reducible.instrument.symbol, _only(lines, {at: int(line.available)}))
        for at, line in enumerate(lines)
        if line.available
    ]
    groups = [_in_proportion(lines, members) for members in _by_underlying(lines)]
    several = [Slice(_names(lines, one), one) for one in groups if sum(1 for lots in one if lots) > 1]
    together = tuple(sum(each) for each in zip(*groups, strict=True)) if groups else ()
    everything = tuple(int(line.available) for line in lines)
    wide = [Slice("every underlying in proportion", together), Slice("everything shown", everything)]
    return _distinct(single + several + (wide if len(lines) > 1 else []))


def _distinct(slices: Sequence[Slice]) -> list[Slice]:
    # Of the same quantity the first name stays: the simplest one.
    found: dict[Quantity, Slice] = {}
    for one in slices:
        if any(one.lots):
            found.setdefault(one.lots, one)
    return list(found.values())


def _names(lines: Sequence[Line], lots: Quantity) -> str:
    return " + ".join(line.reducible.instrument.symbol for line, some in zip(lines, lots, strict=True) if some)


def _only(lines: Sequence[Line], chosen: dict[int, int]) -> Quantity:
    return tuple(chosen.get(at, 0) for at in range(len(lines)))


def _by_underlying(lines: Sequence[Line]) -> Iterator[list[int]]:
    found: dict[int, list[int]] = {}
    for at, line in enumerate(lines):
        found.setdefault(line.reducible.instrument.underlying, []).append(at)
    yield from found.values()


def _in_proportion(lines: Sequence[Line], members: Sequence[int]) -> Quantity:
    # The scarcest depth decides, so that a hedge and what it hedges go together.
    scarce = min(members, key=lambda at: mul_div_down(lines[at].available, PPM * PPM, lines[at].reducible.lots))
    part, whole = lines[scarce].available, lines[scarce].reducible.lots
    return _only(lines, {at: mul_div_down(lines[at].reducible.lots, part, whole) for at in members})


def span(base: Quantity, top: Quantity) -> int:
    """Steps of one lot between two quantities."""
    return max((high - low for low, high in zip(base, top, strict=True)), default=0)


def between(base: Quantity, top: Quantity, at: int) -> Quantity:
    """The quantity `at` steps above the base on the way to the top; each step adds at most one lot a line."""
    whole = span(base, top)
    return tuple(low + mul_div_up(high - low, at, whole) for low, high in zip(base, top, strict=True))


def candidate(lines: Sequence[Line], lots: Quantity) -> Candidate:
    """What the venues would be expected to do with it."""
    return tuple(line.ladder.trade(some) for line, some in zip(lines, lots, strict=True) if some)


def orders(lines: Sequence[Line], lots: Quantity) -> tuple[VenueOrder, ...]:
    """The orders that do it."""
    return tuple(order for line, some in zip(lines, lots, strict=True) if some for order in line.ladder.orders(some))
