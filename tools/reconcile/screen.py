"""The reconciliation on screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tools.reconcile.engine import Result
from tools.reconcile.measures import HOLDERS, sums
from tools.report import Measure

_TITLES = {
    "I1": "lines of every asset sum to zero, after every frame",
    "I2": "idle + debt cover lenders' claims; nothing is left unexplained",
    "I6": "no assets means no debt; each waterfall step is posted",
    "I7": "what is owed never falls; claims only by posted write-off",
    "I8": "same journal, same state; same inputs, same margins",
    "I9": "no decision on a mark that forbids it",
    "I10": "healthy accounts lose collateral only as they may",
    "I11": "deleveraging takes from the other side alone, at most a lot too much",
    "I13": "every follower's book is the ledger's; nothing forgotten",
    "I15": "what leaves a partition enters the other, once and whole",
    "I16": "what has ended settles once, at the published price",
    "I20": "assets sit where they are said to; places add up",
    "I21": "client cash is lent by dated consent and within its cap",
    "I22": "no hour, no day lets out more than its limit; none by a closed gate",
    "episodes": "every episode ended healthy or closed",
    "dead letters": "no record was given up on",
}


def show(result: Result, measures: Sequence[Measure], *, console: Console) -> None:
    """Prints measures, sums and the verdict on every invariant."""
    figures = Table(title="Reconciliation, from the topics alone", title_justify="left")
    for name, justify in (("measure", "left"), ("value", "right"), ("unit", "left")):
        figures.add_column(name, justify="right" if justify == "right" else "left")
    for one in measures:
        figures.add_row(one.name.replace("_", " "), str(one.value), one.unit)
    console.print(figures)
    console.print(_sums(result))
    console.print(_invariants(result))
    for name, findings in result.findings.items():
        for text in findings.shown:
            console.print(f"{name}: {text}", markup=False, highlight=False, soft_wrap=True)
        if findings.count > len(findings.shown):
            console.print(f"{name}: and {findings.count - len(findings.shown)} more", markup=False)
    verdict = "The books balance." if result.ok else f"BROKEN: {', '.join(result.broken)}"
    console.print(verdict, style="bold green" if result.ok else "bold red", highlight=False)


def _sums(result: Result) -> Table:
    table = Table(title="Cash at the end, by holder", title_justify="left")
    table.add_column("holder")
    rows = sums(result)
    for row in rows:
        table.add_column(row["asset"], justify="right")
    for holder in HOLDERS:
        if any(holder in row for row in rows):
            table.add_row(holder.lower().replace("_", " "), *(row.get(holder, "") for row in rows))
    table.add_section()
    table.add_row("sum", *(row["sum"] for row in rows))
    return table


def _invariants(result: Result) -> Table:
    table = Table(title="Invariants", title_justify="left")
    for name in ("", "claim", "findings"):
        table.add_column(name, justify="right" if name == "findings" else "left")
    for name, findings in result.findings.items():
        style = "green" if not findings.count else "bold red"
        table.add_row(name, _TITLES.get(name, ""), str(findings.count), style=style)
    return table
