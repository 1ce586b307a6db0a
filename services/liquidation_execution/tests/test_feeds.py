"""What is folded from marks, margins and books, apart from any episode."""

from __future__ import annotations

import pytest

from ballast.events.v1 import market_pb2, risk_pb2
from libs.common.codec import Undecodable
from libs.common.ids import AccountId, InstrumentId, VenueId
from libs.common.units import Lots, Price
from libs.common.validity import ValidityClass
from services.liquidation_execution.adapters.wire import checked, depth_of
from services.liquidation_execution.app.depth import Depth, DepthBook
from services.liquidation_execution.app.margins import MarginTable
from services.liquidation_execution.app.marks import Marks
from services.liquidation_execution.tests.kernel import BTC_PERP, CATALOGUE, NORTH
from services.liquidation_execution.tests.world import Clock

ACCOUNT, SECOND_NS = AccountId(1 << 16), 10**9


def marked(marks: Marks, *, sequence: int, price: int, validity: ValidityClass = ValidityClass.VALID) -> None:
    body = market_pb2.MarksBody(instrument=[BTC_PERP], mark_price=[price], validity=bytes([validity]))
    marks.apply(sequence=sequence, run_time_ns=sequence * SECOND_NS, body=body)


def margin(journal: int, mark: int, *, equity: int = 0, accounts: int = 1, full: bool = False) -> risk_pb2.MarginFrame:
    ones = [1] * accounts
    return risk_pb2.MarginFrame(
        partition=0, journal_sequence=journal, mark_sequence=mark, full=full, account=[ACCOUNT] * accounts,
        equity=[equity] * accounts, initial_margin=ones, maintenance_margin=ones, validity=bytes(ones),
    )  # fmt: skip


def test_the_mark_of_a_recent_moment_is_known() -> None:
    marks = Marks(Clock())
    for sequence in range(1, 101):
        marked(marks, sequence=sequence, price=1_000 + sequence)
    instrument = InstrumentId(BTC_PERP)
    assert marks.at(instrument, 100 * SECOND_NS) == 1_100
    assert marks.at(instrument, 99 * SECOND_NS + 1) == 1_099
    assert marks.at(instrument, 10 * SECOND_NS) is None


USABLE = [
    (ValidityClass.VALID,    0.0, 5),
    (ValidityClass.VALID,    1.0, 5),
    (ValidityClass.VALID,    1.1, None),
    (ValidityClass.DEGRADED, 0.0, 5),
    (ValidityClass.HOLD,     0.0, None),
    (ValidityClass.STALE,    0.0, None),
]  # fmt: skip


@pytest.mark.parametrize(("validity", "silent_seconds", "price"), USABLE)
def test_a_mark_is_usable_by_its_class_while_it_beats(
    validity: ValidityClass, silent_seconds: float, price: int | None
) -> None:
    clock = Clock()
    marks = Marks(clock)
    marked(marks, sequence=1, price=5, validity=validity)
    clock.now += silent_seconds
    assert marks.usable(InstrumentId(BTC_PERP)) == price


def test_an_older_worker_takes_nothing_back() -> None:
    table = MarginTable()
    assert table.add(margin(5, 10, equity=7))
    assert not table.add(margin(5, 9, equity=-1))
    assert not table.add(margin(4, 11, equity=-1))
    found = table.row(0, ACCOUNT)
    assert found is not None
    assert found.equity == 7


def test_a_frame_without_the_account_leaves_its_row_until_a_full_one_comes() -> None:
    table = MarginTable()
    table.add(margin(5, 10))
    table.add(margin(6, 10, accounts=0))
    assert table.row(0, ACCOUNT) is not None
    table.add(margin(7, 10, accounts=0, full=True))
    assert table.row(0, ACCOUNT) is None


def shown_price(depths: DepthBook, marks: Marks, mark: int) -> list[tuple[int, bool]]:
    venues = CATALOGUE.venues_of[BTC_PERP]
    found = depths.shown(InstrumentId(BTC_PERP), -1, venues, mark=Price(mark), marks=marks)
    return [(one.levels[0][0], one.is_older) for one in found]


def test_a_book_is_carried_along_with_the_mark_until_it_is_too_old() -> None:
    marks, depths = Marks(Clock()), DepthBook(max_age_ns=2 * SECOND_NS)
    book = ((Price(9_990), Lots(1)),)
    depths.update(Depth(VenueId(NORTH), InstrumentId(BTC_PERP), 2 * SECOND_NS, book, book))
    marked(marks, sequence=3, price=9_000)
    assert shown_price(depths, marks, 9_000) == [(9_990, True)]  # what the mark was then is unknown
    marks = Marks(Clock())
    marked(marks, sequence=2, price=10_000)
    assert shown_price(depths, marks, 10_000) == [(9_990, False)]
    marked(marks, sequence=4, price=9_000)
    assert shown_price(depths, marks, 9_000) == [(8_991, False)]
    marked(marks, sequence=5, price=9_000)
    assert shown_price(depths, marks, 9_000) == []


def test_columns_that_do_not_fit_are_poison() -> None:
    with pytest.raises(Undecodable, match="a number of lots for every price"):
        depth_of(market_pb2.Liquidity(bid_price=[1]))
    with pytest.raises(Undecodable, match="columns of 2 rows"):
        checked(risk_pb2.MarginFrame(account=[1, 2]))
    frame = margin(1, 1)
    frame.validity = b"\x09"
    with pytest.raises(Undecodable, match="a validity class, was 9"):
        checked(frame)
