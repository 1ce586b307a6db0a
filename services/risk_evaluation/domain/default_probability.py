"""Probability of default: paths with jumps, exits inside a step by Brownian bridge on the underlying, delta-gamma."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.exit_bridge import crossing, directions, exits
from services.risk_evaluation.domain.motion import Dynamics, Quadratic

NEVER = 1e-300  # a chance that no draw has
NORMALS_A_STEP = 4  # by underlying: diffusion and jump before the exit, and during liquidation
ARRIVALS_A_STEP = 2  # whether a jump comes: before the exit, and during liquidation


@dataclass(frozen=True, slots=True)
class Position:
    """What decides about one account.

    Args:
        equity: E. buffer: E − MM, whose first zero is the liquidation.
        exposure: exposure at default: gross debt and short option value, USD.
        liquidation_years: δ, from the liquidation to the last trade.
    """

    equity: Quadratic
    buffer: Quadratic
    exposure: float
    liquidation_years: float


@dataclass(frozen=True, slots=True)
class DefaultRisk:
    """What may become of one account within the horizon.

    Args:
        liquidation: P(τ ≤ T). terminal: P(E_T < MM_T), seen at T alone. default: P(τ ≤ T and E_{τ+δ} < 0).
        expected_loss: E[(−E_{τ+δ})⁺, τ ≤ T], USD. exposure: at default, USD.
        loss_given_default: expected_loss / (default · exposure); 0 when default or exposure is 0.
    """

    liquidation: float
    terminal: float
    default: float
    expected_loss: float
    loss_given_default: float
    exposure: float


def normals_shape(*, paths: int, steps: int, underlyings: int) -> tuple[int, int, int]:
    """Shape of the standard normals, pseudo- or quasi-random, that `default_risk` takes."""
    return paths, steps, NORMALS_A_STEP * underlyings + ARRIVALS_A_STEP


def time_to_liquidate(notional: F8, daily_volume: F8, *, participation: float, least_years: float) -> float:
    """δ in years: the slowest underlying at a share of its daily volume, at least so much."""
    days = np.abs(notional) / (participation * daily_volume)
    return max(least_years, float(np.max(days, initial=0.0)) / 365.0)


def default_risk(position: Position, dynamics: Dynamics, *, horizon_years: float, normals: F8) -> DefaultRisk:
    """Default risk within the horizon.

    Each step moves by diffusion, then by its jump. Exits inside a step are not drawn but weighed: the bridge gives the
    probability that the path left the interval around its price in which the buffer lasts. A path goes on with the
    weight that has not exited. The book is held whole through δ, and jumps go on in it.

    Args:
        normals: of `normals_shape`; randomness is the caller's.
    """
    paths, steps, _ = normals.shape
    step = horizon_years / steps
    walk = _Walk(position, dynamics, step, normals)
    path = _Path(np.zeros((paths, dynamics.spot.shape[0])), np.ones(paths))
    if position.buffer.value < 0.0:
        walk.settle(path.driven, path.weight, 0.0, 0)
        return walk.result(path, exposure=position.exposure, horizon_years=horizon_years)
    for number in range(steps):
        path = walk.advance(path, number)
    return walk.result(path, exposure=position.exposure, horizon_years=horizon_years)


@dataclass(frozen=True, slots=True)
class _Path:
    driven: F8  # (paths, underlyings) the driving process
    weight: F8  # (paths) probability of no exit so far


class _Walk:
    """Moves paths step by step and sums up what exits."""

    def __init__(self, position: Position, dynamics: Dynamics, step: float, normals: F8) -> None:
        self._position, self._dynamics, self._step = position, dynamics, step
        self._root = _root(dynamics.covariance)
        self._jump_root = _root(dynamics.jump_covariance)
        u = dynamics.spot.shape[0]
        # Rotated: the first normals alone decide where paths end, so that quasi-random points spread best there.
        self._diffusion = np.einsum("kn,pnu->pku", _rotation(normals.shape[1]), normals[:, :, :u])
        self._jump = normals[:, :, u : 2 * u]
        self._late_diffusion, self._late_jump = normals[:, :, 2 * u : 3 * u], normals[:, :, 3 * u : 4 * u]
        self._arrival, self._late_arrival = normals[:, :, 4 * u], normals[:, :, 4 * u + 1]
        self._liquidated = self._defaulted = self._lost = 0.0
        self._paths = normals.shape[0]

    def advance(self, path: _Path, number: int) -> _Path:
        dynamics, buffer, begun = self._dynamics, self._position.buffer, number * self._step
        ended = begun + self._step
        shock = self._diffusion[:, number] @ self._root.T
        driven = path.driven + dynamics.drift * self._step + shock * math.sqrt(self._step)
        ways = directions(buffer, dynamics, path.driven)
        before = exits(buffer, dynamics, path.driven, begun, ways)
        low, high = crossing(before, exits(buffer, dynamics, driven, ended, ways), ways.variance * self._step)
        likeliest = np.argmax(low + high, axis=1)  # one path, one exit: along the likeliest direction
        rows = np.arange(self._paths)
        value = buffer.at(dynamics.moved(driven), ended)
        out = value < 0.0
        crossed = np.zeros(self._paths)
        for sign, chance, far in ((-1.0, low, before.low), (1.0, high, before.high)):
            mass = np.where(out, 0.0, chance[rows, likeliest])
            if np.any(mass > 0.0):
                gone = np.where(mass > 0.0, far[rows, likeliest], 0.0)
                exit_at = path.driven + sign * gone[:, None] * ways.along[rows, likeliest]
                self.settle(exit_at, path.weight * mass, ended, number)
            crossed += mass
        if np.any(out):
            was = np.maximum(buffer.at(dynamics.moved(path.driven), begun), 0.0)
            part = np.where(out, was / np.where(out, was - value, 1.0), 0.0)
            self.settle(path.driven + part[:, None] * (driven - path.driven), path.weight * out, ended, number)
        weight = path.weight * np.where(out, 0.0, 1.0 - np.minimum(1.0, crossed))
        driven = driven + self._jumps(self._arrival[:, number], self._jump[:, number], self._step)
        fallen = buffer.at(dynamics.moved(driven), ended) < 0.0
        if np.any(fallen & (weight > 0.0)):
            self.settle(driven, weight * fallen, ended, number)
        return _Path(driven, np.where(fallen, 0.0, weight))

    def settle(self, driven: F8, mass: F8, years: float, number: int) -> None:
        """Counts an exit of that much weight, and what is left δ later."""
        delta, dynamics = self._position.liquidation_years, self._dynamics
        shock = self._late_diffusion[:, number] @ self._root.T
        driven = driven + dynamics.drift * delta + shock * math.sqrt(delta)
        driven = driven + self._jumps(self._late_arrival[:, number], self._late_jump[:, number], delta)
        equity = self._position.equity.at(dynamics.moved(driven), years + delta)
        self._liquidated += float(np.sum(mass))
        self._defaulted += float(np.sum(mass * (equity < 0.0)))
        self._lost += float(np.sum(mass * np.maximum(-equity, 0.0)))

    def result(self, path: _Path, *, exposure: float, horizon_years: float) -> DefaultRisk:
        final = self._position.buffer.at(self._dynamics.moved(path.driven), horizon_years)
        default, lost = self._defaulted / self._paths, self._lost / self._paths
        at_risk = default * exposure
        return DefaultRisk(
            liquidation=min(1.0, self._liquidated / self._paths),
            terminal=float(np.mean(final < 0.0)),
            default=default,
            expected_loss=lost,
            loss_given_default=lost / at_risk if at_risk > 0.0 else 0.0,
            exposure=exposure,
        )

    def _jumps(self, arrival: F8, sizes: F8, years: float) -> F8:
        rate = self._dynamics.jumps_a_year * years
        if rate <= 0.0:
            return np.zeros_like(sizes)
        # At most one jump a step: arrival is the upper tail that a Poisson count above 0 has.
        arrived = arrival > NormalDist().inv_cdf(max(math.exp(-rate), NEVER))
        size: F8 = self._dynamics.jump_mean + sizes @ self._jump_root.T
        return size * arrived[:, None]


def _rotation(steps: int) -> F8:
    """Orthogonal, from normals to increments (step, normal): cosines, the first one constant."""
    step, number = np.arange(steps)[:, None], np.arange(steps)[None, :]
    waves = np.cos(math.pi * (step + 0.5) * number / steps) * math.sqrt(2.0 / steps)
    rotation: F8 = np.where(number == 0, math.sqrt(1.0 / steps), waves)
    return rotation


def _root(covariance: F8) -> F8:
    """A square root that also stands perfect correlation, where Cholesky fails."""
    values, vectors = np.linalg.eigh(covariance)
    root: F8 = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
