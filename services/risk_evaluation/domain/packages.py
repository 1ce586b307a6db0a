"""Structured products unfolded: what an account holds of packages counts as their legs, before anything is grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import Instrument
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_rows import OptionHoldings, OptionRows


@dataclass(frozen=True, slots=True)
class Legs:
    """What one lot of a package holds: (asset column, units) and (option column, lots), all signed."""

    units: tuple[tuple[int, int], ...]
    options: tuple[tuple[int, int], ...]


NO_LEGS = Legs((), ())


def legs_of(model: Model, one: Instrument) -> Legs:
    """The legs of a package in columns; none of any other instrument."""
    if not one.legs:
        return NO_LEGS
    return Legs(
        units=tuple((model.asset_column[leg.asset], leg.amount) for leg in one.legs if leg.asset),
        options=tuple((model.option_column[leg.instrument], leg.amount) for leg in one.legs if leg.instrument),
    )


def options_in(model: Model, one: Instrument) -> Sequence[tuple[int, int]]:
    """(option column, lots) that a lot of an instrument is or holds; empty for all but options and packages."""
    if one.is_option:
        return ((model.option_column[one.id], 1),)
    return legs_of(model, one).options


class PaidUpHoldings:
    """Options and packages of every row of a book.

    Args:
        options: what a row holds of each option, those that its packages hold among them.
        packages: what it holds of packages.
    """

    def __init__(self, model: Model) -> None:
        self.options = OptionHoldings()
        self.packages = OptionHoldings()
        self._option_column, self._package_column = model.option_column, model.package_column
        self._legs = tuple(legs_of(model, one) for one in model.packages)

    def is_kept(self, key: int) -> bool:
        """Whether an instrument is an option or a package."""
        return key in self._option_column or key in self._package_column

    def set(self, *, row: int, key: int, lots: int) -> Sequence[int]:
        """Overwrites a position; returns columns of the assets of which the row holds more or less."""
        option = self._option_column.get(key)
        if option is not None:
            self._add(row, option, lots - self.lots(row=row, key=key))
            return ()
        package = self._package_column[key]
        more, legs = lots - self.packages.lots(row=row, option=package), self._legs[package]
        self.packages.set(row=row, option=package, lots=lots)
        for option, each in legs.options:
            self._add(row, option, more * each)
        return [asset for asset, _ in legs.units]

    def lots(self, *, row: int, key: int) -> int:
        """Lots of an option held by itself, or of a package; 0 without."""
        package = self._package_column.get(key)
        if package is not None:
            return self.packages.lots(row=row, option=package)
        option = self._option_column[key]
        inside = sum(lots * _of(self._legs[one].options, option) for one, lots in self._packages(row))
        return self.options.lots(row=row, option=option) - inside

    def units(self, *, row: int, asset: int) -> int:
        """Units of an asset, by column, that packages of a row hold."""
        return sum(lots * _of(self._legs[one].units, asset) for one, lots in self._packages(row))

    def _packages(self, row: int) -> Sequence[tuple[int, int]]:
        held = self.packages.by_row.get(row)
        return tuple(held.items()) if held else ()

    def _add(self, row: int, option: int, more: int) -> None:
        self.options.set(row=row, option=option, lots=self.options.lots(row=row, option=option) + more)


def _of(parts: Sequence[tuple[int, int]], column: int) -> int:
    return next((amount for one, amount in parts if one == column), 0)


def inside(model: Model, packages: OptionRows, *, row: int, option: int | None = None, asset: int | None = None) -> int:
    """Lots of an option, or units of an asset, that the packages of a row hold."""
    total = 0
    for at in np.flatnonzero(packages.row == row).tolist():
        legs = legs_of(model, model.packages[int(packages.option[at])])
        own = _of(legs.options, option) if option is not None else _of(legs.units, -1 if asset is None else asset)
        total += int(packages.lots[at]) * own
    return total


def lot_value(model: Model, unit: F8, units: F8, settle: F8, package: Instrument) -> float:
    """Value of one lot of a package, 10^-6 USD.

    Args:
        unit: (assets) of one unit. units, settle: (options) units of a lot and the value of one.
    """
    legs = legs_of(model, package)
    value = 0.0
    for asset, amount in legs.units:
        value += amount * float(unit[asset])
    for option, lots in legs.options:
        value += lots * float(units[option] * settle[option])
    return value
