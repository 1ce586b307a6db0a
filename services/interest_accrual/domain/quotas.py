"""Where a pool's idle units should be: a shard that is short asks the bank, what is not needed goes back to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.units import PPM, Ppm, Units, mul_div_up

KEPT = Ppm(100_000)  # of a shard's own lenders' claims, never lent to another


@dataclass(frozen=True, slots=True)
class Shard:
    """One partition's part of a pool.

    Args:
        idle: units not lent.
        claims: units owed to its lenders.
        owed: units that the house has lent or paid in its stead.
        quota: units it has given to other shards, negative when it has got them.
        on_its_way: units that other shards have sent to it.
        is_asked: somebody was refused for want of idle units.
    """

    idle: Units
    claims: Units
    owed: Units
    quota: Units
    on_its_way: Units
    is_asked: bool

    @property
    def short(self) -> int:
        """Units it needs and does not have."""
        wanted = max(self.owed, self.claims if self.is_asked else 0)
        return max(0, wanted - self.idle - self.on_its_way)

    @property
    def spare(self) -> int:
        """Units that it can do without."""
        return max(0, self.idle - max(self.owed, mul_div_up(self.claims, KEPT, PPM)))


@dataclass(frozen=True, slots=True)
class QuotaMove:
    """Units to be sent from one shard to another; one of them is the bank."""

    origin: int
    to: int
    units: Units


def plan(shards: Sequence[Shard], *, bank: int, is_tick: bool) -> list[QuotaMove]:
    """Moves that help who is short, at most one out of each shard; on a tick what others' units lie idle goes back.

    Args:
        shards: by partition.
        bank: the pool's home partition.
        is_tick: a tick of the pool's indices has just been taken.
    """
    others = [one for one in range(len(shards)) if one != bank]
    short = max(others, key=lambda one: shards[one].short, default=bank)
    wanted = shards[short].short if short != bank else 0
    moves = []
    given = min(wanted, shards[bank].spare)
    if given:
        moves.append(QuotaMove(bank, short, Units(given)))
    total = sum(shards[one].short for one in range(len(shards)))
    lacking = total - shards[bank].spare - shards[bank].on_its_way
    for one in sorted(others, key=lambda each: -shards[each].spare):
        shard = shards[one]
        back = min(-shard.quota, shard.spare) if is_tick and not shard.short else 0
        units = max(min(max(0, lacking), shard.spare), back)
        if units > 0:
            moves.append(QuotaMove(one, bank, Units(units)))
            lacking -= units
    return moves
