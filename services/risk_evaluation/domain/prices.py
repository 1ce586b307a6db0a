"""Marks turned into what one unit, one lot and one order is worth, now and in each scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import FUNDING_ONE, PPM
from libs.common.validity import ValidityClass
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.model import Liquidity, Model
from services.risk_evaluation.domain.option_prices import OptionPrices, Spot, option_prices
from services.risk_evaluation.domain.packages import legs_of, options_in
from services.risk_evaluation.domain.settlement import Settling, counted, faded
from services.risk_evaluation.domain.surfaces import VolatilitySurface

USD6 = 1_000_000


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of one instrument: integers with its exponent; without a price it has none."""

    price: int
    slow: int
    validity: ValidityClass
    confidence: int = 0
    settling: Settling | None = None  # what is known of the price that the instrument settles at


@dataclass(frozen=True, slots=True)
class Prices:
    """Money in 10^-6 USD. Scenario rows: those of the model, then one row for the slow marks.

    Args:
        unit: (assets) one unit.
        unit_change: (scenarios + 1, assets) change of one unit.
        lot_units: (margined) value of one lot, settlement units: clean as made here, dirty once `funded`.
        settle: (margined) one settlement unit.
        lot_change: (scenarios + 1, margined) change of one lot, at the scenario's settlement price.
        lot_notional: (margined) notional of one lot.
        order_value: (scenarios, instruments) one lot bought, without its price.
        order_settle: (scenarios, instruments) one unit of what the price is paid in.
        order_notional: (instruments) notional of one lot at the mark.
        ratio: (instruments) c as a float.
        options: of every option. liquidity: by underlying as in `Model`, what the marks' confidence lacks added.
        asset_validity, margined_validity, instrument_validity: ValidityClass numbers.
    """

    unit: F8
    unit_change: F8
    lot_units: F8
    settle: F8
    lot_change: F8
    lot_notional: F8
    order_value: F8
    order_settle: F8
    order_notional: F8
    ratio: F8
    asset_validity: tuple[int, ...]
    margined_validity: tuple[int, ...]
    instrument_validity: tuple[int, ...]
    options: OptionPrices
    liquidity: tuple[Liquidity, ...]


def funded(clean: Prices, funding: Sequence[int]) -> Prices:
    """The prices of a partition, whose lots carry its cumulative funding: 10^-9 settlement units a long lot."""
    paid = np.array([float(one) / FUNDING_ONE for one in funding], dtype=np.float64)
    return replace(clean, lot_units=clean.lot_units - paid)


def price_book(
    model: Model, marks: Mapping[int, Mark], surfaces: Mapping[int, VolatilitySurface] | None = None
) -> Prices:
    """Everything that follows from marks and surfaces alone.

    Args:
        marks: by instrument id; an instrument without one is worth nothing and STALE, so that nothing is decided on it.
        surfaces: by asset id; options are worth what these say, whatever their own marks.
    """
    unit = np.array([_unit(model, marks, asset, slow=False) for asset in range(len(model.assets))])
    unit_slow = np.array([_unit(model, marks, asset, slow=True) for asset in range(len(model.assets))])
    unit_moved = unit * (1.0 + model.moves)
    damping = model.damping[:, None]
    change = np.concatenate([unit * model.moves * damping, (unit_slow - unit).reshape(1, -1)])
    instruments = [_instrument(model, one, marks, unit, unit_slow, unit_moved) for one in model.instruments]
    pick = [model.instrument_column[one.id] for one in model.margined]
    value = [instruments[column] for column in pick]
    asset_validity = tuple(_asset_validity(model, marks, asset) for asset in range(len(model.assets)))
    spot = _spot(model, marks, unit, unit_slow, unit_moved, change, asset_validity)
    options = option_prices(model, spot, surfaces or {})
    own = tuple(_own_validity(model, one, marks, options, asset_validity) for one in model.instruments)
    settled = [asset_validity[model.asset_column[one.settlement]] for one in model.instruments]
    validity = tuple(max(pair) for pair in zip(own, settled, strict=True))
    scenarios = model.moves.shape[0]
    return Prices(
        unit=unit,
        unit_change=change,
        lot_units=np.array([one.units for one in value], dtype=np.float64),
        settle=np.array([unit[model.asset_column[one.settlement]] for one in model.margined], dtype=np.float64),
        lot_change=_columns([_damped(one.change, model.damping) for one in value], scenarios + 1),
        lot_notional=np.array([one.notional for one in value], dtype=np.float64),
        order_value=_with_paid_up(
            model,
            damping * _columns([one.order_value for one in instruments], scenarios),
            options,
            damping * unit_moved,
        ),
        order_settle=damping * _columns([one.order_settle for one in instruments], scenarios),
        order_notional=np.array(
            [
                value.notional + _coins_inside(model, one, unit)
                for one, value in zip(model.instruments, instruments, strict=True)
            ],
            dtype=np.float64,
        ),
        ratio=np.array([one.c_num / one.c_den for one in model.instruments], dtype=np.float64),
        asset_validity=asset_validity,
        margined_validity=tuple(validity[column] for column in pick),
        instrument_validity=validity,
        options=options,
        liquidity=tuple(_liquidity(model, marks, position) for position in range(len(model.risky))),
    )


