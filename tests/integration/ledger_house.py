"""The ledger as processes, a stream of commands into it, and its journal folded by the test."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.book import PartitionBook
from libs.common.chain import ChainFollower
from libs.common.commands import CommandSender
from libs.common.ids import account_id
from libs.common.topics import JOURNAL
from tools.lifeline import lifeline

PARTITIONS = 4
SECONDS_MAX = 30.0
_REPOSITORY = Path(__file__).resolve().parents[2]
USD = 1


async def until(true: Callable[[], bool], what: str) -> None:
    """Returns when it is true; fails naming what was awaited."""
    deadline = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < deadline, f"waited {SECONDS_MAX} s for {what}"
        await asyncio.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Ledger:
    """One instance of the ledger's process; `settings` are environment variables of its own."""

    def __init__(self, bootstrap: str, *, instance: str, settings: Mapping[str, str] | None = None) -> None:
        self.instance = instance
        self.http_port, self.grpc_port = _free_port(), _free_port()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BALLAST_")},
            "PYTHONPATH": os.pathsep.join([str(_REPOSITORY), str(_REPOSITORY / "build" / "gen")]),
            "BALLAST_KAFKA_BOOTSTRAP": bootstrap,
            "BALLAST_HTTP_PORT": str(self.http_port),
            "BALLAST_GRPC_PORT": str(self.grpc_port),
            "BALLAST_INSTANCE": instance,
            **(settings or {}),
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def target(self) -> str:
        """Where it answers questions."""
        return f"127.0.0.1:{self.grpc_port}"

    async def start(self) -> None:
        """Starts it, without waiting for it to be ready."""
        command = lifeline(sys.executable, "-m", "services.collateral_management")
        self._process = await asyncio.create_subprocess_exec(*command, cwd=_REPOSITORY, env=self._environment)

    async def ready(self) -> None:
        """Returns when it says that it is ready."""
        deadline = time.monotonic() + SECONDS_MAX
        while not await asyncio.to_thread(self._is_ready):
            assert time.monotonic() < deadline, f"ledger {self.instance} is not ready within {SECONDS_MAX} s"
            await asyncio.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """What it shows, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=5) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def stands_still(self) -> bool:
        """Whether it is stopped by a signal."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    async def ended(self) -> int:
        """Its exit status."""
        assert self._process is not None
        async with asyncio.timeout(SECONDS_MAX):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kills it with SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Journal:
    """The journal of all partitions, folded; every frame's fingerprint is compared."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.books = [PartitionBook(one) for one in range(PARTITIONS)]
        self.outcomes: list[journal_pb2.Outcome] = []
        self.owners: list[set[bytes]] = [set() for _ in range(PARTITIONS)]
        self.newest_at_s = 0.0

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Journal]:
        """Folds for as long as it is open."""
        tasks = [asyncio.create_task(self._follow(one)) for one in range(PARTITIONS)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [end for end in ends if isinstance(end, Exception)] == []

    async def _follow(self, partition: int) -> None:
        follower = ChainFollower(
            bootstrap=self._bootstrap, topic=JOURNAL, partition=partition, client_id=f"test-journal-{partition}"
        )
        await follower.start()
        book = self.books[partition]
        try:
            while True:
                for frame in await follower.poll(timeout_s=0.2):
                    body = journal_pb2.JournalBody.FromString(frame.body)
                    book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
                    assert book.fingerprint == body.fingerprint, f"I13: partition {partition} at {frame.sequence}"
                    self.outcomes.extend(body.outcomes)
                    self.owners[partition].add(frame.frame.owner)
                    self.newest_at_s = time.monotonic()
        finally:
            await follower.stop()


class Stream:
    """A client's stream of openings and deposits; many batches are sent twice."""

    def __init__(self, bootstrap: str, *, owner: str) -> None:
        self.owner = owner
        self.session = secrets.token_bytes(16)
        self.numbers = [0] * PARTITIONS
        self.repeats = 0
        self._sender = CommandSender(
            bootstrap=bootstrap, client_id=f"test-{owner}", principal_id=owner, session=self.session
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stream]:
        """Connected to the broker."""
        await self._sender.start()
        try:
            yield self
        finally:
            await self._sender.stop()

    async def batch(self, partition: int, count: int, *, twice: bool = False) -> None:
        """Sends openings of accounts, each with a number of its own in the partition."""
        commands = []
        for _ in range(count):
            command = commands_pb2.Command(open_account=commands_pb2.OpenAccount(owner=self.owner))
            command.principal.id, command.principal.role = self.owner, words.ROLE_CLIENT
            commands.append(command)
        await self._sender.send(partition, commands)
        self.numbers[partition] += count
        if twice:
            await self._sender.send(partition, commands)
            self.repeats += count

    async def one(self, partition: int, command: commands_pb2.Command) -> None:
        """Sends one command as it is."""
        await self._sender.send(partition, [command])
        if command.session.session == self.session:
            self.numbers[partition] += 1

    async def many(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        """Sends commands of any sender as one batch."""
        await self._sender.send(partition, commands)

    def told(self, journal: Journal) -> Counter[tuple[int, bool]]:
        """(subject, repeated) of this stream's outcomes."""
        return Counter((one.subject, one.repeated) for one in journal.outcomes if one.session.session == self.session)

    async def is_applied_once(self, journal: Journal) -> None:
        """Returns when all is answered: everything once, every repetition as such."""
        wanted = sum(self.numbers) + self.repeats
        await until(lambda: sum(self.told(journal).values()) >= wanted, f"{wanted} outcomes of {self.owner}")
        told = self.told(journal)
        first = Counter({subject: count for (subject, repeated), count in told.items() if not repeated})
        again = sum(count for (_, repeated), count in told.items() if repeated)
        assert (sum(first.values()), set(first.values()), again) == (sum(self.numbers), {1}, self.repeats)
        for partition, book in enumerate(journal.books):
            mine = [account for account, one in book.accounts.items() if one.owner == self.owner]
            assert len(mine) == self.numbers[partition]


def deposit(partition: int, entity: int, units: int) -> commands_pb2.Command:
    """A confirmed deposit of dollars' units for the entity's first account."""
    account = account_id(partition=partition, entity=entity, sub=0)
    command = commands_pb2.Command(confirm_deposit=commands_pb2.ConfirmDeposit(account=account, asset=USD, units=units))
    command.principal.id, command.principal.role = "custodian", words.ROLE_CUSTODIAN
    return command
