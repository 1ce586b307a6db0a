"""A volatility surface: slices by expiry, checked for arbitrage, repaired within a bound and flagged, or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from libs.options.svi import (
    SviSlice,
    fault,
    grid_of,
    has_butterfly,
    jump_wings,
    raw_of,
)

_HALVINGS = 24


class SurfaceRefusal(IntEnum):
    """Why a surface is not taken; what was there before ages."""

    EMPTY = 1
    MALFORMED = 2  # parameters that are no smile, or expiries out of order
    BUTTERFLY = 3  # negative density, and mending it would move volatility beyond the bound
    CROSSED = 4  # a later expiry with less total variance, beyond the bound


class SurfaceFlag(IntEnum):
    """What was mended."""

    BUTTERFLY_REPAIRED = 1
    CALENDAR_REPAIRED = 2


@dataclass(frozen=True, slots=True)
class SurfaceBounds:
    """How far a repair may move the volatility of any strike within the clamps, as a share of it."""

    repair_max: float = 0.25


@dataclass(frozen=True, slots=True)
class Repair:
    """One mended slice.

    Args:
        moved: largest relative move of a volatility within the clamps.
    """

    flag: SurfaceFlag
    years: float
    moved: float


@dataclass(frozen=True, slots=True)
class Surface:
    """Slices by rising expiry, free of butterfly and calendar arbitrage, and what was mended to make them so."""

    slices: tuple[SviSlice, ...]
    repairs: tuple[Repair, ...]


@dataclass(frozen=True, slots=True)
class SurfaceRefused:
    """A surface that is not taken: reason, and the offending expiry with value and bound."""

    reason: SurfaceRefusal
    detail: str


def check_surface(slices: Sequence[SviSlice], bounds: SurfaceBounds | None = None) -> Surface | SurfaceRefused:
    """The surface, mended where that is small, or why it is refused."""
    bounds = bounds or SurfaceBounds()
    if not slices:
        return SurfaceRefused(SurfaceRefusal.EMPTY, "expected at least one expiry")
    for at, one in enumerate(slices):
        reason = fault(one)
        if reason is None and at and one.years <= slices[at - 1].years:
            reason = f"expected rising expiries, was {slices[at - 1].years!r} then {one.years!r}"
        if reason is not None:
            return SurfaceRefused(SurfaceRefusal.MALFORMED, f"slices[{at}]: {reason}")
    taken: list[SviSlice] = []
    repairs: list[Repair] = []
    for at, one in enumerate(slices):
        mended = _mend(one, taken[-1] if taken else None, bounds)
        if isinstance(mended, SurfaceRefused):
            return replace(mended, detail=f"slices[{at}]: {mended.detail}")
        kept, done = mended
        taken.append(kept)
        repairs.extend(done)
    return Surface(tuple(taken), tuple(repairs))


def _mend(
    one: SviSlice, before: SviSlice | None, bounds: SurfaceBounds
) -> tuple[SviSlice, list[Repair]] | SurfaceRefused:
    repairs: list[Repair] = []
    kept = one
    if one.years > 0.0 and has_butterfly(one):
        smooth = _without_butterfly(one)
        moved = math.inf if smooth is None else largest_move(one, smooth)
        if smooth is None or moved > bounds.repair_max:
            detail = f"expected a repair of at most {bounds.repair_max} of volatility, was {moved:.6g}"
            return SurfaceRefused(SurfaceRefusal.BUTTERFLY, detail)
        kept = smooth
        repairs.append(Repair(SurfaceFlag.BUTTERFLY_REPAIRED, one.years, moved))
    short = 0.0 if before is None else shortfall(before, kept)
    if short > 0.0:
        # Raising the whole smile keeps its shape; what it does to the density is checked again.
        raised = replace(kept, a=kept.a + short)
        moved = largest_move(kept, raised)
        if moved > bounds.repair_max or has_butterfly(raised):
            detail = (
                f"expected total variance to be short by at most {bounds.repair_max} of volatility, was {moved:.6g}"
            )
            return SurfaceRefused(SurfaceRefusal.CROSSED, detail)
        kept = raised
        repairs.append(Repair(SurfaceFlag.CALENDAR_REPAIRED, one.years, moved))
    return kept, repairs


def shortfall(near: SviSlice, far: SviSlice) -> float:
    """How much total variance the far expiry lacks at the same log-moneyness, at worst; 0 without calendar arbitrage.

    Source: Gatheral and Jacquier (2014), lemma 2.1.
    """
    k = grid_of(near, far)
    gap = float(np.max(near.total_variance(k) - far.total_variance(k)))
    return gap if gap > 1e-12 else 0.0


def largest_move(one: SviSlice, other: SviSlice) -> float:
    """Largest relative difference of two smiles' volatilities over what is quoted."""
    k = grid_of(one)
    was, now = np.sqrt(one.total_variance(k)), np.sqrt(other.total_variance(k))
    return float(np.max(np.abs(now - was) / np.maximum(was, 1e-12)))


def _without_butterfly(one: SviSlice) -> SviSlice | None:
    """The nearest smile between this one and its SSVI neighbour that has no negative density.

    The neighbour keeps variance, skew and put wing at the money: c' = p + 2ψ, ṽ' = 4vpc'/(p + c')².
    Source: Gatheral and Jacquier (2014), section 5.1.
    """
    wings = jump_wings(one)
    p, psi = wings.p, wings.psi
    c = p + 2.0 * psi
    if p <= 0.0 or c <= 0.0:
        return None
    v_min = 4.0 * wings.v * p * c / (p + c) ** 2
    best: SviSlice | None = None
    low, high = 0.0, 1.0
    for step in range(_HALVINGS):
        part = 1.0 if step == 0 else 0.5 * (low + high)
        candidate = raw_of(
            replace(wings, c=wings.c + part * (c - wings.c), v_min=wings.v_min + part * (v_min - wings.v_min)), one
        )
        if candidate is not None and fault(candidate) is None and not has_butterfly(candidate):
            best, high = candidate, part
        elif step == 0:
            return None
        else:
            low = part
    return best
