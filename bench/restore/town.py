"""A partition of very many resting accounts: its state, its journal of one frame, its checkpoint."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from ballast.events.v1 import journal_pb2
from libs.common.accounts import Key, Value, pack_lines
from libs.common.chain import AcceptedFrame, ChainHead, ChainWriter
from libs.common.ids import SystemAccount, account_id, system_account
from libs.common.metrics import Metrics
from libs.common.topics import JOURNAL
from services.collateral_management.adapters.checkpoints import KafkaCheckpoints
from services.collateral_management.app.checkpointer import Checkpointer, Pace, checkpoint_gauges
from services.collateral_management.app.failpoints import Failpoints
from services.collateral_management.domain.state import CASH, LOTS, SUPPLY, VARIATION, State

USD, BTC, PERP = 1, 2, 11
LINES_AN_ACCOUNT = 5
_UNBOUNDED = Pace(every_s=3_600.0, items_per_second_max=10_000_000)
_SECONDS_MAX = 600.0


def _lines(n: int) -> dict[Key, Value]:
    return {
        (USD, CASH): (10**9 + n, 7),
        (BTC, CASH): (10**7 + n, 3),
        (USD, SUPPLY): (5 * 10**8 + n, 2),
        (PERP, LOTS): (10 + n % 50, 5),
        (PERP, VARIATION): (-6 * 10**11 - n, 5),
    }


def state_of(partition: int, accounts: int) -> State:
    """A state of so many clients' accounts; house accounts have the other side of every line (I1)."""
    state, sums = State(partition), dict.fromkeys(_lines(0), 0)
    for n in range(1, accounts + 1):
        account, lines = int(account_id(partition=partition, entity=n, sub=0)), _lines(n)
        one = journal_pb2.Account(account=account, entity=account, owner=f"client-{n}")
        state.load_account(account, attributes=one.SerializeToString(deterministic=True), lines=pack_lines(lines))
        for key, (balance, _) in lines.items():
            sums[key] += balance
    houses: dict[int, dict[Key, Value]] = {}
    for (asset, kind), total in sums.items():
        house = SystemAccount.POOL if kind == SUPPLY else SystemAccount.CONTRA
        number = SystemAccount.CUSTODY if kind == CASH else house
        index = asset if number in (SystemAccount.POOL, SystemAccount.CONTRA) else 0
        account = system_account(number, partition=partition, index=index)
        houses.setdefault(account, {})[asset, kind] = (-total, accounts)
    for account, lines in houses.items():
        state.load_account(account, attributes=b"", lines=pack_lines(lines))
    return state


@dataclass(frozen=True, slots=True)
class Written:
    """What a checkpoint took."""

    items: int
    cpu_s: float
    wall_s: float


class Town:
    """One partition as its owner left it.

    Args:
        identity: of the topic of commands.
    """

    def __init__(self, bootstrap: str, partition: int, *, accounts: int, identity: bytes) -> None:
        self.state = state_of(partition, accounts)
        self._bootstrap = bootstrap
        self._partition = partition
        self._identity = identity
        self._handled = 0
        self._shown = checkpoint_gauges(Metrics())
        self._store = KafkaCheckpoints(bootstrap=bootstrap, client_id=f"bench-restore-{partition}", partition=partition)
        self._writer = Checkpointer(
            partition,
            store=self._store,
            state=self.state,
            handled=lambda: self._handled,
            pace=_UNBOUNDED,
            shown=self._shown,
            failpoints=Failpoints(),
        )

    async def journal(self, frames: int = 1) -> None:
        """Claims the journal and writes frames without outcomes, whose fingerprint is the state's."""
        accepted: list[AcceptedFrame] = []
        writer = ChainWriter(
            bootstrap=self._bootstrap,
            topic=JOURNAL,
            partition=self._partition,
            owner=secrets.token_bytes(16),
            input_topic_id=self._identity,
            client_id=f"bench-restore-journal-{self._partition}",
            on_accepted=accepted.append,
        )
        await writer.take_over(lambda frame: None)
        body = journal_pb2.JournalBody(fingerprint=self.state.fingerprint).SerializeToString()
        for _ in range(frames):
            await writer.append(body, input_offset=-1, input_index=0, run_time_ns=1, control_sequence=0, headers={})
        await writer.drain()
        await writer.close()
        self._handled = accepted[-1].sequence
        self._writer.stands_at(ChainHead.of(accepted[-1], input_topic_id=self._identity), self.state.fingerprint)

    async def complete(self) -> Written:
        """Writes a complete set."""
        task = asyncio.create_task(self._writer.run(1))
        began_s, cpu_s = time.monotonic(), time.process_time()
        async with asyncio.timeout(_SECONDS_MAX):
            while not self._sequence():
                await asyncio.sleep(0.02)
                if task.done():
                    task.result()
        spent = Written(self._items(), time.process_time() - cpu_s, time.monotonic() - began_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return spent

    async def changed(self, accounts: int) -> Written:
        """Writes a checkpoint after so many accounts have changed."""
        changes, self.state.changes = self.state.changes, type(self.state.changes)()
        changes.accounts = dict.fromkeys(
            int(account_id(partition=self._partition, entity=n, sub=0)) for n in range(1, accounts + 1)
        )
        before, began_s, cpu_s = self._items(), time.monotonic(), time.process_time()
        await self._writer.write(1, changes)
        return Written(self._items() - before, time.process_time() - cpu_s, time.monotonic() - began_s)

    async def close(self) -> None:
        """Everything is closed."""
        await self._store.stop()

    def _items(self) -> int:
        return int(self._shown.items.labels(self._partition)._value.get())

    def _sequence(self) -> int:
        return int(self._shown.sequence.labels(self._partition)._value.get())
