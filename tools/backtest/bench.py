"""The walks of the backtest: recorded days and generated paths, with one population, stresses and rule of the fund."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import Parameters
from services.risk_evaluation.domain.arrays import F8, Mask
from tools.backtest.books import Holding
from tools.backtest.coverage import Coverage, coverage
from tools.backtest.history import DAY_HOURS, Hourly, Stress, generated
from tools.backtest.option_books import with_ladder
from tools.backtest.tape import Tape, profiled_tape, static_tape
from tools.backtest.walk import EXIT_HOURS_MAX, Day, Walk, together

CALIBRATION_DAYS = 20  # 2017-12-20 .. 2018-01-08; all later days are held out
WARM_UP_DAYS = 3  # before the fund is first sized
STRESS_FACTOR = 1.5  # stresses: the worst 24 h of the calibration, times this in logarithms
FUND_MARGIN = 1.25  # the fund: the two largest stress losses of the calibration, times this
EXPECTED = 0.01
PATH_DAYS = 60
DRAWS = 2_000
FIRST_HOUR = CALIBRATION_DAYS * DAY_HOURS


@dataclass(frozen=True, slots=True)
class Swing:
    """Peak over trough of the initial margin of books that never change, without options, over a whole path.

    Args:
        worst: of the account that swings most, USD. still: the same at a volatility that stands still: prices alone.
        rate: as a share of the book, the one-sided account that swings most. house: of all accounts together.
    """

    worst: float
    still: float
    rate: float
    house: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one walk showed.

    Args:
        hourly: days that begin at every hour, not at midnight alone. options: the accounts with options alone.
        bad_debt: largest sum on one path, USD. cover_two: largest of any day, USD.
    """

    ends: Coverage
    within: Coverage
    hourly: Coverage | None
    options: Coverage
    swing: Swing
    bad_debt: float
    fees: float
    fund: float
    cover_two: float
    cover_two_band: tuple[float, float]
    liquidated: int


class Bench:
    """Walks of one population.

    Args:
        holdings: without options. optional: with options, which have a ladder of strikes of their own each day.
    """

    def __init__(
        self,
        parameters: Parameters,
        holdings: tuple[Holding, ...],
        optional: tuple[Holding, ...],
        stresses: F8,
        seed: int,
    ) -> None:
        self._parameters, self._holdings, self._optional = parameters, holdings, optional
        self._stresses, self._seed = stresses, seed

    def recorded(self, history: Hourly, *, is_static: bool) -> Outcome:
        """The held-out days."""
        tape = static_tape(history) if is_static else profiled_tape(self._parameters, history)
        walk = self._walk(tape)
        last = walk.hours - 1 - DAY_HOURS - EXIT_HOURS_MAX
        days = [self._day(walk, tape, hour) for hour in range(FIRST_HOUR, last + 1, DAY_HOURS)]
        starts = range(FIRST_HOUR, walk.hours - DAY_HOURS)
        by_day = [starts[at : at + DAY_HOURS] for at in range(0, len(starts), DAY_HOURS)]
        hourly = np.stack(
            [
                np.concatenate([one for hour in day for one in self._ends(walk, tape, hour)])
                for day in by_day
                if len(day) == DAY_HOURS
            ]
        )
        swing = self._swing(walk, self._walk(static_tape(history)), end=walk.hours)
        return self._outcome([days], swing, self._fund(walk, tape), hourly)

    def generated(self, history: Hourly, paths: int) -> Outcome:
        """Generated paths, each from the first held-out prices, after a warm-up as long as the calibration."""
        tape = profiled_tape(self._parameters, history)
        last = FIRST_HOUR + PATH_DAYS * DAY_HOURS
        runs, swings = [], []
        for number in range(paths):
            hours = path(history, seed=self._seed * 1_000 + number)
            made = profiled_tape(self._parameters, hours)
            walk = self._walk(made)
            runs.append([self._day(walk, made, hour) for hour in range(FIRST_HOUR, last, DAY_HOURS)])
            swings.append(self._swing(walk, self._walk(static_tape(hours)), end=last))
        swing = Swing(
            worst=max(one.worst for one in swings),
            still=max(one.still for one in swings),
            rate=max(one.rate for one in swings),
            house=max(one.house for one in swings),
        )
        return self._outcome(runs, swing, self._fund(self._walk(tape), tape), None)

    def _walk(self, tape: Tape) -> Walk:
        return Walk(self._parameters, tape, self._holdings, stresses=self._stresses)

    def _optional_walk(self, tape: Tape, hour: int) -> Walk:
        ladder = with_ladder(self._parameters, tape.hourly.prices[hour], now_ns=tape.hourly.at_ns(hour))
        return Walk(ladder, tape, self._optional, stresses=self._stresses)

    def _day(self, walk: Walk, tape: Tape, hour: int) -> Day:
        return together([walk.day(hour), self._optional_walk(tape, hour).day(hour)])

    def _ends(self, walk: Walk, tape: Tape, hour: int) -> Iterable[Mask]:
        return walk.ends_beyond(hour), self._optional_walk(tape, hour).ends_beyond(hour)

    def _fund(self, walk: Walk, tape: Tape) -> float:
        """The fund as the calibration days size it."""
        starts = range(WARM_UP_DAYS * DAY_HOURS, (CALIBRATION_DAYS - 2) * DAY_HOURS, DAY_HOURS)
        return FUND_MARGIN * max(self._day(walk, tape, hour).cover_two for hour in starts)

    def _swing(self, walk: Walk, still: Walk, *, end: int) -> Swing:
        usd, share = walk.initial_margins(FIRST_HOUR, end)
        return Swing(
            worst=swing(usd),
            still=swing(still.initial_margins(FIRST_HOUR, end)[0]),
            rate=swing(share[:, ~np.isnan(share[0])]),
            house=swing(usd.sum(axis=1, keepdims=True)),
        )

    def _outcome(self, runs: list[list[Day]], swings: Swing, fund: float, hourly: Mask | None) -> Outcome:
        days = [day for run in runs for day in run]
        sized = [day.cover_two for day in days]
        picked = np.random.default_rng(self._seed).integers(0, len(days), (DRAWS, len(days)))
        largest = np.array(sized)[picked].max(axis=1)
        low, high = np.quantile(largest, [0.025, 0.975])
        ends = np.stack([day.beyond_at_end for day in days])
        return Outcome(
            ends=self._coverage(ends),
            within=self._coverage(np.stack([day.beyond_within for day in days])),
            hourly=None if hourly is None else self._coverage(hourly),
            options=self._coverage(ends[:, len(self._holdings) :]),
            swing=swings,
            bad_debt=max(sum(float(day.bad_debt.sum()) for day in run) for run in runs),
            fees=sum(float(day.fees.sum()) for day in days) / len(runs),
            fund=fund,
            cover_two=max(sized),
            cover_two_band=(float(low), float(high)),
            liquidated=sum(int(day.liquidated.sum()) for day in days),
        )

    def _coverage(self, exceeded: Mask) -> Coverage:
        return coverage(exceeded, expected=EXPECTED, draws=DRAWS, seed=self._seed)


def path(history: Hourly, *, seed: int) -> Hourly:
    """A generated path from the first held-out prices, warm-up and exits included."""
    days = CALIBRATION_DAYS + PATH_DAYS + 2
    return generated(history.prices[FIRST_HOUR], days=days, seed=seed, stress=Stress())


def swing(margins: F8) -> float:
    """Peak over trough of the account that swings most: (hours, accounts)."""
    return float(np.max(margins.max(axis=0) / margins.min(axis=0)))
