"""`ballast risk outlook`: what moves an account, what it may lose, and how likely it defaults."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from ballast.api.v1 import outlook_pb2 as api
from libs.common.units import SECOND_NS
from tools.cli.screen import EXIT_CANNOT, EXIT_OK, CannotAsk, ask, console, fail, moment, usd
from tools.cli.screen import table as new_table

HOUR_NS = 3_600 * SECOND_NS
_BILLION = 10**9


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 drawn, 2 without an answer."""
    request = api.OutlookRequest(
        account=options.account,
        at_least=options.at_least,
        horizon_ns=[hours * HOUR_NS for hours in options.hours],
        confidence_ppm=options.confidence,
    )
    try:
        answer = ask(options, lambda stub, timeout: stub.Outlook(request, timeout=timeout))
    except CannotAsk as error:
        return fail("outlook", error, EXIT_CANNOT)
    draw(answer, options.account, console())
    return EXIT_OK


def draw(answer: api.OutlookResponse, account: int, screen: Console) -> None:
    """Prints sensitivities by underlying and risks by horizon."""
    screen.print(
        f"account {account}, partition {answer.partition}: journal {answer.journal_sequence}, "
        f"mark {answer.mark_sequence} ({moment(answer.run_time_ns)}), control {answer.control_sequence}"
    )
    screen.print(f"exposure at default {usd(answer.exposure_at_default)} USD")
    screen.print(_sensitivities(answer))
    screen.print(_horizons(answer))
    if answer.horizons and not answer.horizons[0].HasField("historical_value_at_risk"):
        screen.print(f"no tails yet: {answer.history_hours} hours of unbroken price history are too few")


def _sensitivities(answer: api.OutlookResponse) -> Table:
    found = new_table(
        "Sensitivities", "underlying", "price, USD", "coins", "instruments, coins", "option value, coins",
        "delta, USD", "gamma, USD for 1 %", "vega, USD a point", "theta, USD a day",
    )  # fmt: skip
    for one in answer.sensitivities:
        coins = (f"{value:,.4f}" for value in (one.coin_delta, one.lot_delta, one.option_value_delta))
        dollars = (f"{value:,.2f}" for value in (one.delta_usd, one.gamma_usd, one.vega, one.theta))
        found.add_row(one.symbol, f"{one.price:,.2f}", *coins, *dollars)
    return found


def _horizons(answer: api.OutlookResponse) -> Table:
    found = new_table(
        "Risk by horizon, USD", "horizon", "VaR, history", "ES, history", "VaR, filtered", "ES, filtered",
        "P(liquidation)", "P(default)", "expected loss", "LGD",
    )  # fmt: skip
    for one in answer.horizons:
        tails = (
            usd(getattr(one, name)) if one.HasField(name) else "-"
            for name in (
                "historical_value_at_risk", "historical_expected_shortfall", "filtered_value_at_risk",
                "filtered_expected_shortfall",
            )
        )  # fmt: skip
        chances = (f"{value / _BILLION:.4%}" for value in (one.liquidation_probability, one.default_probability))
        lost = f"{one.loss_given_default / _BILLION:.2%}"
        found.add_row(f"{one.horizon_ns // HOUR_NS} h", *tails, *chances, usd(one.expected_loss), lost)
    return found
