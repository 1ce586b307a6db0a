"""Commands on their way: in order, together while a record is under way, and never silently lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ballast.events.v1 import commands_pb2
from libs.common.errors import Fault
from services.venue_gateway.app import outbox as outbox_module
from services.venue_gateway.app.outbox import Outbox


class Broker:
    """Takes records when it is let."""

    def __init__(self) -> None:
        self.records: list[tuple[int, list[int]]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None
        self.taken = asyncio.Event()

    async def send(
        self, partition: int, commands: Sequence[commands_pb2.Command], *, stamps: dict[str, int] | None = None
    ) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.records.append((partition, [one.session.n for one in commands]))
        self.taken.set()


def _commands(*numbers: int) -> list[commands_pb2.Command]:
    return [commands_pb2.Command(session=commands_pb2.SessionKey(n=n)) for n in numbers]


async def _until(broker: Broker, count: int) -> None:
    async with asyncio.timeout(5):
        while sum(len(numbers) for _, numbers in broker.records) < count:
            broker.taken.clear()
            await broker.taken.wait()


async def test_what_comes_while_a_record_is_under_way_goes_into_the_next_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "RECORD_COMMANDS_MAX", 4)
    broker = Broker()
    outbox = Outbox(broker)
    outbox.post(1, _commands(1, 2))
    await asyncio.sleep(0)
    for n in range(3, 9):
        outbox.post(1, _commands(n))
    outbox.post(2, _commands(1))
    broker.open.set()
    await _until(broker, 9)
    assert [numbers for partition, numbers in broker.records if partition == 1] == [[1, 2], [3, 4, 5, 6], [7, 8]]
    outbox.post(1, _commands(9))
    await _until(broker, 10)


async def test_a_bug_in_sending_is_told_to_the_next_that_posts() -> None:
    broker = Broker()
    broker.open.set()
    broker.error = ValueError("expected a smaller command")
    outbox = Outbox(broker)
    outbox.post(1, _commands(1))
    await asyncio.sleep(0.01)
    with pytest.raises(ValueError, match="smaller"):
        outbox.post(1, _commands(2))


async def test_after_a_fault_nothing_is_sent_again() -> None:
    broker = Broker()
    broker.open.set()
    broker.error = Fault("the broker is away")
    outbox = Outbox(broker)
    outbox.post(1, _commands(1))
    await asyncio.sleep(0.01)
    broker.error = None
    outbox.post(1, _commands(2))
    await _until(broker, 1)
    assert broker.records == [(1, [2])]
