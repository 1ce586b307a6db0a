"""`make backtest-margin`: walk-forward on recorded days held out of calibration, and on generated stress."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libs.common.config import load_parameters
from libs.common.errors import ConfigurationError
from libs.common.parameters import Parameters
from libs.common.units import PPM
from services.price_ingestion.errors import BadRecording
from services.risk_evaluation.domain.arrays import F8, Mask
from tools.backtest.books import Holding, population
from tools.backtest.coverage import Coverage, coverage
from tools.backtest.history import DAY_HOURS, Hourly, Stress, generated, range_volatilities, recorded
from tools.backtest.walk import EXIT_HOURS_MAX, Day, Walk, worst_moves
from tools.report import Measure, Report, Run

CALIBRATION_DAYS = 20  # 2017-12-20 .. 2018-01-08; all later days are held out
WARM_UP_DAYS = 3  # before the fund is first sized
STRESS_FACTOR = 1.5  # stresses: the worst 24 h of the calibration, times this in logarithms
FUND_MARGIN = 1.25  # the fund: the two largest stress losses of the calibration, times this
EXPECTED = 0.01
PATH_DAYS = 60
DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one walk showed.

    Args:
        peak_over_trough, rate_peak_over_trough: of initial margin in USD, and as a share of the book, worst account.
        bad_debt: largest sum on one path, USD. cover_two: largest of any day, USD.
    """

    ends: Coverage
    within: Coverage
    hourly: Coverage | None
    peak_over_trough: float
    rate_peak_over_trough: float
    bad_debt: float
    fees: float
    fund: float
    cover_two: float
    cover_two_band: tuple[float, float]
    liquidated: int


def main(arguments: list[str] | None = None) -> int:
    """0 with a report, whatever goals were met; 2 when there is nothing to walk on."""
    parser = argparse.ArgumentParser(prog="backtest-margin", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config"), help="parameters (default: config/)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="recorded prices (default: data/)")
    parser.add_argument("--seed", type=int, default=7, help="of mixed books, generated stress and bootstrap")
    parser.add_argument("--paths", type=int, default=12, help="generated paths of 60 days (default: 12)")
    options = parser.parse_args(arguments)
    run = Run("backtest-margin", command="make backtest-margin", seed=options.seed)
    try:
        parameters = load_parameters(options.config).parameters
        history = recorded(options.data, parameters)
        stressed = range_volatilities(options.data, parameters, days=CALIBRATION_DAYS, window=7)
    except (ConfigurationError, BadRecording) as refused:
        print(f"backtest-margin: {refused}", file=sys.stderr)
        return 2
    holdings = population(parameters, seed=options.seed)
    stresses = worst_moves(history, hours=CALIBRATION_DAYS * DAY_HOURS, factor=STRESS_FACTOR)
    bench = _Bench(parameters, holdings, stresses, options.seed)
    outcomes = {
        "recorded": bench.recorded(history, is_static=False),
        "recorded, static sigma": bench.recorded(history, is_static=True),
        "generated": bench.generated(history, options.paths),
    }
    report = _report(run, parameters, outcomes, stressed)
    print(_table(outcomes))
    print("stressed volatility of the calibration days: " + ", ".join(f"{k} {v:.3f}" for k, v in stressed.items()))
    print(report.write())
    return 0


