"""What is kept is looked through once, and cycles are found all the same."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from libs.common import garbage
from libs.common.garbage import YOUNG_MAX, Garbage


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def looking() -> Iterator[Garbage]:
    one = Garbage()
    one.begin()
    yield one
    one.end()


def test_what_lives_through_a_look_is_set_aside(looking: Garbage) -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(4 * YOUNG_MAX)]
    assert gc.get_freeze_count() >= before + 2 * YOUNG_MAX
    assert len(gc.get_objects()) < 3 * YOUNG_MAX
    assert len(kept) == 4 * YOUNG_MAX


def test_a_young_cycle_goes_with_the_next_look(looking: Garbage) -> None:
    gone = weakref.ref(Knot())
    kept = [[number] for number in range(2 * YOUNG_MAX)]
    assert gone() is None
    assert kept


async def test_a_cycle_that_was_set_aside_goes_with_the_look_at_everything(
    looking: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "SETTLING_SECONDS", 0.01)
    knot, freed = Knot(), asyncio.Event()
    gone = weakref.ref(knot, lambda _: freed.set())
    kept = [[number] for number in range(2 * YOUNG_MAX)]
    del knot
    kept += [[number] for number in range(2 * YOUNG_MAX)]
    assert gone() is not None
    stopping = asyncio.Event()
    running = asyncio.create_task(looking.run(stopping))
    await asyncio.sleep(0)
    looking.all_soon()
    async with asyncio.timeout(5.0):
        await freed.wait()
    stopping.set()
    await running
