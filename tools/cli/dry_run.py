"""`ballast risk dry-run`: what another parameter set would do to the live book."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import risk_pb2
from libs.common.config import load_parameters
from libs.common.errors import ConfigurationError
from tools.cli.screen import EXIT_CANNOT, EXIT_OK, CannotAsk, ask, console, fail, moment, state, usd
from tools.cli.screen import table as new_table

_VERBS = {
    risk_pb2.MARGIN_STATE_CALL: "called",
    risk_pb2.MARGIN_STATE_LIQUIDATION: "liquidated",
    risk_pb2.MARGIN_STATE_BANKRUPT: "bankrupt",
}


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 drawn, 2 for an invalid set or without an answer."""
    try:
        loaded = load_parameters(options.config)
        request = api.DryRunRequest(canonical_json=loaded.canonical_json, worst=min(options.worst, 1_000))
        answer = ask(options, lambda stub, timeout: stub.DryRun(request, timeout=timeout))
    except (ConfigurationError, CannotAsk) as error:
        return fail("dry-run", error, EXIT_CANNOT)
    draw(answer, console())
    return EXIT_OK


def draw(answer: api.DryRunResponse, screen: Console) -> None:
    """Prints who would go where, for how much, and who would fare worst."""
    screen.print(
        f"{answer.accounts:,} accounts at mark {answer.mark_sequence} ({moment(answer.run_time_ns)}), "
        f"control {answer.control_sequence}, "
        + ", ".join(f"journal {one.partition}/{one.journal_sequence}" for one in answer.partitions)
    )
    screen.print(f"parameters {answer.parameters_hash.hex()[:16]} in force, {answer.other_hash.hex()[:16]} asked about")
    screen.print(_sums(answer))
    screen.print(_transitions(answer))
    for verdict in verdicts(answer):
        screen.print(verdict)
    if answer.worst:
        screen.print(_worst(answer))


def verdicts(answer: api.DryRunResponse) -> list[str]:
    """A sentence for each state that accounts would come to, from a better one or a worse one."""
    found = []
    for number, verb in _VERBS.items():
        new = [one for one in answer.transitions if one.then == number != one.now]
        count, lacking = sum(one.accounts for one in new), sum(one.lacking for one in new)
        text = f"{count:,} accounts would newly be {verb}, lacking {usd(lacking)} USD"
        if number != risk_pb2.MARGIN_STATE_CALL:
            text += f", first closing {usd(sum(one.to_close for one in new))} USD of notional"
        found.append(text)
    return found


def _sums(answer: api.DryRunResponse) -> Table:
    found = new_table("Requirements of all accounts, USD", "margin", "now", "then", "difference")
    for name, now, then in (
        ("initial", answer.initial_margin, answer.other_initial_margin),
        ("maintenance", answer.maintenance_margin, answer.other_maintenance_margin),
    ):
        found.add_row(name, usd(now), usd(then), usd(then - now))
    return found


def _transitions(answer: api.DryRunResponse) -> Table:
    found = new_table("Accounts by state", "now", "then<", "accounts", "lacking, USD", "to close, USD")
    for one in answer.transitions:
        style = "bold" if one.now != one.then else None
        found.add_row(
            state(one.now), state(one.then), f"{one.accounts:,}", usd(one.lacking), usd(one.to_close), style=style
        )
    return found


def _worst(answer: api.DryRunResponse) -> Table:
    found = new_table(
        f"The {len(answer.worst)} that would fare worst, USD", "account", "now<", "then<", "equity", "maintenance now",
        "maintenance then", "lacking", "to close",
    )  # fmt: skip
    for one in answer.worst:
        margins = usd(one.then.equity), usd(one.now.maintenance_margin), usd(one.then.maintenance_margin)
        cells = state(one.now.state), state(one.then.state), *margins, usd(one.lacking), usd(one.to_close)
        found.add_row(str(one.account), *cells)
    return found
