"""Seeds of the simulation: every invariant holds, a seed is the same each time, and planted bugs are found."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tools.simulate.clock import NothingHappens, run_virtual
from tools.simulate.run import Result, play
from tools.simulate.tests.planted import BUGS, Planted, planted

SEEDS = 40
_SEEDS_A_TEST = 10
_SEEDS_A_BUG = 48


@pytest.mark.parametrize("first", range(0, SEEDS, _SEEDS_A_TEST))
def test_every_invariant_holds_whatever_is_lost_doubled_late_or_killed(first: int) -> None:
    total: Counter[str] = Counter()
    for seed in range(first, first + _SEEDS_A_TEST):
        result = play(seed)
        assert result.ok, _told(result)
        total += result.counts
    # The simulation must bite: processes die, frames of zombies come, accounts are liquidated.
    assert min(total["crashes"], total["noise"], total["open_episode"], total["verdicts checked"]) > 0, total
    assert min(total["arrive"], total["move_entity"], total["close_instrument"], total["venue_event"]) > 0, total


def test_a_seed_is_the_same_each_time() -> None:
    told: list[list[str]] = []
    for _ in range(2):
        lines: list[str] = []
        play(1, steps=40, trace=lines.append)
        told.append(lines)
    assert len(told[0]) > 100
    assert told[0] == told[1]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_found(bug: Planted) -> None:
    with planted(bug):
        for seed in range(_SEEDS_A_BUG):
            result = play(seed)
            if not result.ok:
                assert {one.invariant for one in result.findings} & bug.shown_by, _told(result)
                return
    pytest.fail(f"{bug.name}: not found in {_SEEDS_A_BUG} seeds")


def test_a_world_in_which_nothing_can_happen_any_more_is_told() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingHappens):
        run_virtual(wait())


def _told(result: Result) -> str:
    findings = "; ".join(f"{one.invariant}: {one.detail}" for one in result.findings)
    return f"seed {result.seed} step {result.steps}: {findings}"
