"""A model of many writers on one log: whatever is torn, doubled, late or overtaken, the fold is each input once."""

import random
import struct
from collections import deque

import pytest

from libs.common.chain import (
    NO_INPUT,
    AcceptedClaim,
    AcceptedFrame,
    ChainRule,
    Draft,
    Outcome,
    Rejected,
    claim_named_by,
)

SEEDS = 600
_SEEDS_A_TEST = 50
_INPUTS = 60
_WRITERS = 3
_STEPS = 500
_WINDOW = 4
_TOPIC_ID = b"T" * 16


def _position(number: int) -> tuple[int, int]:
    return (number // 3, number % 3)


def _after(position: tuple[int, int]) -> int:
    return 0 if position == NO_INPUT else position[0] * 3 + position[1] + 1


def _inputs(frame: AcceptedFrame) -> list[int]:
    return [number for (number,) in struct.iter_unpack("<I", frame.body)]


class _Writer:
    """What ChainWriter does, with the network in the hands of the model; a crash makes a new one, its wire stays."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rule = ChainRule()
        self.read_to = 0
        self.wire: deque[bytes] = deque()
        self._forget()

    def _forget(self) -> None:
        self.draft = Draft(owner=self.rng.randbytes(16), input_topic_id=_TOPIC_ID)
        self.claimed = b""
        self.flights: deque[bytes] = deque()
        self.next_input = -1  # below 0: not the owner

    def read(self, log: list[bytes], *, count: int) -> None:
        for value in log[self.read_to : self.read_to + count]:
            outcome = self.rule.take(offset=self.read_to, value=value)
            self.read_to += 1
            self._judge(outcome)

    def _judge(self, outcome: Outcome) -> None:
        if isinstance(outcome, AcceptedClaim):
            if outcome.head != self.claimed:
                self._forget()
                return
            self.claimed = b""
            self.draft.begin(self.rule)
            self.next_input = _after(self.rule.input_position)
        elif isinstance(outcome, Rejected):
            if outcome.head == self.claimed or outcome.head in self.flights:
                self._forget()
        elif self.next_input >= 0:
            assert self.flights.popleft() == outcome.head

    def claim(self) -> None:
        if self.next_input < 0 and not self.claimed:
            drafted = self.draft.claim(self.rule)
            self.claimed = drafted.head
            self.wire.append(drafted.value)

    def append(self) -> None:
        if 0 <= self.next_input < _INPUTS and len(self.flights) < _WINDOW:
            last = min(self.next_input + self.rng.randint(1, 3), _INPUTS) - 1
            body = struct.pack(f"<{last + 1 - self.next_input}I", *range(self.next_input, last + 1))
            drafted = self.draft.frame(
                body, input_position=_position(last), run_time_ns=self.rng.randint(0, 99), control_sequence=0
            )
            self.draft.commit(drafted)
            self.flights.append(drafted.head)
            self.wire.append(drafted.value)
            self.next_input = last + 1


class _World:
    """The log, its writers, and the wires of writers that crashed or were stopped: late records still arrive."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.log: list[bytes] = []
        self.writers = [_Writer(self.rng) for _ in range(_WRITERS)]
        self.zombie_wires: list[deque[bytes]] = []

    def step(self) -> None:
        rng, writer = self.rng, self.rng.choice(self.writers)
        match rng.choices(("read", "claim", "append", "deliver", "crash", "noise"), (32, 6, 22, 35, 2, 3))[0]:
            case "read":
                writer.read(self.log, count=rng.randint(1, 6))
            case "claim":
                writer.claim()
            case "append":
                writer.append()
            case "deliver":
                self._deliver(rng.choice([each.wire for each in self.writers] + self.zombie_wires))
            case "crash":
                self.zombie_wires.append(writer.wire)
                self.writers[self.writers.index(writer)] = _Writer(rng)
            case "noise":
                self.log.append(rng.choice(self.log) if self.log and rng.random() < 0.7 else rng.randbytes(20))

    def _deliver(self, wire: deque[bytes]) -> None:
        if not wire:
            return
        chance = self.rng.random()
        if chance < 0.03 and len(wire) > 1:
            wire[0], wire[1] = wire[1], wire[0]
        elif chance < 0.06:
            wire.popleft()
            return
        self.log.append(wire[0])
        if chance < 0.94:
            wire.popleft()

    def finish(self) -> None:
        """Every wire runs empty, then one last writer does the rest undisturbed."""
        while any(each.wire for each in self.writers) or any(self.zombie_wires):
            self._deliver(self.rng.choice([each.wire for each in self.writers] + self.zombie_wires))
        last = _Writer(self.rng)
        self.writers.append(last)
        last.read(self.log, count=len(self.log))
        last.claim()
        while last.next_input < _INPUTS or last.flights:
            self.log.extend(last.wire)
            last.wire.clear()
            last.read(self.log, count=len(self.log))
            last.append()


def _fold(log: list[bytes], *, begin: int = 0) -> tuple[ChainRule, list[AcceptedFrame]]:
    rule = ChainRule(from_start=begin == 0)
    taken = [rule.take(offset=at, value=log[at]) for at in range(begin, len(log))]
    return rule, [each for each in taken if isinstance(each, AcceptedFrame)]


def _state(rule: ChainRule) -> tuple[object, ...]:
    return (rule.epoch, rule.owner, rule.head, rule.sequence, rule.claim_offset, rule.input_position, rule.rejected)


def _play(seed: int) -> ChainRule:
    world = _World(seed)
    for _ in range(_STEPS):
        world.step()
    world.finish()
    rule, frames = _fold(world.log)
    assert [number for frame in frames for number in _inputs(frame)] == list(range(_INPUTS))
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    for writer in world.writers:
        writer.read(world.log, count=len(world.log))
        assert _state(writer.rule) == _state(rule)
    heads = [frame.head for frame in frames]
    for begin in (claim_named_by(world.log[-1]), *(world.rng.randrange(len(world.log)) for _ in range(3))):
        late = [frame.head for frame in _fold(world.log, begin=begin)[1]]
        assert heads[len(heads) - len(late) :] == late
    return rule


@pytest.mark.parametrize("first_seed", range(0, SEEDS, _SEEDS_A_TEST))
def test_every_input_is_folded_once_in_order_by_every_reader(first_seed: int) -> None:
    noise = 0
    epochs = 0
    for seed in range(first_seed, first_seed + _SEEDS_A_TEST):
        print(f"seed {seed}")
        rule = _play(seed)
        noise += rule.rejected.total()
        epochs += rule.epoch
    # The model must bite: many take-overs, much noise.
    print(f"{epochs} epochs, {noise} records of noise")
    assert epochs > 5 * _SEEDS_A_TEST
    assert noise > 20 * _SEEDS_A_TEST
