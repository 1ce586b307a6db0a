"""`ballast SUBJECT VERB ...`, or `python -m tools.cli`: asks a running house, or its topics alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from libs.common.ids import account_id
from tools.cli import dry_run, explain, house, ledger, outlook, recompute
from tools.cli.screen import EXIT_CANNOT

Run = Callable[[argparse.Namespace], int]

TARGET = "127.0.0.1:50051"
_ACCOUNT = "id, or PARTITION/ENTITY/ACCOUNT"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done and well, 1 something differs or would go wrong, 2 it could not be asked."""
    options = _parser().parse_args(arguments)
    run: Run = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return EXIT_CANNOT


def account(text: str) -> int:
    """An account id from decimal or 0x digits, or from PARTITION/ENTITY/ACCOUNT."""
    parts = text.split("/")
    try:
        if len(parts) == 3:
            partition, entity, sub = map(int, parts)
            return account_id(partition=partition, entity=entity, sub=sub)
        found = int(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected an id or PARTITION/ENTITY/ACCOUNT, was {text[:80]}") from error
    if not 0 < found < 1 << 64:
        raise argparse.ArgumentTypeError(f"expected an id of 64 bits, was {text[:80]}")
    return found


def _count(text: str) -> int:
    if not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"expected a whole number, was {text[:80]}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ballast", description=__doc__)
    subjects = parser.add_subparsers(metavar="SUBJECT", required=True)
    risk = subjects.add_parser("risk", help="margins: explained, recomputed, under other parameters")
    verbs = risk.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser("explain", help="draw the margin of an account with everything it stands on")
    one.add_argument("account", type=account, metavar="ACCOUNT", help=_ACCOUNT)
    _asks(one)
    one.add_argument("--at-least", type=_count, default=0, metavar="SEQUENCE", help="wait for this journal sequence")
    one.set_defaults(run=explain.run)
    one = verbs.add_parser("outlook", help="what moves an account, what it may lose, how likely it defaults")
    one.add_argument("account", type=account, metavar="ACCOUNT", help=_ACCOUNT)
    _asks(one)
    one.add_argument("--at-least", type=_count, default=0, metavar="SEQUENCE", help="wait for this journal sequence")
    one.add_argument("--hours", type=_count, nargs="+", default=[24], metavar="H", help="horizons (default: 24)")
    one.add_argument("--confidence", type=_count, default=990_000, metavar="PPM", help="of the tails (default: 990000)")
    one.set_defaults(run=outlook.run)
    one = verbs.add_parser("recompute", help="a published margin again, bit for bit, from the topics alone")
    one.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="of the Kafka cluster")
    one.add_argument(
        "--account", type=account, required=True, metavar="ACCOUNT", help="id, or PARTITION/ENTITY/ACCOUNT"
    )
    one.add_argument(
        "--journal", type=_count, metavar="SEQUENCE", help="journal sequence of the record (default: last)"
    )
    one.add_argument("--mark", type=_count, metavar="SEQUENCE", help="mark sequence of the record (default: last)")
    one.set_defaults(run=recompute.run)
    one = verbs.add_parser("dry-run", help="what another parameter set would do to the live book")
    one.add_argument("--config", type=Path, required=True, metavar="DIR", help="the set's *.yaml")
    one.add_argument("--worst", type=_count, default=10, metavar="N", help="name the N that fare worst (default: 10)")
    _asks(one)
    one.set_defaults(run=dry_run.run)
    ledger.add(subjects, account)
    house.add(subjects, account, target=TARGET)
    return parser


def _asks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default=TARGET, metavar="HOST:PORT", help=f"of risk (default: {TARGET})")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for the answer (default: 30)")


if __name__ == "__main__":
    sys.exit(main())
