"""The relay tells what is pending and confirms what arrived, again after a restart, a fault or a silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.book import PartitionBook
from libs.common.errors import Fault
from services.collateral_management.app import relay as module
from services.collateral_management.app.relay import Relay

SOON_SECONDS = 0.01


class Broker:
    """Takes commands, or fails as often as it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, str, int]] = []  # partition, command, sequence
        self.faults = 0

    async def send(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        if self.faults:
            self.faults -= 1
            raise Fault("the broker stands still")
        for command in commands:
            name = command.WhichOneof("body") or ""
            sequence = command.fact.sequence if name == "arrive" else command.confirm_movements.sequence
            assert command.principal.id == "collateral_management"
            self.taken.append((partition, name, sequence))


class Desk:
    """A relay over a book that the test writes."""

    def __init__(self) -> None:
        self.broker, self.book = Broker(), PartitionBook(0)
        self.relay = Relay(self.book, self.broker)

    def frame(self, *outcomes: journal_pb2.Outcome) -> None:
        """A frame is accepted."""
        body = journal_pb2.JournalBody(outcomes=outcomes)
        self.book.apply(sequence=self.book.sequence + 1, run_time_ns=1, body=body)
        self.relay.accepted(body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The relay runs."""
        task = asyncio.create_task(self.relay.run())
        try:
            yield
            await asyncio.sleep(SOON_SECONDS)
        finally:
            task.cancel()


def sends(to: int, sequence: int, *, arrived: int = 0) -> journal_pb2.Outcome:
    """A movement leaves."""
    kind = words.MOVEMENT_KIND_TRANSFER
    one = movement_pb2.Movement(from_partition=0, to_partition=to, sequence=sequence, kind=kind)
    mark = movement_pb2.TransitMark(to_partition=to, sent=sequence, arrived=arrived)
    return journal_pb2.Outcome(effects=[journal_pb2.Effect(movement=one), journal_pb2.Effect(transit_mark=mark)])


def confirmed(to: int, sequence: int, *, sent: int) -> journal_pb2.Outcome:
    """A movement has arrived there."""
    one = movement_pb2.Movement(from_partition=0, to_partition=to, sequence=sequence, arrived=True)
    mark = movement_pb2.TransitMark(to_partition=to, sent=sent, arrived=sequence)
    return journal_pb2.Outcome(effects=[journal_pb2.Effect(movement=one), journal_pb2.Effect(transit_mark=mark)])


def arrives(origin: int, sequence: int, *, repeated: bool = False) -> journal_pb2.Outcome:
    """A movement arrives here."""
    key = commands_pb2.FactKey(stream=f"transit/{origin}", sequence=sequence, previous=sequence - 1)
    return journal_pb2.Outcome(command="arrive", fact=key, repeated=repeated)


async def test_each_is_told_once_in_order_and_arrivals_are_confirmed_up_to_the_last() -> None:
    desk = Desk()
    async with desk.running():
        desk.frame(sends(1, 1), sends(1, 2), sends(2, 1))
        await asyncio.sleep(SOON_SECONDS)
        desk.frame(arrives(3, 1), arrives(3, 2), sends(1, 3))
    assert desk.broker.taken == [
        (1, "arrive", 1), (1, "arrive", 2), (2, "arrive", 1), (1, "arrive", 3), (3, "confirm_movements", 2),
    ]  # fmt: skip


async def test_a_new_owner_tells_all_that_is_pending_and_confirms_once_more() -> None:
    desk = Desk()
    desk.frame(sends(1, 1), sends(1, 2), confirmed(1, 1, sent=2), arrives(2, 7))
    desk.relay = Relay(desk.book, desk.broker)
    async with desk.running():
        pass
    assert desk.broker.taken == [(1, "arrive", 2), (2, "confirm_movements", 7)]


async def test_what_arrives_again_is_confirmed_again() -> None:
    desk = Desk()
    async with desk.running():
        desk.frame(arrives(2, 1))
        await asyncio.sleep(SOON_SECONDS)
        desk.frame(arrives(2, 1, repeated=True))
    assert desk.broker.taken == [(2, "confirm_movements", 1)] * 2


async def test_a_fault_of_the_broker_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.001)
    desk = Desk()
    desk.broker.faults = 3
    async with desk.running():
        desk.frame(sends(1, 1))
        await asyncio.sleep(5 * SOON_SECONDS)
    assert desk.broker.taken == [(1, "arrive", 1)]


async def test_what_is_not_confirmed_is_told_again_and_what_is_confirmed_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 2 * SOON_SECONDS)
    desk = Desk()
    async with desk.running():
        desk.frame(sends(1, 1), sends(2, 1))
        await asyncio.sleep(SOON_SECONDS)
        desk.frame(confirmed(2, 1, sent=1))
        await asyncio.sleep(10 * SOON_SECONDS)
    told = desk.broker.taken
    assert told.count((2, "arrive", 1)) == 1
    assert told.count((1, "arrive", 1)) >= 2
