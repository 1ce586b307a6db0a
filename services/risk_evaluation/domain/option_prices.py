"""What one lot of each option is worth, now, under the slow mark and in each scenario, from the surfaces in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import PPM, YEAR_NS
from libs.common.validity import ValidityClass
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.digitals import (
    Lines,
    counted_delta,
    kind_of,
    price_digitals,
    skew_slopes,
    smile_slopes,
)
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.options.grid import GridScenarios, TenorShock, price_grid
from services.risk_evaluation.domain.options.normal import exp_each, log_each
from services.risk_evaluation.domain.settlement import Settling
from services.risk_evaluation.domain.surfaces import RATE_ONE, Smile, VolatilitySurface


@dataclass(frozen=True, slots=True)
class OptionPrices:
    """Money in 10^-6 USD unless said.

    Args:
        units: (options) value of a lot, settlement units. settle: (options) one settlement unit.
        table: (options, columns) of a lot, the columns of `lines.line_table`; notional is charged apart and 0 here.
        moved: (scenarios, options) value of a lot in a scenario, at that scenario's settlement price.
        delta_notional: (options) notional of the coins that a lot stands for. index_notional: of all its coins, of a
            digital what it pays.
        coins: (options) coins of a lot, of a digital the money that it pays. forward_over_spot: (options).
        value, greeks: (options), (4, options) of an option on one coin, or that pays 1, USD: delta and gamma on the
            forward, vega per 1.0, theta a year. vols: (options) a year.
        validity: (options) ValidityClass numbers: STALE where no surface tells what it is worth.
    """

    units: F8
    settle: F8
    table: F8
    moved: F8
    delta_notional: F8
    index_notional: F8
    coins: F8
    forward_over_spot: F8
    value: F8
    greeks: F8
    vols: F8
    validity: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """What options need to know of prices.

    Args:
        unit, unit_slow: (assets) one unit, at the mark and under the slow marks.
        unit_moved: (scenarios, assets) one unit in a scenario, undamped. unit_change: (scenarios + 1, assets) damped.
        index: by asset column: integer mark of the price instrument. slow: its slow mark over the mark.
        validity: (assets) ValidityClass numbers. settling: by option id, what is known of its settlement price.
    """

    unit: F8
    unit_slow: F8
    unit_moved: F8
    unit_change: F8
    index: Mapping[int, int]
    slow: Mapping[int, float]
    validity: Sequence[int]
    settling: Mapping[int, Settling]


def option_prices(model: Model, spot: Spot, surfaces: Mapping[int, VolatilitySurface]) -> OptionPrices:
    """The prices of every option.

    Args:
        surfaces: by asset id of the underlying. An option without a smile is worth nothing and STALE, so that nothing
            is decided on it; past its expiry it is worth its intrinsic value at the index.
    """
    count, scenarios = len(model.options), model.moves.shape[0]
    out = OptionPrices(
        units=np.zeros(count), settle=np.zeros(count),
        table=np.zeros((count, scenarios + 3 + len(model.lines.settles))), moved=np.zeros((scenarios, count)),
        delta_notional=np.zeros(count), index_notional=np.zeros(count), coins=np.zeros(count),
        forward_over_spot=np.ones(count), value=np.zeros(count), greeks=np.zeros((4, count)), vols=np.zeros(count),
        validity=tuple(_validity(model, one, spot, surfaces) for one in model.options),
    )  # fmt: skip
    groups: dict[tuple[int, int], list[int]] = {}
    for column, one in enumerate(model.options):
        base = model.asset_column[one.underlying]
        out.settle[column] = spot.unit[model.asset_column[one.settlement]]
        quote = model.asset_column[one.quote]
        whole = one.payout_units if one.is_digital else one.base_units_per_lot
        counted = quote if one.is_digital else base
        out.coins[column] = whole / 10.0 ** model.assets[counted].decimals
        rest = 1.0 - spot.settling[one.id].known if one.id in spot.settling else 1.0
        out.index_notional[column] = rest * (whole * spot.unit[counted])
        if _smile(one, surfaces.get(one.underlying)) is not None and spot.index.get(base, 0) > 0:
            groups.setdefault((base, quote), []).append(column)
    for (base, quote), columns in groups.items():
        _price(model, spot, surfaces[model.assets[base].id], base, quote, columns, out)
    return out


def _smile(option: Instrument, surface: VolatilitySurface | None) -> Smile | VolatilitySurface | None:
    """What tells the value: the smile of its expiry, or the surface alone once that is past."""
    if surface is not None and option.expiry_ns <= surface.made_at_ns:
        return surface
    return surface and surface.smile_at(option.expiry_ns)


def _validity(model: Model, option: Instrument, spot: Spot, surfaces: Mapping[int, VolatilitySurface]) -> int:
    surface = surfaces.get(option.underlying)
    assets = [spot.validity[model.asset_column[asset]] for asset in (option.underlying, option.settlement)]
    if surface is None or _smile(option, surface) is None:
        return int(ValidityClass.STALE)
    return max(int(surface.validity), *assets)


def _price(
    model: Model, spot: Spot, surface: VolatilitySurface, base: int, quote: int, columns: list[int], out: OptionPrices
) -> None:
    options = [model.options[column] for column in columns]
    price_exponent = model.instruments[model.instrument_column[model.assets[base].price_instrument or 0]].price_exponent
    index = spot.index[base] * 10.0**price_exponent
    smiles = [surface.smile_at(one.expiry_ns) for one in options]
    years = np.array([max(0.0, (one.expiry_ns - surface.made_at_ns) / YEAR_NS) for one in options])
    forwards = np.array([smile.forward_price * 10.0**price_exponent if smile else index for smile in smiles])
    rates = np.array([smile.discount_rate / RATE_ONE if smile else 0.0 for smile in smiles])
    fixed, rest = _known(options, spot)
    forwards = fixed + rest * forwards  # of the average; what is known of it stands still, its volatility with it
    strikes = np.array([one.strike * 10.0**one.settlement_exponent for one in options])
    moneyness = log_each(np.where(strikes > 0.0, strikes / forwards, 1.0))
    moving = 1.0 - fixed / forwards
    vols = np.where(strikes > 0.0, _vols(smiles, moneyness, years) * moving, 0.0)
    move = (model.moves[:, base] - model.moves[:, quote]) / (1.0 + model.moves[:, quote])
    # After the scenarios: the slow mark, and the mark itself.
    scenarios = GridScenarios(
        spot=np.concatenate([1.0 + move, np.array([spot.slow[base], 1.0])]),
        vol=np.concatenate([_vol_factors(model, years, moneyness), np.ones((len(options), 2))], axis=1),
        vol_floor=np.zeros(move.shape[0] + 2),
        years_passed=np.zeros(move.shape[0] + 2),
    )
    unfaded = scenarios.vol
    if np.any(fixed):
        scenarios = _faded(scenarios, forwards, fixed)
    kinds = np.array([int(kind_of(one)) for one in options], dtype=np.int64)
    discounts = exp_each(-rates * years)
    values, greeks = price_grid(forwards, strikes, years, vols, discounts, scenarios, kinds=kinds, fixed=fixed)
    if any(one.is_digital for one in options):
        slopes = smile_slopes(options, smiles, forwards, strikes, moving)
        tilts = skew_slopes(model, years, moneyness, strikes)
        lines = Lines(forwards, strikes, years, vols, discounts, moving, fixed, kinds, slopes, tilts)
        price_digitals(model, lines, scenarios, unfaded, values, greeks)
    if np.any(model.discounts):
        values[:, :-2] *= _discounts(model, years, rates)
    for at, (column, one) in enumerate(zip(columns, options, strict=True)):
        out.value[column], out.greeks[:, column] = values[at, -1], greeks[:, at, -1]
        carry = (forwards[at] - fixed[at]) / index
        out.forward_over_spot[column], out.vols[column] = carry, vols[at]
        _fill(model, spot, one, column, values[at], fixed[at] + rest[at] * (index * scenarios.spot), out)
        if one.is_digital:
            payout = one.payout_units * spot.unit[quote]
            out.delta_notional[column] = counted_delta(greeks[0, at, -1] * carry * index * payout, payout)
        else:
            coins_usd = one.base_units_per_lot * spot.unit[base]
            out.delta_notional[column] = greeks[0, at, -1] * carry * coins_usd


def _known(options: Sequence[Instrument], spot: Spot) -> tuple[F8, F8]:
    """(options) the part of each settlement price that is known, and the share that is not."""
    found = [spot.settling.get(one.id) for one in options]
    fixed = [
        one.known * (one.price * 10.0**option.settlement_exponent) if one else 0.0
        for option, one in zip(options, found, strict=True)
    ]
    return np.array(fixed), np.array([1.0 - one.known if one else 1.0 for one in found])


def _faded(scenarios: GridScenarios, forwards: F8, fixed: F8) -> GridScenarios:
    """Scenarios in which volatility counts for the share of the forward that still moves there."""
    moving = scenarios.spot * (forwards - fixed)[:, None]
    share = np.divide(forwards, forwards - fixed, out=np.zeros_like(forwards), where=forwards > fixed)
    factor = moving / (fixed[:, None] + moving) * share[:, None]
    return replace(scenarios, vol=np.where(fixed[:, None] != 0.0, scenarios.vol * factor, scenarios.vol))


def _vols(smiles: Sequence[Smile | None], k: F8, years: F8) -> F8:
    found = np.zeros(len(smiles))
    for at, smile in enumerate(smiles):
        if smile is not None and years[at] > 0.0:
            found[at] = np.sqrt(smile.svi.total_variance(k[at : at + 1])[0] / years[at])
    return found


def _vol_factors(model: Model, years: F8, moneyness: F8) -> F8:
    """(options, scenarios) factor on volatility: the scenario's share of a range that shrinks with tenor, and its tilt.

    Source: formulas.md E 2 and 5 (Derive PM2).
    """
    risk = model.option_risk
    shock = TenorShock(
        range_up=risk.vol_up / PPM,
        range_down=risk.vol_down / PPM,
        short_power=risk.short_power / PPM,
        long_power=risk.long_power / PPM,
        floor_days=float(risk.floor_days),
    )
    up, down = shock.factors(years)
    share = model.vols
    rises, falls = np.outer(up - 1.0, np.maximum(share, 0.0)), np.outer(1.0 - down, np.maximum(-share, 0.0))
    width = np.maximum(risk.skew_width / PPM * np.sqrt(years), 1e-9)
    tilt = risk.skew_cap / PPM * np.clip(moneyness / width, -1.0, 1.0)
    factors: F8 = np.maximum(0.0, 1.0 + rises - falls + np.outer(tilt, model.skews))
    return factors


def _discounts(model: Model, years: F8, rates: F8) -> F8:
    """(options, scenarios) factor on values: base·e^(∓T·(rate·times + add)); at its expiry nothing is discounted.

    A rate below 0 counts as 0. What is owed never counts for more than its value undiscounted.
    Source: formulas.md E 3 (Derive PM2), line by line instead of by expiry: so a scenario stays a sum over lines.
    """
    factors = np.ones((years.shape[0], model.discounts.shape[0]))
    rate = np.maximum(rates, 0.0)
    for number, one in enumerate(model.option_risk.discounts, 1):
        steep = years * (rate * (one.rate_times / PPM) + one.rate_add / PPM)
        if one.is_long:
            factor = one.base / PPM * exp_each(-steep)
        else:
            factor = np.minimum(exp_each(rate * years), one.base / PPM * exp_each(steep))
        factors[:, model.discounts == number] = np.where(years > 0.0, factor, 1.0)[:, None]
    return factors


def _fill(model: Model, spot: Spot, one: Instrument, column: int, values: F8, settled: F8, out: OptionPrices) -> None:
    """The row of one option; coin-settled, its value is owed in coins.

    Args:
        values, settled: (scenarios, then slow mark and mark) value in the quote, price of a coin at settlement.
    """
    settlement = model.asset_column[one.settlement]
    if one.kind is InstrumentKind.COIN_OPTION:
        units = one.base_units_per_lot * (values / settled)
    elif one.is_digital:
        units = one.payout_units * values
    else:
        scale = 10.0 ** (model.assets[settlement].decimals - model.assets[model.asset_column[one.underlying]].decimals)
        units = one.base_units_per_lot * (values * scale)
    now, slow, moved = units[-1], units[-2], units[:-2]
    settle = spot.unit_moved[:, settlement]
    scenarios = moved.shape[0]
    row = out.table[column]
    row[:scenarios] = (moved - now) * settle * model.damping
    row[scenarios] = (slow - now) * spot.unit_slow[settlement]
    row[scenarios + 1] = now * spot.unit[settlement]
    out.units[column] = now
    out.moved[:, column] = moved * settle * model.damping
    if one.settlement == one.underlying:
        row[: scenarios + 1] += now * spot.unit_change[:, settlement]
    elif settlement in model.risky:
        row[scenarios + 1] = 0.0
        row[scenarios + 3 + model.lines.settles.index(model.risky.index(settlement))] = now
