"""A distribution to more holders than a batch takes, its owner killed in the middle: each is credited once."""

from __future__ import annotations

import signal

import pytest

from ballast.events.v1 import commands_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import account_id
from tests.integration.ledger_house import Journal, Ledger, Stream, until
from tests.integration.test_ledger import running

HOME, HOLDERS, BATCH = 0, 4_300, 500
BTC, LTC = 2, 4
CASH = words.LINE_KIND_CASH


def said_by(name: str, role: words.Role, **body: object) -> commands_pb2.Command:
    """A command in somebody's name."""
    command = commands_pb2.Command(**body)  # type: ignore[arg-type]
    command.principal.id, command.principal.role = name, role
    return command


def fork() -> commands_pb2.Command:
    """Two units of BTC for three of LTC."""
    body = lifecycle_pb2.Distribute(number=1, held=LTC, credited=BTC, numerator=2, denominator=3, reason="a fork")
    return said_by("operator", words.ROLE_OPERATOR, distribute=body)


async def fill(stream: Stream) -> None:
    """Holders with so many units of LTC as their number, and one."""
    for first in range(1, HOLDERS + 1, BATCH):
        numbers = range(first, min(first + BATCH, HOLDERS + 1))
        opened = [
            said_by(f"h{one}", words.ROLE_CLIENT, open_account=commands_pb2.OpenAccount(owner=f"h{one}"))
            for one in numbers
        ]
        paid = [
            commands_pb2.ConfirmDeposit(account=account_id(partition=HOME, entity=one, sub=0), asset=LTC, units=one + 1)
            for one in numbers
        ]
        await stream.many(HOME, opened)
        await stream.many(HOME, [said_by("custodian", words.ROLE_CUSTODIAN, confirm_deposit=one) for one in paid])


@pytest.mark.timeout(90)
async def test_each_holder_is_credited_once_though_the_owner_dies_between_batches(fresh_kafka: str) -> None:
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner="operator")
    book = journal.books[HOME]
    last = account_id(partition=HOME, entity=HOLDERS, sub=0)
    async with journal.followed(), stream.open():
        async with running(Ledger(fresh_kafka, instance="0")):
            await fill(stream)
            await until(lambda: (last, LTC, CASH) in book.lines, "the holders")
        dying = Ledger(fresh_kafka, instance="0", settings={"BALLAST_FAILPOINTS": "read_back:1:kill"})
        async with running(dying):
            await stream.one(HOME, fork())
            assert await dying.ended() == -signal.SIGKILL  # the first batch is in the journal, nobody was answered
        await until(lambda: bool(book.lifecycle.sweeps), "the first batch")
        credited = sum(asset == BTC for _, asset, _ in book.lines)
        assert 0 < credited < HOLDERS
        async with running(Ledger(fresh_kafka, instance="1")):
            while book.lifecycle.sweeps:
                before = len(journal.outcomes)
                await stream.one(HOME, fork())
                await until(lambda before=before: len(journal.outcomes) > before, "the next batch")  # type: ignore[misc]
    taken = [one for one in journal.outcomes if one.command == "distribute" and not one.refusal and not one.repeated]
    assert len(taken) >= 3
    for number in range(1, HOLDERS + 1):
        account = account_id(partition=HOME, entity=number, sub=0)
        assert book.lines.get((account, BTC, CASH), 0) == (number + 1) * 2 // 3, number
    assert book.lifecycle.distributions[1].is_over
