"""The kinked curve against published figures."""

import pytest

from libs.common.units import RATE_ONE, Rate12, Units
from services.interest_accrual.domain import curve
from services.interest_accrual.tests.examples import pool, rate

# Utilisation kink: optimal 80 %, slopes 4 % and 75 % (the curve's published example).
KINK = [
    # debt idle   per cent
    (0,    100,   0),
    (40,   60,    2),
    (80,   20,    4),
    (90,   10,    41.5),
    (100,  0,     79),
]  # fmt: skip

# Aave v3, tests/misc/rates/RateStrategy.calculateRates.t.sol.
# Optimal, base and slopes in bps; debt, liquidity; rates in ray.
AAVE = [
    (8000, 100, 400, 6000,  10**18,     0,          650000000000000000000000000,  585000000000000000000000000),
    (8000, 100, 400, 6000,  0,          0,          10000000000000000000000000,   0),
    (8000, 100, 400, 6000,  10**17,     9 * 10**17, 15000000000000000000000000,   1350000000000000000000000),
    (8000, 100, 400, 6000,  89 * 10**16, 11 * 10**16, 320000000000000000000000000, 256320000000000000000000000),
    (4500, 0,   700, 30000, 10**17,     9 * 10**17, 15555555555555555555555556,   1400000000000000000000000),
    (4500, 0,   700, 30000, 45 * 10**16, 55 * 10**16, 70000000000000000000000000, 28350000000000000000000000),
    (4500, 0,   700, 30000, 95 * 10**16, 5 * 10**16, 2797272727272727272727272727, 2391668181818181818181818182),
]  # fmt: skip


@pytest.mark.parametrize(("debt", "idle", "percent"), KINK)
def test_the_rate_follows_the_published_kink(debt: int, idle: int, percent: float) -> None:
    assert curve.borrow_rate(pool(), debt=Units(debt), idle=Units(idle)) == rate(percent)


@pytest.mark.parametrize(("optimal", "base", "below", "above", "debt", "idle", "borrow", "supply"), AAVE)
def test_rates_agree_with_aave_to_the_last_of_our_digits(
    optimal: int, base: int, below: int, above: int, debt: int, idle: int, borrow: int, supply: int
) -> None:
    at = pool(optimal=optimal / 1e4, base=base / 100, below=below / 100, above=above / 100)
    ours = curve.borrow_rate(at, debt=Units(debt), idle=Units(idle))
    ray = 10**27 // RATE_ONE
    assert ours * ray - ray < borrow <= ours * ray  # up, against the borrower
    earned = curve.supply_rate(at, borrow_rate=Rate12(borrow // ray), debt=Units(debt), idle=Units(idle))
    assert abs(earned - supply // ray) <= 1


def test_moving_the_same_total_gives_the_same_rate_whatever_its_split() -> None:
    assert curve.borrow_rate(pool(), debt=Units(50), idle=Units(50)) == curve.borrow_rate(
        pool(), debt=Units(5 * 10**15), idle=Units(5 * 10**15)
    )


@pytest.mark.parametrize("idle", [0, -5])
def test_a_pool_without_idle_units_is_fully_used(idle: int) -> None:
    assert curve.utilisation(debt=Units(10), idle=Units(idle)) == 1_000_000
    assert curve.borrow_rate(pool(), debt=Units(10), idle=Units(idle)) == rate(79)
