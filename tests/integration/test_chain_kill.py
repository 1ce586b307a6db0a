"""Owners of a chained log are killed, frozen and overlapped while commands flow: a reader folds each exactly once."""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from libs.common.chain import ChainFollower
from libs.common.topics import COMMANDS
from tests.integration.chain_writer import LOST, Fold, chained
from tools.lifeline import lifeline
from tools.topics import create_topics

_SEED_VARIABLE = "CHAIN_KILL_SEED"
_NUMBERS_PER_SECOND = 1_500
_ATTACK_SECONDS = 16.0
_NUMBERS = int(_NUMBERS_PER_SECOND * _ATTACK_SECONDS)
_CATCH_UP_SECONDS_MAX = 20.0
_FENCED_SECONDS_MAX = 15.0
_TAKE_OVER_SECONDS_MAX = 4.0


@dataclass(slots=True)
class _Field:
    """The writer processes by owner, and what was done to them."""

    bootstrap: str
    name: str
    rng: random.Random
    repository: Path
    processes: dict[bytes, subprocess.Popen[bytes]] = field(default_factory=dict)
    frozen: dict[bytes, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def start(self) -> bytes:
        owner = self.rng.randbytes(16)
        options = {"bootstrap": self.bootstrap, "journal": self.name, "commands": f"{self.name}.commands"}
        command = [sys.executable, "-m", "tests.integration.chain_writer", "--owner", owner.hex()]
        command += [part for name, value in options.items() for part in (f"--{name}", value)]
        path = os.pathsep.join((str(self.repository), str(self.repository / "build" / "gen")))
        self.processes[owner] = subprocess.Popen(
            lifeline(*command), cwd=self.repository, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL
        )
        return owner

    def attack(self, owner: bytes) -> None:
        """One of the attacks on the owner, if it lives, and a new writer or two."""
        process = self.processes.get(owner)
        attack = self.rng.choice(("kill", "freeze", "overlap", "race"))
        if process is None or process.poll() is not None or owner in self.frozen:
            attack = "replace"
        elif attack == "kill":
            process.kill()
        elif attack == "freeze":
            process.send_signal(signal.SIGSTOP)
            self.frozen[owner] = time.monotonic() + self.rng.uniform(0.5, 6.0)
        elif attack == "race":
            self.start()
        self.start()
        self.done[attack] += 1

    def thaw(self, *, by: float) -> None:
        for owner in [each for each, until in self.frozen.items() if until <= by]:
            del self.frozen[owner]
            self.processes[owner].send_signal(signal.SIGCONT)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


async def _send_numbers(bootstrap: str, topic: str, rng: random.Random) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        begun, sent = time.monotonic(), 0
        while sent < _NUMBERS:
            due = min(int((time.monotonic() - begun) * _NUMBERS_PER_SECOND), _NUMBERS)
            while sent < due:
                last = min(sent + rng.randint(1, 20), _NUMBERS)
                await producer.send(topic, struct.pack(f"<{last - sent}I", *range(sent, last)), partition=0)
                sent = last
            await asyncio.sleep(0.01)


async def _follow(follower: ChainFollower, fold: Fold, claimed: asyncio.Event) -> None:
    while fold.taken < _NUMBERS:
        epoch = follower.rule.epoch
        for frame in await follower.poll(timeout_s=0.2):
            fold.apply(frame)
        if follower.rule.epoch != epoch:
            claimed.set()


async def _attack(ground: _Field, follower: ChainFollower, claimed: asyncio.Event, numbers: asyncio.Task[None]) -> None:
    ground.start()
    while not numbers.done():
        with suppress(TimeoutError):
            async with asyncio.timeout(_TAKE_OVER_SECONDS_MAX):
                await claimed.wait()
        await asyncio.sleep(ground.rng.uniform(0.0, 0.8))
        claimed.clear()
        ground.thaw(by=time.monotonic())
        ground.attack(follower.rule.owner)


async def _all_fenced_but(owner: bytes, ground: _Field) -> None:
    deadline = time.monotonic() + _FENCED_SECONDS_MAX
    rest = {each: process for each, process in ground.processes.items() if each != owner}
    while any(process.poll() is None for process in rest.values()):
        assert time.monotonic() < deadline, "a writer that lost the log goes on"
        await asyncio.sleep(0.05)
    assert {process.returncode for process in rest.values()} <= {-signal.SIGKILL, LOST}


async def _story(ground: _Field) -> ChainFollower:
    follower = ChainFollower(
        bootstrap=ground.bootstrap, topic=chained(ground.name), partition=0, client_id="chain-kill"
    )
    await follower.start()
    fold = Fold()
    claimed = asyncio.Event()
    following = asyncio.create_task(_follow(follower, fold, claimed))
    numbers = asyncio.create_task(_send_numbers(ground.bootstrap, f"{ground.name}.commands", ground.rng))
    try:
        await _attack(ground, follower, claimed, numbers)
        await numbers
        ground.thaw(by=float("inf"))
        async with asyncio.timeout(_CATCH_UP_SECONDS_MAX):
            await following
        # The last started may still be taking over: the fold is complete, only its claims come.
        deadline = time.monotonic() + _TAKE_OVER_SECONDS_MAX
        while time.monotonic() < deadline:
            assert await follower.poll(timeout_s=0.2) == []
        await _all_fenced_but(follower.rule.owner, ground)
    finally:
        following.cancel()
        numbers.cancel()
        await follower.stop()
    assert (fold.taken, fold.total) == (_NUMBERS, sum(range(_NUMBERS)))
    return follower


async def _heads(ground: _Field, *, from_last_claim: bool) -> list[bytes]:
    follower = ChainFollower(
        bootstrap=ground.bootstrap,
        topic=chained(ground.name),
        partition=0,
        client_id="chain-kill-again",
        from_last_claim=from_last_claim,
    )
    await follower.start()
    heads = []
    while not await follower.end_reached():
        heads += [frame.head for frame in await follower.poll(timeout_s=0.2)]
    await follower.stop()
    return heads


@pytest.mark.skipif(sys.platform != "linux", reason="freezes processes that the kernel ends with this one")
async def test_each_command_is_folded_once_in_order_whatever_happens_to_owners(
    kafka_bootstrap: str, repository: Path
) -> None:
    seed = int(os.environ.get(_SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"repeat with {_SEED_VARIABLE}={seed}")
    name = f"test.chain.kill.{seed}.{os.getpid()}"
    await create_topics(kafka_bootstrap, [chained(name), replace(COMMANDS, name=f"{name}.commands", partitions=1)])
    ground = _Field(kafka_bootstrap, name, random.Random(seed), repository)
    try:
        follower = await _story(ground)
    finally:
        ground.end()
    rule = follower.rule
    print(f"{dict(ground.done)}, {rule.epoch} claims, {rule.sequence} frames, noise {dict(rule.rejected)}")
    heads = await _heads(ground, from_last_claim=False)
    assert len(heads) == rule.sequence
    late = await _heads(ground, from_last_claim=True)
    assert heads[len(heads) - len(late) :] == late
    assert rule.epoch >= 8
    assert ground.done.total() >= 8
