"""What the verbs share: exit statuses, a console, numbers as people read them, questions to risk."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import grpc
from rich.console import Console
from rich.table import Table

from ballast.api.v1 import risk_pb2_grpc
from ballast.events.v1 import risk_pb2
from libs.common import rpc
from libs.common.units import SECOND_NS, from_scaled

EXIT_OK, EXIT_DIFFERS, EXIT_CANNOT = 0, 1, 2

_PLAIN_WIDTH = 140
_STYLES = {"HEALTHY": "green", "CALL": "yellow", "LIQUIDATION": "red", "BANKRUPT": "bold red"}
_T = TypeVar("_T")


class CannotAsk(RuntimeError):
    """The question got no answer; says why."""


def console() -> Console:
    """Standard output; as wide as the terminal, or a fixed width where there is none."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def fail(verb: str, text: object, status: int) -> int:
    """The status, once the reason is on standard error."""
    print(f"{verb}: {text}", file=sys.stderr)
    return status


def answered(options: argparse.Namespace, question: Callable[[grpc.aio.Channel], Awaitable[_T]]) -> _T:
    """The answer of the service at --target. Raises CannotAsk with what it said instead."""

    async def asked() -> _T:
        async with rpc.channel(options.target) as channel:
            return await question(channel)

    try:
        return asyncio.run(asked())
    except grpc.aio.AioRpcError as error:
        raise CannotAsk(f"{options.target}: {error.code().name}: {error.details()}") from error


def ask(options: argparse.Namespace, question: Callable[[risk_pb2_grpc.RiskServiceStub, float], Awaitable[_T]]) -> _T:
    """The answer of the RiskService there. Raises CannotAsk."""
    return answered(options, lambda channel: question(risk_pb2_grpc.RiskServiceStub(channel), options.timeout))


def table(title: str, *columns: str) -> Table:
    """A table whose first column is words and the rest numbers; a column named "name<" is words too."""
    found = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        words = number == 0 or name.endswith("<")
        found.add_column(name.removesuffix("<"), justify="left" if words else "right")
    return found


def usd(value: int) -> str:
    """10^-6 USD with separators, to the last digit."""
    whole, _, part = from_scaled(abs(value), -6).partition(".")
    return f"{'-' if value < 0 else ''}{int(whole):,}.{part:0<6}"


def ppm(value: int) -> str:
    """10^-6 as a percentage, to the last digit."""
    return f"{value / 10_000:.4f} %"


def moment(run_time_ns: int) -> str:
    """Run time in UTC."""
    return datetime.fromtimestamp(run_time_ns / SECOND_NS, UTC).isoformat(timespec="milliseconds")


def state(number: int) -> str:
    """A margin state in its colour."""
    name = risk_pb2.MarginState.Name(risk_pb2.MarginState.ValueType(number)).removeprefix("MARGIN_STATE_")
    return f"[{_STYLES.get(name, 'default')}]{name.lower()}[/]"