class _Bench:
    """Walks with one population, one set of stresses and one fund rule."""

    def __init__(self, parameters: Parameters, holdings: tuple[Holding, ...], stresses: F8, seed: int) -> None:
        self._parameters, self._holdings, self._stresses, self._seed = parameters, holdings, stresses, seed

    def recorded(self, history: Hourly, *, is_static: bool) -> Outcome:
        """The held-out days."""
        walk = Walk(self._parameters, history, self._holdings, stresses=self._stresses, is_static=is_static)
        first = CALIBRATION_DAYS * DAY_HOURS
        last = walk.hours - 1 - DAY_HOURS - EXIT_HOURS_MAX
        days = [walk.day(hour) for hour in range(first, last + 1, DAY_HOURS)]
        starts = range(first, walk.hours - DAY_HOURS)
        by_day = [starts[at : at + DAY_HOURS] for at in range(0, len(starts), DAY_HOURS)]
        hourly = np.stack(
            [np.concatenate([walk.ends_beyond(h) for h in day]) for day in by_day if len(day) == DAY_HOURS]
        )
        return self._outcome([days], [walk.initial_margins(first, walk.hours)], self.fund(walk), hourly)

    def generated(self, history: Hourly, paths: int) -> Outcome:
        """Generated paths, each from the first held-out prices, after a warm-up as long as the calibration."""
        sized = Walk(self._parameters, history, self._holdings, stresses=self._stresses)
        first = CALIBRATION_DAYS * DAY_HOURS
        runs, margins = [], []
        for number in range(paths):
            hours = generated(
                history.prices[first],
                days=CALIBRATION_DAYS + PATH_DAYS + 2,
                seed=self._seed * 1_000 + number,
                stress=Stress(),
            )
            walk = Walk(self._parameters, hours, self._holdings, stresses=self._stresses)
            last = first + PATH_DAYS * DAY_HOURS
            runs.append([walk.day(hour) for hour in range(first, last, DAY_HOURS)])
            margins.append(walk.initial_margins(first, last))
        return self._outcome(runs, margins, self.fund(sized), None)

    def fund(self, walk: Walk) -> float:
        """The fund as the calibration days size it."""
        starts = range(WARM_UP_DAYS * DAY_HOURS, (CALIBRATION_DAYS - 2) * DAY_HOURS, DAY_HOURS)
        return FUND_MARGIN * max(walk.day(hour).cover_two for hour in starts)

    def _outcome(
        self, runs: list[list[Day]], margins: list[tuple[F8, F8]], fund: float, hourly: Mask | None
    ) -> Outcome:
        days = [day for run in runs for day in run]
        sized = [day.cover_two for day in days]
        picked = np.random.default_rng(self._seed).integers(0, len(days), (DRAWS, len(days)))
        means = np.array(sized)[picked].max(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return Outcome(
            ends=self._coverage(np.stack([day.beyond_at_end for day in days])),
            within=self._coverage(np.stack([day.beyond_within for day in days])),
            hourly=None if hourly is None else self._coverage(hourly),
            peak_over_trough=max(_swing(usd) for usd, _ in margins),
            rate_peak_over_trough=max(_swing(share[:, ~np.isnan(share[0])]) for _, share in margins),
            bad_debt=max(sum(float(day.bad_debt.sum()) for day in run) for run in runs),
            fees=sum(float(day.fees.sum()) for day in days) / len(runs),
            fund=fund,
            cover_two=max(sized),
            cover_two_band=(float(low), float(high)),
            liquidated=sum(int(day.liquidated.sum()) for day in days),
        )

    def _coverage(self, exceeded: Mask) -> Coverage:
        return coverage(exceeded, expected=EXPECTED, draws=DRAWS, seed=self._seed)


def _swing(margins: F8) -> float:
    """Peak over trough of the account that swings most: (hours, accounts)."""
    return float(np.max(margins.max(axis=0) / margins.min(axis=0)))


def _measures(name: str, one: Outcome) -> list[Measure]:
    """The goals of one walk; the static sigma is there to compare with and has none."""
    goals = "static" not in name
    label = name.replace(", ", "_").replace(" ", "_")

    def measure(what: str, value: float, unit: str, goal: str, met: bool, band: Sequence[float] = ()) -> Measure:
        low, high = (round(band[0], 6), round(band[1], 6)) if band else (None, None)
        return Measure(
            f"{label}_{what}", round(value, 6), unit, goal if goals else None, met if goals else None, min=low, max=high
        )

    ends = one.ends
    out = [
        measure("loss_above_im", ends.rate, "of account-days", "<= 0.01", ends.rate <= EXPECTED, (ends.low, ends.high)),
        measure("kupiec_p", ends.kupiec, "probability", "> 0.05", ends.kupiec > 0.05),
        measure("too_often_p", ends.too_often, "probability", "> 0.05", ends.too_often > 0.05),
        _plain(f"{label}_loss_above_im_within", one.within),
        Measure(f"{label}_days_hit", ends.days_hit, f"of {ends.days} days", max=round(ends.day_bound, 4)),
        measure("im_peak_over_trough", one.peak_over_trough, "x", "<= 2.5", one.peak_over_trough <= 2.5),
        measure("bad_debt_over_fund", one.bad_debt / one.fund, "x", "<= 1", one.bad_debt <= one.fund),
        measure(
            "fund_over_two_largest", one.fund / one.cover_two, "x", ">= 1", one.fund >= one.cover_two,
            (one.fund / one.cover_two_band[1], one.fund / one.cover_two_band[0]),
        ),
    ]  # fmt: skip
    if one.hourly is not None:
        out.append(_plain(f"{label}_loss_above_im_hourly_starts", one.hourly))
    return out


def _plain(name: str, one: Coverage) -> Measure:
    return Measure(name, round(one.rate, 6), "of account-days", min=round(one.low, 6), max=round(one.high, 6))


def _report(run: Run, parameters: Parameters, outcomes: dict[str, Outcome], stressed: dict[str, float]) -> Report:
    measures = [one for name, outcome in outcomes.items() for one in _measures(name, outcome)]
    symbols = {one.id: one.symbol for one in parameters.assets}
    configured = {symbols[one.asset]: one.stressed / PPM for one in parameters.margin.profiles}
    details = {"stressed_measured": stressed, "stressed_configured": configured, "expected": EXPECTED}
    return run.finish(ok=True, measures=measures, details=details)


Row = tuple[str, Callable[[Outcome], str]]
ROWS: tuple[Row, ...] = (
    ("24 h loss above IM, of account-days (goal <= 1 %)", lambda o: _rate(o.ends)),
    ("  account-days, exceeded", lambda o: f"{o.ends.account_days:,}, {o.ends.exceeded}"),
    ("  Kupiec p, either direction (goal > .05)", lambda o: f"{o.ends.kupiec:.3g}"),
    ("  p that so many or more (too often below .05)", lambda o: f"{o.ends.too_often:.3g}"),
    ("  days hit; rate of such days not excluded", lambda o: _days(o.ends)),
    ("  at any hour of the 24, not only at the end", lambda o: _rate(o.within)),
    ("  starting at every hour", lambda o: "-" if o.hourly is None else _rate(o.hourly)),
    ("IM peak/trough, constant book, worst account (goal <= 2.5)", lambda o: f"{o.peak_over_trough:.2f}"),
    ("  as a share of notional, worst one-sided account", lambda o: f"{o.rate_peak_over_trough:.2f}"),
    ("accounts liquidated", lambda o: f"{o.liquidated:,}"),
    ("fund, USD", lambda o: f"{o.fund:,.0f}"),
    ("bad debt, worst path, USD (goal <= fund)", lambda o: f"{o.bad_debt:,.0f}"),
    ("two largest stress losses, worst day, USD (goal <= fund)", lambda o: _cover(o)),
)  # fmt: skip


def _days(one: Coverage) -> str:
    return f"{one.days_hit} of {one.days}; {one.day_bound:.1%}"


def _cover(one: Outcome) -> str:
    low, high = one.cover_two_band
    return f"{one.cover_two:,.0f} [{low:,.0f}, {high:,.0f}]"


def _rate(one: Coverage) -> str:
    return f"{one.rate:.2%} [{one.low:.2%}, {one.high:.2%}]"


def _table(outcomes: dict[str, Outcome]) -> str:
    """Markdown, as docs/margin.md shows it; 95 % of the day bootstrap in brackets."""
    lines = ["| measure | " + " | ".join(outcomes) + " |", "|---|" + "---|" * len(outcomes)]
    lines += [f"| {name} | " + " | ".join(say(one) for one in outcomes.values()) + " |" for name, say in ROWS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
