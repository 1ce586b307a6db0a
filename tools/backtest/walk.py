"""Walks through hourly prices: profiles learn as they go, accounts start each day at their margin, and what happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from libs.common.parameters import Parameters
from libs.common.units import PPM
from services.risk_evaluation.domain.arrays import F8, Mask
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.margin import Margins, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import USD6, Prices, price_book
from services.risk_evaluation.domain.volatility import model_under
from tools.backtest.books import Holding, cohort
from tools.backtest.history import DAY_HOURS, Hourly, marks_of
from tools.backtest.tape import Tape

PARTICIPATION = 0.10  # share of a day's volume that a liquidation may be
EXIT_HOURS_MAX = 12


@dataclass(frozen=True, slots=True)
class Day:
    """What became of the accounts of one day: one number an account, USD.

    Args:
        beyond_at_end, beyond_within: 24 h loss above initial margin, at the end and at any hour on the way.
        bad_debt: debt left after liquidation. fees: paid to the fund by those that could.
        uncovered: (stresses, accounts) stress loss beyond the account's own margin.
    """

    initial_margin: F8
    beyond_at_end: Mask
    beyond_within: Mask
    liquidated: Mask
    bad_debt: F8
    fees: F8
    uncovered: F8

    @property
    def cover_two(self) -> float:
        """Stress losses of the two largest entities together, in their worst stress."""
        return two_largest(self.uncovered)


def two_largest(uncovered: F8) -> float:
    """The two largest of (stresses, accounts) together, in the stress where they are most."""
    return float(np.max(np.sum(np.sort(uncovered, axis=1)[:, -2:], axis=1), initial=0.0))


def together(days: Sequence[Day]) -> Day:
    """One day of several populations."""
    columns = [np.concatenate([getattr(day, one.name) for day in days], axis=-1) for one in fields(Day)]
    return Day(*columns)


class Walk:
    """One population on one tape; models and prices by hour are built once.

    Args:
        stresses: (stresses, assets) relative moves.
    """

    def __init__(self, parameters: Parameters, tape: Tape, holdings: tuple[Holding, ...], *, stresses: F8) -> None:
        self._parameters, self._tape, self._holdings, self._stresses = parameters, tape, holdings, stresses
        self._has_options = any(one.options for one in holdings)
        self._built: dict[int, tuple[Model, Prices]] = {}

    @property
    def hours(self) -> int:
        """Hours there are."""
        return self._tape.hours

    def day(self, start: int) -> Day:
        """The day that begins at an hour; it needs `DAY_HOURS + EXIT_HOURS_MAX` hours after it."""
        model, prices = self._at(start)
        book = cohort(self._parameters, model, prices, self._holdings)
        opened = evaluate(model, prices, book)
        path = [opened]
        for hour in range(start + 1, start + DAY_HOURS + EXIT_HOURS_MAX + 1):
            path.append(self._margins(hour, book))
        equity = np.stack([one.equity for one in path]) / USD6
        maintenance = np.stack([one.maintenance_margin for one in path]) / USD6
        cost = np.stack([one.add_on for one in path]) / USD6
        liquidated, bad_debt, fees = self._liquidate(equity, maintenance, cost, opened)
        return Day(
            initial_margin=opened.initial_margin / USD6,
            beyond_at_end=equity[DAY_HOURS] < 0.0,
            beyond_within=np.any(equity[: DAY_HOURS + 1] < 0.0, axis=0),
            liquidated=liquidated,
            bad_debt=bad_debt,
            fees=fees,
            uncovered=self._uncovered(start, model, book),
        )

    def ends_beyond(self, start: int) -> Mask:
        """Whether 24 h loss exceeds initial margin, at the end alone."""
        model, prices = self._at(start)
        book = cohort(self._parameters, model, prices, self._holdings)
        return self._margins(start + DAY_HOURS, book).equity < 0

    def cover_two(self, start: int) -> float:
        """Stress losses beyond margin of the two largest entities that open at an hour, in their worst stress."""
        model, prices = self._at(start)
        book = cohort(self._parameters, model, prices, self._holdings)
        return two_largest(self._uncovered(start, model, book))

    def initial_margins(self, start: int, end: int, *, every: int = 1) -> tuple[F8, F8]:
        """Initial margin of the book opened at the first hour and never changed: (hours, accounts) each.

        Returns: in USD, and as a share of net notional; not a number for accounts that are hedged at the start.
        """
        model, prices = self._at(start)
        book = cohort(self._parameters, model, prices, self._holdings)
        found = [self._margins(hour, book) for hour in range(start, end, every)]
        margins = np.stack([one.initial_margin for one in found]) / USD6
        notional = np.stack([one.gross_notional for one in found]) / USD6
        one_sided = np.array([sum(map(bool, (*one.coins, *one.linear, *one.inverse))) == 1 for one in self._holdings])
        share = np.divide(
            margins, notional, out=np.full_like(margins, np.nan), where=one_sided[None, :] & (notional > 0.0)
        )
        return margins, share

    def _liquidate(self, equity: F8, maintenance: F8, cost: F8, opened: Margins) -> tuple[Mask, F8, F8]:
        below = equity[: DAY_HOURS + 1] < maintenance[: DAY_HOURS + 1]
        liquidated = np.any(below, axis=0)
        first = np.argmax(below, axis=0)
        bad_debt, fees = np.zeros(liquidated.shape), np.zeros(liquidated.shape)
        fee = self._parameters.ledger.liquidation_fee / PPM
        volume = min(one.daily_volume_usd for one in self._parameters.margin.assets)
        for row in np.flatnonzero(liquidated):
            notional = float(opened.gross_notional[row]) / USD6
            # Sold evenly over the hours that the least liquid market would take, at the cost the add-on names.
            hours = min(EXIT_HOURS_MAX, max(1, round(DAY_HOURS * notional / (PARTICIPATION * volume))))
            begun = int(first[row])
            left = float(np.mean(equity[begun + 1 : begun + 1 + hours, row])) - float(cost[begun, row])
            bad_debt[row] = max(0.0, -left)
            fees[row] = min(max(0.0, left), fee * notional)
        return liquidated, bad_debt, fees

    def _uncovered(self, start: int, model: Model, book: BookRows) -> F8:
        out = []
        for move in self._stresses:
            margins = evaluate(model, self._priced(model, start, self._tape.hourly.prices[start] * (1.0 + move)), book)
            out.append(np.maximum(0.0, margins.add_on - margins.equity) / USD6)
        return np.stack(out)

    def _margins(self, hour: int, book: BookRows) -> Margins:
        model, prices = self._at(hour)
        return evaluate(model, prices, book)

    def _at(self, hour: int) -> tuple[Model, Prices]:
        found = self._built.get(hour)
        if found is None:
            model = model_under(self._parameters, self._tape.sigmas[hour])
            found = model, self._priced(model, hour, self._tape.hourly.prices[hour])
            self._built[hour] = found
        return found

    def _priced(self, model: Model, hour: int, prices: F8) -> Prices:
        surfaces = self._tape.surfaces(self._parameters, hour, prices) if self._has_options else {}
        return price_book(model, marks_of(self._parameters, prices), surfaces)


def worst_moves(hourly: Hourly, *, hours: int, factor: float) -> F8:
    """Stresses from what has been seen: each asset's worst 24 h of the first hours, longer by a factor, alone and all.

    Returns: (2 + 2·assets, assets): all down, all up, each down, each up.
    """
    logs = np.log(hourly.prices[:hours])
    moves = logs[DAY_HOURS:] - logs[:-DAY_HOURS]
    down, up = np.expm1(factor * moves.min(axis=0)), np.expm1(factor * moves.max(axis=0))
    return np.concatenate([down[None, :], up[None, :], np.diag(down), np.diag(up)])
