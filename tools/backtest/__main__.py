"""`make backtest-margin`: walk-forward on recorded days held out of calibration, and on generated stress."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from libs.common.config import load_parameters
from libs.common.errors import ConfigurationError
from libs.common.parameters import Parameters
from libs.common.units import PPM
from services.price_ingestion.errors import BadRecording
from tools.backtest.bench import CALIBRATION_DAYS, EXPECTED, FIRST_HOUR, STRESS_FACTOR, Bench, Outcome
from tools.backtest.books import population
from tools.backtest.frontier import frontier, frontier_table, measures_of
from tools.backtest.history import Hourly, range_volatilities, recorded
from tools.backtest.option_books import option_population
from tools.backtest.table import measures, table
from tools.backtest.walk import worst_moves
from tools.report import Report, Run


def main(arguments: list[str] | None = None) -> int:
    """0 with a report, whatever goals were met; 2 when there is nothing to walk on."""
    parser = argparse.ArgumentParser(prog="backtest-margin", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config"), help="parameters (default: config/)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="recorded prices (default: data/)")
    parser.add_argument("--seed", type=int, default=7, help="of mixed books, generated stress and bootstrap")
    parser.add_argument("--paths", type=int, default=12, help="generated paths of 60 days (default: 12)")
    parser.add_argument("--frontier", action="store_true", help="other parameters, on calibration days and other paths")
    options = parser.parse_args(arguments)
    try:
        parameters = load_parameters(options.config).parameters
        history = recorded(options.data, parameters)
        stressed = range_volatilities(options.data, parameters, days=CALIBRATION_DAYS, window=7)
    except (ConfigurationError, BadRecording) as refused:
        print(f"backtest-margin: {refused}", file=sys.stderr)
        return 2
    if options.frontier:
        report = _frontier(parameters, history, seed=options.seed)
    else:
        report = _backtest(parameters, history, stressed, seed=options.seed, paths=options.paths)
    print(report.write())
    return 0


def _backtest(parameters: Parameters, history: Hourly, stressed: dict[str, float], *, seed: int, paths: int) -> Report:
    run = Run("backtest-margin", command="make backtest-margin", seed=seed)
    stresses = worst_moves(history, hours=FIRST_HOUR, factor=STRESS_FACTOR)
    bench = Bench(parameters, population(parameters, seed=seed), option_population(parameters), stresses, seed)
    outcomes: dict[str, Outcome] = {
        "recorded": bench.recorded(history, is_static=False),
        "recorded, static sigma": bench.recorded(history, is_static=True),
        "generated": bench.generated(history, paths),
    }
    print(table(outcomes))
    print("stressed volatility of the calibration days: " + ", ".join(f"{k} {v:.3f}" for k, v in stressed.items()))
    symbols = {one.id: one.symbol for one in parameters.assets}
    configured = {symbols[one.asset]: one.stressed / PPM for one in parameters.margin.profiles}
    details = {"stressed_measured": stressed, "stressed_configured": configured, "expected": EXPECTED}
    return run.finish(
        ok=True, measures=[one for name, each in outcomes.items() for one in measures(name, each)], details=details
    )


def _frontier(parameters: Parameters, history: Hourly, *, seed: int) -> Report:
    run = Run("backtest-frontier", command='make backtest-margin ARGS="--frontier"', seed=seed)
    found = frontier(parameters, history, seed=seed)
    print(frontier_table(found))
    return run.finish(ok=True, measures=measures_of(found))


if __name__ == "__main__":
    sys.exit(main())
