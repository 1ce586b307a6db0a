"""The ledger restarted from its checkpoints, as processes: killed inside one, woken up as a zombie, without any."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from libs.common.book import PartitionBook
from libs.common.chain import ChainFollower
from libs.common.topics import ACCOUNTS, JOURNAL
from services.collateral_management.adapters.checkpoints import KafkaCheckpoints
from services.collateral_management.app.restore import Restorer
from services.collateral_management.domain.state import State
from tests.integration.ledger_house import PARTITIONS, USD, Journal, Ledger, Stream, deposit, until
from tests.integration.test_ledger import partitions, running, until_owned
from tools.topics import create_topics

OFTEN = {"BALLAST_CHECKPOINT_EVERY_SECONDS": "0.2"}
TAKEOVER_SECONDS_MAX = 10.0
PLANS = ("checkpoint:1:kill", "checkpoint:9:kill", "head:2:kill", "read_back:12:kill", "acknowledged:5:kill")


def _shown(ledger: Ledger, name: str) -> dict[int, int]:
    found = ledger.metrics()
    return {one: int(found.get(f'ballast_ledger_{name}{{partition="{one}"}}', -1)) for one in range(PARTITIONS)}


async def until_checkpointed(ledger: Ledger, journal: Journal) -> None:
    """Returns when everything accepted is in checkpoints."""

    def is_there() -> bool:
        at = _shown(ledger, "checkpoint_sequence")
        return all(at[one] >= book.sequence for one, book in enumerate(journal.books) if book.sequence)

    await until(is_there, "checkpoints of everything")


async def stands_right(ledger: Ledger, journal: Journal) -> None:
    """The instance owns everything and stands where the journal does."""
    await until_owned(ledger, PARTITIONS)
    told = await partitions(ledger)
    assert {one: (status.sequence, status.fingerprint) for one, status in told.items()} == {
        one: (book.sequence, book.fingerprint) for one, book in enumerate(journal.books)
    }


class Town:
    """A client's stream and a custodian's, and the journal that answers both."""

    def __init__(self, bootstrap: str, owner: str) -> None:
        self.journal = Journal(bootstrap)
        self.stream = Stream(bootstrap, owner=owner)
        self._bank = Stream(bootstrap, owner=f"bank of {owner}")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Town]:
        """Connected to the broker."""
        async with self.journal.followed(), self.stream.open(), self._bank.open():
            yield self

    async def pour(self, *, rounds: int = 4) -> None:
        """Opens accounts and deposits, some of it twice; returns when all is answered."""
        for each in range(rounds):
            for partition in range(PARTITIONS):
                await self.stream.batch(partition, 40, twice=each % 2 == 0)
        await self.stream.is_applied_once(self.journal)
        for each in range(rounds):
            for partition in range(PARTITIONS):
                await self._bank.one(partition, deposit(partition, each + 1, 5_000_000))
        wanted = sum(self._bank.numbers)
        await until(lambda: sum(self._bank.told(self.journal).values()) >= wanted, f"{wanted} deposits")


async def test_a_restart_goes_on_at_its_checkpoint_and_knows_every_key(fresh_kafka: str) -> None:
    town = Town(fresh_kafka, "ann")
    async with town.open():
        first = Ledger(fresh_kafka, instance="0", settings=OFTEN)
        async with running(first):
            await town.pour()
            await until_checkpointed(first, town.journal)
        await town.stream.batch(0, 30, twice=True)  # waits in the topic of commands
        second = Ledger(fresh_kafka, instance="0", settings=OFTEN)
        async with running(second):
            restored = _shown(second, "restored_sequence")
            assert all(restored[one] > 0 for one in range(PARTITIONS)), restored
            await town.pour(rounds=1)  # what is sent again was applied before the restart
            await stands_right(second, town.journal)


async def test_killed_inside_a_checkpoint_it_restarts_right(fresh_kafka: str) -> None:
    town = Town(fresh_kafka, "bea")
    async with town.open():
        for plan in PLANS:
            dying = Ledger(fresh_kafka, instance="0", settings={**OFTEN, "BALLAST_FAILPOINTS": plan})
            await dying.start()
            ended = asyncio.create_task(dying.ended())
            for number in count():
                await asyncio.wait([ended], timeout=0.05)
                if ended.done():
                    break
                await town.stream.batch(number % PARTITIONS, 5, twice=number % 7 == 3)
            assert ended.result() == -signal.SIGKILL, plan
        last = Ledger(fresh_kafka, instance="0", settings=OFTEN)
        async with running(last):
            await town.stream.is_applied_once(town.journal)
            await stands_right(last, town.journal)


@pytest.mark.parametrize("deed", ["kill", "stop"])
async def test_another_instance_takes_over_within_ten_seconds(fresh_kafka: str, deed: str) -> None:
    town = Town(fresh_kafka, f"cleo-{deed}")
    first = Ledger(fresh_kafka, instance="0", settings=OFTEN)
    second = Ledger(fresh_kafka, instance="1", settings=OFTEN)
    async with running(first, second), town.open():
        await until_owned(first, PARTITIONS // 2)
        await town.pour(rounds=2)
        first.signal(signal.SIGKILL if deed == "kill" else signal.SIGSTOP)
        gone_at_s = time.monotonic()
        await until_owned(second, PARTITIONS)
        took_s = time.monotonic() - gone_at_s
        print(f"take-over from an instance after {deed}: {took_s:.2f} s")
        assert took_s < TAKEOVER_SECONDS_MAX
        await town.pour(rounds=1)
        await stands_right(second, town.journal)


async def test_a_zombies_checkpoint_does_no_harm(fresh_kafka: str) -> None:
    town = Town(fresh_kafka, "dora")
    zombie = Ledger(fresh_kafka, instance="0", settings={**OFTEN, "BALLAST_FAILPOINTS": "checkpoint:14:stop"})
    heir = Ledger(fresh_kafka, instance="1", settings=OFTEN)
    async with town.open():
        await zombie.start()
        try:
            await _until_it_stands_still(zombie, town)
            await _inherits(fresh_kafka, heir, zombie, town)
        finally:
            await zombie.kill()


async def _until_it_stands_still(zombie: Ledger, town: Town) -> None:
    deadline = time.monotonic() + 30
    while not zombie.stands_still:
        assert time.monotonic() < deadline, "the failpoint was not reached"
        for partition in range(PARTITIONS):
            await town.stream.batch(partition, 5)
        await asyncio.sleep(0.1)


async def _inherits(bootstrap: str, heir: Ledger, zombie: Ledger, town: Town) -> None:
    async with running(heir):
        await until_owned(heir, PARTITIONS)
        await town.pour(rounds=2)
        await until_checkpointed(heir, town.journal)
        zombie.signal(signal.SIGCONT)  # it stood in the middle of a checkpoint, and goes on with it
        await asyncio.sleep(1.0)
        await zombie.kill()
    last = Ledger(bootstrap, instance="2", settings=OFTEN)
    async with running(last):
        await town.pour(rounds=1)
        await stands_right(last, town.journal)


async def test_the_journal_alone_gives_the_same_state(fresh_kafka: str) -> None:
    town = Town(fresh_kafka, "eve")
    async with town.open():
        first = Ledger(fresh_kafka, instance="0", settings=OFTEN)
        async with running(first):
            await town.pour(rounds=2)
            await until_checkpointed(first, town.journal)
        for partition in range(PARTITIONS):
            store = KafkaCheckpoints(bootstrap=fresh_kafka, client_id="test-remover", partition=partition)
            assert await store.remove_older(10**6) > 0
            await store.stop()
        cold = Ledger(fresh_kafka, instance="0", settings=OFTEN)
        async with running(cold):
            assert set(_shown(cold, "restored_sequence").values()) == {0}
            await town.pour(rounds=1)
            await stands_right(cold, town.journal)
            await until_checkpointed(cold, town.journal)
        for partition, book in enumerate(town.journal.books):
            await _makes(fresh_kafka, partition, book)


async def _makes(bootstrap: str, partition: int, book: PartitionBook) -> None:
    """What is checkpointed, with the tail behind it, makes the book."""
    state, made = State(partition), PartitionBook(partition)
    store = KafkaCheckpoints(bootstrap=bootstrap, client_id="test-restorer", partition=partition)
    restored = await Restorer(partition).restore(store, state, made)
    await store.stop()
    assert restored is not None
    follower = ChainFollower(bootstrap=bootstrap, topic=JOURNAL, partition=partition, client_id="test-tail")
    await follower.start(head=restored.head)
    await follower.stop()
    assert (made.sequence, made.fingerprint) == (restored.head.sequence, state.fingerprint)
    assert (made.sequence, made.fingerprint, dict(made.lines)) == (book.sequence, book.fingerprint, dict(book.lines))
    assert (made.accounts, made.streams) == (book.accounts, book.streams)
    assert all(one.owner for one in made.accounts.values())
    assert any(asset == USD for _, asset, _ in made.lines)


async def _refusal(ledger: Ledger, words: str) -> str:
    deadline, said = time.monotonic() + 30, ""
    while words not in said:
        assert time.monotonic() < deadline, f"expected a refusal with {words!r}, was {said}"
        await asyncio.sleep(0.1)
        said = await asyncio.to_thread(_unmet, ledger)
    return said


def _unmet(ledger: Ledger) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ledger.http_port}/readyz", timeout=2) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as refused:
        found: Mapping[str, object] = json.loads(refused.read())
        return json.dumps(found)
    except OSError as error:
        return str(error)


async def test_what_contradicts_a_checkpoint_stops_the_partition_by_name(fresh_kafka: str) -> None:
    torn = (1).to_bytes(4, "big") + (10**6).to_bytes(8, "big") + b"H"
    store = KafkaCheckpoints(bootstrap=fresh_kafka, client_id="test-tearer", partition=1)
    await store._send_all([(torn, b"torn")])
    ledger = Ledger(fresh_kafka, instance="0", settings=OFTEN)
    try:
        await ledger.start()
        await _refusal(ledger, f"{ACCOUNTS.name}/1 at offset")
        await until_owned(ledger, PARTITIONS - 1)  # the others go on
    finally:
        await ledger.kill()
    await store._send_all([(torn, None)])
    await store.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=fresh_kafka, client_id="test-forgetter")
    await admin.start()
    await admin.delete_topics([JOURNAL.name])
    await admin.close()
    await asyncio.sleep(2.0)
    await create_topics(fresh_kafka)
    ledger = Ledger(fresh_kafka, instance="0", settings=OFTEN)
    try:
        await ledger.start()
        await _refusal(ledger, "is shorter than its known head")
    finally:
        await ledger.kill()
