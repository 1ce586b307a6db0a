"""The ledger on a real broker: killed, handed over, doubled and fed poison, each command is applied exactly once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.api.v1 import ledger_pb2, ledger_pb2_grpc
from ballast.events.v1 import commands_pb2, dead_letter_pb2
from libs.common import rpc
from libs.common.codec import Publisher
from libs.common.ids import account_id
from libs.common.topics import BATCH_BYTES_MAX, COMMANDS
from tests.integration.ledger_house import PARTITIONS, USD, Journal, Ledger, Stream, deposit, until


@asynccontextmanager
async def running(*ledgers: Ledger) -> AsyncIterator[None]:
    """Started together and ready; killed when the test is over."""
    try:
        for one in ledgers:
            await one.start()
        for one in ledgers:
            await one.ready()
        yield
    finally:
        for one in ledgers:
            await one.kill()


async def partitions(ledger: Ledger) -> dict[int, ledger_pb2.PartitionStatus]:
    """What the instance says it owns."""
    async with rpc.channel(ledger.target) as channel:
        stub = ledger_pb2_grpc.LedgerServiceStub(channel)
        answer = await stub.GetPartitions(ledger_pb2.GetPartitionsRequest(), timeout=5)
    return {one.partition: one for one in answer.partitions}


async def until_owned(ledger: Ledger, count: int) -> None:
    """Returns when the instance owns so many partitions."""
    deadline = time.monotonic() + 30
    while len(await partitions(ledger)) != count:
        assert time.monotonic() < deadline, f"ledger {ledger.instance} does not come to own {count} partitions"
        await asyncio.sleep(0.1)


async def test_commands_become_journal_and_answers(fresh_kafka: str) -> None:
    ledger, journal, stream = Ledger(fresh_kafka, instance="0"), Journal(fresh_kafka), Stream(fresh_kafka, owner="ann")
    async with running(ledger), journal.followed(), stream.open():
        await stream.batch(2, 3, twice=True)
        await stream.is_applied_once(journal)
        await stream.one(2, deposit(2, 1, 5_000_000))
        account = account_id(partition=2, entity=1, sub=0)
        await until(lambda: journal.books[2].lines.get((account, USD, 1)) == 5_000_000, "the deposit")
        async with rpc.channel(ledger.target) as channel:
            stub = ledger_pb2_grpc.LedgerServiceStub(channel)
            asked = ledger_pb2.GetAccountRequest(account=account, at_least=journal.books[2].sequence)
            answer = await stub.GetAccount(asked, timeout=5)
            assert (answer.account.owner, answer.partition) == ("ann", 2)
            assert [(one.asset, one.balance) for one in answer.lines] == [(USD, 5_000_000)]
            assert answer.sequence >= asked.at_least
            for asked_for, at_least, status in (
                (account, 10**9, grpc.StatusCode.DEADLINE_EXCEEDED),
                (account_id(partition=2, entity=99, sub=0), 0, grpc.StatusCode.NOT_FOUND),
                (account_id(partition=99, entity=1, sub=0), 0, grpc.StatusCode.UNAVAILABLE),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.GetAccount(ledger_pb2.GetAccountRequest(account=asked_for, at_least=at_least), timeout=1)
                assert refused.value.code() == status
        told = await partitions(ledger)
        assert {one: status.fingerprint for one, status in told.items()} == {
            one: book.fingerprint for one, book in enumerate(journal.books)
        }
        ledger.signal(signal.SIGTERM)
        assert await ledger.ended() == 0


async def test_poison_is_put_aside_and_the_partition_goes_on(fresh_kafka: str) -> None:
    ledger, journal, stream = Ledger(fresh_kafka, instance="0"), Journal(fresh_kafka), Stream(fresh_kafka, owner="bea")
    good = commands_pb2.CommandBatch().SerializeToString()
    poison: list[tuple[bytes | None, bytes]] = [
        (b"\xff\xff garbage", b"1"),
        (good, b"2"),
        (good, b"none"),
        (None, b"1"),
        (b"\n" * (BATCH_BYTES_MAX + 1), b"1"),
    ]
    async with running(ledger), journal.followed(), stream.open():
        async with Publisher(bootstrap=fresh_kafka, client_id="poisoner") as publisher:
            for value, generation in poison:
                await stream.batch(1, 1)
                named = [("generation", generation)]
                await (await publisher.enqueue(COMMANDS.name, value, key=b"k", partition=1, named=named))
            await stream.batch(1, 1)
        await stream.is_applied_once(journal)
        letters = await dead_letters(fresh_kafka, len(poison))
    assert [one.topic for one in letters] == [COMMANDS.name] * len(poison)
    reasons = [one.reason for one in letters]
    wanted = ("other bytes", "generation", "generation", "without value", "at most")
    assert all(word in reason for word, reason in zip(wanted, reasons, strict=True)), reasons


async def dead_letters(bootstrap: str, count: int) -> list[dead_letter_pb2.DeadLetter]:
    """The first letters of the commands' dead-letter topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 1024 * 1024
    )
    await consumer.start()
    found: list[dead_letter_pb2.DeadLetter] = []
    try:
        where = TopicPartition(COMMANDS.dead, 0)
        consumer.assign([where])
        async with asyncio.timeout(10):
            while len(found) < count:
                records = (await consumer.getmany(where, timeout_ms=500)).get(where, [])
                found += [dead_letter_pb2.DeadLetter.FromString(record.value) for record in records]
    finally:
        await consumer.stop()
    return found


