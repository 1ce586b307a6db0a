"""How much of each fault a seed gets."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doses:
    """Chances and delays of one world; the bounds are those of TigerBeetle's VOPR.

    Args:
        loss: of a record on its way, sent again after a while.
        refusal: of a record that the broker never takes: the sender is told, and does not know.
        duplicate: of a record, the copy comes late.
        reorder: of a record, it overtakes others.
        delay_s: mean of every way.
        crash, freeze, reassign: of a step.
        skew_s: how far clocks may lie apart.
        drift: how much faster or slower a process's clock may run.
        pace_s: longest time between two steps.
        crisis: whether prices fall hard, so that accounts go bankrupt.
    """

    loss: float
    refusal: float
    duplicate: float
    reorder: float
    delay_s: float
    crash: float
    freeze: float
    reassign: float
    skew_s: float
    drift: float
    pace_s: float
    crisis: bool

    @staticmethod
    def calm() -> Doses:
        """No fault at all."""
        return Doses(0.0, 0.0, 0.0, 0.0, 0.005, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, crisis=False)

    @staticmethod
    def draw(rng: random.Random) -> Doses:
        """What a seed gets: each fault is absent in some, heavy in others."""

        def up_to(most: float, *, absent: float = 0.2) -> float:
            return 0.0 if rng.random() < absent else most * rng.random() ** 2

        return Doses(
            loss=up_to(0.3),
            refusal=up_to(0.03),
            duplicate=up_to(0.5),
            reorder=up_to(0.1, absent=0.5),
            delay_s=0.002 + up_to(0.1),
            crash=up_to(0.1),
            freeze=up_to(0.08),
            reassign=up_to(0.08),
            skew_s=up_to(3.0),
            drift=up_to(0.1),
            pace_s=rng.choice((0.05, 0.1, 0.25)),
            crisis=rng.random() < 0.7,
        )
