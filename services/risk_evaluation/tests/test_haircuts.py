"""Published haircuts: docs/margin.md's formula on the kernel, by size."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.risk_evaluation.domain.haircuts import haircut_table
from services.risk_evaluation.tests.world import BTC, BTC_SPOT, COIN, ETH, USD, Book, marks, model_of, risk

# 50 bp to cross, and 30 % of notional for a whole day's volume of 10^9 USD.
COSTLY = risk(BTC, half_spread=5_000, impact=300_000)


@pytest.mark.parametrize(
    ("coins", "add_on"),
    [
        (1,      0.005 + 0.3 * math.sqrt(60_000 / 1e9)),
        (100,    0.005 + 0.3 * math.sqrt(6_000_000 / 1e9)),
        (10_000, 0.005 + 0.3 * math.sqrt(600_000_000 / 1e9)),
    ],
)  # fmt: skip
def test_haircut_is_scan_and_cost_of_selling(coins: int, add_on: float) -> None:
    model = model_of(COSTLY, risk(ETH))
    row = haircut_table(model, Book(model).prices(marks()), asset=BTC, sizes=[coins * COIN])[0]
    assert row.value == pytest.approx(coins * 60_000e6)
    assert [row.scan, row.add_on] == pytest.approx([-math.expm1(-2.33 * math.sqrt(1 / 365)), add_on])
    assert row.haircut == row.scan + row.add_on
    assert row.scenario == "spot -1.00 of range"


def test_money_that_never_moves_has_no_haircut() -> None:
    model = model_of()
    assert haircut_table(model, Book(model).prices(marks()), asset=USD, sizes=[10**6])[0].haircut == 0.0


def test_an_asset_without_a_price_has_no_haircut_table() -> None:
    model = model_of()
    without = {key: mark for key, mark in marks().items() if key != BTC_SPOT}
    with pytest.raises(ValueError, match="a price of BTC"):
        haircut_table(model, Book(model).prices(without), asset=BTC, sizes=[1])
    with pytest.raises(ValueError, match="sizes above 0"):
        haircut_table(model, Book(model).prices(marks()), asset=BTC, sizes=[0])


@given(st.lists(st.integers(1, 10**15), min_size=2, max_size=20))
def test_haircuts_never_fall_with_size_and_never_exceed_the_value(sizes: list[int]) -> None:
    model = model_of(COSTLY, risk(ETH))
    table = haircut_table(model, Book(model).prices(marks()), asset=BTC, sizes=sorted(sizes))
    haircuts = [row.haircut for row in table]
    assert all(0.0 < one <= 1.0 for one in haircuts)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(haircuts))


@given(st.integers(1, 10**13))
def test_the_haircut_is_what_the_account_must_hold(units: int) -> None:
    # The initial margin of the asset held alone is haircut · value, or ρ·MM where the add-on outweighs the scan.
    model = model_of(COSTLY, risk(ETH))
    margins = Book(model).cash(BTC, units).margins(marks())
    row = haircut_table(model, Book(model).prices(marks()), asset=BTC, sizes=[units])[0]
    wanted = max(row.haircut * row.value, 1.1 * float(margins.maintenance_margin[0]))
    assert margins.initial_margin[0] == pytest.approx(wanted, rel=1e-9, abs=2.0)
