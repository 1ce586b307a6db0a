"""`ballast ledger ...`: whether the journal holds, balances at any moment, statements, records to take away, keys."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console

from libs.common.errors import BallastError, InvariantBroken
from libs.common.signing import Standing, new_key_file
from tools.audit.balances import AsOf, balances
from tools.audit.sheets import FORMATS, FormatMissing
from tools.audit.statement import statement
from tools.audit.stored import Broker, Files, Source, export
from tools.audit.timeline import instant
from tools.audit.verify import Verified, verify
from tools.cli import proof
from tools.cli.screen import EXIT_CANNOT, EXIT_DIFFERS, EXIT_OK, console, fail, moment, table
from tools.reconcile.reader import Unreadable

_END_NS = 1 << 62
_CANNOT = (Unreadable, FormatMissing, BallastError, KafkaError, OSError)


def add(subjects: Any, account: Callable[[str], int]) -> None:
    """Declares the verbs.

    Args:
        account: reads an account's id.
    """
    ledger = subjects.add_parser("ledger", help="the journal: verified, as of any moment, as statements")
    verbs = ledger.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser("verify", help="chain, signed heads, conservation and state of all partitions")
    _reads(one)
    one.add_argument(
        "--public-key", action="append", type=_public_key, metavar="HEX",
        help="whose signed heads count (default: those of the parameters on the control log)",
    )  # fmt: skip
    one.set_defaults(run=run_verify)
    one = verbs.add_parser("balance", help="lines of an account, or of the house, as of a moment in both times")
    one.add_argument("account", type=_account_or_house(account), metavar="ACCOUNT|house")
    _reads(one)
    one.add_argument("--effective", type=_instant, default=_END_NS, metavar="T", help="what took place up to T")
    one.add_argument("--recorded", type=_instant, default=_END_NS, metavar="T", help="as known at T")
    one.add_argument("--format", choices=("table", "json"), default="table")
    one.set_defaults(run=run_balance)
    one = verbs.add_parser("statement", help="every movement, fees, funding and interest by day; sums exactly")
    one.add_argument("account", type=account, metavar="ACCOUNT")
    _reads(one)
    one.add_argument("--from", dest="begin", type=_instant, default=0, metavar="T", help="recorded from T on")
    one.add_argument("--to", dest="end", type=_instant, default=_END_NS, metavar="T", help="recorded before T")
    one.add_argument("--format", choices=tuple(FORMATS), default="csv")
    one.add_argument("--output", type=Path, metavar="FILE", help="(default: standard output)")
    one.set_defaults(run=run_statement)
    one = verbs.add_parser("export", help="the records that an audit reads, as files")
    one.add_argument("directory", type=Path, metavar="DIR")
    one.add_argument("--bootstrap", required=True, metavar="HOST:PORT", help="of the Kafka cluster")
    one.set_defaults(run=run_export)
    one = verbs.add_parser("key", help="a new private key for BALLAST_NOTARY_KEY_FILE; prints its public key")
    one.add_argument("file", type=Path, metavar="FILE")
    one.set_defaults(run=run_key)
    proof.add(verbs)


def _reads(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", metavar="HOST:PORT", help="of the Kafka cluster")
    where.add_argument("--files", type=Path, metavar="DIR", help="what `ballast ledger export` wrote")


def _source(options: argparse.Namespace) -> Source:
    return Broker(options.bootstrap) if options.bootstrap else Files(options.files)


def _public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected hex digits, was {text[:80]}") from error
    if len(key) != 32:
        raise argparse.ArgumentTypeError(f"expected 64 hex digits, was {len(text)}")
    return key


def _instant(text: str) -> int:
    try:
        return instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a moment such as 2018-01-31T12:00:00: {error}") from error


def _account_or_house(account: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text == "house" else account(text)


def run_verify(options: argparse.Namespace) -> int:
    """Exit status: 0 when all holds, 1 naming the first differences, 2 when it cannot be read."""
    try:
        found = asyncio.run(verify(_source(options), trusted=options.public_key))
    except _CANNOT as error:
        return fail("verify", error, EXIT_CANNOT)
    draw_verified(found, console(), own_keys=options.public_key is not None)
    for each in found.differences:
        fail("verify", f"differs: {each}", EXIT_DIFFERS)
    return EXIT_OK if found.ok else EXIT_DIFFERS


def draw_verified(found: Verified, screen: Console, *, own_keys: bool) -> None:
    """Prints each partition's end and who vouches for it."""
    sheet = table("journal", "partition", "frames", "epochs", "noise", "up to", "signed up to", "head<", "fingerprint<")
    for one in found.partitions:
        sheet.add_row(
            str(one.partition), f"{one.sequence:,}", f"{one.claims:,}", f"{sum(one.noise.values()):,}",
            moment(one.run_time_ns), f"{one.signed_up_to:,}", one.head.hex()[:16], one.fingerprint.hex()[:16],
        )  # fmt: skip
    screen.print(sheet)
    counted = ", ".join(f"{count:,} {worth.value}" for worth, count in found.heads.items())
    screen.print(f"published heads: {counted or 'none'}; checkpoints compared: {found.checkpoints:,}")
    behind = [one.partition for one in found.partitions if one.sequence and not one.signed_up_to]
    if behind:
        screen.print(f"unsigned: nobody vouches for partitions {', '.join(map(str, behind))}", style="yellow")
    elif not own_keys and found.heads.get(Standing.SIGNED):
        words = "keys are those of the control log, which whoever rewrites a journal could rewrite too: --public-key"
        screen.print(words, style="yellow")
    if found.ok:
        screen.print("holds: chain, heads, conservation, state", style="bold green")


