"""Measures of the option grid against QuantLib: formula by formula, and with its instruments and engines."""

from __future__ import annotations

import math

import numpy as np
import QuantLib as ql

from bench.risk.timing import cpu_s, interleaved, measure
from bench.risk.workload import OPTIONS, Market
from services.risk_evaluation.domain.options.grid import price_grid, scenarios_of
from tools.report import Measure

SPOTS = np.linspace(0.85, 1.15, 11)
VOLS = np.array([0.6, 1.0, 1.4])


def option_grid(one: Market, rounds: int) -> tuple[list[Measure], bool]:
    """1,750 options by 33 scenarios, and whether prices agree."""
    lines = one.options
    forward, strike = one.spot[one.underlying[lines]], one.strike[lines]
    years, vol, side = one.years[lines], one.vol[lines], one.side[lines]
    factors, vols = np.repeat(SPOTS, VOLS.shape[0]), np.tile(VOLS, SPOTS.shape[0])
    scenarios, discount = scenarios_of(factors, vols), np.ones(lines.shape[0])
    found = []

    def ours() -> None:
        found[:] = price_grid(forward, strike, years, vol, discount, scenarios, kinds=side)

    theirs = np.zeros((lines.shape[0], factors.shape[0]))
    points = list(zip(factors.tolist(), vols.tolist(), strict=True))
    kinds = [ql.Option.Put if each == 1 else ql.Option.Call for each in side.tolist()]
    columns = (kinds, strike.tolist(), forward.tolist(), vol.tolist(), years.tolist())

    def formula() -> None:
        price = ql.blackFormula
        for number, (kind, k, f, v, t) in enumerate(zip(*columns, strict=True)):
            theirs[number] = [price(kind, k, f * spot, v * factor * math.sqrt(t)) for spot, factor in points]

    taken = interleaved({"ours": ours, "formula": formula}, rounds)
    objects, share = _objects(one, factors, vols), lines.shape[0] / OPTIONS
    objects()
    slow = [cpu_s(objects) * share for _ in range(rounds)]
    prices = found[0]
    error = float(np.max(np.abs(prices - theirs) / forward[:, None]))
    count = prices.size
    pairs = list(zip(taken["formula"], taken["ours"], strict=True))
    return [
        measure("option_grid", "M cells/s", [count / each / 1e6 for each in taken["ours"]]),
        measure("grid_vs_quantlib_formula", "x", [one_ / other for one_, other in pairs], at_least=15.0),
        measure("grid_vs_quantlib_objects", "x", [
            each / other for each, other in zip(slow, taken["ours"], strict=True)
        ], at_least=100.0),
        measure("grid_error_on_forward", "share", [error], at_most=1e-14),
    ], error <= 1e-12  # fmt: skip


def _objects(one: Market, factors: np.ndarray, vols: np.ndarray):  # type: ignore[type-arg, no-untyped-def]  # noqa: ANN202
    # One underlying's options with quotes, a process and an engine each, and Greeks.
    today = ql.Date(24, 11, 2026)
    ql.Settings.instance().evaluationDate = today
    counter = ql.Actual365Fixed()
    rate = ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, counter))
    spot = ql.SimpleQuote(float(one.spot[0]))
    lines = one.options[:OPTIONS]
    built = []
    for line in lines.tolist():
        vol = ql.SimpleQuote(float(one.vol[line]))
        surface = ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(vol), counter)
        )
        process = ql.BlackProcess(ql.QuoteHandle(spot), rate, surface)
        days = max(1, round(float(one.years[line]) * 365))
        kind = ql.Option.Put if one.side[line] == 1 else ql.Option.Call
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(kind, float(one.strike[line])), ql.EuropeanExercise(today + days)
        )
        option.setPricingEngine(ql.AnalyticEuropeanEngine(process))
        built.append((option, vol, float(one.vol[line])))

    def run() -> None:
        for factor, by in zip(factors.tolist(), vols.tolist(), strict=True):
            spot.setValue(float(one.spot[0]) * factor)
            for option, vol, base in built:
                vol.setValue(base * by)
                option.NPV(), option.delta(), option.gamma(), option.vega(), option.theta()

    return run
