"""Legs of structured products: each must be known, and fit the package that it is a part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from libs.common.config.blocks import UNITS_MAX, AssetBlock
from libs.common.config.instrument_blocks import InstrumentBlock, LegBlock
from libs.common.errors import ConfigurationError
from libs.common.instruments import Instrument, Leg
from libs.common.units import MalformedNumber, to_scaled

LOTS_AT_ONCE = 16  # so many of the largest orders must fit a balance


def with_legs(
    package: Instrument,
    block: InstrumentBlock,
    *,
    path: str,
    listed: Mapping[str, Instrument],
    assets: Mapping[str, AssetBlock],
) -> Instrument:
    """The package with its legs; any other instrument as it is.

    Args:
        listed: every instrument by symbol.
    Raises: ConfigurationError, with the path of a leg that is unknown, stands twice or does not fit, and the bound.
    """
    if not block.legs:
        return package
    legs = [
        _option_leg(package, one, f"{path}.legs.{at}", listed)
        if one.instrument is not None
        else _asset_leg(package, one, f"{path}.legs.{at}", assets)
        for at, one in enumerate(block.legs)
    ]
    for at, one in enumerate(legs):
        if any((one.asset, one.instrument) == (same.asset, same.instrument) for same in legs[:at]):
            raise ConfigurationError(f"{path}.legs.{at}: expected each leg once")
    if not any(one.instrument for one in legs):
        raise ConfigurationError(f"{path}.legs: expected an option at least, was none")
    return replace(package, legs=tuple(legs))


def _option_leg(package: Instrument, one: LegBlock, path: str, listed: Mapping[str, Instrument]) -> Leg:
    symbol, lots = one.instrument or "", one.lots or 0
    option = listed.get(symbol)
    if option is None:
        raise ConfigurationError(f"{path}.instrument: expected a declared instrument, was {symbol}")
    if not option.is_option:
        raise ConfigurationError(f"{path}.instrument: expected an option, was {symbol}, {option.kind.name.lower()}")
    for name in ("underlying", "quote", "expiry_ns"):
        of, wanted = getattr(option, name), getattr(package, name)
        if of != wanted:
            raise ConfigurationError(f"{path}.instrument: expected {name} {wanted} as of the package, was {of}")
    most = LOTS_AT_ONCE * package.max_order_lots * abs(lots)
    if most * Fraction(option.c_num, option.c_den) * option.max_price >= UNITS_MAX or most >= UNITS_MAX:
        raise ConfigurationError(f"{path}.lots: expected {LOTS_AT_ONCE} such orders below 2^62 units, was {lots}")
    return Leg(asset=0, instrument=option.id, amount=lots)


def _asset_leg(package: Instrument, one: LegBlock, path: str, assets: Mapping[str, AssetBlock]) -> Leg:
    asset = assets.get(one.asset or "")
    if asset is None:
        raise ConfigurationError(f"{path}.asset: expected a declared asset, was {one.asset}")
    if asset.id not in (package.underlying, package.quote):
        raise ConfigurationError(f"{path}.asset: expected the package's underlying or quote, was {one.asset}")
    try:
        units = to_scaled(one.amount or "", -asset.decimals)
    except MalformedNumber as error:
        raise ConfigurationError(f"{path}.amount: {error}") from error
    if LOTS_AT_ONCE * package.max_order_lots * abs(units) >= UNITS_MAX:
        raise ConfigurationError(
            f"{path}.amount: expected {LOTS_AT_ONCE} such orders below 2^62 units, was {one.amount}"
        )
    return Leg(asset=asset.id, instrument=0, amount=units)
