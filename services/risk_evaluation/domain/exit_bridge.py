"""Whether a path left, between two steps, the interval of prices in which a buffer lasts: the Brownian bridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.risk_evaluation.domain.arrays import F8, Mask
from services.risk_evaluation.domain.motion import Dynamics, Quadratic

IMAGES = 3  # reflections of each side; the next one weighs below e^-18 at any width that can be left

FAR = 1e30  # no price ever moves that far
FAR_LOG = 20.0  # of a logarithm of prices: half a thousand million times the price
NEWTON = 4


@dataclass(frozen=True, slots=True)
class Directions:
    """Ways the driving process may leave along, each with a Brownian motion of its own.

    Args:
        along: (paths, directions, underlyings) move of the driving process for one of the direction's own motion.
        variance: (paths, directions) of that motion, a year.
    """

    along: F8
    variance: F8


@dataclass(frozen=True, slots=True)
class Exits:
    """Distances to the two ends of the interval: (paths, directions), infinite where no exit is."""

    low: F8
    high: F8


def directions(buffer: Quadratic, dynamics: Dynamics, driven: F8) -> Directions:
    """Each underlying, the others following by their regression on it; and, of several, what the buffer falls along.

    The last is exact for a buffer linear in prices: the buffer itself is then one Brownian motion.
    """
    paths, count = driven.shape
    covariance = dynamics.covariance
    spread = np.diag(covariance)
    follows = (covariance / np.where(spread > 0.0, spread, 1.0)).T
    along = np.broadcast_to(follows, (paths, count, count))
    variance = np.broadcast_to(spread, (paths, count))
    if count == 1:
        return Directions(along, variance)
    slope = _slope(buffer, dynamics, driven)
    shared = slope @ covariance
    fall = np.sum(shared * slope, axis=1)
    steep = np.divide(shared, fall[:, None], out=np.zeros_like(shared), where=fall[:, None] > 0.0)
    return Directions(
        np.concatenate([along, steep[:, None, :]], axis=1), np.concatenate([variance, fall[:, None]], axis=1)
    )


def exits(buffer: Quadratic, dynamics: Dynamics, driven: F8, years: float, ways: Directions) -> Exits:
    """How far the driving process may go along each direction before the buffer ends."""
    value = buffer.at(dynamics.moved(driven), years)
    slope = _slope(buffer, dynamics, driven)
    price = _price(dynamics, driven)
    low, high = np.empty_like(ways.variance), np.empty_like(ways.variance)
    for way in range(ways.variance.shape[1]):
        along = ways.along[:, way]
        moved = along * price
        down, up = _ends(value, np.sum(slope * along, axis=1), np.sum(buffer.gamma * moved * moved, axis=1))
        low[:, way] = -_refined(buffer, dynamics, driven, years, along, down)
        high[:, way] = _refined(buffer, dynamics, driven, years, along, up)
    return Exits(low, high)


def crossing(before: Exits, after: Exits, variance: F8) -> tuple[F8, F8]:
    """Probability that a bridge between two steps touched the low and the high end: (paths, directions) each.

    Ends that move are taken as straight lines, exact for one end; with two, images at the mean width. Where the price
    is outside after the step, the caller knows better.
    Source: Karatzas and Shreve (1991), section 4.3 A: a Brownian motion between two barriers, by images.
    """
    low0, low1 = np.maximum(before.low, 0.0), np.maximum(after.low, 0.0)
    high0, high1 = np.maximum(before.high, 0.0), np.maximum(after.high, 0.0)
    spread = np.maximum(variance, 1e-300)
    low, high = _touch(low0, low1, spread), _touch(high0, high1, spread)
    two = np.isfinite(low0) & np.isfinite(low1) & np.isfinite(high0) & np.isfinite(high1)
    if not np.any(two):
        return low, high
    width = np.where(two, 0.5 * (low0 + low1 + high0 + high1), np.inf)
    start, end = np.where(two, low0, 0.0), np.where(two, low1, 0.0)
    out = np.zeros_like(low)
    safe = np.where(two, width, 1.0)
    for image in range(-IMAGES, IMAGES + 1):
        shift = image * safe
        out += np.exp(np.minimum(0.0, -2.0 * (shift + start) * (shift + end) / spread))
        if image:
            out -= np.exp(np.minimum(0.0, -2.0 * shift * (shift + end - start) / spread))
    both = np.clip(out, 0.0, 1.0)
    alone = low + high
    share = np.divide(low, alone, out=np.full_like(low, 0.5), where=alone > 0.0)
    return np.where(two, both * share, low), np.where(two, both * (1.0 - share), high)


def _touch(before: F8, after: F8, spread: F8) -> F8:
    """e^(−2ab/v): a bridge from distance a to distance b touches the end."""
    there = np.isfinite(before) & np.isfinite(after)
    product = np.where(there, before, 0.0) * np.where(there, after, 0.0)
    return np.where(there, np.exp(-2.0 * product / spread), 0.0)


def _ends(value: F8, slope: F8, curve: F8) -> tuple[F8, F8]:
    """Least moves down and up at which value + slope·x + curve·x²/2 is 0; infinite where it never is."""
    below = np.maximum(slope * slope - 2.0 * curve * value, 0.0)
    reached = slope * slope - 2.0 * curve * value >= 0.0
    # The stable form of both roots; a root of 0/0 is none, and one beyond what a float holds is no exit.
    half = -(slope + np.where(slope >= 0.0, 1.0, -1.0) * np.sqrt(below))
    first = np.divide(half, curve, out=np.full_like(half, np.inf), where=reached & _divides(half, curve))
    second = np.divide(2.0 * value, half, out=np.full_like(half, np.inf), where=reached & _divides(2.0 * value, half))
    roots = np.stack([first, second])
    finite = np.isfinite(roots)
    low = np.max(np.where(finite & ((roots < 0.0) | ((roots == 0.0) & (slope >= 0.0))), roots, -np.inf), axis=0)
    high = np.min(np.where(finite & ((roots > 0.0) | ((roots == 0.0) & (slope < 0.0))), roots, np.inf), axis=0)
    inside = value >= 0.0  # outside there is no interval, and the value itself tells
    return np.where(inside, low, -np.inf), np.where(inside, high, np.inf)


def _divides(numerator: F8, denominator: F8) -> Mask:
    """Where a quotient is a distance a price could go."""
    found: Mask = np.abs(denominator) * FAR > np.abs(numerator)
    return found


def _refined(buffer: Quadratic, dynamics: Dynamics, driven: F8, years: float, along: F8, start: F8) -> F8:
    """A root on straight prices carried over to prices that move by ratios: Newton's method."""
    if dynamics.is_normal:
        return start
    there = np.isfinite(start)
    goes = np.where(there, np.abs(start), 0.0) * np.max(np.abs(along), axis=1)
    start = np.where(goes <= FAR_LOG, start, np.copysign(np.inf, start))  # no exit within any horizon
    there = np.isfinite(start)
    at = np.where(there, start, 0.0)
    for _ in range(NEWTON):
        point = driven + along * at[:, None]
        value = buffer.at(dynamics.moved(point), years)
        slope = np.sum(_slope(buffer, dynamics, point) * along, axis=1)
        step = np.divide(value, slope, out=np.zeros_like(value), where=slope != 0.0)
        # An end stays on its side and within twice its first distance: beyond, the price would have to be below 0.
        at = np.clip(at - step, np.minimum(2.0 * start, 0.0), np.maximum(2.0 * start, 0.0), where=there, out=at)
    return np.where(there, at, start)


def _slope(buffer: Quadratic, dynamics: Dynamics, driven: F8) -> F8:
    """(paths, underlyings) of the buffer in the driving process."""
    slope: F8 = (buffer.delta + buffer.gamma * dynamics.moved(driven)) * _price(dynamics, driven)
    return slope


def _price(dynamics: Dynamics, driven: F8) -> F8:
    """(paths, underlyings) move of the price for one of the driving process."""
    return np.ones_like(driven) if dynamics.is_normal else dynamics.spot * np.exp(driven)
