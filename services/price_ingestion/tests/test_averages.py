"""Settlement prices: the known part does not change, gaps do not count, a restart goes on where it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.config import load_parameters
from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import Instrument, InstrumentKind, OptionType
from libs.common.units import SECOND_NS, SETTLEMENT_WINDOW_NS, Lots, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.domain.averages import Averages, SettlementAverage
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.tests import REPOSITORY

COMMITTED = load_parameters(REPOSITORY / "config").parameters
SPOT, CALL, FUTURE = InstrumentId(1), InstrumentId(31), InstrumentId(32)
ENDS = UnixNs(COMMITTED.genesis_ns + 10 * 86_400 * SECOND_NS)
BEGINS = ENDS - SETTLEMENT_WINDOW_NS
MINUTE = 60 * SECOND_NS
VALID, HOLD = ValidityClass.VALID, ValidityClass.HOLD


def ending(number: InstrumentId, kind: InstrumentKind, *, exponent: int) -> Instrument:
    """An instrument on BTC that ends; spot has two decimals."""
    return Instrument(
        id=number, symbol=f"I{number}", kind=kind, underlying=AssetId(2), quote=AssetId(1), settlement=AssetId(1),
        base_units_per_lot=1, price_exponent=exponent, c_num=1, c_den=1, max_order_lots=Lots(1), max_price=10**9,
        expiry_ns=ENDS, option=OptionType.CALL if number == CALL else None, settlement_exponent=exponent,
    )  # fmt: skip


PARAMETERS = replace(
    COMMITTED,
    instruments=(
        *(one for one in COMMITTED.instruments if not one.closes_ns),
        ending(CALL, InstrumentKind.LINEAR_OPTION, exponent=-2),
        ending(FUTURE, InstrumentKind.LINEAR_PERP, exponent=0),
    ),
)


def row(price: int, validity: ValidityClass = VALID) -> list[MarkRow]:
    """Marks in force."""
    return [MarkRow(SPOT, Mark(price, price, 0, validity), price)]


def known(averages: Averages, instrument: InstrumentId = CALL) -> SettlementAverage:
    """What is known of one instrument."""
    return next(one for one in averages.known if one.instrument == instrument)


def test_nothing_is_known_before_the_window() -> None:
    averages = Averages(PARAMETERS)
    assert averages.take(row(1_000_000), now_ns=UnixNs(BEGINS)) == ()
    assert averages.known == ()


def test_the_price_in_force_counts_for_as_long_as_it_was() -> None:
    averages = Averages(PARAMETERS)
    averages.take(row(1_000_000), now_ns=UnixNs(BEGINS - MINUTE))
    averages.take(row(2_000_000), now_ns=UnixNs(BEGINS + 10 * MINUTE))
    assert (known(averages).price, known(averages).known) == (1_000_000, 333_333)
    averages.take(row(4_000_000), now_ns=UnixNs(BEGINS + 25 * MINUTE))
    assert known(averages).price == 1_600_000  # (10 + 2·15) / 25
    averages.take(row(9_000_000), now_ns=UnixNs(ENDS + 60 * MINUTE))
    last = known(averages)
    assert (last.price, last.known, last.is_final) == (2_000_000, 1_000_000, True)
    assert known(averages, FUTURE).price == 20_000  # in its own steps
    assert averages.take(row(5), now_ns=UnixNs(ENDS + 61 * MINUTE)) == ()


def test_time_without_a_usable_price_does_not_count() -> None:
    averages = Averages(PARAMETERS)
    averages.take(row(1_000_000), now_ns=UnixNs(BEGINS))
    averages.take(row(7_000_000, HOLD), now_ns=UnixNs(BEGINS + 10 * MINUTE))
    averages.take(row(2_000_000), now_ns=UnixNs(BEGINS + 20 * MINUTE))
    averages.take(row(3_000_000), now_ns=ENDS)
    assert (known(averages).price, known(averages).covered_ns) == (1_500_000, 20 * MINUTE)


@pytest.mark.parametrize("validity", [HOLD, ValidityClass.STALE])
def test_a_window_without_a_price_waits_for_the_first_usable_one(validity: ValidityClass) -> None:
    averages = Averages(PARAMETERS)
    averages.take(row(1_000_000, validity), now_ns=UnixNs(BEGINS))
    averages.take(row(1_000_000, validity), now_ns=UnixNs(ENDS + MINUTE))
    assert not known(averages).is_final
    averages.take(row(3_000_000), now_ns=UnixNs(ENDS + 2 * MINUTE))
    assert (known(averages).price, known(averages).is_final) == (3_000_000, True)


moments = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 10**8), st.booleans()), min_size=1, max_size=12)


@given(moments, st.integers(0, 11))
@settings(max_examples=150, deadline=None)
def test_a_restart_changes_nothing(path: list[tuple[int, int, bool]], restart_at: int) -> None:
    one, other, now = Averages(PARAMETERS), Averages(PARAMETERS), BEGINS - 5 * MINUTE
    for number, (minutes, price, is_usable) in enumerate(path):
        now += minutes * MINUTE
        rows = row(price, VALID if is_usable else HOLD)
        moved = one.take(rows, now_ns=UnixNs(now))
        assert other.take(rows, now_ns=UnixNs(now)) == moved
        if number == restart_at:
            fresh = Averages(PARAMETERS)
            fresh.restore(other.known, rows, at_ns=UnixNs(now))
            other = fresh
    assert one.known == other.known


@given(moments)
@settings(max_examples=100, deadline=None)
def test_the_known_part_never_changes_and_stays_between_its_prices(path: list[tuple[int, int, bool]]) -> None:
    averages, now, last, prices = Averages(PARAMETERS), BEGINS - 5 * MINUTE, 0, []
    for minutes, price, _ in path:
        now += minutes * MINUTE
        averages.take(row(price), now_ns=UnixNs(now))
        prices.append(price)
        for one in averages.known:
            assert one.weighted >= last or one.instrument != CALL
            last = one.weighted if one.instrument == CALL else last
            if one.instrument == CALL and one.price:
                assert min(prices) <= one.price <= max(prices)
