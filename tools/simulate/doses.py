"""How much of each fault a seed gets."""

from __future__ import annotations

import random
from dataclasses import dataclass

_WIDE_SHARE, _THIRD_PARTITION = 0.7, 0.3


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
        partitions: of the house. is_wide: it trades options and futures, and knows takeovers and deleveraging.
        batch: accounts of one command over many.
        ends: whether every instrument that ends does so before the end of peace.
        dry: of a step, that venues show nothing any more while the price leaps.
        seized: of a step, that a venue closes positions of ours, or loses our money.
        turned: of a step, that an operator distributes an asset, or turns one into another.
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
    partitions: int = 2
    is_wide: bool = False
    batch: int = 2_000
    ends: bool = False
    dry: float = 0.0
    seized: float = 0.0
    turned: float = 0.0

    @staticmethod
    def calm() -> Doses:
        """No fault at all."""
        return Doses(0.0, 0.0, 0.0, 0.0, 0.005, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, crisis=False)

    @staticmethod
    def draw(rng: random.Random) -> Doses:
        """What a seed gets: each fault is absent in some, heavy in others."""

        def up_to(most: float, *, absent: float = 0.2) -> float:
            return 0.0 if rng.random() < absent else most * rng.random() ** 2

        is_wide = rng.random() < _WIDE_SHARE
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
            partitions=3 if rng.random() < _THIRD_PARTITION else 2,
            is_wide=is_wide,
            batch=rng.choice((1, 2, 3, 2_000)),
            ends=is_wide and rng.random() < 0.8,
            dry=up_to(0.08) * is_wide,
            seized=up_to(0.06, absent=0.4),
            turned=up_to(0.15) * is_wide,
        )
