"""How far a mark can be trusted, and what each class of trust allows (I9)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ValidityClass(IntEnum):
    """Numbers of ballast.types.v1.ValidityClass; a higher number is trusted less."""

    VALID = 1  # two or more sources agree
    DEGRADED = 2  # one source only
    HOLD = 3  # sources disagree beyond the band: the last good mark is kept
    STALE = 4  # no fresh source: the last mark is kept


class Action(IntEnum):
    """What is decided on a mark."""

    MARGIN = 1  # publish a margin state that others act on
    LIQUIDATION = 2  # open an episode, take a step, close it
    WITHDRAWAL = 3  # let collateral leave
    NEW_RISK = 4  # release an order that adds risk
    RELIEF = 5  # deposit, repay, reduce: never refused for a mark


PERMITTED: dict[ValidityClass, frozenset[Action]] = {
    ValidityClass.VALID: frozenset(Action),
    ValidityClass.DEGRADED: frozenset({Action.MARGIN, Action.LIQUIDATION, Action.NEW_RISK, Action.RELIEF}),
    ValidityClass.HOLD: frozenset({Action.RELIEF}),
    ValidityClass.STALE: frozenset({Action.RELIEF}),
}


def permits(validity: ValidityClass, action: Action) -> bool:
    """True when a mark of this class may carry that action."""
    return action in PERMITTED[validity]


def worst(classes: Iterable[ValidityClass]) -> ValidityClass:
    """The least trusted class among those an account depends on; VALID when it depends on none."""
    return max(classes, default=ValidityClass.VALID)
