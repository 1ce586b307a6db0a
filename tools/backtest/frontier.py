"""What other parameters would reach: on calibration days, and on generated paths of other seeds than the report's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from libs.common.parameters import Parameters
from libs.common.units import PPM, SECOND_NS, Ppm
from services.risk_evaluation.domain.arrays import F8
from tools.backtest.bench import (
    CALIBRATION_DAYS,
    DRAWS,
    EXPECTED,
    FIRST_HOUR,
    FUND_MARGIN,
    PATH_DAYS,
    STRESS_FACTOR,
    WARM_UP_DAYS,
    path,
    swing,
)
from tools.backtest.books import Holding, population
from tools.backtest.coverage import Coverage, coverage
from tools.backtest.history import DAY_HOURS, Hourly
from tools.backtest.tape import Tape, profiled_tape, static_tape
from tools.backtest.walk import Walk, worst_moves
from tools.report import Measure

OTHER_SEEDS = 90_000  # the report's own paths have seeds below 90,000
PATHS = 6
EVERY_HOURS = 4
DAY_NS = 86_400 * SECOND_NS
Change = Callable[[Parameters], Parameters]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a choice of parameters reaches.

    Args:
        margin: mean initial margin of one-sided accounts over the generated paths, as a share of notional.
        covered: fund of the calibration over the two largest stress losses of the generated paths.
    """

    name: str
    calibration: float
    generated: Coverage
    swing: float
    rate_swing: float
    covered: float
    margin: float


def _profiles(**fields: int) -> Change:
    def change(parameters: Parameters) -> Parameters:
        margin = parameters.margin
        changed = tuple(replace(one, **fields) for one in margin.profiles)  # type: ignore[arg-type]
        return replace(parameters, margin=replace(margin, profiles=changed))

    return change


def _z(z: float) -> Change:
    def change(parameters: Parameters) -> Parameters:
        margin = parameters.margin
        changed = tuple(replace(one, initial_z=Ppm(round(z * PPM))) for one in margin.assets)
        return replace(parameters, margin=replace(margin, assets=changed))

    return change


def _without_stresses(parameters: Parameters) -> Parameters:
    return replace(parameters, margin=replace(parameters.margin, stresses=()))


def _both(first: Change, second: Change) -> Change:
    return lambda parameters: second(first(parameters))


CHOICES: dict[str, Change] = {
    "as declared": lambda parameters: parameters,
    "stressed weight .40": _profiles(stressed_weight=400_000),
    "stressed weight .50": _profiles(stressed_weight=500_000),
    "ceiling 200 %": _profiles(ceiling=2_000_000),
    "stressed weight .40, ceiling 200 %": _profiles(stressed_weight=400_000, ceiling=2_000_000),
    "floor 150 %": _profiles(floor=1_500_000),
    "fast half-life 1 day": _profiles(fast_half_life_ns=DAY_NS),
    "fast half-life 14 days": _profiles(fast_half_life_ns=14 * DAY_NS),
    "slow half-life 60 days": _profiles(slow_half_life_ns=60 * DAY_NS),
    "measured over 30 days": _profiles(realised_window_ns=30 * DAY_NS),
    "falls by half in 90 days": _profiles(fall_half_life_ns=90 * DAY_NS),
    "z 1.8": _z(1.8),
    "z 1.4": _z(1.4),
    "z 1.4, no named stress": _both(_z(1.4), _without_stresses),
}


def frontier(parameters: Parameters, history: Hourly, *, seed: int) -> list[Reach]:
    """What each choice reaches, the static sigma last; held-out days are not looked at."""
    holdings = population(parameters, seed=seed)
    stresses = worst_moves(history, hours=FIRST_HOUR, factor=STRESS_FACTOR)
    seen = Hourly(history.first_ns, history.prices[: FIRST_HOUR + 1])
    paths = [path(history, seed=OTHER_SEEDS + number) for number in range(PATHS)]
    found = []
    for name, change in CHOICES.items():
        changed = change(parameters)
        tapes = [profiled_tape(changed, one) for one in (seen, *paths)]
        found.append(_reach(name, changed, tapes, holdings, stresses))
    tapes = [static_tape(one) for one in (seen, *paths)]
    found.append(_reach("static sigma", parameters, tapes, holdings, stresses))
    return found


def _reach(name: str, parameters: Parameters, tapes: list[Tape], holdings: tuple[Holding, ...], stresses: F8) -> Reach:
    seen, *paths = (Walk(parameters, tape, holdings, stresses=stresses) for tape in tapes)
    warm, last = WARM_UP_DAYS * DAY_HOURS, FIRST_HOUR + PATH_DAYS * DAY_HOURS
    starts = range(warm, FIRST_HOUR - DAY_HOURS, EVERY_HOURS)
    calibration = np.stack([seen.ends_beyond(hour) for hour in starts])
    fund = FUND_MARGIN * max(
        seen.cover_two(hour) for hour in range(warm, (CALIBRATION_DAYS - 2) * DAY_HOURS, DAY_HOURS)
    )
    beyond, usd, shares, losses = [], [], [], []
    for walk in paths:
        beyond += [walk.ends_beyond(hour) for hour in range(FIRST_HOUR, last, DAY_HOURS)]
        money, share = walk.initial_margins(FIRST_HOUR, last, every=EVERY_HOURS)
        usd.append(swing(money))
        shares.append(share[:, ~np.isnan(share[0])])
        losses += [walk.cover_two(hour) for hour in range(FIRST_HOUR, last, 3 * DAY_HOURS)]
    return Reach(
        name=name,
        calibration=float(calibration.mean()),
        generated=coverage(np.stack(beyond), expected=EXPECTED, draws=DRAWS, seed=1),
        swing=max(usd),
        rate_swing=max(swing(one) for one in shares),
        covered=fund / max(losses),
        margin=float(np.mean([one.mean() for one in shares])),
    )


def frontier_table(found: list[Reach]) -> str:
    """Markdown, as docs/margin.md shows it."""
    lines = [
        "| choice | loss above IM, calibration | generated | Kupiec p | peak/trough, USD | of notional "
        "| fund over two largest | mean IM |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {one.name} | {one.calibration:.2%} | {one.generated.rate:.2%} | {one.generated.kupiec_of_days:.2g} | "
        f"{one.swing:.2f} | {one.rate_swing:.2f} | {one.covered:.2f} | {one.margin:.1%} |"
        for one in found
    ]
    return "\n".join(lines)


def measures_of(found: list[Reach]) -> list[Measure]:
    """The figures of every choice."""
    out = []
    for one in found:
        label = "".join(each if each.isalnum() else "_" for each in one.name)
        out += [
            Measure(f"{label}_loss_above_im_calibration", round(one.calibration, 6), "of account-days"),
            Measure(f"{label}_loss_above_im", round(one.generated.rate, 6), "of account-days"),
            Measure(f"{label}_im_peak_over_trough", round(one.swing, 4), "x"),
            Measure(f"{label}_im_peak_over_trough_of_notional", round(one.rate_swing, 4), "x"),
            Measure(f"{label}_fund_over_two_largest", round(one.covered, 4), "x"),
            Measure(f"{label}_initial_margin", round(one.margin, 4), "of notional"),
        ]
    return out
