"""Where idle units go: the bank helps who is short, who has most helps the bank, and nothing is sent for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.units import Units
from services.interest_accrual.domain.accrual import decide
from services.interest_accrual.domain.quotas import QuotaMove, Shard, plan
from services.interest_accrual.tests.examples import pool, state

BANK = 1


def shard(
    idle: int = 0, *, claims: int = 0, owed: int = 0, quota: int = 0, on_its_way: int = 0, asked: bool = False
) -> Shard:
    """A shard of whole units."""
    return Shard(Units(idle), Units(claims), Units(owed), Units(quota), Units(on_its_way), asked)


def moves(*shards: Shard, is_tick: bool = False) -> list[tuple[int, int, int]]:
    """What is planned, as (from, to, units)."""
    return [(one.origin, one.to, one.units) for one in plan(shards, bank=BANK, is_tick=is_tick)]


# fmt: off
@pytest.mark.parametrize(
    ("shards", "is_tick", "expected"),
    [
        ((shard(), shard(1_000), shard()),                                          False, []),
        ((shard(owed=70), shard(1_000), shard()),                                   False, [(BANK, 0, 70)]),
        ((shard(owed=70, on_its_way=70), shard(930), shard()),                      False, []),
        ((shard(20, owed=70), shard(1_000), shard()),                               False, [(BANK, 0, 50)]),
        ((shard(owed=70), shard(1_000, claims=9_500), shard()),                     False, [(BANK, 0, 50)]),
        ((shard(owed=70), shard(40), shard(500)),                              False, [(BANK, 0, 40), (2, BANK, 30)]),
        ((shard(owed=70), shard(40, on_its_way=30), shard(500)),                    False, [(BANK, 0, 40)]),
        ((shard(owed=70), shard(), shard(500, claims=4_800)),                       False, [(2, BANK, 20)]),
        ((shard(10, claims=100), shard(1_000), shard()),                            False, []),
        ((shard(10, claims=100, asked=True), shard(1_000), shard()),                False, [(BANK, 0, 90)]),
        ((shard(), shard(claims=100, asked=True), shard(500)),                      False, [(2, BANK, 100)]),
        ((shard(50, quota=-40), shard(), shard()),                                  False, []),
        ((shard(50, quota=-40), shard(), shard()),                                  True,  [(0, BANK, 40)]),
        ((shard(50, quota=-40, claims=300), shard(), shard()),                      True,  [(0, BANK, 20)]),
        ((shard(50, quota=40), shard(), shard()),                                   True,  []),
    ],
)  # fmt: skip
def test_plan(shards: tuple[Shard, ...], is_tick: bool, expected: list[tuple[int, int, int]]) -> None:
    assert moves(*shards, is_tick=is_tick) == expected
# fmt: on


units = st.integers(0, 10**6)
shards = st.builds(
    shard,
    idle=units,
    claims=units,
    owed=units,
    quota=st.integers(-(10**6), 10**6),
    on_its_way=units,
    asked=st.booleans(),
)


@given(st.lists(shards, min_size=2, max_size=6), st.booleans())
def test_i2_nobody_sends_what_it_has_not_and_one_side_is_always_the_bank(drawn: list[Shard], is_tick: bool) -> None:
    planned = plan(drawn, bank=BANK, is_tick=is_tick)
    origins = [one.origin for one in planned]
    assert len(origins) == len(set(origins))
    for one in planned:
        assert isinstance(one, QuotaMove)
        assert 0 < one.units <= drawn[one.origin].spare
        assert BANK in (one.origin, one.to)
        assert one.origin != one.to


def test_i2_the_house_tops_up_what_no_borrower_can_make_up() -> None:
    short = state(idle=997, debt_shares=0, supply_shares=1_000)
    tick = decide(pool(), short, run_time_ns=0, elapsed_ns=10**9, index_step_max=50_000)  # type: ignore[arg-type]
    assert tick.top_up == 3
    assert tick.after().residual_15 == 0
    again = decide(pool(), tick.after(), run_time_ns=0, elapsed_ns=10**9, index_step_max=50_000)  # type: ignore[arg-type]
    assert again.top_up == 0
