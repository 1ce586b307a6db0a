"""An owner whose commands waited too long keeps the gate shut, and the journal says so to those who come after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ballast.types.v1 import custody_pb2 as custody
from libs.common.book import PartitionBook
from services.collateral_management.tests.story import PARAMETERS
from services.collateral_management.tests.test_owner import GENESIS, House, until

LONG_S = PARAMETERS.guards.outage_ns / 10**9


def book_of(house: House) -> PartitionBook:
    """The book of what is journalled."""
    book = PartitionBook(0)
    for frame, body in zip(house.frames, house.bodies(), strict=True):
        book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
    return book


@pytest.mark.parametrize(("waited_s", "closed"), [(LONG_S - 1, False), (LONG_S, True)])
async def test_commands_that_waited_as_long_as_an_outage_close_the_gate(waited_s: float, closed: bool) -> None:
    house = House()
    house.put(1)
    house.records[0] = replace(house.records[0], waited_s=waited_s)
    async with house.owned():
        await until(lambda: len(house.applied()) == 1)
    gate = book_of(house).custody.gate
    assert gate.until_ns == (GENESIS + PARAMETERS.guards.gate_after_outage_ns if closed else 0)
    assert gate.cause == (custody.GATE_CAUSE_OUTAGE if closed else custody.GATE_CAUSE_UNSPECIFIED)


async def test_the_record_that_is_read_again_after_a_restart_has_waited_for_nobody() -> None:
    house = House()
    house.put(1)
    async with house.owned():
        await until(lambda: len(house.applied()) == 1)
    house.records[0] = replace(house.records[0], waited_s=10 * LONG_S)
    house.put(1)
    async with house.owned():
        await until(lambda: len(house.applied()) == 2)
    assert not book_of(house).custody.gate.until_ns