async def test_killed_in_the_middle_of_a_stream_nothing_is_lost_or_applied_twice(fresh_kafka: str) -> None:
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner="cleo")
    before = Ledger(fresh_kafka, instance="0")
    async with journal.followed(), stream.open():
        ledgers = [before]
        try:
            await before.start()
            await before.ready()
            for round_ in range(3):
                for each in range(16):
                    await stream.batch(each % PARTITIONS, 150, twice=each % 3 == 0)
                await asyncio.sleep(0.1)  # some of it is in frames in flight
                await ledgers[-1].kill()
                killed_at_s, known = time.monotonic(), len(journal.owners[0])
                await stream.batch(0, 50, twice=True)
                again = Ledger(fresh_kafka, instance="0")
                ledgers.append(again)
                await again.start()
                await until(lambda known=known: len(journal.owners[0]) > known, "the takeover")  # type: ignore[misc]
                print(f"takeover {round_}: first frame {journal.newest_at_s - killed_at_s:.2f} s after the kill")
            await stream.is_applied_once(journal)
            await ledgers[-1].ready()
            told = await partitions(ledgers[-1])
            assert {one: status.fingerprint for one, status in told.items()} == {
                one: book.fingerprint for one, book in enumerate(journal.books)
            }
        finally:
            for one in ledgers:
                await one.kill()


async def test_two_instances_share_the_partitions_and_hand_them_over(fresh_kafka: str) -> None:
    first, second = Ledger(fresh_kafka, instance="0"), Ledger(fresh_kafka, instance="1")
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner="dora")
    is_over = asyncio.Event()

    async def pour() -> None:
        while not is_over.is_set():
            for partition in range(PARTITIONS):
                await stream.batch(partition, 5, twice=partition == 3)
            await asyncio.sleep(0.05)

    async with running(first), journal.followed(), stream.open():
        await until_owned(first, PARTITIONS)
        pouring = asyncio.create_task(pour())
        try:
            async with running(second):
                await until_owned(second, PARTITIONS // 2)
                await until_owned(first, PARTITIONS // 2)
                assert not (await partitions(first)).keys() & (await partitions(second)).keys()
                stopped_at_s = time.monotonic()
                first.signal(signal.SIGTERM)
                assert await first.ended() == 0
                await until_owned(second, PARTITIONS)
                print(f"hand-over: all partitions {time.monotonic() - stopped_at_s:.2f} s after SIGTERM")
                is_over.set()
                await pouring
                await stream.is_applied_once(journal)
        finally:
            is_over.set()
            await asyncio.gather(pouring, return_exceptions=True)


async def test_a_frozen_owner_that_wakes_up_writes_nothing_more(fresh_kafka: str) -> None:
    zombie, heir = Ledger(fresh_kafka, instance="0"), Ledger(fresh_kafka, instance="1")
    journal, stream = Journal(fresh_kafka), Stream(fresh_kafka, owner="eve")
    async with running(zombie, heir), journal.followed(), stream.open():
        await until_owned(zombie, PARTITIONS // 2)
        for partition in range(PARTITIONS):
            await stream.batch(partition, 500)
        zombie.signal(signal.SIGSTOP)
        for partition in range(PARTITIONS):
            await stream.batch(partition, 500, twice=True)
        await until_owned(heir, PARTITIONS)
        await stream.is_applied_once(journal)
        zombie.signal(signal.SIGCONT)
        for partition in range(PARTITIONS):
            await stream.batch(partition, 500)
        await stream.is_applied_once(journal)
