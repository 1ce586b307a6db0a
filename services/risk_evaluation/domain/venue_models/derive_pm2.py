"""Derive PM2: scenario margin over options, perps and collateral of one underlying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.options.grid import TenorShock
from services.risk_evaluation.domain.options.normal import exp_each, log_each
from services.risk_evaluation.domain.venue_models.derive_book import Book, BookScenarios, Expiries
from services.risk_evaluation.domain.venue_models.parameters import bounded, children
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand


class VolMove(IntEnum):
    """What a scenario does to volatilities."""

    NONE = 0
    UP = 1
    DOWN = 2
    LINEAR = 3  # skew: by log-moneyness
    ABS = 4  # skew: by its absolute value


@dataclass(frozen=True, slots=True)
class Scenario:
    """A move of spot and volatility; its profit counts `damping` times."""

    spot: float = bounded(0.0, 100.0)
    vol: int = bounded(0, 4)
    damping: float = bounded(0.0, 100.0)


@dataclass(frozen=True, slots=True)
class VolShock:
    """Shock of volatilities by tenor."""

    range_up: float = bounded(0.0, 100.0)
    range_down: float = bounded(0.0, 100.0)
    short_power: float = bounded(0.0, 100.0)
    long_power: float = bounded(0.0, 100.0)
    floor_days: float = bounded(0.0, 4000.0)
    vol_floor: float = bounded(0.0, 100.0)


@dataclass(frozen=True, slots=True)
class SkewShock:
    """Bend of the smile around the forward."""

    linear_base_cap: float = bounded(-100.0, 100.0)
    linear_cap_slope: float = bounded(-100.0, 100.0)
    abs_base_cap: float = bounded(-100.0, 100.0)
    abs_cap_slope: float = bounded(-100.0, 100.0)
    k_star_min: float = bounded(0.0, 100.0)
    width: float = bounded(0.0, 100.0)
    vol_base: float = bounded(-100.0, 100.0)
    vol_slope: float = bounded(-100.0, 100.0)


@dataclass(frozen=True, slots=True)
class StaticDiscount:
    """How an expiry's shocked value is marked down, or a negative one up; and the loss factors."""

    base_positive: float = bounded(0.0, 10.0)
    base_negative: float = bounded(0.0, 10.0)
    rate_times_long: float = bounded(0.0, 100.0)
    rate_add_long: float = bounded(0.0, 100.0)
    rate_times_short: float = bounded(0.0, 100.0)
    rate_add_short: float = bounded(0.0, 100.0)
    initial_loss: float = bounded(0.0, 100.0)
    maintenance_loss: float = bounded(0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Contingencies:
    """Flat charges, and what lies between sure and unsure oracles."""

    basis_spot_up: float = bounded(0.0, 10.0)
    basis_spot_down: float = bounded(0.0, 10.0)
    basis_add: float = bounded(0.0, 100.0)
    basis_times: float = bounded(0.0, 100.0)
    perp_maintenance: float = bounded(0.0, 100.0)
    perp_initial: float = bounded(0.0, 100.0)
    option_maintenance: float = bounded(0.0, 100.0)
    option_initial: float = bounded(0.0, 100.0)
    confidence_threshold: float = bounded(0.0, 1.0)
    confidence_margin: float = bounded(0.0, 100.0)
    peg_threshold: float = bounded(0.0, 1000.0)
    peg_factor: float = bounded(0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything the model takes; at most 40 scenarios, at most one of each skew (formulas.md E 9)."""

    vol: VolShock
    skew: SkewShock
    discount: StaticDiscount
    contingencies: Contingencies
    scenarios: tuple[Scenario, ...] = children(Scenario, at_most=40)

    def fault(self) -> str | None:
        """What the bounds of single numbers do not say."""
        for move in (VolMove.LINEAR, VolMove.ABS):
            bent = [one for one in self.scenarios if one.vol == move]
            if len(bent) > 1:
                return f"scenarios: expected at most one with vol {move.name}, was {len(bent)}"
            if bent and bent[0].spot != 1.0:
                return f"scenarios: expected spot 1 with vol {move.name}, was {bent[0].spot!r}"
        return None


def demand(parameters: Parameters, book: Book) -> Demand:
    """What Derive asks of this sub-account. `has` is mark-to-market with cash; `needs` everything beyond it."""
    parts = assess(parameters, book)
    has = parts["mark"]
    return Demand(
        initial=Check(has=has, needs=has - parts["initial"]),
        maintenance=Check(has=has, needs=has - parts["maintenance"]),
        parts=parts,
    )


def assess(parameters: Parameters, book: Book) -> Mapping[str, float]:
    """Net margins and every term of them, in USD. `initial` and `maintenance` below 0 mean short of margin.

    Source: formulas.md E, which describes derivexyz/v2-core PMRMLib_2.sol in words.
    """
    profit = scenario_profits(parameters, book)
    basis = float(np.sum(basis_contingency(parameters, book)))
    worst = min(float(np.min(profit, initial=0.0)) if profit.size else 0.0, basis)
    tail = parameters.contingencies
    loss = parameters.discount
    peg = max(0.0, tail.peg_threshold - book.stable_price) * tail.peg_factor
    perp = abs(book.perps) * book.spot
    naked = book.naked_shorts() * book.spot
    collateral = book.collateral_values()
    parts = {
        "worst": worst,
        "basis": basis,
        "mark": book.mark_to_market() + book.cash,
        "perp_maintenance": perp * tail.perp_maintenance,
        "option_maintenance": naked * tail.option_maintenance,
        "collateral_maintenance": float(np.sum(collateral * book.haircut_maintenance)),
        "perp_initial": perp * tail.perp_initial,
        "option_initial": naked * tail.option_initial,
        "collateral_initial": float(np.sum(collateral * book.haircut_initial)),
        "oracle": _oracle(tail, book),
    }
    held = sum(parts[f"{each}_maintenance"] for each in ("perp", "option", "collateral"))
    more = sum(parts[f"{each}_initial"] for each in ("perp", "option", "collateral")) + parts["oracle"]
    parts["maintenance"] = worst * loss.maintenance_loss + parts["mark"] - held
    parts["initial"] = worst * (loss.initial_loss + peg) + parts["mark"] - held - more
    return parts


def static_discounts(parameters: Parameters, expiries: Expiries) -> tuple[F8, F8]:
    """Factors on the shocked value of each expiry: where positive, where negative. At expiry nothing is discounted."""
    one, years, rate = parameters.discount, expiries.years, expiries.rates
    positive = one.base_positive * exp_each(-years * (rate * one.rate_times_long + one.rate_add_long))
    negative = one.base_negative * exp_each(years * (rate * one.rate_times_short + one.rate_add_short))
    over = years <= 0.0
    return np.where(over, 1.0, positive), np.where(over, 1.0, np.minimum(1.0 / expiries.discounts, negative))


def skew_factors(parameters: Parameters, book: Book, move: VolMove) -> F8:
    """Factor on each option's volatility under a skew scenario, at least 0."""
    one = parameters.skew
    root = np.sqrt(book.option_years())
    linear = move is VolMove.LINEAR
    cap = (one.linear_base_cap if linear else one.abs_base_cap) + root * (
        one.linear_cap_slope if linear else one.abs_cap_slope
    )
    k_star = np.maximum(one.k_star_min, root * one.width * (one.vol_base + one.vol_slope * root))
    with np.errstate(divide="ignore", invalid="ignore"):
        k = log_each(book.strikes / book.option_forwards())
        k = k if linear else np.abs(k)
        bend = k * cap / k_star
    bend = np.where(np.isnan(bend), 0.0, bend)  # at the money of an infinitely steep smile nothing moves
    # Capped on its own side of the forward: the same as a clamp at ±cap, unless the cap itself has fallen below 0.
    return np.asarray(np.maximum(0.0, 1.0 + np.where(k > 0.0, np.minimum(bend, cap), np.maximum(bend, -cap))))


def scenario_profits(parameters: Parameters, book: Book) -> F8:
    """(scenarios,) profit of perps, options and risk-cancelling collateral, damped."""
    scenarios = parameters.scenarios
    moves = [VolMove(one.vol) for one in scenarios]
    spot = np.array([one.spot for one in scenarios])
    damping = np.array([one.damping for one in scenarios], dtype=np.float64)
    linear = (book.perps * book.perp_price + book.cancelling_value()) * (spot - 1.0)
    if not book.strikes.size:
        return linear * damping
    shock = parameters.vol
    up, down = TenorShock(
        shock.range_up, shock.range_down, shock.short_power, shock.long_power, shock.floor_days
    ).factors(book.option_years())
    column = {
        VolMove.NONE: np.ones_like(up),
        VolMove.UP: up,
        VolMove.DOWN: down,
        VolMove.LINEAR: skew_factors(parameters, book, VolMove.LINEAR),
        VolMove.ABS: skew_factors(parameters, book, VolMove.ABS),
    }
    factors = np.stack([column[one] for one in moves], axis=1)
    # The least absolute volatility is for the shock upwards only.
    floor = np.array([shock.vol_floor if one is VolMove.UP else 0.0 for one in moves])
    values = book.expiry_values(BookScenarios(spot=spot, vol=factors, vol_floor=floor))
    positive, negative = static_discounts(parameters, book.expiries)
    shocked = values * np.where(values > 0.0, positive[:, None], negative[:, None])
    change = shocked - book.expiry_marks()[:, None]
    skewed = np.array([one in (VolMove.LINEAR, VolMove.ABS) for one in moves])
    change = np.where(skewed[None, :], -np.abs(change), change)
    return np.asarray((linear + np.sum(change, axis=0)) * damping)


def basis_contingency(parameters: Parameters, book: Book) -> F8:
    """(expiries,) what each expiry alone loses when its forward moves against spot, never positive."""
    tail = parameters.contingencies
    if not book.strikes.size:
        return np.zeros(book.expiries.years.shape[0])
    spot = np.array([tail.basis_spot_up, tail.basis_spot_down])
    still = BookScenarios(spot=spot, vol=np.ones((book.strikes.shape[0], 2)), vol_floor=np.zeros(2))
    change = np.min(book.expiry_values(still) - book.expiry_marks()[:, None], axis=1)
    return np.asarray(np.minimum(0.0, change) * (tail.basis_add + tail.basis_times * book.expiries.years))


def _oracle(tail: Contingencies, book: Book) -> float:
    # Each term weighs its own notional by how unsure its least sure feed is.
    def charge(confidence: float, threshold: float, notional: float) -> float:
        return (1.0 - confidence) * tail.confidence_margin * notional if confidence < threshold else 0.0

    # With perps held, their feed also prices the hedge of the options; collateral has nothing to do with it.
    sure = min(book.spot_confidence, book.perp_confidence) if book.perps else book.spot_confidence
    total = charge(sure, tail.confidence_threshold, abs(book.perps) * book.spot)
    for confidence, notional in zip(book.expiries.confidences, book.expiry_notionals(), strict=True):
        total += charge(min(sure, float(confidence)), tail.confidence_threshold, float(notional))
    for confidence, threshold, value in zip(
        book.collateral_confidences, book.collateral_thresholds, book.collateral_values(), strict=True
    ):
        total += charge(min(book.spot_confidence, float(confidence)), float(threshold), float(value))
    return total
