"""Movements between four partitions on a real broker, killed between the halves: all of it arrives, once."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter

from ballast.events.v1 import commands_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id, partition_of, system_account, system_kind
from tests.integration.ledger_house import PARTITIONS, USD, Journal, Ledger, Stream, deposit, until
from tests.integration.test_ledger import running

OWNER = "dora"
HOME, AWAY = 0, 2
CASH, SUPPLY = words.LINE_KIND_CASH, words.LINE_KIND_SUPPLY_SHARES
ENTITY = account_id(partition=HOME, entity=1, sub=0)
KILLS, CAPITAL_MOVES = 4, 60


def of_owner(**body: object) -> commands_pb2.Command:
    """A command of the owner's."""
    command = commands_pb2.Command(**body)  # type: ignore[arg-type]
    command.principal.id, command.principal.role = OWNER, words.ROLE_CLIENT
    return command


def of_custodian(**body: object) -> commands_pb2.Command:
    """A command of the custodian's."""
    command = commands_pb2.Command(**body)  # type: ignore[arg-type]
    command.principal.id, command.principal.role = "custodian", words.ROLE_CUSTODIAN
    return command


def in_transit(journal: Journal) -> dict[tuple[int, int], int]:
    """What the in-transit accounts of all partitions add up to, zero left out."""
    sums: Counter[tuple[int, int]] = Counter()
    for book in journal.books:
        for (account, asset, kind), balance in book.lines.items():
            if system_kind(account) is SystemAccount.IN_TRANSIT:
                sums[asset, kind] += balance
    return {key: total for key, total in sums.items() if total}


def is_quiet(journal: Journal) -> bool:
    """Nothing is on its way."""
    return not any(book.movements or book.moves for book in journal.books)


def has(journal: Journal, account: int, kind: int) -> int:
    """A line of dollars."""
    return journal.books[partition_of(account)].lines.get((account, USD, kind), 0)


async def test_an_entity_moves_though_the_ledger_is_killed_between_the_halves(fresh_kafka: str) -> None:
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner=OWNER)
    second = ENTITY + 1
    async with journal.followed(), stream.open():
        async with running(Ledger(fresh_kafka, instance="0")):
            await stream.one(HOME, of_owner(open_account=commands_pb2.OpenAccount(owner=OWNER)))
            await stream.one(HOME, of_owner(open_account=commands_pb2.OpenAccount(owner=OWNER, entity=ENTITY)))
            await stream.one(HOME, deposit(HOME, 1, 9_000_000))
            await stream.one(HOME, of_owner(supply=commands_pb2.Supply(account=ENTITY, asset=USD, units=4_000_000)))
            paid = commands_pb2.ConfirmDeposit(account=second, asset=USD, units=7)
            await stream.one(HOME, of_custodian(confirm_deposit=paid))
            await until(lambda: has(journal, second, CASH) == 7, "two accounts with money")

        leaving = Ledger(fresh_kafka, instance="0", settings={"BALLAST_FAILPOINTS": "read_back:1:kill"})
        async with running(leaving):  # it dies with the out-frame in the journal, and has told nobody
            move = movement_pb2.MoveEntity(account=ENTITY, to_partition=AWAY)
            await stream.one(HOME, of_owner(move_entity=move))
            assert await leaving.ended() == -signal.SIGKILL
        await until(lambda: len(journal.books[HOME].movements) == 1, "the out-frame")
        assert (has(journal, ENTITY, CASH), has(journal, second, CASH)) == (0, 0)
        assert in_transit(journal) == {(USD, CASH): 5_000_007, (USD, SUPPLY): 4_000_000}
        assert not journal.books[AWAY].accounts

        entering = Ledger(fresh_kafka, instance="0", settings={"BALLAST_FAILPOINTS": "read_back:1:kill"})
        await entering.start()  # the one pending movement is told again; it dies with the in-frame in the journal
        assert await entering.ended() == -signal.SIGKILL
        await until(lambda: len(journal.books[AWAY].accounts) == 2, "the in-frame")
        assert not journal.books[HOME].accounts[ENTITY].moved_to

        async with running(Ledger(fresh_kafka, instance="1")):
            await until(lambda: is_quiet(journal), "receipt and confirmations")
            await stream.one(HOME, of_custodian(confirm_deposit=paid))  # to the old id
            new = [journal.books[HOME].accounts[one].moved_to for one in (ENTITY, second)]
            await until(lambda: has(journal, new[1], CASH) == 14, "money that follows")
            await until(lambda: is_quiet(journal), "its confirmation")
            await stream.one(HOME, of_owner(supply=commands_pb2.Supply(account=ENTITY, asset=USD, units=1)))
            await until(lambda: any(one.refusal == words.REFUSAL_MOVED for one in journal.outcomes), "the new name")
    assert [partition_of(one) for one in new] == [AWAY, AWAY]
    assert (has(journal, new[0], CASH), has(journal, new[0], SUPPLY)) == (5_000_000, 4_000_000)
    assert in_transit(journal) == {}


async def test_house_capital_between_four_partitions_under_kill_9(fresh_kafka: str) -> None:
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner=OWNER)
    rng = random.Random(20)
    funds = [system_account(SystemAccount.INSURANCE, partition=one) for one in range(PARTITIONS)]
    each = 1_000_000
    async with journal.followed(), stream.open():
        async with running(Ledger(fresh_kafka, instance="0")):
            for partition, fund in enumerate(funds):
                paid = commands_pb2.ConfirmDeposit(account=fund, asset=USD, units=each)
                await stream.one(partition, of_custodian(confirm_deposit=paid))
            await until(lambda: all(has(journal, fund, CASH) == each for fund in funds), "the funds")
        for kill in range(KILLS):
            async with running(Ledger(fresh_kafka, instance=str(kill % 2))):
                for _ in range(CAPITAL_MOVES):
                    origin, to = rng.sample(range(PARTITIONS), 2)
                    body = movement_pb2.MoveCapital(
                        account=funds[origin], to_partition=to, asset=USD, units=rng.randint(1, 50_000)
                    )
                    await stream.one(origin, of_custodian(move_capital=body))
                await asyncio.sleep(rng.uniform(0.0, 0.3))  # and then SIGKILL, wherever it is
        async with running(Ledger(fresh_kafka, instance="0")):
            moves = KILLS * CAPITAL_MOVES
            await until(
                lambda: sum(one.command == "move_capital" for one in journal.outcomes) == moves and is_quiet(journal),
                "every move and its arrival",
            )
    assert in_transit(journal) == {}
    assert sum(has(journal, fund, CASH) for fund in funds) == PARTITIONS * each
    arrived = [one for one in journal.outcomes if one.command == "arrive" and not one.refusal and not one.repeated]
    marks = [mark for book in journal.books for stream_, mark in book.streams.items() if stream_.startswith("transit/")]
    assert len(arrived) == sum(marks) == sum(one.sent for book in journal.books for one in book.transit.values())
