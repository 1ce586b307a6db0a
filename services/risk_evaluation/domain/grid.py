"""Scenarios: joint moves of all underlyings over a grid of their ranges, and named stresses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import AssetRisk, InstrumentKind, Parameters
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8

YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Range:
    """How far a price may move: both positive shares of it."""

    down: float
    up: float


@dataclass(frozen=True, slots=True)
class ScenarioSet:
    """Joint moves.

    Args:
        names: one a scenario.
        moves: (scenarios, assets) relative move of each asset's USD price.
        vols: (scenarios) move of volatilities as a share of their range; None: none move.
        damping: (scenarios) share of the loss that counts; None: all of it.
        skews: (scenarios) tilt of smiles, share of what tilts at most; None: none tilts.
        discounts: (scenarios) 1 + position among the declared static discounts, 0 for none; None: none.
    """

    names: tuple[str, ...]
    moves: F8
    vols: F8 | None = None
    damping: F8 | None = None
    skews: F8 | None = None
    discounts: I8 | None = None


def price_range(*, sigma: float, z: float, horizon_s: int) -> Range:
    """Range of a lognormal price over a horizon: down 1 - e^(-zσ√h), up e^(zσ√h) - 1 (docs/margin.md, Scan)."""
    stretch = z * sigma * math.sqrt(horizon_s / YEAR_S)
    return Range(down=-math.expm1(-stretch), up=math.expm1(stretch))


def initial_range(risk: AssetRisk) -> Range:
    """Range of the initial margin."""
    return price_range(sigma=risk.sigma / PPM, z=risk.initial_z / PPM, horizon_s=risk.initial_horizon_s)


def maintenance_range(risk: AssetRisk) -> Range:
    """Range of the maintenance margin."""
    return price_range(sigma=risk.sigma / PPM, z=risk.maintenance_z / PPM, horizon_s=risk.maintenance_horizon_s)


def currencies(parameters: Parameters) -> frozenset[int]:
    """Assets with risk that only serve as money: the quote of an instrument, and the underlying of no margined one.

    Their moves are scenarios of their own: a peg does not break because the market falls, and moving both together
    would let the depeg of the quote shrink the loss of the position (docs/margin.md, example 8).
    """
    quoted = {one.quote for one in parameters.instruments}
    traded = {one.underlying for one in parameters.instruments if one.kind is not InstrumentKind.SPOT}
    return frozenset(risk.asset for risk in parameters.margin.assets if risk.asset in quoted - traded)


def grid_scenarios(parameters: Parameters, ranges: dict[int, Range]) -> ScenarioSet:
    """All underlyings move by the same share of their own range, with each move of volatility; each currency alone.

    Args:
        ranges: by asset id.
    """
    options = parameters.margin.options
    index: dict[int, int] = {asset.id: column for column, asset in enumerate(parameters.assets)}
    alone = currencies(parameters)
    groups = [("spot", tuple(asset for asset in ranges if asset not in alone))]
    groups += [(parameters.assets[index[one]].symbol, (one,)) for one in sorted(alone)]
    still_first = sorted(options.vol_grid, key=abs)  # of equal losses the one at the volatility of now is named
    names: list[str] = []
    rows: list[list[float]] = []
    vols: list[float] = []
    for label, assets in groups:
        for point in parameters.margin.grid:
            if label != "spot" and point == 0:
                continue  # standing still is in the first group already
            share = point / PPM
            row = [0.0] * len(parameters.assets)
            for asset in assets:
                row[index[asset]] = share * (ranges[asset].down if share < 0 else ranges[asset].up)
            for vol in still_first if label == "spot" else (0,):
                names.append(f"{label} {share:+.2f} of range" + (f", vol {vol / PPM:+.2f}" if vol else ""))
                rows.append(row)
                vols.append(vol / PPM)
    damping = [1.0] * len(names)
    skews = [0.0] * len(names)
    for tail in options.tails:
        multiple = tail.spot / PPM
        names.append(f"tail {multiple:+.2f} of range, {tail.share / PPM:.2f} of loss")
        row = [0.0] * len(parameters.assets)
        for asset in groups[0][1]:
            row[index[asset]] = _beyond(ranges[asset], multiple)
        rows.append(row)
        vols.append(0.0)
        damping.append(tail.share / PPM)
        skews.append(0.0)
    for tilt in (-1.0, 1.0) if options.skew_cap else ():
        names.append(f"skew {tilt:+.2f}")
        rows.append([0.0] * len(parameters.assets))
        vols.append(0.0)
        damping.append(1.0)
        skews.append(tilt)
    for one in options.discounts:
        names.append(f"discount {'long' if one.is_long else 'short'}")
        rows.append([0.0] * len(parameters.assets))
    still = len(options.discounts)
    return ScenarioSet(
        tuple(names),
        np.array(rows, dtype=np.float64).reshape(len(names), len(parameters.assets)),
        np.array(vols + [0.0] * still),
        np.array(damping + [1.0] * still),
        np.array(skews + [0.0] * still),
        np.array([0] * len(skews) + list(range(1, still + 1)), dtype=np.int64),
    )


def _beyond(one: Range, multiple: float) -> float:
    """A move of so many ranges in logarithms: a price stays above 0."""
    base = math.log1p(-one.down) if multiple < 0 else math.log1p(one.up)
    return math.expm1(abs(multiple) * base)


def stress_scenarios(parameters: Parameters) -> ScenarioSet:
    """The named joint stresses."""
    index: dict[int, int] = {asset.id: column for column, asset in enumerate(parameters.assets)}
    moves = np.zeros((len(parameters.margin.stresses), len(parameters.assets)))
    for row, stress in enumerate(parameters.margin.stresses):
        for asset, move in stress.moves:
            moves[row, index[asset]] = move / PPM
    vols = np.array([one.vol / PPM for one in parameters.margin.stresses], dtype=np.float64)
    return ScenarioSet(tuple(f"stress {one.name}" for one in parameters.margin.stresses), moves, vols)
