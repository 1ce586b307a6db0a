"""A house for the tests: the repository's parameters, a journal made by hand, and fakes of the ports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ballast.events.v1 import chain_pb2, commands_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common.chain import AcceptedFrame
from libs.common.commands import request_hash
from libs.common.config import load_parameters
from libs.common.ids import account_id, serial_id
from libs.common.metrics import Metrics
from services.venue_gateway.app.answers import Answers
from services.venue_gateway.app.clients import ClientMetrics, Clients
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.domain.directory import Directory

PARAMETERS = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters
DIRECTORY = Directory(PARAMETERS)
NORTH = DIRECTORY.venue_by_name["north"]
PERP = DIRECTORY.instrument_by_symbol["BTC-USD-PERP"]
NOW_NS = 1_513_900_000_000_000_000
SEND_BY_NS = NOW_NS + 600_000_000_000
PARTITION = 2
ACCOUNT = account_id(partition=PARTITION, entity=1, sub=0)
ORDER = serial_id(partition=PARTITION, serial=7)


class SentCommands:
    """Takes commands and keeps them with partition and stamps."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, commands_pb2.Command, dict[str, int]]] = []
        self.arrived = asyncio.Event()

    async def send(
        self, partition: int, commands: Sequence[commands_pb2.Command], *, stamps: dict[str, int] | None = None
    ) -> None:
        for command in commands:
            copy = commands_pb2.Command()
            copy.CopyFrom(command)
            self.sent.append((partition, copy, dict(stamps or {})))
        self.arrived.set()

    def take(self) -> list[commands_pb2.Command]:
        """What was sent since the last call."""
        taken, self.sent = [command for _, command, _ in self.sent], []
        self.arrived.clear()
        return taken

    async def next(self) -> commands_pb2.Command:
        """The next command, when it is sent."""
        while not self.sent:
            self.arrived.clear()
            await self.arrived.wait()
        return self.sent.pop(0)[1]


class KeptBooks:
    """Takes books and keeps them."""

    def __init__(self) -> None:
        self.batches: list[list[market_pb2.Liquidity]] = []

    async def publish(self, books: Sequence[market_pb2.Liquidity]) -> None:
        self.batches.append(list(books))


class House:
    """A view that is fed by hand, with everything that stands on it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.answers = Answers()
        self.commands = SentCommands()
        self.view = LedgerView(partitions=PARAMETERS.partitions, answers=self.answers)
        self.clients = Clients(
            directory=DIRECTORY,
            view=self.view,
            answers=self.answers,
            commands=self.commands,
            metrics=ClientMetrics(self.metrics),
        )

    def journal(self, *outcomes: journal_pb2.Outcome, partition: int = PARTITION, run_time_ns: int = NOW_NS) -> None:
        """Appends a frame to the partition's journal and applies it."""
        sequence = self.view.books[partition].sequence + 1
        body = journal_pb2.JournalBody(outcomes=outcomes).SerializeToString()
        frame = chain_pb2.Frame(sequence=sequence, run_time_ns=run_time_ns, body=body)
        self.view.apply(partition, [AcceptedFrame(offset=sequence, frame=frame, head=b"")])

    def with_account(self, owner: str = "alice", account: int = ACCOUNT) -> House:
        """The house after an account was opened."""
        one = journal_pb2.Account(account=account, entity=account & ~0xFFFF, owner=owner)
        self.journal(journal_pb2.Outcome(effects=[journal_pb2.Effect(account=one)]), partition=account >> 48)
        return self


def outcome_of(
    command: commands_pb2.Command,
    *effects: journal_pb2.Effect,
    refusal: ledger_pb2.Refusal = ledger_pb2.REFUSAL_UNSPECIFIED,
    subject: int = 0,
    repeated: bool = False,
) -> journal_pb2.Outcome:
    """The outcome the ledger would journal for a command."""
    outcome = journal_pb2.Outcome(
        principal=command.principal,
        command=command.WhichOneof("body") or "",
        request_hash=request_hash(command),
        refusal=refusal,
        subject=subject,
        repeated=repeated,
        effects=effects,
    )
    match command.WhichOneof("key"):
        case "session":
            outcome.session.CopyFrom(command.session)
        case "client":
            outcome.client.CopyFrom(command.client)
        case "fact":
            outcome.fact.CopyFrom(command.fact)
    return outcome


def order(
    state: ledger_pb2.OrderState = ledger_pb2.ORDER_STATE_RELEASED, *, number: int = ORDER, venue: int = NORTH.id
) -> journal_pb2.Order:
    """An order to buy 5 lots of the perpetual at 60,000."""
    return journal_pb2.Order(
        order=number,
        account=ACCOUNT,
        instrument=PERP.id,
        venue=venue,
        side=words.SIDE_BUY,
        lots=5,
        remaining=5,
        limit_price=6_000_000,
        time_in_force=words.TIME_IN_FORCE_IOC,
        state=state,
        send_by_ns=SEND_BY_NS,
    )


def order_outcome(one: journal_pb2.Order) -> journal_pb2.Outcome:
    """An outcome that leaves an order so."""
    return journal_pb2.Outcome(effects=[journal_pb2.Effect(order=one)])