def _spot(
    model: Model,
    marks: Mapping[int, Mark],
    unit: F8,
    unit_slow: F8,
    unit_moved: F8,
    change: F8,
    validity: Sequence[int],
) -> Spot:
    found = {
        column: marks[one.price_instrument]
        for column, one in enumerate(model.assets)
        if one.price_instrument is not None and one.price_instrument in marks
    }
    return Spot(
        unit=unit,
        unit_slow=unit_slow,
        unit_moved=unit_moved,
        unit_change=change,
        index={column: mark.price for column, mark in found.items()},
        slow={column: mark.slow / mark.price for column, mark in found.items() if mark.price > 0},
        settling=_settling(model, marks),
        validity=validity,
    )


def _settling(model: Model, marks: Mapping[int, Mark]) -> dict[int, Settling]:
    found: dict[int, Settling] = {}
    for one in model.options:
        mark = marks.get(one.id)
        settling = counted(one, mark.settling) if mark else None
        if settling is not None:
            found[one.id] = settling
    return found


def _damped(change: F8, damping: F8) -> F8:
    return np.append(change[:-1] * damping, change[-1])


def _with_paid_up(model: Model, values: F8, options: OptionPrices, unit_moved: F8) -> F8:
    """The values of a lot in each scenario with those of options and packages, which come from surfaces."""
    for column, one in enumerate(model.options):
        values[:, model.instrument_column[one.id]] = options.moved[:, column]
    for one in model.packages:
        legs, own = legs_of(model, one), np.zeros(values.shape[0])
        for asset, amount in legs.units:
            own += amount * unit_moved[:, asset]
        for option, lots in legs.options:
            own += lots * options.moved[:, option]
        values[:, model.instrument_column[one.id]] = own
    return values


def _coins_inside(model: Model, one: Instrument, unit: F8) -> float:
    """Notional of the underlying's coins that a lot of a package holds; options are charged apart."""
    base = model.asset_column[one.underlying]
    return sum(amount * float(unit[asset]) for asset, amount in legs_of(model, one).units if asset == base)


def _own_validity(
    model: Model, one: Instrument, marks: Mapping[int, Mark], options: OptionPrices, assets: Sequence[int]
) -> int:
    if not one.is_paid_up:
        return _validity(marks, one.id)
    own = [options.validity[option] for option, _ in options_in(model, one)]
    return max(own + [assets[asset] for asset, _ in legs_of(model, one).units])


