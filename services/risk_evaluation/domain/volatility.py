"""Ranges at the volatility in force: what price_ingestion publishes with the marks, an asset's own without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.parameters import AssetRisk, Parameters, VolatilityProfile
from libs.common.units import PPM, Ppm
from services.risk_evaluation.domain.grid import Range, grid_scenarios, price_range, stress_scenarios
from services.risk_evaluation.domain.model import Model, assemble


@dataclass(frozen=True, slots=True)
class Sigmas:
    """Volatility a year that new risk, and that maintenance is judged by."""

    initial: Ppm
    maintenance: Ppm


def model_under(parameters: Parameters, sigmas: Mapping[int, Sigmas]) -> Model:
    """The margin model with each asset's ranges at these volatilities; an asset without one keeps its own."""
    initial: dict[int, Range] = {}
    maintenance: dict[int, Range] = {}
    for one in parameters.margin.assets:
        initial[one.asset], maintenance[one.asset] = ranges_at(one, sigmas.get(one.asset))
    return assemble(
        parameters,
        initial=grid_scenarios(parameters, initial),
        maintenance=grid_scenarios(parameters, maintenance),
        stresses=stress_scenarios(parameters),
    )


def ranges_at(risk: AssetRisk, sigmas: Sigmas | None) -> tuple[Range, Range]:
    """Initial and maintenance range of an asset at these volatilities, at its own sigma without them."""
    at = sigmas or Sigmas(risk.sigma, risk.sigma)
    return (
        price_range(sigma=at.initial / PPM, z=risk.initial_z / PPM, horizon_s=risk.initial_horizon_s),
        price_range(sigma=at.maintenance / PPM, z=risk.maintenance_z / PPM, horizon_s=risk.maintenance_horizon_s),
    )


def levels_under(parameters: Parameters, levels: Mapping[int, Sigmas]) -> dict[int, Sigmas]:
    """What levels in force come to under another set, once its notice is over: within the bounds of its profiles.

    An asset without a profile there, or without a level, is judged by that set's own sigma.
    """
    found: dict[int, Sigmas] = {}
    for profile in parameters.margin.profiles:
        level = levels.get(profile.asset)
        if level is not None:
            found[profile.asset] = Sigmas(_within(profile, level.initial), _within(profile, level.maintenance))
    return found


def _within(profile: VolatilityProfile, level: Ppm) -> Ppm:
    return min(max(level, profile.floor), profile.ceiling)
