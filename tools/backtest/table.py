"""What the walks are reported by: measures with their goals, and the table that docs/margin.md shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tools.backtest.bench import EXPECTED, Outcome
from tools.backtest.coverage import Coverage
from tools.report import Measure

SWING_MAX = 2.5


def measures(name: str, one: Outcome) -> list[Measure]:
    """The goals of one walk; the static sigma is there to compare with and has none."""
    goals = "static" not in name
    label = name.replace(", ", "_").replace(" ", "_")

    def measure(what: str, value: float, unit: str, goal: str, met: bool, band: Sequence[float] = ()) -> Measure:
        low, high = (round(band[0], 6), round(band[1], 6)) if band else (None, None)
        return Measure(
            f"{label}_{what}", round(value, 6), unit, goal if goals else None, met if goals else None, min=low, max=high
        )

    most = one.hourly or one.ends
    out = [
        measure("loss_above_im", most.rate, "of account-days", "<= 0.01", most.rate <= EXPECTED, (most.low, most.high)),
        measure("kupiec_p", most.kupiec_of_days, "probability", "> 0.05", most.kupiec_of_days > 0.05),
        measure("too_often_p", most.too_often, "probability", "> 0.05", most.too_often > 0.05),
        _plain(f"{label}_loss_above_im_from_midnight", one.ends),
        _plain(f"{label}_loss_above_im_within", one.within),
        _plain(f"{label}_loss_above_im_options", one.options),
        Measure(f"{label}_days_hit", one.ends.days_hit, f"of {one.ends.days} days", max=round(one.ends.day_bound, 4)),
        measure("im_peak_over_trough", one.swing.worst, "x", "<= 2.5", one.swing.worst <= SWING_MAX),
        Measure(f"{label}_im_peak_over_trough_of_prices", round(one.swing.still, 6), "x"),
        Measure(f"{label}_im_peak_over_trough_of_notional", round(one.swing.rate, 6), "x"),
        Measure(f"{label}_im_peak_over_trough_of_all", round(one.swing.house, 6), "x"),
        measure("bad_debt_over_fund", one.bad_debt / one.fund, "x", "<= 1", one.bad_debt <= one.fund),
        measure(
            "fund_over_two_largest", one.fund / one.cover_two, "x", ">= 1", one.fund >= one.cover_two,
            (one.fund / one.cover_two_band[1], one.fund / one.cover_two_band[0]),
        ),
    ]  # fmt: skip
    return out


def _plain(name: str, one: Coverage) -> Measure:
    return Measure(name, round(one.rate, 6), "of account-days", min=round(one.low, 6), max=round(one.high, 6))


Row = tuple[str, Callable[[Outcome], str]]
ROWS: tuple[Row, ...] = (
    ("24 h loss above IM, of account-days, from every hour (goal <= 1 %)", lambda o: _maybe(o.hourly, _rate)),
    ("  Kupiec p, days drawn whole (goal > .05)", lambda o: _maybe(o.hourly, _of_days)),
    ("24 h loss above IM, of account-days, from midnight (goal <= 1 %)", lambda o: _rate(o.ends)),
    ("  account-days, exceeded", lambda o: f"{o.ends.account_days:,}, {o.ends.exceeded}"),
    ("  Kupiec p, days drawn whole (goal > .05)", lambda o: _of_days(o.ends)),
    ("  Kupiec p, as if account-days were independent", lambda o: f"{o.ends.kupiec:.3g}"),
    ("  p that so many or more (too often below .05)", lambda o: f"{o.ends.too_often:.3g}"),
    ("  days hit; rate of such days not excluded", lambda o: _days(o.ends)),
    ("  of books with options alone", lambda o: _rate(o.options)),
    ("  at any hour of the 24, not only at the end", lambda o: _rate(o.within)),
    ("IM peak/trough, constant book, worst account (goal <= 2.5)", lambda o: f"{o.swing.worst:.2f}"),
    ("  of which prices alone, sigma standing still", lambda o: f"{o.swing.still:.2f}"),
    ("  as a share of notional, worst one-sided account", lambda o: f"{o.swing.rate:.2f}"),
    ("  all accounts together", lambda o: f"{o.swing.house:.2f}"),
    ("accounts liquidated", lambda o: f"{o.liquidated:,}"),
    ("fund, USD", lambda o: f"{o.fund:,.0f}"),
    ("bad debt, worst path, USD (goal <= fund)", lambda o: f"{o.bad_debt:,.0f}"),
    ("two largest stress losses, worst day, USD (goal <= fund)", lambda o: _cover(o)),
)


def _maybe(one: Coverage | None, say: Callable[[Coverage], str]) -> str:
    return "-" if one is None else say(one)


def _of_days(one: Coverage) -> str:
    return "none to judge by" if math.isnan(one.kupiec_of_days) else f"{one.kupiec_of_days:.2g}"


def _days(one: Coverage) -> str:
    return f"{one.days_hit} of {one.days}; {one.day_bound:.1%}"


def _cover(one: Outcome) -> str:
    low, high = one.cover_two_band
    return f"{one.cover_two:,.0f} [{low:,.0f}, {high:,.0f}]"


def _rate(one: Coverage) -> str:
    return f"{one.rate:.2%} [{one.low:.2%}, {one.high:.2%}]"


def table(outcomes: dict[str, Outcome]) -> str:
    """Markdown, as docs/margin.md shows it; 95 % of the day bootstrap in brackets."""
    lines = ["| measure | " + " | ".join(outcomes) + " |", "|---|" + "---|" * len(outcomes)]
    lines += [f"| {name} | " + " | ".join(say(one) for one in outcomes.values()) + " |" for name, say in ROWS]
    return "\n".join(lines)
