"""`ballast house account`: how an account stands, what is on it and what it has ordered."""

from __future__ import annotations

import argparse

import grpc
from rich.console import Console
from rich.markup import escape

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from tools.cli.screen import EXIT_CANNOT, EXIT_OK, CannotAsk, answered, console, fail, table


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, 2 when the edge does not answer."""

    async def found(channel: grpc.aio.Channel) -> client_pb2.ClientServiceGetAccountResponse:
        answer: client_pb2.ClientServiceGetAccountResponse = await client_pb2_grpc.ClientServiceStub(
            channel
        ).GetAccount(
            client_pb2.ClientServiceGetAccountRequest(account=options.account),
            timeout=options.timeout,
            metadata=((rpc.PRINCIPAL_KEY, options.principal),),
        )
        return answer

    try:
        draw(answered(options, found), console())
    except CannotAsk as error:
        return fail("house", error, EXIT_CANNOT)
    return EXIT_OK


def standing(found: client_pb2.ClientServiceGetAccountResponse) -> str:
    """How an account stands, in words: every reason why it may not do everything."""
    said = []
    if found.moved_to:
        said.append(f"lives under {found.moved_to} now")
    elif found.standing.moving_to:
        said.append(f"moves to partition {found.standing.moving_to - 1}")
    if found.standing.closed:
        said.append("closed by its owner")
    if found.standing.held:
        said.append("restricted by an operator")
    if found.episode:
        said.append(f"liquidated in episode {found.episode}")
    if found.restricted and not said:
        said.append("restricted: it owes the house")
    return ", ".join(said) or "open"


def draw(found: client_pb2.ClientServiceGetAccountResponse, screen: Console) -> None:
    """Prints standing, balances and orders."""
    screen.print(f"{standing(found)}; partition {found.partition}, journal sequence {found.sequence}")
    sheet = table("", "symbol", "line<", "amount")
    for one in found.balances:
        kind = ledger_pb2.LineKind.Name(one.kind).removeprefix("LINE_KIND_").lower()
        sheet.add_row(escape(one.symbol), kind, one.amount)
    screen.print(sheet)
    if found.orders:
        screen.print(f"live orders: {', '.join(map(str, found.orders))}")
