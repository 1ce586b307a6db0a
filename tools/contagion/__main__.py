"""`python -m tools.contagion`: reads the topics of a cluster and says who cannot pay if a venue or an asset fails."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np
from aiokafka.errors import KafkaError

from libs.common.errors import BallastError, ConfigurationError
from libs.common.parameters import Parameters
from services.risk_evaluation.app.house import House, gather
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion_view import Failure, View, if_fails
from services.risk_evaluation.domain.model import build_model
from tools.reconcile.engine import Result
from tools.reconcile.margins import marks_at
from tools.reconcile.reader import Unreadable, read_and_reconcile
from tools.report import Measure, Run

EXIT_OK, EXIT_UNREADABLE = 0, 2
_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 with an answer, 2 when the topics cannot be read or the question makes no sense."""
    options = _parse(arguments)
    run = Run("contagion", command="python -m tools.contagion", seed=0)
    try:
        result = asyncio.run(read_and_reconcile(options.bootstrap))
        house, view = answer(result, _failure(result.world.parameters, options))
    except (Unreadable, BallastError, KafkaError, OSError) as error:
        print(f"contagion: {error}", file=sys.stderr)
        return EXIT_UNREADABLE
    print("\n".join(lines(result.world.parameters, house, view)))
    print(f"report: {run.finish(ok=True, measures=measures(view)).write()}")
    return EXIT_OK


def answer(result: Result, failure: Failure) -> tuple[House, View]:
    """The house as the topics have it, and what follows from a failure."""
    marks = result.world.marks
    last = len(marks.sequences) - 1
    model, surfaces = build_model(result.world.parameters), marks.surfaces(last)
    house = gather(model, result.books.values(), marks_at(marks, last), surfaces, failure)
    return house, if_fails(house.positions, house.terms, failure, house.options)


def failure_of(parameters: Parameters, *, asset: str, fall: float, venue: str, recovery: float) -> Failure:
    """The failure in columns. Raises ConfigurationError for a name that is not known, or a share out of its bound."""
    symbols, names = [one.symbol for one in parameters.assets], [one.name for one in parameters.venues]
    price, pays = np.ones(len(symbols)), np.ones(max(1, len(names)))
    if not (asset or venue):
        raise ConfigurationError("expected --asset or --venue, was neither")
    for option, name, known in (("--asset", asset, symbols), ("--venue", venue, names)):
        if name and name not in known:
            raise ConfigurationError(f"{option}: expected one of {sorted(known)}, was {name!r}")
    if not 0.0 <= fall < 1.0:
        raise ConfigurationError(f"--fall: expected 0 up to below 1, was {fall!r}")
    if asset:
        price[symbols.index(asset)] = 1.0 - fall
    if venue:
        pays[names.index(venue)] = recovery
    return Failure(price, pays)


def _failure(parameters: Parameters, options: argparse.Namespace) -> Failure:
    return failure_of(
        parameters, asset=options.asset, fall=options.fall, venue=options.venue, recovery=options.recovery
    )


def lines(parameters: Parameters, house: House, view: View) -> list[str]:
    """The answer in lines, the largest shortfalls first."""
    hubs = [f"pool {one.symbol}" for one in parameters.assets] + [f"venue {one.name}" for one in parameters.venues]
    out = [
        f"{int(np.sum(view.cannot_pay))} of {len(house.accounts)} accounts cannot pay, "
        f"{float(np.sum(view.shortfall)):,.2f} USD in all"
    ]
    for at in np.argsort(-view.shortfall)[:_SHOWN].tolist():
        if view.cannot_pay[at]:
            before, after = view.equity_before[at], view.equity_after[at]
            out.append(
                f"  {house.labels[at]:<44} equity {before:>16,.2f} -> {after:>16,.2f}  "
                f"does not pay {view.shortfall[at]:>14,.2f}"
            )
    out += [
        f"  {name:<44} does not pay {lost:>14,.2f}"
        for name, lost in zip(hubs, view.hub_shortfall.tolist(), strict=False)
        if lost > 0.005
    ]
    sellers = int(np.sum(view.spill.in_trouble))
    out.append(f"then {sellers} accounts sell in {view.spill.rounds} waves:")
    for at, one in enumerate(parameters.assets):
        was, now = house.terms.unit[at], view.spill.prices[at]
        if was > 0.0 and abs(now / was - 1.0) > 1e-9:
            out.append(f"  {one.symbol:<10} {100.0 * (now / was - 1.0):>8.3f} %")
    out += [f"  not priced, counted as nothing: {', '.join(house.unpriced)}"] if house.unpriced else []
    out.append("all accounts together hold, net (house_notional_usd of a margin block):")
    out += [
        f"  {one.symbol:<10} {held:>20,.2f} USD"
        for one, held in zip(parameters.assets, concentration(house).tolist(), strict=True)
        if one.price_instrument is not None
    ]
    return out


def concentration(house: House) -> F8:
    """(assets,) net notional of all accounts together, USD: coins, lots and what options stand for."""
    positions, terms, options = house.positions, house.terms, house.options
    held: F8 = np.sum(positions.cash + positions.supply - positions.debt, axis=0) * terms.unit
    lots = np.sum(positions.lots, axis=0) * np.abs(terms.lot) * terms.unit[terms.settlement]
    np.add.at(held, terms.underlying, lots)
    np.add.at(held, options.underlying, np.sum(options.held, axis=0) * options.delta * terms.unit[options.underlying])
    return held


def measures(view: View) -> list[Measure]:
    """The figures of the report."""
    found = [
        Measure("accounts_that_cannot_pay", int(np.sum(view.cannot_pay)), "accounts"),
        Measure("accounts_shortfall", round(float(np.sum(view.shortfall)), 2), "USD"),
        Measure("pools_and_venues_shortfall", round(float(np.sum(view.hub_shortfall)), 2), "USD"),
        Measure("accounts_that_must_sell", int(np.sum(view.spill.in_trouble)), "accounts"),
        Measure("waves_of_selling", view.spill.rounds, "waves"),
    ]
    if view.distress is not None:
        found.append(Measure("distress_impact", round(view.distress.impact, 6), "share of what is lent"))
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.contagion", description=__doc__)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="of the Kafka cluster")
    parser.add_argument("--asset", default="", metavar="SYMBOL", help="whose price falls")
    parser.add_argument("--fall", type=float, default=0.5, help="share of its price that it loses (default 0.5)")
    parser.add_argument("--venue", default="", metavar="NAME", help="that fails")
    parser.add_argument("--recovery", type=float, default=0.0, help="share of its debts the venue pays (default 0)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
