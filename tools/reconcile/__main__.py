"""`python -m tools.reconcile`: reads the topics of a cluster and says whether the books are right."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from aiokafka.errors import KafkaError
from rich.console import Console

from libs.common.errors import BallastError
from tools.reconcile.measures import details, measures
from tools.reconcile.reader import Unreadable, read_and_reconcile
from tools.reconcile.screen import show
from tools.reconcile.windows import parse_windows
from tools.report import Run

EXIT_OK, EXIT_BROKEN, EXIT_UNREADABLE = 0, 1, 2
_PLAIN_WIDTH = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the books balance, 1 naming what broke, 2 when the topics cannot be read."""
    options = _parse(arguments)
    run = Run(options.target, command=options.command, seed=options.seed, began_s=options.began)
    try:
        windows = parse_windows(options.crashes)
        result = asyncio.run(read_and_reconcile(options.bootstrap))
    except (Unreadable, ValueError, BallastError, KafkaError, OSError) as error:
        print(f"reconcile: {error}", file=sys.stderr)
        return EXIT_UNREADABLE
    found = measures(result, windows)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    show(result, found, console=console)
    path = run.finish(ok=result.ok, measures=found, details=details(result)).write()
    console.print(f"report: {path}", highlight=False)
    if not result.ok:
        print(f"reconcile: broken: {', '.join(result.broken)}", file=sys.stderr)
    return EXIT_OK if result.ok else EXIT_BROKEN


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.reconcile", description=__doc__)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="of the Kafka cluster")
    parser.add_argument("--crashes", default="", metavar="START/END,...", help="stretches of run time to report on")
    parser.add_argument("--target", default="reconcile", help="the report goes to .run/TARGET/report.json")
    parser.add_argument("--seed", type=int, default=0, help="of the run, for the report")
    parser.add_argument("--began", type=float, metavar="SECONDS", help="since 1970, when the run began (default: now)")
    parser.add_argument("--command", default="python -m tools.reconcile", help="of the run, for the report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
