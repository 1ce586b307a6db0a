"""`python -m tools.omnibus`: reads the topics of a cluster and says what venues would ask of the house's account."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np
from aiokafka.errors import KafkaError

from libs.common.errors import BallastError, ConfigurationError
from libs.common.units import PPM, MalformedNumber, to_scaled
from services.risk_evaluation.app.house import House, gather
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion_view import Failure
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.venue_models import deribit_pm, dydx_v4
from services.risk_evaluation.domain.venue_models.omnibus import deribit_account, dydx_account, dydx_markets
from services.risk_evaluation.domain.venue_models.parameters import read
from services.risk_evaluation.domain.venue_models.requirement import Demand
from tools.reconcile.engine import Result
from tools.reconcile.margins import marks_at
from tools.reconcile.reader import Unreadable, read_and_reconcile
from tools.report import Measure, Run

EXIT_OK, EXIT_UNREADABLE = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 with an answer, 2 when the topics cannot be read or a parameter makes no sense."""
    options = _parse(arguments)
    run = Run("omnibus", command="python -m tools.omnibus", seed=0)
    try:
        rules = dydx_fractions(options.dydx_initial, options.dydx_maintenance)
        found = demands(asyncio.run(read_and_reconcile(options.bootstrap)), *rules)
    except (Unreadable, BallastError, KafkaError, MalformedNumber, OSError) as error:
        print(f"omnibus: {error}", file=sys.stderr)
        return EXIT_UNREADABLE
    print("\n".join(lines(found)))
    print(f"report: {run.finish(ok=True, measures=measures(found)).write()}")
    return EXIT_OK


def demands(result: Result, dydx_initial_ppm: int, dydx_maintenance_ppm: int) -> dict[str, Demand]:
    """By model and currency, for what all clients hold together; Deribit by its published rules."""
    marks = result.world.marks
    last = len(marks.sequences) - 1
    model, surfaces, at = build_model(result.world.parameters), marks.surfaces(last), marks_at(marks, last)
    still = Failure(np.ones(len(model.assets)), np.ones(max(1, len(result.world.parameters.venues))))
    house = gather(model, result.books.values(), at, surfaces, still)
    prices = price_book(model, at, surfaces)
    lots, options = np.sum(house.positions.lots, axis=0), np.sum(house.options.held, axis=0)
    held = settled(model, house)
    published = read(deribit_pm.Parameters, deribit_pm.PUBLISHED, "deribit_pm")
    found: dict[str, Demand] = {}
    for risk in model.parameters.margin.assets:
        column = model.asset_column[risk.asset]
        asset = model.assets[column]
        account = deribit_account(
            model,
            prices,
            asset=asset.id,
            lots=lots,
            options=options,
            coins=float(held[column]) / 10.0**asset.decimals,
            now_ns=marks.run_times[last],
        )
        found[f"deribit_pm {asset.symbol}"] = deribit_pm.demand(published, account)
    rules = dydx_markets(model, initial_ppm=dydx_initial_ppm, maintenance_ppm=dydx_maintenance_ppm)
    together = dydx_account(model, at, lots=lots, quote=round(_dollars(model, house, lots, held)))
    found["dydx_v4"] = dydx_v4.demand(rules, together)
    return found


def _dollars(model: Model, house: House, lots: F8, held: F8) -> float:
    """Dollars, 10^-6, without what lots are worth: dYdX adds that to what stands against it."""
    dollars = {
        column: 10.0 ** (6 - one.decimals) for column, one in enumerate(model.assets) if not one.price_instrument
    }
    total = sum(float(held[column]) * scale for column, scale in dollars.items())
    for count, worth, one in zip(lots.tolist(), house.terms.lot.tolist(), model.margined, strict=True):
        total -= count * worth * dollars.get(model.asset_column[one.settlement], 0.0)
    return total


def settled(model: Model, house: House) -> F8:
    """(assets,) units that clients would have if all lots were settled at their marks."""
    positions, terms = house.positions, house.terms
    held: F8 = np.sum(positions.cash + positions.supply - positions.debt, axis=0)
    worth = np.sum(positions.lots, axis=0) * terms.lot + np.sum(positions.variation, axis=0)
    np.add.at(held, terms.settlement, worth)
    return held


def dydx_fractions(initial: str, maintenance: str) -> tuple[int, int]:
    """Both in 10^-6. Raises ConfigurationError beyond 1, MalformedNumber for what is no number."""
    found = to_scaled(initial, -6), to_scaled(maintenance, -6)
    if not all(0 < one <= PPM for one in found):
        raise ConfigurationError(f"--dydx-...: expected shares above 0 to 1, was {initial} and {maintenance}")
    return found


def lines(found: dict[str, Demand]) -> list[str]:
    """The answer as a table, parts that are not 0 beside it."""
    out = [f"{'model':<18} {'has':>20} {'to open':>20} {'to keep':>20}  USD"]
    for name, one in found.items():
        parts = ", ".join(f"{part} {value:,.0f}" for part, value in one.parts.items() if value)
        figures = one.maintenance.has, one.initial.needs, one.maintenance.needs
        out.append(f"{name:<18} " + " ".join(f"{each:>20,.2f}" for each in figures) + f"  {parts}")
    return out


def measures(found: dict[str, Demand]) -> list[Measure]:
    """The figures of the report."""
    return [
        Measure(f"{name.replace(' ', '_')}_{what}", round(value, 2), "USD")
        for name, one in found.items()
        for what, value in (
            ("has", one.maintenance.has), ("initial", one.initial.needs), ("maintenance", one.maintenance.needs)
        )
    ]  # fmt: skip


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.omnibus", description=__doc__)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="of the Kafka cluster")
    parser.add_argument("--dydx-initial", default="0.05", metavar="SHARE", help="of notional (default 0.05)")
    parser.add_argument("--dydx-maintenance", default="0.6", metavar="SHARE", help="of initial (default 0.6)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
