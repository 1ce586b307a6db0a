"""The engine: depth, slippage, priority of the clock over refills, orders and their reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.venue.book import Level, Side
from examples.venue.engine import Bounds, OrderRequest, VenueEngine
from examples.venue.listing import SECOND_NS
from examples.venue.reports import Kind, Report
from examples.venue.tests.listings import LISTING, SPOT

_PRICES = {"BTC-USD": "100"}
_START_NS = 1_513_731_600 * SECOND_NS


def _engine(*, bounds: Bounds | None = None, price: str = "100") -> VenueEngine:
    engine = VenueEngine(name="north", listing=LISTING, seed=1, bounds=bounds)
    assert engine.move(run_time_ns=_START_NS, prices={"BTC-USD": price}) == ()
    engine.take_changed()
    return engine


def _order(
    order: int,
    side: Side | None,
    lots: int,
    limit: str,
    *,
    rests: bool = False,
    symbol: str = "BTC-USD",
) -> OrderRequest:
    return OrderRequest(order=order, symbol=symbol, side=side, lots=lots, limit_price=limit, rests=rests)


def _place(engine: VenueEngine, *requests: OrderRequest) -> tuple[Report, ...]:
    before = engine.outbox.last
    for request in requests:
        assert engine.place(request, received_wall_ns=77)
    return engine.outbox.after(before, limit=1_000)


def _asks(engine: VenueEngine) -> list[tuple[int, int]]:
    return [(each.price, each.lots) for each in engine.displayed("BTC-USD", depth=10).asks]


def _brief(reports: tuple[Report, ...]) -> list[tuple[int, Kind, int, str]]:
    return [(each.order, each.kind, each.lots, each.price) for each in reports]


def test_both_sides_are_quoted_deeper_away_from_the_reference() -> None:
    book = _engine().displayed("BTC-USD", depth=10)
    assert book.bids == (Level(9_990, 10), Level(9_980, 20), Level(9_970, 30))
    assert book.asks == (Level(10_010, 10), Level(10_020, 20), Level(10_030, 30))


def test_a_perpetual_follows_its_spot_and_what_has_no_reference_is_not_quoted() -> None:
    engine = _engine()
    assert set(engine.quoted) == {"BTC-USD", "BTC-USD-PERP", "BTC-USD-INV"}
    assert engine.displayed("BTC-USD-PERP", depth=1).asks == (Level(10_010, 10),)
    assert engine.displayed("LTC-USD", depth=1).asks == ()
    engine.move(run_time_ns=_START_NS + 1, prices={"BTC-USD": "100", "BTC-USD-PERP": "200"})
    assert engine.displayed("BTC-USD-PERP", depth=1).asks == (Level(20_020, 10),)


def test_a_larger_order_pays_more_slippage() -> None:
    paid = []
    for lots in (10, 30, 60):
        reports = _place(_engine(), _order(1, Side.BUY, lots, "101"))
        assert sum(each.lots for each in reports) == lots
        paid.append(sum(each.lots * SPOT.ticks(each.price) for each in reports) / lots)
    assert paid == sorted(set(paid))
    assert paid[0] == 10_010


def test_what_displayed_depth_cannot_fill_is_cancelled_at_once() -> None:
    reports = _place(_engine(), _order(1, Side.SELL, 35, "99.80"))
    assert _brief(reports) == [
        (1, Kind.FILL, 10, "99.90"),
        (1, Kind.FILL, 20, "99.80"),
        (1, Kind.CANCELLED, 0, ""),
    ]
    assert [each.remaining for each in reports] == [25, 5, 0]
    assert [each.fee for each in reports] == ["0.000500", "0.000998", ""]
    assert {each.executed_at_ns for each in reports} == {_START_NS}
    assert {each.received_wall_ns for each in reports} == {77}
    assert len({each.trade for each in reports[:2]}) == 2


def test_taken_depth_comes_back_with_the_run_clock_only() -> None:
    engine = _engine()
    _place(engine, _order(1, Side.BUY, 30, "101"))
    assert _asks(engine) == [(10_030, 30)]
    engine.move(run_time_ns=_START_NS, prices=_PRICES)
    assert _asks(engine) == [(10_030, 30)]
    # The same moment at another price is still the same moment.
    engine.move(run_time_ns=_START_NS, prices={"BTC-USD": "100.01"})
    assert [lots for _, lots in _asks(engine)] == [30]
    # Half of the refill time brings half of it, the whole time the rest.
    engine.move(run_time_ns=_START_NS + 5 * SECOND_NS, prices=_PRICES)
    assert _asks(engine) == [(10_010, 5), (10_020, 10), (10_030, 30)]
    engine.move(run_time_ns=_START_NS + 10 * SECOND_NS, prices=_PRICES)
    assert _asks(engine) == [(10_010, 10), (10_020, 20), (10_030, 30)]


def test_many_small_moves_refill_as_one_large_move_does() -> None:
    engine = _engine()
    _place(engine, _order(1, Side.BUY, 60, "101"))
    for tenths in range(1, 51):
        engine.move(run_time_ns=_START_NS + tenths * SECOND_NS // 10, prices=_PRICES)
    assert _asks(engine) == [(10_010, 5), (10_020, 10), (10_030, 15)]


def test_a_resting_order_fills_when_the_reference_moves_through_it() -> None:
    engine = _engine()
    reports = _place(engine, _order(1, Side.BUY, 15, "99.95", rests=True))
    assert _brief(reports) == [(1, Kind.ACCEPTED, 0, "")]
    assert engine.displayed("BTC-USD", depth=1).bids == (Level(9_995, 15),)
    engine.move(run_time_ns=_START_NS + SECOND_NS, prices={"BTC-USD": "99.84"})
    fills = engine.outbox.after(1, limit=10)
    # 99.94 is the first ask and holds 10 lots; the next one, 100.04, is above the order's price.
    assert _brief(fills) == [(1, Kind.FILL, 10, "99.95")]
    assert fills[0].fee == "0.000200"
    engine.move(run_time_ns=_START_NS + 2 * SECOND_NS, prices={"BTC-USD": "90"})
    # A second has brought back one lot of the first ask; the next one has the rest.
    assert _brief(engine.outbox.after(2, limit=10)) == [(1, Kind.FILL, 1, "99.95"), (1, Kind.FILL, 4, "99.95")]
    assert engine.open_orders == 0


def test_two_clients_trade_with_each_other_before_a_worse_quote() -> None:
    engine = _engine()
    _place(engine, _order(1, Side.SELL, 5, "100.05", rests=True))
    reports = _place(engine, _order(2, Side.BUY, 5, "100.05"))
    assert _brief(reports) == [(2, Kind.FILL, 5, "100.05"), (1, Kind.FILL, 5, "100.05")]
    assert reports[0].trade == reports[1].trade


def test_the_same_id_again_is_the_same_order() -> None:
    engine = _engine()
    _place(engine, _order(1, Side.BUY, 5, "101"))
    assert _place(engine, _order(1, Side.BUY, 5, "101"), _order(1, Side.SELL, 9, "99")) == ()
    status = engine.status(1)
    assert status is not None
    assert (status.filled, status.is_terminal) == (5, True)


def test_a_cancel_frees_what_remains_and_is_answered_ever_after() -> None:
    engine = _engine()
    _place(engine, _order(1, Side.BUY, 5, "99", rests=True))
    for _ in range(2):
        status = engine.cancel(1)
        assert status is not None
        assert status.is_terminal
    assert _brief(engine.outbox.after(1, limit=10)) == [(1, Kind.CANCELLED, 0, "")]
    assert engine.cancel(99) is None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (_order(1, Side.BUY, 1, "100", symbol="XRP-USD"), "instrument"),
        (_order(1, None, 1, "100"), "side"),
        (_order(1, Side.BUY, 0, "100"), "lots"),
        (_order(1, Side.BUY, -5, "100"), "lots"),
        (_order(1, Side.BUY, 1, "NaN"), "decimal"),
        (_order(1, Side.BUY, 1, "-1"), "decimal"),
        (_order(1, Side.BUY, 1, "100.001"), "multiple of 0.01"),
        (_order(1, Side.BUY, 1, "0"), "multiple of 0.01"),
    ],
)
def test_an_impossible_order_is_rejected_with_the_reason(request_: OrderRequest, said: str) -> None:
    engine = _engine()
    (report,) = _place(engine, request_)
    assert report.kind is Kind.REJECTED
    assert said in report.detail
    status = engine.status(1)
    assert status is not None
    assert status.is_terminal


def test_reports_are_held_until_acknowledged_and_done_orders_are_forgotten_beyond_the_bound() -> None:
    engine = _engine(bounds=Bounds(terminal_orders=2))
    for number in range(1, 5):
        _place(engine, _order(number, Side.BUY, 1, "101"))
    assert [each.sequence for each in engine.outbox.after(1, limit=2)] == [2, 3]
    assert engine.status(1) is not None
    engine.acknowledge(4)
    assert (len(engine.outbox), engine.outbox.last, engine.outbox.oldest) == (0, 4, 0)
    assert [engine.status(each) is not None for each in (1, 2, 3, 4)] == [False, False, True, True]


def test_an_order_is_left_unanswered_while_too_much_is_unacknowledged() -> None:
    engine = _engine(bounds=Bounds(unacknowledged=1))
    _place(engine, _order(1, Side.BUY, 1, "101"))
    assert not engine.place(_order(2, Side.BUY, 1, "101"), received_wall_ns=1)
    assert engine.status(2) is None
    engine.acknowledge(1)
    assert engine.place(_order(2, Side.BUY, 1, "101"), received_wall_ns=1)


def test_resting_orders_are_bounded() -> None:
    engine = _engine(bounds=Bounds(open_orders=1))
    reports = _place(engine, _order(1, Side.BUY, 1, "99", rests=True), _order(2, Side.BUY, 1, "99", rests=True))
    assert [each.kind for each in reports] == [Kind.ACCEPTED, Kind.REJECTED]


def test_a_restored_venue_numbers_on_and_cancels_what_rested() -> None:
    old = _engine()
    _place(old, _order(1, Side.BUY, 5, "101"), _order(2, Side.BUY, 15, "99.95", rests=True))
    old.move(run_time_ns=_START_NS + 1, prices={"BTC-USD": "99.84"})
    history = [(old.symbol_of(each.order), each) for each in old.outbox.after(0, limit=10)]
    engine = VenueEngine(name="north", listing=LISTING, seed=1)
    assert engine.restore(history) == 1
    assert engine.outbox.after(0, limit=10)[:-1] == tuple(each for _, each in history)
    last = engine.outbox.after(len(history), limit=10)[0]
    assert (last.order, last.kind, last.sequence) == (2, Kind.CANCELLED, len(history) + 1)
    assert engine.place(_order(1, Side.BUY, 5, "101"), received_wall_ns=1)
    assert engine.outbox.last == last.sequence


def test_sizes_vary_by_the_seed_and_moment_alone() -> None:
    ladder = replace(SPOT.ladder, first_lots=1_000, last_lots=9_000, jitter_ppm=200_000)
    listing = replace(LISTING, instruments={"BTC-USD": replace(SPOT, ladder=ladder)})

    def quoted(*, seed: int, run_time_ns: int) -> list[tuple[int, int]]:
        engine = VenueEngine(name="north", listing=listing, seed=seed)
        engine.move(run_time_ns=run_time_ns, prices=_PRICES)
        return _asks(engine)

    first = quoted(seed=1, run_time_ns=5)
    assert first == quoted(seed=1, run_time_ns=5)
    assert first != quoted(seed=2, run_time_ns=5)
    assert first != quoted(seed=1, run_time_ns=6)
    assert all(0.8 * lots <= shown <= 1.2 * lots for (_, shown), lots in zip(first, (1_000, 5_000, 9_000), strict=True))


def test_a_malformed_reference_price_is_said_and_the_last_one_stays() -> None:
    engine = _engine()
    faults = engine.move(run_time_ns=_START_NS + 1, prices={"BTC-USD": "NaN"})
    assert len(faults) == 3
    assert _asks(engine)[0] == (10_010, 10)


@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(Side), st.integers(1, 90), st.integers(9_900, 10_100), st.booleans()),
            st.tuples(st.integers(0, 15), st.integers(9_900, 10_100)),  # seconds, reference in ticks
            st.integers(0, 30),  # cancel
        ),
        max_size=30,
    )
)
def test_every_order_is_accounted_for_by_its_reports(actions: list[object]) -> None:
    engine = _engine()
    lots: dict[int, int] = {}
    for number, action in enumerate(actions):
        match action:
            case (Side() as side, int(size), int(ticks), bool(rests)):
                lots[number] = size
                _place(engine, _order(number, side, size, SPOT.price_text(ticks), rests=rests))
            case (int(seconds), int(ticks)):
                now_ns = engine.run_time_ns + seconds * SECOND_NS
                engine.move(run_time_ns=now_ns, prices={"BTC-USD": SPOT.price_text(ticks)})
            case int(order):
                engine.cancel(order)
        book = engine.displayed("BTC-USD", depth=20)
        assert not book.bids or not book.asks or book.bids[0].price < book.asks[0].price
    reports = engine.outbox.after(0, limit=10_000)
    assert [each.sequence for each in reports] == list(range(1, len(reports) + 1))
    for order, size in lots.items():
        own = [each for each in reports if each.order == order]
        filled = sum(each.lots for each in own)
        status = engine.status(order)
        assert status is not None
        assert (status.filled, status.is_terminal) == (filled, own[-1].remaining == 0)
        # Terminal exactly once, by the last report.
        assert all(each.remaining > 0 for each in own[:-1])
        assert filled <= size
        if own[-1].kind is Kind.FILL:
            assert own[-1].remaining == size - filled


def test_what_has_ended_is_taken_off_once_and_nothing_of_it_is_traded() -> None:
    ends_ns = _START_NS + 600 * SECOND_NS
    ending = {"BTC-USD": replace(SPOT, expiry_ns=ends_ns)}
    engine = VenueEngine(name="north", listing=replace(LISTING, instruments=ending), seed=1)
    engine.move(run_time_ns=ends_ns - 1, prices=_PRICES)
    assert _brief(_place(engine, _order(1, Side.BUY, 5, "90", rests=True))) == [(1, Kind.ACCEPTED, 0, "")]
    engine.take_changed()
    before = engine.outbox.last
    for later in (0, 1):
        engine.move(run_time_ns=ends_ns + later, prices=_PRICES)
    assert _brief(engine.outbox.after(before, limit=10)) == [(1, Kind.CANCELLED, 0, "")]
    assert engine.take_changed() == ["BTC-USD"]
    assert engine.displayed("BTC-USD", depth=10).asks == engine.displayed("BTC-USD", depth=10).bids == ()
    late = _place(engine, _order(2, Side.BUY, 5, "110"))
    assert [(each.kind, each.detail) for each in late] == [(Kind.REJECTED, "BTC-USD has ended")]
