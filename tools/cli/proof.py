"""`ballast ledger proof`: what the house owes all clients, and to each client the proof that it counts."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console

from libs.common.errors import BallastError
from libs.common.units import from_units
from tools.audit.stored import Broker, Files, Source
from tools.cli.screen import EXIT_CANNOT, EXIT_DIFFERS, EXIT_OK, console, fail, moment, table
from tools.proof.liabilities import Cut, Differs, cut
from tools.proof.tree import Leaf, Tree, Unprovable, places_left
from tools.proof.written import FILE_BYTES_MAX, Context, as_file, proven
from tools.reconcile.reader import Unreadable

_CANNOT = (Unreadable, BallastError, KafkaError, OSError)


def add(verbs: Any) -> None:
    """Declares `proof` and `proof verify`."""
    one = verbs.add_parser("proof", help="Merkle-sum proof of liabilities; `proof verify FILE` checks a client's file")
    one.add_argument("--bootstrap", metavar="HOST:PORT", help="of the Kafka cluster")
    one.add_argument("--files", type=Path, metavar="DIR", help="what `ballast ledger export` wrote")
    one.add_argument("--output", type=Path, metavar="DIR", help="a file for each account, and what is published")
    one.set_defaults(run=run_build)
    verify = one.add_subparsers(metavar="verify FILE").add_parser("verify", help="a client's file, with nothing else")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--root", type=_root, metavar="HEX", help="the published root (default: the one in the file)")
    verify.set_defaults(run=run_verify)


def _root(text: str) -> bytes:
    try:
        root = bytes.fromhex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected hex digits, was {text[:80]}") from error
    if len(root) != 32:
        raise argparse.ArgumentTypeError(f"expected 64 hex digits, was {len(text)}")
    return root


def run_build(options: argparse.Namespace) -> int:
    """Exit status: 0, 1 when the journal differs or an account is below zero, 2 when it cannot be read or written."""
    if bool(options.bootstrap) == bool(options.files) or options.output is None:
        return fail("proof", "expected --output DIR and one of --bootstrap and --files", EXIT_CANNOT)
    source: Source = Broker(options.bootstrap) if options.bootstrap else Files(options.files)
    try:
        found = asyncio.run(cut(source))
        tree, context = planted(found, secret=secrets.token_bytes(32))
        write(options.output, tree, context)
    except (Unprovable, Differs) as error:
        return fail("proof", error, EXIT_DIFFERS)
    except _CANNOT as error:
        return fail("proof", error, EXIT_CANNOT)
    draw(found, tree, console())
    return EXIT_OK


def planted(found: Cut, *, secret: bytes) -> tuple[Tree, Context]:
    """The tree over all accounts, in an order that tells nothing; salts come from the secret, which is kept nowhere."""
    assets = found.assets

    def drawn(what: str, number: int) -> bytes:
        return hmac.new(secret, f"{what}/{number}".encode(), hashlib.sha256).digest()

    leaves = [
        Leaf(one.account, one.owner, drawn("salt", one.account), tuple(one.units.get(asset.id, 0) for asset in assets))
        for one in found.owed
    ]
    leaves.sort(key=lambda leaf: drawn("place", leaf.account))
    context = Context(found.heads, found.run_time_ns, assets, len(leaves))
    empty = [drawn("empty", number) for number in range(places_left(len(leaves)) if leaves else 0)]
    return Tree(leaves, assets=len(assets), context=context.as_bytes(), salts=empty), context


def write(directory: Path, tree: Tree, context: Context) -> None:
    """Writes each account's file, and what everybody may see."""
    directory.mkdir(parents=True, exist_ok=True)
    for at, leaf in enumerate(tree.leaves):
        content = as_file(tree.inclusion(at), context=context, root=tree.root, totals=tree.top.units)
        (directory / f"proof-{leaf.account}.json").write_bytes(content)
    published = {"root": tree.root.hex(), "totals": list(map(str, tree.top.units)), "context": context.as_object()}
    (directory / "published.json").write_text(json.dumps(published, indent=1) + "\n", encoding="ascii")


def draw(found: Cut, tree: Tree, screen: Console) -> None:
    """Prints the root, and by asset what is owed beside where assets sit."""
    places = ["vault", *(venue.name for venue in found.parameters.venues)]
    sheet = table(f"owed to {len(tree.leaves):,} accounts", "asset", "owed", *places, "lent")
    for asset, owed in zip(found.assets, tree.top.units, strict=True):
        amounts = [owed, *(found.sits[asset.id, place] for place in places), found.lent[asset.id]]
        sheet.add_row(asset.symbol, *(from_units(each, asset.decimals) for each in amounts))
    screen.print(sheet)
    at = ", ".join(f"{one.partition}: {one.sequence:,} ({one.head.hex()[:16]})" for one in found.heads)
    screen.print(f"cut at {moment(found.run_time_ns)}, journal by partition {at}")
    screen.print("counted: cash, withdrawals that wait, claims on pools; debts and positions are not set against them")
    screen.print(f"root {tree.root.hex()}", style="bold green")


def run_verify(options: argparse.Namespace) -> int:
    """Exit status: 0 when the file proves what it says, 1 when it does not, 2 when it cannot be read."""
    try:
        with options.file.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        found = proven(content, root=options.root)
    except Unprovable as error:
        return fail("proof", f"{options.file.name} proves nothing: {error}", EXIT_DIFFERS)
    except OSError as error:
        return fail("proof", error, EXIT_CANNOT)
    screen = console()
    sheet = table(f"account {found.account} of {found.owner}", "asset", "owed to it", "owed to all")
    for asset, own, total in zip(found.context.assets, found.units, found.totals, strict=True):
        sheet.add_row(asset.symbol, from_units(own, asset.decimals), from_units(total, asset.decimals))
    screen.print(sheet)
    screen.print(f"cut at {moment(found.context.run_time_ns)}, {found.context.leaves:,} accounts")
    screen.print(f"root {found.root.hex()}", style="bold green")
    if options.root is None:
        screen.print("compare the root with the published one, or give it by --root", style="yellow")
    return EXIT_OK
