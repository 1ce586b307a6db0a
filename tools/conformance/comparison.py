"""What an adapter answers: figures beside what was expected, and whether they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
EXPONENT_MAX = 64
REFUSED = "error"  # how a refusal is written beside an expected "error: ..."


class Unsupported(ValueError):
    """The case asks for something this adapter does not know: skipped, and failed under STRICT."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Agreement within absolute + relative·|expected|; `absolute_small` below `small` instead, when given."""

    absolute: float = 0.0
    relative: float = 0.0
    small: float = 0.0
    absolute_small: float = 0.0

    def admits(self, got: float, expected: float) -> bool:
        """They agree. No number agrees with nothing."""
        if math.isnan(got) or math.isnan(expected):
            return False
        if got == expected:
            return True
        if self.small and abs(expected) < self.small:
            return abs(got - expected) <= self.absolute_small
        return abs(got - expected) <= self.absolute + self.relative * abs(expected)


EXACT = Tolerance()


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a case: ours, theirs, and how close they must be."""

    name: str
    got: Any
    expected: Any
    tolerance: Tolerance = EXACT

    @property
    def agrees(self) -> bool:
        """Within the tolerance; booleans, words and lists must be the same."""
        return agree(self.got, self.expected, self.tolerance)


def agree(got: Any, expected: Any, tolerance: Tolerance) -> bool:
    """Whether two values are the same within a tolerance, lists element by element."""
    if is_refusal(expected):
        return bool(got == REFUSED)
    if isinstance(expected, list):
        same = isinstance(got, list) and len(got) == len(expected)
        return same and all(agree(one, other, tolerance) for one, other in zip(got, expected, strict=True))
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None or got is None:
        return type(got) is type(expected) and bool(got == expected)
    if isinstance(expected, int) and isinstance(got, int):
        return got == expected or tolerance.admits(float(got), float(expected))
    if isinstance(expected, int | float) and isinstance(got, int | float):
        return tolerance.admits(float(got), float(expected))
    if isinstance(expected, str) and isinstance(got, int):
        return expected.lstrip("-").isdigit() and got == int(expected)  # integers beyond 64 bits come as words
    return bool(got == expected)


def exponent(raw: Any) -> int:
    """A power of ten that units are given by. Raises ValueError beyond what any has, where a power would not end."""
    power = int(raw)
    if abs(power) > EXPONENT_MAX:
        raise ValueError(f"expected a power of ten from -{EXPONENT_MAX} to {EXPONENT_MAX}, was {raw!r}")
    return power


def tolerance_of(raw: Any, otherwise: Tolerance = EXACT) -> Tolerance:
    """The tolerance that a file or case names; `otherwise` when it names none that is understood."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return Tolerance(absolute=float(raw))
    if isinstance(raw, Mapping) and ("absolute" in raw or "relative" in raw):
        small = float(raw.get("absolute_when_abs_value_below_1e-10", 0.0))
        return Tolerance(
            absolute=float(raw.get("absolute", 0.0)),
            relative=float(raw.get("relative", 0.0)),
            small=1e-10 if small else 0.0,
            absolute_small=small,
        )
    return otherwise


def is_refusal(expected: Any) -> bool:
    """Whether a case expects to be refused."""
    return isinstance(expected, str) and expected.lower().startswith(REFUSED)


def compared(expected: Any, got: Json, tolerance: Tolerance) -> list[Figure]:
    """A figure for each expected name. Raises Unsupported for a name that `got` lacks, or when there are no names."""
    if is_refusal(expected):
        return [Figure("refused", "taken", expected)]
    if not isinstance(expected, Mapping):
        raise Unsupported(f"expected a figure without a name: {expected!r}")
    missing = sorted(set(expected) - set(got))
    if missing:
        raise Unsupported(f"expected figures {missing} are not known")
    return [Figure(name, got[name], value, tolerance) for name, value in expected.items()]
