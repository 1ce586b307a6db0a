"""Two published rules written down a second time, plainly: who is deleveraged first, and how a whole is shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True, slots=True)
class Rival:
    """Somebody who holds the opposite; units of the settlement asset."""

    account: int
    lots: int
    profit: int
    notional: int
    cash: int

    @property
    def leverage(self) -> Fraction:
        """Notional over what it has of the settlement asset, this position counted; at least a unit of each."""
        return Fraction(max(1, self.notional), max(1, self.cash + self.profit))


def ranked(rivals: Iterable[Rival]) -> list[Rival]:
    """Those with profit by profit times leverage, then those without by loss over leverage; ties by account id."""
    rest = list(rivals)
    found = []
    while rest:
        gaining = [one for one in rest if one.profit > 0]
        if gaining:
            best = max(gaining, key=lambda one: (one.profit * one.leverage, -one.account))
        else:
            best = min(rest, key=lambda one: (-one.profit / one.leverage, one.account))
        found.append(best)
        rest.remove(best)
    return found


def enough(rivals: Iterable[Rival], *, lots: int) -> list[Rival]:
    """The first ones that hold so many lots together."""
    found: list[Rival] = []
    for one in ranked(rivals):
        if sum(each.lots for each in found) < lots:
            found.append(one)
    return found


def first(rivals: Iterable[Rival], *, lots: int) -> list[tuple[int, int]]:
    """Account and lots of those who close so many lots, each with all it has but the last."""
    found = [(one.account, one.lots) for one in enough(rivals, lots=lots)]
    beyond = sum(part for _, part in found) - lots
    return [*found[:-1], (found[-1][0], found[-1][1] - max(0, beyond))] if found else []


def pro_rata(whole: int, weights: Mapping[int, int], *, caps: Mapping[int, int]) -> dict[int, int]:
    """Parts by weight, rounded down, the rest one by one to the largest remainders; beyond a cap it is shared on."""
    parts: dict[int, int] = {}
    sharing = sorted(one for one, weight in weights.items() if weight > 0 and caps[one] > 0)
    while whole and sharing:
        total = sum(weights[one] for one in sharing)
        exact = {one: Fraction(whole * weights[one], total) for one in sharing}
        fresh = {one: floor(part) for one, part in exact.items()}
        by_remainder = sorted(sharing, key=lambda one: (fresh[one] - exact[one], one))
        for one in by_remainder[: whole - sum(fresh.values())]:
            fresh[one] += 1
        for one, part in fresh.items():
            taken = min(part, caps[one] - parts.get(one, 0))
            parts[one] = parts.get(one, 0) + taken
            whole -= taken
        sharing = [one for one in sharing if parts[one] < caps[one]]
    return {one: part for one, part in parts.items() if part}
