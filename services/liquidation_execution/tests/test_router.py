"""The router: merge by price after fees, participation, collar, claims, limits and expected cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ids import VenueId
from libs.common.parameters import LiquidationRules
from libs.common.units import PPM, Lots, Ppm, Price
from services.liquidation_execution.domain.router import BUY, SELL, Ladder, Shown, carried, ladder, worst_price
from services.liquidation_execution.tests.kernel import (
    BTC_INV,
    BTC_PERP,
    BTC_USD,
    CATALOGUE,
    ETH_USD,
    NORTH,
    SOUTH,
)

RULES = LiquidationRules(target=Ppm(1_050_000), participation=Ppm(500_000), collar=Ppm(50_000), steps_max=200)
FEE, LIQUIDATION = Ppm(500), Ppm(5_000)


def shown(venue: int, *levels: tuple[int, int], fee: int = FEE, claimed: int = 0) -> Shown:
    return Shown(
        next(one.id for one in CATALOGUE.parameters.venues if one.id == venue),
        Ppm(fee),
        tuple((Price(price), Lots(lots)) for price, lots in levels),
        Lots(claimed),
    )


def sells(*offers: Shown, mark: int = 10_000, rules: LiquidationRules = RULES) -> Ladder:
    return ladder(
        CATALOGUE.instruments[BTC_PERP], SELL, mark=Price(mark), shown=offers, rules=rules, liquidation_fee=LIQUIDATION
    )


def test_levels_of_all_venues_are_taken_best_first() -> None:
    offers = sells(shown(NORTH, (9_990, 100), (9_970, 100)), shown(SOUTH, (9_980, 100), (9_960, 100)))
    assert [(rung.venue, rung.price, rung.lots) for rung in offers.rungs] == [
        (NORTH, 9_990, 100),
        (SOUTH, 9_980, 100),
    ]
    assert offers.capacity == 200  # half of 200 displayed lots, at each venue


def test_a_fee_can_make_the_better_price_the_worse_one() -> None:
    offers = sells(shown(NORTH, (9_990, 100), fee=5_000), shown(SOUTH, (9_980, 100), fee=0))
    assert [rung.venue for rung in offers.rungs] == [SOUTH, NORTH]


# D08: never more than the participation of what is displayed now. D18: a collar against a mark over all venues.
CAPS = [
    # levels                                   claimed  capacity
    (((9_990, 1_000),),                              0,      500),
    (((9_990, 1_000),),                            300,      200),
    (((9_990, 1_000),),                            500,        0),
    (((9_990, 1_000),),                          9_999,        0),
    (((9_990, 3), ),                                 0,        1),
    (((9_990, 1), ),                                 0,        0),
    (((9_500, 1_000),),                              0,      500),
    (((9_499, 1_000),),                              0,        0),
    (((9_990, 100), (9_499, 100_000)),               0,       50),
    ((),                                             0,        0),
]  # fmt: skip


@pytest.mark.parametrize(("levels", "claimed", "capacity"), CAPS)
def test_capacity_is_the_participation_in_depth_within_the_collar(
    levels: tuple[tuple[int, int], ...], claimed: int, capacity: int
) -> None:
    assert sells(shown(NORTH, *levels, claimed=claimed)).capacity == capacity


def test_a_book_of_an_unknown_time_promises_nothing_better_than_the_mark() -> None:
    old = Shown(VenueId(NORTH), FEE, ((Price(11_000), Lots(100)), (Price(9_990), Lots(100))), Lots(0), is_older=True)
    offers = sells(old)
    assert [(rung.price, rung.lots) for rung in offers.rungs] == [(10_000, 100)]
    assert [order.limit_price for order in offers.orders(100)] == [9_875]
    assert [rung.price for rung in sells(replace(old, is_older=False)).rungs] == [11_000]


def test_a_book_moves_along_with_the_mark() -> None:
    levels = ((Price(9_990), Lots(100)), (Price(9_980), Lots(50)))
    assert carried(levels, mark_then=Price(10_000), mark_now=Price(9_000)) == ((8_991, 100), (8_982, 50))


def test_claims_take_the_best_levels_first() -> None:
    offers = sells(shown(NORTH, (9_990, 100), (9_980, 100), (9_970, 800), claimed=150))
    assert [(rung.price, rung.lots) for rung in offers.rungs] == [(9_980, 50), (9_970, 300)]


def test_the_collar_of_the_2017_flash_crash_holds() -> None:
    # D18: ETH at 317.81, a collar of 10 % lets nothing of ours go below 286.03.
    assert worst_price(317_810, SELL, 100_000) == 286_029
    assert worst_price(31_781, SELL, 100_000) == 28_603
    assert worst_price(31_781, BUY, 100_000) == 34_959
    rules = LiquidationRules(Ppm(1_050_000), Ppm(500_000), Ppm(100_000), 200)
    offers = ladder(
        CATALOGUE.instruments[ETH_USD],
        SELL,
        mark=Price(317_810),
        shown=[shown(NORTH, (317_000, 10), (224_480, 9_000), (100, 9_000))],
        rules=rules,
        liquidation_fee=LIQUIDATION,
    )
    assert offers.capacity == 5
    assert all(order.limit_price >= 286_029 for order in offers.orders(5))


LIMITS = [
    # direction, levels,             lots, limit: a quarter of the collar beyond the last level, never beyond the collar
    (SELL, ((9_990, 200),),            50, 9_866),
    (SELL, ((9_990, 20), (9_600, 200)), 50, 9_500),
    (BUY,  ((10_010, 200),),           50, 10_135),
    (BUY,  ((10_010, 20), (10_450, 200)), 50, 10_500),
]  # fmt: skip


@pytest.mark.parametrize(("direction", "levels", "lots", "limit"), LIMITS)
def test_limits_follow_the_last_level_within_the_collar(
    direction: int, levels: tuple[tuple[int, int], ...], lots: int, limit: int
) -> None:
    offers = ladder(
        CATALOGUE.instruments[BTC_PERP],
        direction,
        mark=Price(10_000),
        shown=[shown(NORTH, *levels)],
        rules=RULES,
        liquidation_fee=LIQUIDATION,
    )
    assert [order.limit_price for order in offers.orders(lots)] == [limit]


def test_expected_trades_round_against_the_account() -> None:
    offers = sells(shown(NORTH, (10_000, 2), (9_999, 4)), mark=10_000)
    trade = offers.trade(3)
    assert (trade.lots, trade.price) == (-3, 9_999)  # (2·10,000 + 9,999)/3 rounded down
    # c is 10 units a lot and price step: 299,990 units of notional, 5,500 millionths of it rounded up.
    assert trade.fee_units == 1_650


def test_an_inverse_average_is_harmonic() -> None:
    offers = ladder(
        CATALOGUE.instruments[BTC_INV],
        SELL,
        mark=Price(1_500_000),
        shown=[shown(NORTH, (1_500_000, 200)), shown(SOUTH, (1_450_000, 200))],
        rules=RULES,
        liquidation_fee=LIQUIDATION,
    )
    assert offers.trade(200).price == 1_474_576  # 2/(1/1,500,000 + 1/1,450,000) = 1,474,576.27


def test_more_than_the_capacity_is_a_bug() -> None:
    with pytest.raises(ValueError, match=r"expected 1 \.\. 50 lots"):
        sells(shown(NORTH, (9_990, 100))).trade(51)


_LEVELS = st.lists(st.tuples(st.integers(-900, 900), st.integers(1, 500)), max_size=8)


@given(
    _LEVELS, _LEVELS, st.integers(0, 600), st.sampled_from((BUY, SELL)), st.sampled_from((BTC_USD, BTC_INV)), st.data()
)
def test_no_order_exceeds_participation_or_collar(
    north: list[tuple[int, int]],
    south: list[tuple[int, int]],
    claimed: int,
    direction: int,
    instrument: int,
    data: st.DataObject,
) -> None:
    mark, books = 10_000, {NORTH: north, SOUTH: south}
    offers = []
    for venue, levels in books.items():
        best_first = sorted(((mark + away, lots) for away, lots in levels), key=lambda one: direction * one[0])
        offers.append(shown(venue, *best_first, claimed=claimed))
    found = ladder(
        CATALOGUE.instruments[instrument],
        direction,
        mark=Price(mark),
        shown=offers,
        rules=RULES,
        liquidation_fee=LIQUIDATION,
    )
    if not found.capacity:
        return
    lots = data.draw(st.integers(1, found.capacity))
    orders = found.orders(lots)
    limit = worst_price(mark, direction, RULES.collar)
    assert sum(order.lots for order in orders) == lots
    for order in orders:
        within = [n for away, n in books[order.venue] if direction * (mark + away) <= direction * limit]
        assert order.lots + claimed <= sum(within) * RULES.participation // PPM
        assert direction * order.limit_price <= direction * limit
    assert direction * found.trade(lots).price <= direction * limit
