"""Plays everyone but risk, as a process of its own: openings, then so many ledger commands a second, and its answers.

`python -m bench.pipeline.house BOOTSTRAP ACCOUNTS COMMANDS_A_SECOND FRAGILE`: prints `opened SECONDS BYTES` once all
accounts are on the journal, then goes on until its input ends. With 0 commands a second it ends after the openings.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from bench.pipeline.journal import Journal, outcome
from bench.pipeline.town import CASH, DOLLAR, USD, Effect, perps, shard
from libs.common.chain.kafka import new_consumer
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, serial_id
from libs.common.parameters import Parameters
from libs.common.topics import COMMANDS
from services.risk_evaluation.domain.model import build_model

FRAME_SECONDS = 0.020
CHECKPOINT_TURNS = 100  # of one partition after the other: each every eight seconds
ORDER_SHARE = 0.15  # orders placed, of all commands; each is also judged and filled
KEPT = 65_536


class Ledger:
    """What the commands of one partition do: deposits, orders that are judged and then filled, episodes that open."""

    def __init__(self, journal: Journal, parameters: Parameters, *, per_frame: float) -> None:
        self.journal = journal
        self._perp = perps(parameters)[0]
        self._price = journal.shard.marks[self._perp.id]
        self._per_frame = per_frame
        self._due = 0.0
        self._serial = itertools.count(1)
        self._random = np.random.default_rng(journal.shard.partition)
        self._answers: deque[journal_pb2.Outcome] = deque()
        self._orders: dict[int, journal_pb2.Order] = {}
        self._episodes: dict[int, int] = {}

    async def frame(self) -> int:
        """One frame; returns how many commands it did."""
        self._due += self._per_frame
        outcomes = [self._answers.popleft() for _ in range(len(self._answers))]
        while len(outcomes) < self._due:
            outcomes.append(self._place() if self._random.random() < ORDER_SHARE * 1.5 else self._deposit())
        self._due -= len(outcomes)
        if outcomes:
            await self.journal.append(outcomes)
        return len(outcomes)

    def _client(self) -> int:
        shard = self.journal.shard
        return shard.accounts[int(self._random.integers(shard.fragile, len(shard.accounts)))]

    def _deposit(self) -> journal_pb2.Outcome:
        units = int(self._random.integers(1, 100)) * DOLLAR
        return outcome(
            "confirm_deposit", self.journal.shard.moved(self._client(), SystemAccount.CUSTODY, 0, USD, CASH, units)
        )

    def _place(self) -> journal_pb2.Outcome:
        order = journal_pb2.Order(
            order=serial_id(partition=self.journal.shard.partition, serial=next(self._serial)),
            account=self._client(), instrument=self._perp.id, venue=1, side=market_pb2.SIDE_BUY, lots=1, remaining=1,
            limit_price=self._price, time_in_force=market_pb2.TIME_IN_FORCE_IOC,
            state=ledger_pb2.ORDER_STATE_RESERVED, reserved_sequence=self.journal.next_sequence,
        )  # fmt: skip
        self._orders[order.order] = order
        return outcome("place_order", [Effect(order=order)])

    def take(self, command: commands_pb2.Command) -> None:
        """Takes what risk decided; answered in the next frame."""
        which = command.WhichOneof("body")
        if which == "verdict":
            found = self._judged(command.verdict)
        else:
            found = [outcome("open_episode", self._opened(command.open_episode.account))]
        found[0].session.CopyFrom(command.session)
        self._answers.extend(found)

    def _judged(self, verdict: commands_pb2.Verdict) -> list[journal_pb2.Outcome]:
        order = self._orders.pop(verdict.order, None)
        if order is None:
            return [outcome("verdict", ())]
        order.state = ledger_pb2.ORDER_STATE_RELEASED if verdict.settle else ledger_pb2.ORDER_STATE_VOIDED
        found = [outcome("verdict", [Effect(order=order)])]
        if verdict.settle:
            order.state, order.remaining = ledger_pb2.ORDER_STATE_FILLED, 0
            filled = self.journal.shard.traded(order.account, self._perp, 1, self._price)
            found.append(outcome("order_report", [Effect(order=order), *filled]))
        return found

    def _opened(self, account: int) -> Sequence[Effect]:
        if account in self._episodes:
            return ()
        episode = self._episodes[account] = serial_id(partition=self.journal.shard.partition, serial=next(self._serial))
        attributes = journal_pb2.Account(
            account=account, entity=account & ~0xFFFF, owner="fragile", restricted=True, episode=episode
        )
        opened = journal_pb2.Episode(
            episode=episode, account=account, state=ledger_pb2.EPISODE_STATE_OPEN,
            opened_sequence=self.journal.next_sequence,
        )  # fmt: skip
        return [Effect(account=attributes), Effect(episode=opened)]


async def answer(consumer: AIOKafkaConsumer, ledgers: Sequence[Ledger]) -> None:
    """Hands risk's commands to the ledgers, for ever."""
    async for record in consumer:
        for command in commands_pb2.CommandBatch.FromString(record.value).commands:
            ledgers[record.partition].take(command)


async def until_closed() -> None:
    """Returns when our input ends: whoever started us is done."""
    await asyncio.to_thread(sys.stdin.read)


async def play(bootstrap: str, *, accounts: int, commands: int, fragile: int) -> None:
    """Opens everyone, then does commands until the input ends."""
    loaded = load_parameters(Path("config"))
    parameters, model, began = loaded.parameters, build_model(loaded.parameters), perf_counter()
    partitions = parameters.partitions
    journals = []
    for partition in range(partitions):
        town = shard(
            model, parameters, partition=partition, accounts=accounts // partitions, fragile=fragile // partitions
        )
        journal = Journal(bootstrap, town, run_time_ns=parameters.genesis_ns, keeps=commands > 0)
        await journal.start()
        await journal.open_everyone()
        if not commands:
            await journal.stop()
        journals.append(journal)
    print(f"opened {perf_counter() - began:.1f} {sum(one.bytes for one in journals)}", flush=True)
    if not commands:
        return
    per_frame = commands * FRAME_SECONDS / partitions
    ledgers = [Ledger(journal, parameters, per_frame=per_frame) for journal in journals]
    consumer = new_consumer(bootstrap=bootstrap, client_id="house-commands")
    await consumer.start()
    consumer.assign([TopicPartition(COMMANDS.name, partition) for partition in range(partitions)])
    await consumer.seek_to_beginning()
    answering, closed = asyncio.create_task(answer(consumer, ledgers)), asyncio.create_task(until_closed())
    due, done, turn = perf_counter(), 0, 0
    while not closed.done() and not answering.done():
        for ledger in ledgers:
            done += await ledger.frame()
        turn += 1
        if turn % CHECKPOINT_TURNS == 0:
            await journals[turn // CHECKPOINT_TURNS % partitions].checkpoint()
        due = max(due + FRAME_SECONDS, perf_counter() - 1.0)
        await asyncio.sleep(max(0.0, due - perf_counter()))
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    await consumer.stop()
    for journal in journals:
        await journal.stop()
    print(f"done {done}", flush=True)


if __name__ == "__main__":
    uvloop.run(play(sys.argv[1], accounts=int(sys.argv[2]), commands=int(sys.argv[3]), fragile=int(sys.argv[4])))
