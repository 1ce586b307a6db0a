"""Which ticks are due."""

import pytest

from libs.common.units import UnixNs
from services.interest_accrual.domain.schedule import last_due, tick_time

CASES = [(0, 0), (999, 0), (1000, 0), (1099, 0), (1100, 1), (1199, 1), (1200, 2), (11_000, 100)]


@pytest.mark.parametrize(("now", "due"), CASES)
def test_a_tick_is_due_when_its_time_has_come(now: int, due: int) -> None:
    assert last_due(genesis_ns=UnixNs(1000), period_ns=100, now_ns=UnixNs(now)) == due


def test_a_tick_stands_at_its_own_time_however_late_it_is_taken() -> None:
    assert tick_time(3, genesis_ns=UnixNs(1000), period_ns=100) == 1300
