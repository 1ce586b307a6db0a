"""Why a requirement is what it is: parts by contingency and underlying that add up to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from services.risk_evaluation.domain.arrays import F8, nearest_usd6
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.margin import Margins, all_sums, times_ppm_up, with_orders
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.option_sums import AddOns, add_ons
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.scan import Scan, scan


class Contingency(IntEnum):
    """What a requirement is asked for; the numbers of ballast.api.v1.Contingency."""

    SCAN = 1
    LIQUIDITY = 2
    OPEN_ORDERS = 3
    MAINTENANCE_MULTIPLE = 4
    ROUNDING = 5
    CONFIDENCE = 6
    NAKED_SHORTS = 7
    BASIS = 8


@dataclass(frozen=True, slots=True)
class Contribution:
    """A part of both requirements, 10^-6 USD; `underlying` is an asset id, 0 for the account as a whole."""

    contingency: Contingency
    underlying: int
    maintenance: int
    initial: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """What `evaluate` adds up, before it does: by underlying and row, 10^-6 USD."""

    maintenance: Scan
    initial: Scan
    filled: Scan
    charged: AddOns
    charged_filled: F8


def contributions(model: Model, prices: Prices, book: BookRows, margins: Margins, *, row: int) -> list[Contribution]:
    """The parts of a row's requirements: those of maintenance add up to it exactly, and so do those of initial.

    Each part is rounded to the nearest, so the part named rounding is below one 10^-6 USD a part and one more.

    Args:
        book: whole entities. margins: of this very book.
    """
    parts = _parts(model, prices, book)
    by_contingency: list[tuple[Contingency, F8, F8]] = [
        (Contingency.SCAN, parts.maintenance.parts, parts.initial.parts),
        *_add_ons(parts),
        (Contingency.OPEN_ORDERS, np.zeros_like(parts.charged_filled), parts.filled.parts - parts.initial.parts),
    ]
    found: list[Contribution] = []
    for contingency, maintenance, initial in by_contingency:
        rounded = nearest_usd6(maintenance[:, row]), nearest_usd6(initial[:, row])
        found += [
            Contribution(contingency, model.assets[column].id, int(rounded[0][position]), int(rounded[1][position]))
            for position, column in enumerate(model.risky)
            if rounded[0][position] or rounded[1][position]
        ]
    return found + list(_rest(model, parts, margins, row, found))


def _rest(model: Model, parts: _Parts, margins: Margins, row: int, found: list[Contribution]) -> Iterator[Contribution]:
    maintenance, initial = int(margins.maintenance_margin[row]), int(margins.initial_margin[row])
    own = int(np.ceil(parts.filled.loss[row] + _sum(parts.charged_filled, row)))
    multiple = int(times_ppm_up(margins.maintenance_margin, model.initial_over_maintenance_ppm)[row])
    floor = multiple - own if multiple == initial and multiple > own else 0
    if floor:
        yield Contribution(Contingency.MAINTENANCE_MULTIPLE, 0, 0, floor)
    left = maintenance - sum(one.maintenance for one in found), initial - floor - sum(one.initial for one in found)
    if any(left):
        yield Contribution(Contingency.ROUNDING, 0, *left)


def _parts(model: Model, prices: Prices, book: BookRows) -> _Parts:
    sums = all_sums(model, prices, book)
    charged = add_ons(model, prices, book, sums.notional, book.options)
    initial = scan(model, sums.change, model.initial_rows)
    filled, charged_filled = with_orders(model, prices, book, sums, charged, initial)
    maintenance = scan(model, sums.change, model.maintenance_rows)
    return _Parts(maintenance, initial, filled, charged, charged_filled)


def _add_ons(parts: _Parts) -> Iterator[tuple[Contingency, F8, F8]]:
    """What maintenance charges of each, and initial margin beside it: what open orders may add counts as liquidity."""
    charged = parts.charged
    more = parts.charged_filled - charged.total
    own = charged.liquidity - charged.unconfirmed
    yield Contingency.LIQUIDITY, own, own + more
    for contingency, part in (
        (Contingency.CONFIDENCE, charged.unconfirmed),
        (Contingency.NAKED_SHORTS, charged.naked),
        (Contingency.BASIS, charged.basis),
    ):
        yield contingency, part, part


def _sum(parts: F8, row: int) -> float:
    return float(sum(parts[:, row].tolist()))
