"""The bank of an outflow limit is told what the house holds, when the limit changes by it, once in five minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ballast.events.v1 import commands_pb2, custody_pb2, interest_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, system_account
from services.interest_accrual.app.accrual import OUTFLOW_PART_NS, Accrual
from services.interest_accrual.app.view import View
from services.interest_accrual.tests.test_accrual_loop import HOME, PARAMETERS, USD

CASH = ledger_pb2.LINE_KIND_CASH
WHOLE = 10**6
ABOVE = 200_000_000 * WHOLE  # one in a hundred of it is more than the floor of an hour


class Sent:
    """Commands about outflow limits."""

    def __init__(self) -> None:
        self.limits: list[tuple[int, custody_pb2.SetOutflowLimit]] = []

    async def send(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        self.limits += [(partition, one.set_outflow_limit) for one in commands if one.HasField("set_outflow_limit")]

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """Nobody reads reasons here."""


class Holding:
    """A house that holds dollars in several partitions."""

    def __init__(self) -> None:
        self.view, self.sent = View(PARAMETERS), Sent()
        self.accrual = Accrual(self.view, commands=self.sent, rates=self.sent)
        self.wall_s = 0.0

    def hold(self, partition: int, units: int) -> None:
        """A deposit in a partition."""
        vault = system_account(SystemAccount.CUSTODY, partition=partition)
        posting = journal_pb2.Posting(account=vault, asset=USD, kind=CASH, delta=-units)
        self._fold(partition, journal_pb2.Effect(posting=posting))

    def _fold(self, partition: int, effect: journal_pb2.Effect) -> None:
        body = journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=[effect])])
        self.view.fold_journal(partition, sequence=self.view.partitions[partition].sequence + 1, body=body)

    def step(self, part: int) -> list[tuple[int, int, int]]:
        """(partition, part, units) of what is sent in a part of five minutes, and accepted."""
        self.view.fold_marks(sequence=part, run_time_ns=part * OUTFLOW_PART_NS, body=market_pb2.MarksBody())
        self.sent.limits.clear()
        asyncio.run(self.accrual.step(now_s=self.wall_s))
        for partition, one in self.sent.limits:
            pot = custody_pb2.OutflowPot(asset=one.asset, number=one.number, held_units=one.held_units)
            self._fold(partition, journal_pb2.Effect(outflow_pot=pot))
        return [(partition, one.number, one.held_units) for partition, one in self.sent.limits]


def test_a_house_below_the_floors_tells_nothing() -> None:
    house = Holding()
    house.hold(0, 1_000 * WHOLE)
    assert house.step(6_000_000) == []


def test_holdings_of_all_partitions_are_told_to_the_bank_once_a_part() -> None:
    house = Holding()
    house.hold(0, ABOVE)
    house.hold(3, ABOVE)
    assert house.step(6_000_000) == [(HOME, 6_000_000, 2 * ABOVE)]
    house.hold(3, -ABOVE)
    assert house.step(6_000_000) == []
    assert house.step(6_000_001) == [(HOME, 6_000_001, ABOVE)]
    assert house.step(6_000_002) == []


def test_what_is_lost_is_told_again() -> None:
    house = Holding()
    house.hold(0, ABOVE)
    house.sent.limits.clear()
    house.view.fold_marks(sequence=1, run_time_ns=6_000_000 * OUTFLOW_PART_NS, body=market_pb2.MarksBody())
    asyncio.run(house.accrual.step(now_s=0.0))
    assert len(house.sent.limits) == 1  # and nobody journalled it
    house.wall_s = 1.0
    assert house.step(6_000_000) == []
    house.wall_s = 60.0
    assert house.step(6_000_000) == [(HOME, 6_000_000, ABOVE)]
