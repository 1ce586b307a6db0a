"""What is done to the ledger, how often and in which order: a seed decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random


class Attack(StrEnum):
    """One kind of disturbance."""

    KILL = "kill"  # SIGKILL of an owner at a random instant
    ACKNOWLEDGED = "failpoint acknowledged"  # dies after the append, before the frame is read back
    READ_BACK = "failpoint read_back"  # dies after the read-back, before anybody is answered
    CHECKPOINT = "failpoint checkpoint"  # dies in the middle of a checkpoint
    HEAD = "failpoint head"  # dies between a checkpoint's head and the removal of what it makes obsolete
    FREEZE = "freeze"  # SIGSTOP, another takes over, the zombie wakes up
    OVERLAP = "overlap"  # a second instance of the same name beside the first
    BROKER = "broker"  # the broker is stopped or killed, and comes back
    GATEWAY = "gateway"  # SIGKILL of the edge: clients send again what has no answer


FAILPOINTS = (Attack.ACKNOWLEDGED, Attack.READ_BACK, Attack.CHECKPOINT, Attack.HEAD)


@dataclass(frozen=True, slots=True)
class Doses:
    """How much of everything.

    Args:
        commands: from all clients together.
        attacks: how often each.
        session_outcomes: outcomes that the ledger remembers of a session.
        twice, again: shares of the commands that are sent twice, and sent again after their answer.
    """

    commands: int
    attacks: dict[Attack, int]
    session_outcomes: int
    twice: float = 0.33
    again: float = 0.12


FULL = Doses(
    commands=200_000,
    attacks={
        Attack.KILL: 50, Attack.ACKNOWLEDGED: 6, Attack.READ_BACK: 6, Attack.CHECKPOINT: 5, Attack.HEAD: 3,
        Attack.FREEZE: 20, Attack.OVERLAP: 20, Attack.BROKER: 20, Attack.GATEWAY: 4,
    },
    session_outcomes=4_096,
)  # fmt: skip
SHORT = Doses(
    commands=6_000,
    attacks={
        Attack.KILL: 3, Attack.ACKNOWLEDGED: 1, Attack.READ_BACK: 1, Attack.CHECKPOINT: 1,
        Attack.FREEZE: 1, Attack.OVERLAP: 1, Attack.BROKER: 1, Attack.GATEWAY: 1,
    },
    session_outcomes=256,
)  # fmt: skip


def scaled(doses: Doses, share: float) -> Doses:
    """A part of the doses, at least one of each attack."""
    attacks = {attack: max(1, round(count * share)) for attack, count in doses.attacks.items()}
    return replace(doses, commands=max(1_000, round(doses.commands * share)), attacks=attacks)


def order_of(doses: Doses, dice: Random) -> list[Attack]:
    """Every attack of the doses, shuffled."""
    found = [attack for attack, count in doses.attacks.items() for _ in range(count)]
    dice.shuffle(found)
    return found
