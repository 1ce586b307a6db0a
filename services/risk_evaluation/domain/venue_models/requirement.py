"""What a venue asks, in the same words for all venues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One test of an account, in USD: passed when what it has covers what it needs."""

    has: float
    needs: float

    @property
    def free(self) -> float:
        """What it has beyond what it needs; negative when short."""
        return self.has - self.needs


@dataclass(frozen=True, slots=True)
class Demand:
    """Initial test (new risk) and maintenance test (liquidation), and the terms they are made of, in USD."""

    initial: Check
    maintenance: Check
    parts: Mapping[str, float]