def run_balance(options: argparse.Namespace) -> int:
    """Exit status: 0, 2 when it cannot be read."""
    asked = balances(_source(options), account=options.account, effective=options.effective, recorded=options.recorded)
    try:
        found = asyncio.run(asked)
    except _CANNOT as error:
        return fail("balance", error, EXIT_CANNOT)
    if options.format == "json":
        print(json.dumps({"sequences": found.sequences, "balances": [asdict(one) for one in found.balances]}, indent=1))
    else:
        draw_balances(found, console())
    return EXIT_OK


def draw_balances(found: AsOf, screen: Console) -> None:
    """Prints each line with what it is worth or owes."""
    at = ", ".join(f"{partition}: {sequence:,}" for partition, sequence in found.sequences.items())
    sheet = table(f"by journal sequence {at}", "account", "symbol<", "line<", "balance", "amount")
    for one in found.balances:
        sheet.add_row(one.owner, one.symbol, one.kind, f"{one.balance:,}", one.shown)
    screen.print(sheet)


def run_statement(options: argparse.Namespace) -> int:
    """Exit status: 0, 1 when items do not make the difference, 2 when it cannot be read or written."""
    try:
        found = asyncio.run(
            statement(_source(options), account=options.account, begin_ns=options.begin, end_ns=options.end)
        )
        content = FORMATS[options.format](found)
        if options.output is None:
            sys.stdout.buffer.write(content)
        else:
            options.output.write_bytes(content)
    except InvariantBroken as broken:
        return fail("statement", broken, EXIT_DIFFERS)
    except _CANNOT as error:
        return fail("statement", error, EXIT_CANNOT)
    return EXIT_OK


def run_export(options: argparse.Namespace) -> int:
    """Exit status: 0, 2 when it cannot be read or written."""
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
        written = asyncio.run(export(Broker(options.bootstrap), options.directory))
    except _CANNOT as error:
        return fail("export", error, EXIT_CANNOT)
    for name, count in written.items():
        print(f"{name}: {count:,} records")
    return EXIT_OK


def run_key(options: argparse.Namespace) -> int:
    """Exit status: 0, 2 when the file exists or cannot be written."""
    try:
        public_key = new_key_file(options.file)
    except OSError as error:
        return fail("key", error, EXIT_CANNOT)
    print(f"public key, for notary_keys of the ledger's parameters: {public_key.hex()}")
    return EXIT_OK
