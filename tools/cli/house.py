"""`ballast house ...`: what an operator says at the edge of gates and failing venues; where an account's assets sit."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from rich.console import Console

from ballast.api.v1 import client_pb2, custody_pb2_grpc
from ballast.api.v1 import custody_pb2 as api
from ballast.types.v1 import custody_pb2 as words
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.units import PPM, SECOND_NS, MalformedNumber, to_scaled
from tools.cli import standing
from tools.cli.screen import EXIT_CANNOT, EXIT_DIFFERS, EXIT_OK, CannotAsk, answered, console, fail, table

PARTITIONS_MAX = 1 << 16
_OPERATOR = "operator"
_NO_PARTITION = ledger_pb2.Refusal.Name(ledger_pb2.REFUSAL_UNKNOWN_PARTITION)

Stub = custody_pb2_grpc.CustodyServiceStub
Say = Callable[[Stub, int], Awaitable[client_pb2.CommandOutcome]]


def add(subjects: Any, account: Callable[[str], int], *, target: str) -> None:
    """Declares the verbs.

    Args:
        account: reads an account's id.
    """
    house = subjects.add_parser("house", help="gates, impaired venues, where assets sit: through the edge")
    verbs = house.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser("gate", help="close it: nothing leaves; or open it")
    one.add_argument("move", choices=("close", "open"))
    one.add_argument("--for", dest="seconds", type=int, default=0, metavar="SECONDS", help="of run time (default: on)")
    _says(one, target)
    one.set_defaults(run=run_gate)
    one = verbs.add_parser("impair", help="what a venue has lost is borne by those whose assets sit there")
    one.add_argument("--venue", required=True, metavar="NAME")
    one.add_argument("--loss", type=_share, default=0, metavar="SHARE", help="lost, such as 0.25; 0 gives all back")
    one.add_argument("--haircut", type=_share, default=0, metavar="SHARE", help="of the rest, must stay meanwhile")
    _says(one, target)
    one.set_defaults(run=run_impair)
    one = verbs.add_parser("custody", help="where an account's assets sit, and on what terms")
    one.add_argument("account", type=account, metavar="ACCOUNT")
    one.add_argument("--principal", required=True, metavar="NAME", help="its owner")
    _asks(one, target)
    one.set_defaults(run=run_custody)
    one = verbs.add_parser("account", help="its standing, balances and live orders")
    one.add_argument("account", type=account, metavar="ACCOUNT")
    one.add_argument("--principal", required=True, metavar="NAME", help="its owner")
    _asks(one, target)
    one.set_defaults(run=standing.run)


def _says(parser: argparse.ArgumentParser, target: str) -> None:
    parser.add_argument("--reason", required=True, metavar="WORDS", help="journalled with it")
    parser.add_argument("--partition", type=int, action="append", metavar="N", help="(default: all of them)")
    parser.add_argument("--principal", default=_OPERATOR, metavar="NAME", help=f"(default: {_OPERATOR})")
    _asks(parser, target)


def _asks(parser: argparse.ArgumentParser, target: str) -> None:
    parser.add_argument("--target", default=target, metavar="HOST:PORT", help=f"of the edge (default: {target})")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for each answer (default: 30)")


def _share(text: str) -> int:
    try:
        share = to_scaled(text, -6)
    except MalformedNumber as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 0 <= share <= PPM:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, was {text[:40]}")
    return share


def _key() -> client_pb2.RequestKey:
    return client_pb2.RequestKey(key=uuid.uuid4().hex)


def run_gate(options: argparse.Namespace) -> int:
    """Exit status: 0 when every gate has moved, 1 when one was refused, 2 when the edge does not answer."""

    async def say(stub: Stub, partition: int) -> client_pb2.CommandOutcome:
        request = api.SetGateRequest(
            key=_key(), partition=partition, closed=options.move == "close", for_ns=options.seconds * SECOND_NS,
            reason=options.reason,
        )  # fmt: skip
        response = await stub.SetGate(request, timeout=options.timeout, metadata=_metadata(options))
        outcome: client_pb2.CommandOutcome = response.outcome
        return outcome

    return _everywhere(options, say, done="closed" if options.move == "close" else "open")


def run_impair(options: argparse.Namespace) -> int:
    """Exit status: 0 when the loss is allocated everywhere, 1 when it was refused, 2 when the edge does not answer."""

    async def say(stub: Stub, partition: int) -> client_pb2.CommandOutcome:
        while True:
            request = api.ImpairVenueRequest(
                key=_key(), partition=partition, venue=options.venue, loss_ppm=options.loss,
                haircut_ppm=options.haircut, reason=options.reason,
            )  # fmt: skip
            response = await stub.ImpairVenue(request, timeout=options.timeout, metadata=_metadata(options))
            outcome: client_pb2.CommandOutcome = response.outcome
            if outcome.refusal or not outcome.subject:  # one command takes so many places; the same again goes on
                return outcome

    return _everywhere(options, say, done="allocated")


def _metadata(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    return ((rpc.PRINCIPAL_KEY, options.principal),)


def _everywhere(options: argparse.Namespace, say: Say, *, done: str) -> int:
    async def said(channel: grpc.aio.Channel) -> list[tuple[int, client_pb2.CommandOutcome]]:
        found: list[tuple[int, client_pb2.CommandOutcome]] = []
        stub = custody_pb2_grpc.CustodyServiceStub(channel)
        for partition in options.partition or range(PARTITIONS_MAX):
            try:
                found.append((partition, await say(stub, partition)))
            except grpc.aio.AioRpcError as error:
                if found and not options.partition and _NO_PARTITION in (error.details() or ""):
                    break  # those were all
                raise
        return found

    try:
        outcomes = answered(options, said)
    except CannotAsk as error:
        return fail("house", error, EXIT_CANNOT)
    status = EXIT_OK
    for partition, outcome in outcomes:
        if outcome.refusal:
            reason = ledger_pb2.Refusal.Name(outcome.refusal).removeprefix("REFUSAL_")
            status = fail("house", f"partition {partition}: {reason}: {outcome.detail}", EXIT_DIFFERS)
        else:
            print(f"partition {partition}: {done}, journal sequence {outcome.sequence}")
    return status


def run_custody(options: argparse.Namespace) -> int:
    """Exit status: 0, 2 when the edge does not answer."""

    async def found(channel: grpc.aio.Channel) -> api.GetCustodyResponse:
        answer: api.GetCustodyResponse = await custody_pb2_grpc.CustodyServiceStub(channel).GetCustody(
            api.GetCustodyRequest(account=options.account), timeout=options.timeout, metadata=_metadata(options)
        )
        return answer

    try:
        draw(answered(options, found), console())
    except CannotAsk as error:
        return fail("house", error, EXIT_CANNOT)
    return EXIT_OK


def draw(found: api.GetCustodyResponse, screen: Console) -> None:
    """Prints each asset with its places and terms."""
    title = f"partition {found.partition}, journal sequence {found.sequence}"
    sheet = table(title, "asset", "held", "where<", "lent", "may be lent<", "must stay")
    for one in found.assets:
        places = ", ".join(f"{each.place} {each.amount}" + (f" (lost {each.lost})" if each.lost else "")
                           for each in one.places)  # fmt: skip
        terms = f"up to {one.cap}" if one.mode == words.CUSTODY_MODE_LENDABLE else "nothing"
        terms += f", {one.recalled} on its way back" if one.recalled else ""
        sheet.add_row(one.asset, one.held, places, one.lent, terms, one.must_stay)
    screen.print(sheet)
    if found.gate_closed or found.gate_until_ns:
        until = "an operator opens it" if found.gate_closed else f"run time {found.gate_until_ns}"
        screen.print(f"gate closed until {until}: nothing leaves", style="yellow")
