"""`ballast risk explain`: the margin of an account, drawn with everything it stands on."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ballast.api.v1 import risk_pb2 as api
from ballast.types.v1 import ledger_pb2
from libs.common.validity import ValidityClass
from tools.cli.screen import EXIT_CANNOT, EXIT_DIFFERS, EXIT_OK, CannotAsk, ask, console, fail, moment, ppm, state, usd
from tools.cli.screen import table as new_table


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 drawn, 1 when the parts do not add up to the number, 2 without an answer."""
    request = api.ExplainRequest(account=options.account, at_least=options.at_least)
    try:
        answer = ask(options, lambda stub, timeout: stub.Explain(request, timeout=timeout))
    except CannotAsk as error:
        return fail("explain", error, EXIT_CANNOT)
    draw(answer, console())
    wrong = unexplained(answer)
    return fail("explain", f"the parts do not add up: {wrong}", EXIT_DIFFERS) if wrong else EXIT_OK


def unexplained(answer: api.ExplainResponse) -> str:
    """Which requirement its contributions do not sum to, by how much; empty when both sums hold."""
    margin, parts = answer.margin, answer.contributions
    for name, published, explained in (
        ("maintenance margin", margin.maintenance_margin[0], sum(one.maintenance for one in parts)),
        ("initial margin", margin.initial_margin[0], sum(one.initial for one in parts)),
    ):
        if published != explained:
            return f"{name} is {usd(published)}, its parts are {usd(explained)}"
    return ""


def draw(answer: api.ExplainResponse, screen: Console) -> None:
    """Prints the figures, what they consist of, the lines, the haircuts and what may leave."""
    screen.print(_head(answer))
    screen.print(_parts(answer))
    screen.print(_lines(answer))
    if any(one.HasField("greeks") for one in answer.lines):
        screen.print(_options(answer))
    if answer.haircuts:
        screen.print(_haircuts(answer))
    if answer.free:
        free = ", ".join(f"{one.units:,} units of {escape(one.symbol or str(one.asset))}" for one in answer.free)
        screen.print(f"may leave, each on its own: {free}")
    else:
        screen.print("nothing may leave")


def _head(answer: api.ExplainResponse) -> Table:
    margin = answer.margin
    account = margin.account[0]
    parts = f"{account >> 48}/{account >> 16 & 0xFFFFFFFF}/{account & 0xFFFF}"
    found = new_table(f"Account {account} ({parts})", "figure", "value<")
    equity, initial, maintenance = margin.equity[0], margin.initial_margin[0], margin.maintenance_margin[0]
    rows = [
        ("state", state(margin.state[0])),
        ("equity", usd(equity)),
        ("equity that counts for new risk", usd(margin.equity_for_new_risk[0])),
        ("initial margin", f"{usd(initial)}  (left: {usd(equity - initial)})"),
        ("maintenance margin", f"{usd(maintenance)}  (left: {usd(equity - maintenance)})"),
        ("net notional, absolute", usd(margin.gross_notional[0])),
        ("worst scenario", escape(answer.worst_scenario)),
        ("marks", f"sequence {margin.mark_sequence}, {moment(margin.run_time_ns)}"),
        ("validity of the marks held", ValidityClass(margin.validity[0]).name),
        ("journal", f"partition {margin.partition}, sequence {margin.journal_sequence}"),
        ("control", f"sequence {margin.control_sequence}, parameters {margin.parameters_hash.hex()[:16]}"),
    ]
    for row in rows:
        found.add_row(*row)
    return found


def _parts(answer: api.ExplainResponse) -> Table:
    """By contingency and underlying; the last row is the sum of those above and the published number at once."""
    found = new_table("What is required, USD", "for", "underlying<", "maintenance", "initial")
    for one in answer.contributions:
        name = api.Contingency.Name(one.contingency).removeprefix("CONTINGENCY_").replace("_", " ").lower()
        found.add_row(name, escape(one.symbol), usd(one.maintenance), usd(one.initial))
    by_underlying: dict[str, list[int]] = {}
    for one in answer.contributions:
        sums = by_underlying.setdefault(one.symbol or "account", [0, 0])
        sums[0] += one.maintenance
        sums[1] += one.initial
    found.add_section()
    for symbol, sums in by_underlying.items():
        found.add_row("all of it", escape(symbol), usd(sums[0]), usd(sums[1]))
    found.add_section()
    total = [sum(column) for column in zip(*by_underlying.values(), strict=True)] or [0, 0]
    found.add_row("required", "", usd(total[0]), usd(total[1]), style="bold")
    return found


def _lines(answer: api.ExplainResponse) -> Table:
    found = new_table("Lines", "symbol", "kind<", "balance, units", "value, USD")
    for one in answer.lines:
        found.add_row(escape(one.symbol), _kind(one), f"{one.balance:,}", usd(one.value))
        for leg in one.legs:  # what the line holds: its value has it already
            found.add_row(f"  of it {escape(leg.symbol)}", _kind(leg), f"{leg.balance:,}", usd(leg.value), style="dim")
    found.add_section()
    found.add_row("sum", "", "", usd(sum(one.value for one in answer.lines)), style="bold")
    return found


def _kind(one: api.LineValue | api.LegValue) -> str:
    return ledger_pb2.LineKind.Name(one.kind).removeprefix("LINE_KIND_").replace("_", " ").lower()


def _options(answer: api.ExplainResponse) -> Table:
    """Of options, packages and their legs: what each gains per USD of price, point of volatility, and day."""
    found = new_table(
        "Options", "symbol", "volatility", "delta, coins", "gamma, coins per USD", "vega, USD", "theta, USD"
    )
    for line in answer.lines:
        rows: list[api.LineValue | api.LegValue] = [line, *line.legs] if line.HasField("greeks") else []
        for one in rows:
            greeks = one.greeks
            found.add_row(
                escape(one.symbol) if one is line else f"  of it {escape(one.symbol)}",
                f"{greeks.volatility:.1%}" if greeks.volatility else "",
                f"{greeks.delta:+,.4f}",
                f"{greeks.gamma:+.3g}",
                f"{greeks.vega:+,.2f}",
                f"{greeks.theta:+,.2f}",
            )
    return found


def _haircuts(answer: api.ExplainResponse) -> Table:
    title = "Haircuts of what is held, were it held alone"
    found = new_table(title, "asset", "value, USD", "haircut", "price may lose", "selling costs", "scenario<")
    before = ""
    for one in answer.haircuts:
        is_own = one.symbol != before  # the size held comes first
        before = one.symbol
        name = f"{escape(one.symbol)} (held)" if is_own else ""
        cells = usd(one.value), ppm(one.haircut_ppm), ppm(one.scan_ppm), ppm(one.add_on_ppm), escape(one.scenario)
        found.add_row(name, *cells)
    return found
