"""Scenarios: joint moves of all underlyings over a grid of their ranges, and named stresses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import AssetRisk, InstrumentKind, Parameters
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8

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
    """

    names: tuple[str, ...]
    moves: F8


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
    """All underlyings move by the same share of their own range; each currency moves alone.

    Args:
        ranges: by asset id.
    """
    index: dict[int, int] = {asset.id: column for column, asset in enumerate(parameters.assets)}
    alone = currencies(parameters)
    groups = [("spot", tuple(asset for asset in ranges if asset not in alone))]
    groups += [(parameters.assets[index[one]].symbol, (one,)) for one in sorted(alone)]
    names: list[str] = []
    rows: list[list[float]] = []
    for label, assets in groups:
        for point in parameters.margin.grid:
            if label != "spot" and point == 0:
                continue  # standing still is in the first group already
            names.append(f"{label} {point / PPM:+.2f} of range")
            row = [0.0] * len(parameters.assets)
            for asset in assets:
                share = point / PPM
                row[index[asset]] = share * (ranges[asset].down if share < 0 else ranges[asset].up)
            rows.append(row)
    return ScenarioSet(tuple(names), np.array(rows, dtype=np.float64).reshape(len(names), len(parameters.assets)))


def stress_scenarios(parameters: Parameters) -> ScenarioSet:
    """The named joint stresses."""
    index: dict[int, int] = {asset.id: column for column, asset in enumerate(parameters.assets)}
    moves = np.zeros((len(parameters.margin.stresses), len(parameters.assets)))
    for row, stress in enumerate(parameters.margin.stresses):
        for asset, move in stress.moves:
            moves[row, index[asset]] = move / PPM
    return ScenarioSet(tuple(f"stress {one.name}" for one in parameters.margin.stresses), moves)
