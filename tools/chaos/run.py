"""One run: commands flow, attacks come one after another, then everything is proved."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grpc

from ballast.api.v1 import ledger_pb2, ledger_pb2_grpc
from libs.common import rpc
from libs.common.config import LoadedParameters, load_parameters
from libs.common.ids import partition_for_owner
from libs.common.signing import new_key_file
from libs.common.units import SECOND_NS
from tools.audit.stored import Broker as Records
from tools.audit.verify import verify
from tools.broker.process import Broker
from tools.chaos.arena import GATEWAY, LEDGERS, Arena, Stuck
from tools.chaos.edges import horizon, window
from tools.chaos.house import House
from tools.chaos.model import Sent
from tools.chaos.plan import Attack, Doses, order_of
from tools.chaos.proof import Proof, journalled, prove
from tools.chaos.trader import CUSTODIAN, Trader
from tools.chaos.waiting import holds_within
from tools.topics import create_topics

CLIENTS = 4
HORIZONS = 3  # how often keys are tried before and after their horizon
_STUCK_SECONDS_MAX = 60.0
_LEFT_UNANSWERED = 40  # the house goes on when all but so many are answered


@dataclass(slots=True)
class Ran:
    """What a run came to."""

    seed: int
    proof: Proof = field(default_factory=Proof)
    done: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    breaks: int = 0
    noise: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    frames: int = 0
    answer_seconds: list[float] = field(default_factory=list)
    longest_silence_s: float = 0.0
    edges: Counter[str] = field(default_factory=Counter)


class Flow:
    """How many commands may be sent by now, and how many are answered."""

    def __init__(self) -> None:
        self.allowed = self.taken = self.told = self.promised = 0
        self.told_at_s = time.monotonic()
        self.longest_silence_s = 0.0
        self.answer_seconds: list[float] = []
        self.waits_for: Callable[[], str] = str

    def take(self) -> bool:
        """One more, when there is one left."""
        if self.taken >= self.allowed:
            return False
        self.taken += 1
        return True

    def more(self, beyond: int = 0) -> None:
        """Everything that was promised may be sent, and so many beyond."""
        self.promised += beyond
        self.allowed = max(self.allowed, self.promised)

    def answered(self, one: Sent) -> None:
        """A command got its first answer."""
        now_s = time.monotonic()
        self.told += 1
        self.longest_silence_s = max(self.longest_silence_s, now_s - max(self.told_at_s, one.sent_at_s))
        self.told_at_s = now_s
        self.answer_seconds.append(now_s - one.sent_at_s)

    async def until(self, count: int, what: str) -> None:
        """Returns when so many are answered. Raises Stuck."""
        if not await holds_within(_STUCK_SECONDS_MAX, lambda: self.told >= count):
            counted = f"{self.told} of {count} commands answered, {self.taken} sent, {self.allowed} allowed"
            raise Stuck(f"after {what}: {counted} in {_STUCK_SECONDS_MAX:.0f} s: {self.waits_for()}")


def prepare(directory: Path, config: Path, doses: Doses) -> tuple[LoadedParameters, Path, Path]:
    """(parameters, their directory, private key): the house's own, with the key and the window of this run."""
    home, key = directory / "config", directory / "notary.pem"
    home.mkdir(parents=True)
    public_key = new_key_file(key)
    for file in config.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        text = text.replace("notary_keys: []", f'notary_keys: ["{public_key.hex()}"]')
        text = text.replace("session_outcomes: 4096", f"session_outcomes: {doses.session_outcomes}")
        (home / file.name).write_text(text, encoding="utf-8")
    return load_parameters(home), home, key


async def play(broker: Broker, *, doses: Doses, seed: int, directory: Path, config: Path, say: bool) -> Ran:
    """The outcome of a run; a house that does not go on is among what is wrong."""
    loaded, home, key = prepare(directory, config, doses)
    await create_topics(broker.bootstrap, home_partitions=loaded.parameters.partitions)
    outcome, flow, dice = Ran(seed), Flow(), Random(seed)

    async def progress(what: str) -> None:
        await flow.until(flow.allowed - _LEFT_UNANSWERED, what)

    settings = {
        "BALLAST_NOTARY_KEY_FILE": str(key),
        "BALLAST_NOTARY_EVERY_SECONDS": "2",
        "BALLAST_CHECKPOINT_EVERY_SECONDS": "1",  # so that many attacks fall into one
    }
    arena = Arena(
        broker, directory=directory, config=home, settings=settings, dice=Random(dice.getrandbits(64)),
        more=flow.more, progress=progress,
    )  # fmt: skip
    start_ns = loaded.parameters.genesis_ns + 60 * SECOND_NS  # no interest is due in the first hour
    keeping: asyncio.Task[None] | None = None
    traders: list[Trader] = []
    try:
        async with (
            House(broker.bootstrap, partitions=loaded.parameters.partitions, start_ns=start_ns).running() as house,
            rpc.channel(arena.processes[GATEWAY].ports.target) as channel,
        ):
            await arena.start()
            keeping = asyncio.create_task(arena.keep())
            traders += [
                Trader(
                    channel, name, dice=Random(dice.getrandbits(64)), allowed=flow.take, on_told=flow.answered,
                    now_ns=lambda: house.now_ns, partitions=loaded.parameters.partitions,
                    twice=doses.twice, again=doses.again,
                    window=doses.session_outcomes,
                )
                for name in _names(loaded.parameters.partitions)
            ]  # fmt: skip
            flow.waits_for = lambda: "; ".join(trader.waits_for() for trader in traders)
            await _under_attack(_Scene(arena, flow, house, traders, doses, outcome, dice, say))
            await _prove(broker.bootstrap, loaded, arena, traders, house, outcome)
    except Stuck as stuck:
        outcome.proof.check(False, f"stuck {stuck}")
    finally:
        if keeping is not None:
            keeping.cancel()
        arena.stop()
    outcome.done, outcome.restarts = arena.done, arena.restarts
    outcome.breaks = sum(lane.breaks for trader in traders for lane in trader.lanes)
    outcome.answer_seconds, outcome.longest_silence_s = flow.answer_seconds, flow.longest_silence_s
    return outcome


