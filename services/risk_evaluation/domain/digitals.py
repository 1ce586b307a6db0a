"""Digital options among others: their price in each scenario with the slope of the smile, and their Greeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import Instrument
from libs.common.units import PPM
from libs.options.digital import smile_digital
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.options.grid import GridScenarios, price_grid
from services.risk_evaluation.domain.surfaces import Smile


@dataclass(frozen=True, slots=True)
class Lines:
    """Options of one underlying as `price_grid` takes them, (options) each.

    Args:
        moving: share of the forward that still moves; volatilities are those of all of it.
        slopes: of the smile's volatility, per 1 of strike. tilts: of the skew's factor, per 1 of strike.
    """

    forwards: F8
    strikes: F8
    years: F8
    vols: F8
    discounts: F8
    moving: F8
    fixed: F8
    kinds: I8
    slopes: F8
    tilts: F8


def kind_of(option: Instrument) -> LineKind:
    """What one unit of an option pays."""
    if option.is_digital:
        return LineKind.DIGITAL_CALL if option.is_call else LineKind.DIGITAL_PUT
    return LineKind.CALL if option.is_call else LineKind.PUT


def smile_slopes(
    options: Sequence[Instrument], smiles: Sequence[Smile | None], forwards: F8, strikes: F8, moving: F8
) -> F8:
    """(options) slopes of the smile at the strikes of digitals, 0 for others, for volatilities of what still moves."""
    found = np.zeros(len(options))
    for at, (one, smile) in enumerate(zip(options, smiles, strict=True)):
        if one.is_digital and smile is not None and strikes[at] > 0.0:
            slope = smile.svi.vol_slope(float(strikes[at] / forwards[at]))
            found[at] = moving[at] * (slope / forwards[at])
    return found


def skew_slopes(model: Model, years: F8, moneyness: F8, strikes: F8) -> F8:
    """(options) slopes of the factor by which a whole tilt of the smile moves volatilities, per 1 of strike."""
    width = np.maximum(model.option_risk.skew_width / PPM * np.sqrt(years), 1e-9)
    inside = (np.abs(moneyness) < width) & (strikes > 0.0)
    cap = model.option_risk.skew_cap / PPM
    return np.divide(cap, width * strikes, out=np.zeros_like(width), where=inside)


def price_digitals(model: Model, lines: Lines, scenarios: GridScenarios, unfaded: F8, values: F8, greeks: F8) -> None:
    """Overwrites values in every scenario, and Greeks at the last one, of the digitals among the lines.

    −∂C/∂K, C with the smile's volatilities: the flat price less vega times the slope, within 0 and the discount.

    Args:
        unfaded: (options, scenarios) factors on volatility before what is known of a settlement price is counted.
        values, greeks: as `price_grid` gave them, flat.
    """
    at = np.flatnonzero(lines.kinds >= int(LineKind.DIGITAL_CALL))
    calls = GridScenarios(scenarios.spot, scenarios.vol[at], scenarios.vol_floor, scenarios.years_passed)
    _, of_calls = price_grid(
        lines.forwards[at], lines.strikes[at], lines.years[at], lines.vols[at], lines.discounts[at], calls,
        fixed=lines.fixed[at],
    )  # fmt: skip
    tilt = np.zeros_like(calls.vol)
    tilt[:, : model.skews.shape[0]] = np.outer(lines.vols[at] * lines.tilts[at], model.skews)
    kept = np.divide(calls.vol, unfaded[at], out=np.ones_like(tilt), where=unfaded[at] > 0.0)
    slope = lines.slopes[at][:, None] * calls.vol + tilt * kept
    is_call = lines.kinds[at] == int(LineKind.DIGITAL_CALL)
    side = np.where(is_call, -1.0, 1.0)[:, None]
    values[at] = np.clip(values[at] + side * (of_calls[2] * slope), 0.0, lines.discounts[at][:, None])
    for number in at.tolist():
        one = smile_digital(
            forward=float(lines.forwards[number]), strike=float(lines.strikes[number]),
            years=float(lines.years[number]), vol=float(lines.vols[number]), slope=float(lines.slopes[number]),
            discount=float(lines.discounts[number]), kind=LineKind(int(lines.kinds[number])),
        )  # fmt: skip
        greeks[:, number, -1] = one.delta, one.gamma, one.vega, one.theta


def counted_delta(delta_notional: float, payout: float) -> float:
    """Notional of the coins that a digital stands for: near the strike at the end it is beyond all bounds, and counts
    up to what may have to be paid.
    """
    return min(max(delta_notional, -payout), payout)
