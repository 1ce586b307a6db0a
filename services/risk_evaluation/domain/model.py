"""A parameter set as the kernel needs it: column positions, ratios as floats, scenarios."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from libs.common.option_parameters import OptionRisk
from libs.common.parameters import Asset, AssetRisk, Instrument, Parameters
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.grid import (
    ScenarioSet,
    grid_scenarios,
    initial_range,
    maintenance_range,
    stress_scenarios,
)
from services.risk_evaluation.domain.lines import LineOrder, WideOrder, bucket_order, line_order, wide_order

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Liquidity:
    """What it costs to trade an underlying out, on notional (the add-on A).

    Args:
        half_spread: share of notional.
        impact: share of notional, per square root of 10^-6 USD traded.
        marginal_max: what one more dollar of a long position may cost at most, so that scan and add-on of a long
            asset never exceed its value, ρ counted, and more collateral never hurts.
        sellable: 10^-6 USD of a long position that can be sold in time; each dollar beyond costs `marginal_max`.
    """

    half_spread: float
    impact: float
    marginal_max: float
    sellable: float = math.inf


@dataclass(frozen=True, slots=True)
class Model:
    """Positions of everything in the arrays.

    Args:
        parameters: the set it was built from.
        assets, instruments, margined, options, packages: column order of each kind of array.
        risky: columns of the assets whose price can move, in the order of `liquidity`; each with its lines a bucket.
        lines: the order of everything an account can hold but options. wide: with these.
        moves: (scenarios, assets); rows: initial grid, maintenance grid, stresses.
        names: one a row of `moves`.
        vols: (scenarios) move of volatilities, share of their range. skews: (scenarios) tilt of smiles, of the cap.
        damping: (scenarios) share of a loss that counts.
        discounts: (scenarios) 1 + position among the static discounts, 0 for none.
        initial_rows, maintenance_rows, stress_rows: parts of `moves`.
        blend: λ. initial_over_maintenance_ppm: ρ. withdrawal_notional: share of net notional that must stay.
        taker_fee: by venue id, share of notional.
        option_risk: what is asked of options.
    """

    parameters: Parameters
    assets: tuple[Asset, ...]
    instruments: tuple[Instrument, ...]
    margined: tuple[Instrument, ...]
    options: tuple[Instrument, ...]
    packages: tuple[Instrument, ...]
    asset_column: dict[int, int]
    instrument_column: dict[int, int]
    margined_column: dict[int, int]
    option_column: dict[int, int]
    package_column: dict[int, int]
    risky: tuple[int, ...]
    lines: LineOrder
    wide: WideOrder
    liquidity: tuple[Liquidity, ...]
    moves: F8
    vols: F8
    skews: F8
    damping: F8
    discounts: I8
    names: tuple[str, ...]
    initial_rows: slice
    maintenance_rows: slice
    stress_rows: slice
    blend: float
    initial_over_maintenance_ppm: int
    withdrawal_notional: float
    taker_fee: dict[int, float]
    option_risk: OptionRisk

    def scenario_name(self, worst_scenario: int) -> str:
        """Name of a maintenance scenario or stress by its published index."""
        first: int = self.maintenance_rows.start
        return self.names[first + worst_scenario]


def build_model(parameters: Parameters) -> Model:
    """The model of a parameter set."""
    margin = parameters.margin
    initial = grid_scenarios(parameters, {one.asset: initial_range(one) for one in margin.assets})
    maintenance = grid_scenarios(parameters, {one.asset: maintenance_range(one) for one in margin.assets})
    return assemble(parameters, initial=initial, maintenance=maintenance, stresses=stress_scenarios(parameters))


def assemble(parameters: Parameters, *, initial: ScenarioSet, maintenance: ScenarioSet, stresses: ScenarioSet) -> Model:
    """The model of a parameter set under given scenarios."""
    margin = parameters.margin
    asset_column: dict[int, int] = {one.id: column for column, one in enumerate(parameters.assets)}
    margined = tuple(one for one in parameters.instruments if one.is_margined)
    options = tuple(one for one in parameters.instruments if one.is_option)
    packages = tuple(one for one in parameters.instruments if one.is_package)
    settled = (*margined, *options)
    a, b, c = len(initial.names), len(maintenance.names), len(stresses.names)
    moves = np.concatenate([initial.moves, maintenance.moves, stresses.moves])
    vols = np.concatenate([_or(one.vols, 0.0, one) for one in (initial, maintenance, stresses)])
    skews = np.concatenate([_or(one.skews, 0.0, one) for one in (initial, maintenance, stresses)])
    damping = np.concatenate([_or(one.damping, 1.0, one) for one in (initial, maintenance, stresses)])
    fallen = -np.minimum(moves, 0.0) * damping[:, None]
    traded = {asset_column[one.underlying] for one in settled}
    moving = [
        column
        for column, one in enumerate(parameters.assets)
        if one.price_instrument is not None or column in traded or np.any(moves[:, column] != 0.0)
    ]
    moving = list(bucket_order(moving, settled, asset_column))
    known = {asset_column[one.asset]: one for one in margin.assets}
    rho = margin.initial_over_maintenance / PPM
    liquidity = []
    for column in moving:
        down = fallen[:, column]
        deepest_initial = float(np.max(np.concatenate([down[:a], down[a + b :]]), initial=0.0))
        room = min(1.0 / rho - float(np.max(down[a:], initial=0.0)), 1.0 - deepest_initial) - margin.options.basis / PPM
        liquidity.append(_liquidity(known.get(column), max(0.0, room)))
    return Model(
        parameters=parameters,
        assets=parameters.assets,
        instruments=parameters.instruments,
        margined=margined,
        options=options,
        packages=packages,
        asset_column=asset_column,
        instrument_column={one.id: column for column, one in enumerate(parameters.instruments)},
        margined_column={one.id: column for column, one in enumerate(margined)},
        option_column={one.id: column for column, one in enumerate(options)},
        package_column={one.id: column for column, one in enumerate(packages)},
        risky=tuple(moving),
        lines=(lines := line_order(moving, margined, asset_column, options)),
        wide=wide_order(lines, margined, options, [moving.index(asset_column[one.underlying]) for one in options]),
        liquidity=tuple(liquidity),
        moves=moves,
        vols=vols,
        skews=skews,
        damping=damping,
        discounts=np.concatenate([_discounts(one) for one in (initial, maintenance, stresses)]),
        names=initial.names + maintenance.names + stresses.names,
        initial_rows=slice(0, a),
        maintenance_rows=slice(a, a + b),
        stress_rows=slice(a + b, a + b + c),
        blend=margin.blend / PPM,
        initial_over_maintenance_ppm=margin.initial_over_maintenance,
        withdrawal_notional=margin.withdrawal_notional / PPM,
        taker_fee={one.id: one.taker_fee / PPM for one in parameters.venues},
        option_risk=margin.options,
    )


def _or(values: F8 | None, otherwise: float, scenarios: ScenarioSet) -> F8:
    return np.full(len(scenarios.names), otherwise) if values is None else values


def _discounts(scenarios: ScenarioSet) -> I8:
    return np.zeros(len(scenarios.names), dtype=np.int64) if scenarios.discounts is None else scenarios.discounts


def _liquidity(risk: AssetRisk | None, marginal_max: float) -> Liquidity:
    if risk is None:  # has a price and no market of its own here
        return Liquidity(half_spread=0.0, impact=0.0, marginal_max=marginal_max)
    volume, share = float(risk.daily_volume_usd) * 1e6, risk.participation / PPM
    impact = risk.impact / PPM / math.sqrt(volume)
    # What the house holds is sold beside it: to the square root of both, that of the house adds at most its own.
    crowded = impact * math.sqrt(float(risk.house_notional_usd) * 1e6)
    return Liquidity(
        half_spread=risk.half_spread / PPM + crowded,
        impact=impact,
        marginal_max=marginal_max,
        sellable=share * volume * risk.initial_horizon_s / DAY_S if share else math.inf,
    )