def _names(partitions: int) -> list[str]:
    """Clients of different home partitions."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < min(CLIENTS, partitions):
        name = f"client-{number}"
        found.setdefault(partition_for_owner(name, partitions=partitions), name)
        number += 1
    return list(found.values())


@dataclass(slots=True)
class _Scene:
    arena: Arena
    flow: Flow
    house: House
    traders: list[Trader]
    doses: Doses
    outcome: Ran
    dice: Random
    say: bool


async def _under_attack(scene: _Scene) -> None:
    attacks, flow = order_of(scene.doses, scene.dice), scene.flow
    running = [asyncio.create_task(one) for trader in scene.traders for one in trader.running()]
    at_horizon = {int((n + 0.5) * len(attacks) / HORIZONS) for n in range(HORIZONS)}
    try:
        for number, attack in enumerate(attacks):
            _promise(scene, int(scene.doses.commands * (number + 1) / len(attacks)))
            await scene.arena.attack(attack)
            flow.more()
            if number in at_horizon:
                await horizon(scene.traders[number % len(scene.traders)], scene.house, scene.outcome)
            _tell(scene, number + 1, len(attacks), attack)
            _fail_early(running)
        await flow.until(int(0.99 * flow.taken), "the last attack")
        for trader in scene.traders:
            trader.end()
        async with asyncio.timeout(_STUCK_SECONDS_MAX):
            await asyncio.gather(*running)
        for trader in scene.traders:
            for lane in trader.lanes:
                await window(lane, scene.doses.session_outcomes, scene.outcome)
    except TimeoutError as error:
        raise Stuck(f"clients still wait {_STUCK_SECONDS_MAX:.0f} s after the last attack") from error
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _promise(scene: _Scene, count: int) -> None:
    """Half of what is new may be sent at once, the rest when something is under attack."""
    flow = scene.flow
    flow.promised = max(flow.promised, count)
    flow.allowed += max(0, count - flow.allowed + 1) >> 1
    for trader in scene.traders:
        for lane in trader.lanes:
            lane.wake()


def _fail_early(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        if task.done() and task.exception() is not None:
            task.result()


def _tell(scene: _Scene, number: int, of: int, attack: Attack) -> None:
    if scene.say:
        print(f"{number:>4}/{of} {attack.value:<24} {scene.flow.told:>8} commands answered", flush=True)


async def _prove(
    bootstrap: str, loaded: LoadedParameters, arena: Arena, traders: list[Trader], house: House, outcome: Ran
) -> None:
    await holds_within(_STUCK_SECONDS_MAX, lambda: house.is_quiet)
    owned = await _owned(arena, loaded.parameters.partitions)
    records = Records(bootstrap)
    verified = await verify(records, trusted=loaded.parameters.ledger.notary_keys)
    for each in verified.differences:
        outcome.proof.check(False, f"verify: {each}")
    journal = await journalled(records, loaded.parameters)
    for partition, (sequence, fingerprint) in journal.fingerprints.items():
        status = owned.get(partition)
        same = status is not None and (status.sequence, status.fingerprint) == (sequence, fingerprint)
        outcome.proof.check(same, f"partition {partition}: risk's fold at {sequence} is not the state of its owner")
    sent = [one for trader in traders for one in trader.everything()]
    for lane in (each for trader in traders for each in trader.lanes):
        forgotten = f"{len(lane.forgotten)} outcomes forgotten inside the window, such as {lane.forgotten[:3]}"
        outcome.proof.check(not lane.forgotten, f"{lane.principal}: {forgotten}")
    names = [CUSTODIAN, *(trader.name for trader in traders)]
    prove(outcome.proof, sent, journal, own=names)
    for one in verified.partitions:
        outcome.proof.check(one.signed_up_to > 0, f"partition {one.partition}: no signed head")
    outcome.noise, outcome.epochs = journal.noise, sum(journal.epochs.values())
    outcome.frames = sum(sequence for sequence, _ in journal.fingerprints.values())


async def _owned(arena: Arena, partitions: int) -> dict[int, ledger_pb2.PartitionStatus]:
    """What live owners say of their partitions, once each has one and nothing moves any more."""
    deadline = time.monotonic() + _STUCK_SECONDS_MAX
    before: dict[int, ledger_pb2.PartitionStatus] = {}
    while time.monotonic() < deadline:
        found: dict[int, ledger_pb2.PartitionStatus] = {}
        for name in LEDGERS:
            try:
                async with rpc.channel(arena.processes[name].ports.target) as channel:
                    stub = ledger_pb2_grpc.LedgerServiceStub(channel)
                    answer = await stub.GetPartitions(ledger_pb2.GetPartitionsRequest(), timeout=3)
            except grpc.aio.AioRpcError:
                continue
            for one in answer.partitions:
                if one.partition not in found or one.epoch > found[one.partition].epoch:
                    found[one.partition] = one
        if len(found) == partitions and found == before:
            return found
        before = found
        await asyncio.sleep(1.0)
    return before