def _liquidity(model: Model, marks: Mapping[int, Mark], position: int) -> Liquidity:
    """What it costs to trade an underlying out; a mark that its sources do not confirm costs what it may be off by."""
    known, risk = model.liquidity[position], model.option_risk
    mark = marks.get(model.assets[model.risky[position]].price_instrument or 0)
    if mark is None or mark.price <= 0 or not risk.confidence:
        return known
    excess = max(0.0, mark.confidence / mark.price - risk.confidence_from / PPM)
    return replace(known, half_spread=known.half_spread + risk.confidence / PPM * excess) if excess else known


@dataclass(frozen=True, slots=True)
class _Valued:
    units: float  # clean value of a lot, settlement units
    notional: float
    change: F8
    order_value: F8
    order_settle: F8


def _instrument(
    model: Model, one: Instrument, marks: Mapping[int, Mark], unit: F8, unit_slow: F8, unit_moved: F8
) -> _Valued:
    base, quote = model.asset_column[one.underlying], model.asset_column[one.quote]
    settlement = model.asset_column[one.settlement]
    ratio = one.c_num / one.c_den
    mark = marks.get(one.id)
    settle = unit_moved[:, settlement]
    now = faded(counted(one, mark.settling), price=mark.price, slow=mark.slow) if mark else None
    if now is None or now.price <= 0 or one.is_paid_up:  # worth what surfaces say
        nothing = np.zeros(model.moves.shape[0])
        return _Valued(0.0, 0.0, np.zeros(model.moves.shape[0] + 1), nothing, settle)
    # Quoted in σ: M_k = (S_u,k/S_u)(S_σ/S_σ,k)M. A quote that stands still, as USD does, leaves S_u,k/S_u exactly.
    move = now.moving * ((model.moves[:, base] - model.moves[:, quote]) / (1.0 + model.moves[:, quote]))
    if one.kind is InstrumentKind.INVERSE_PERP:
        worth = one.c_num / (one.c_den * now.price)
        slow = one.c_num / (one.c_den * now.slow)
        change = np.append(worth * (move / (1.0 + move)) * settle, (worth - slow) * unit_slow[settlement])
        order_value = -(worth / (1.0 + move)) * settle
        return _Valued(-worth, now.moving * (worth * unit[settlement]), change, order_value, settle)
    worth = one.c_num * now.price / one.c_den
    slow = one.c_num * now.slow / one.c_den
    change = np.append(worth * move * settle, (slow - worth) * unit_slow[settlement])
    if one.kind is InstrumentKind.SPOT:
        order_value = unit_moved[:, base] * float(one.base_units_per_lot)
        return _Valued(worth, float(one.base_units_per_lot) * unit[base], change, order_value, settle)
    order_value = ratio * (now.price * (1.0 + move)) * settle
    return _Valued(worth, now.moving * (worth * unit[settlement]), change, order_value, settle)


def _columns(columns: list[F8], rows: int) -> F8:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))


def _unit(model: Model, marks: Mapping[int, Mark], column: int, *, slow: bool) -> float:
    asset = model.assets[column]
    if asset.price_instrument is None:
        return float(Fraction(USD6, 10**asset.decimals))
    mark = marks.get(asset.price_instrument)
    if mark is None or mark.price <= 0:
        return 0.0
    one = model.instruments[model.instrument_column[asset.price_instrument]]
    price = mark.slow if slow else mark.price
    quote = _unit(model, marks, model.asset_column[one.quote], slow=slow)
    return one.c_num * price / (one.c_den * one.base_units_per_lot) * quote


def _validity(marks: Mapping[int, Mark], instrument: int) -> int:
    mark = marks.get(instrument)
    return int(ValidityClass.STALE if mark is None or mark.price <= 0 else mark.validity)


def _asset_validity(model: Model, marks: Mapping[int, Mark], column: int) -> int:
    asset = model.assets[column]
    if asset.price_instrument is None:
        return int(ValidityClass.VALID)
    one = model.instruments[model.instrument_column[asset.price_instrument]]
    return max(_validity(marks, one.id), _asset_validity(model, marks, model.asset_column[one.quote]))
