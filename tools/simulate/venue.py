"""A venue out there: fills, partly, late, and tells it again until it is acknowledged. It loses nothing."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ballast.api.v1 import venue_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.parameters import Instrument, Venue
from libs.common.units import PPM, from_scaled, from_units, mul_div_down, mul_div_up, to_scaled
from tools.simulate.house import House
from tools.simulate.market import Market
from tools.simulate.notice_board import NoticeBoard

FILL, ACCEPTED = ledger_pb2.REPORT_KIND_FILL, ledger_pb2.REPORT_KIND_ACCEPTED
CANCELLED, REJECTED = ledger_pb2.REPORT_KIND_CANCELLED, ledger_pb2.REPORT_KIND_REJECTED
BUY = market_pb2.SIDE_BUY
_LEVELS, _LEVEL_STEP_PPM = 4, 2_000


@dataclass(slots=True)
class Working:
    """An order at the venue."""

    order: int
    instrument: Instrument
    is_buy: bool
    left: int
    limit: int
    is_ioc: bool
    ends_with: ledger_pb2.ReportKind | None = None  # decided, not yet told


@dataclass(frozen=True, slots=True)
class Trade:
    """A fill as the venue has it."""

    order: int
    lots: int
    price: int
    fee_units: int
    executed_at_ns: int


class VenueModel:
    """One venue over all its sessions.

    Args:
        run_clock_ns: the run clock; the venue's own lies `skew_ns` apart from it.
        order_out: told of each order that arrives.
    """

    def __init__(
        self,
        venue: Venue,
        house: House,
        market: Market,
        rng: random.Random,
        *,
        run_clock_ns: Callable[[], int],
        skew_ns: int,
        order_out: Callable[[venue_pb2.NewOrder, str], None],
    ) -> None:
        self.venue = venue
        self.trades: list[Trade] = []
        self.notices = NoticeBoard(venue, house, market, rng)
        self.working: dict[int, Working] = {}
        self.session_epoch = 0
        self.lots_shown = 2_000
        self.is_prompt = False  # tells everything at once, and fills all it can
        self._house, self._market, self._rng = house, market, rng
        self._run_clock_ns, self._skew_ns, self._order_out = run_clock_ns, skew_ns, order_out
        self._known: dict[int, bool] = {}  # order -> terminal
        self._outbox: deque[venue_pb2.ExecutionReport] = deque()  # not acknowledged
        self._untold = 0  # reports at its end that the present session has not been sent
        self._number = 0
        self._book_number = 0

    @property
    def is_settled(self) -> bool:
        """Everything is acknowledged, and no order is about to change."""
        return (
            not self._outbox
            and not self.notices.waiting
            and not any(one.is_ioc or one.ends_with for one in self.working.values())
        )

    # the session

    def hello(self) -> venue_pb2.VenueHello:
        """How a session begins."""
        return venue_pb2.VenueHello(
            venue=self.venue.name,
            session_epoch=self.session_epoch,
            last_report=self._number,
            oldest_report=self._outbox[0].sequence if self._outbox else 0,
        )

    def hear(self, message: venue_pb2.ConnectResponse, *, epoch: int) -> venue_pb2.ConnectRequest | None:
        """Takes what the gateway says in a session; returns what is answered at once. Lower sessions are refused."""
        kind = message.WhichOneof("message")
        if epoch < self.session_epoch or (epoch != self.session_epoch and kind != "hello"):
            return None
        match kind:
            case "hello":
                self.session_epoch = message.hello.session_epoch
                self._untold = sum(one.sequence > message.hello.resume_after for one in self._outbox)
                self.notices.resume(message.hello.notices_after)
            case "order":
                self._order(message.order)
            case "cancel":
                working = self.working.get(message.cancel.order)
                if working is not None and working.ends_with is None:
                    working.ends_with = CANCELLED
            case "query":
                known = message.query.order in self._known
                status = venue_pb2.OrderStatus(
                    order=message.query.order, known=known, terminal=self._known.get(message.query.order, False)
                )
                return venue_pb2.ConnectRequest(status=status)
            case "ack":
                while self._outbox and self._outbox[0].sequence <= message.ack.up_to:
                    self._outbox.popleft()
                self._untold = min(self._untold, len(self._outbox))
            case "notice_ack":
                self.notices.acknowledge(message.notice_ack.up_to)
        return None

    def reports(self, *, again: bool) -> list[venue_pb2.ExecutionReport]:
        """Reports to send now; `again` tells all that is not acknowledged once more."""
        count = len(self._outbox) if again else self._untold
        self._untold = 0
        return list(self._outbox)[len(self._outbox) - count :] if count else []

    def books(self) -> list[venue_pb2.BookUpdate]:
        """Displayed depth now."""
        self._book_number += 1
        updates = []
        for number in self.venue.instruments:
            instrument = self._house.instrument(number)
            if self._has_ended(instrument):
                continue
            book = venue_pb2.BookUpdate(
                symbol=instrument.symbol, sequence=self._book_number, run_time_ns=self._now_ns()
            )
            lots = self.lots_shown * (1_000 if instrument.base_units_per_lot == 0 else 1)
            middle = self._price(instrument)
            for level in range(1, _LEVELS + 1) if lots else ():
                for side, sign in ((book.bids, -1), (book.asks, 1)):
                    price = max(1, middle * (PPM + sign * level * _LEVEL_STEP_PPM) // PPM)
                    side.add(price=from_scaled(price, instrument.price_exponent), lots=lots)
            updates.append(book)
        return updates

    def act(self) -> str:
        """It does something to our account; says what."""
        notice = self.notices.act(now_ns=self._now_ns())
        return f"{self.venue.name} says {' '.join(str(notice).split())}"

    # trading

    def _now_ns(self) -> int:
        return self._run_clock_ns() + self._skew_ns

    def _price(self, instrument: Instrument) -> int:
        return self._market.price_of(instrument, self._now_ns())

    def _has_ended(self, instrument: Instrument) -> bool:
        return 0 < instrument.closes_ns <= self._now_ns()

    def _order(self, message: venue_pb2.NewOrder) -> None:
        if message.order in self._known:
            return  # the same id is the same order
        self._order_out(message, self.venue.name)
        self._known[message.order] = False
        instrument = self._house.directory.instrument_by_symbol[message.symbol]
        working = Working(
            message.order,
            instrument,
            message.side == BUY,
            message.lots,
            to_scaled(message.limit_price, instrument.price_exponent),
            message.time_in_force == market_pb2.TIME_IN_FORCE_IOC,
        )
        self.working[message.order] = working
        if self._has_ended(instrument) or (self._rng.random() < 0.03 and not self.is_prompt):
            working.ends_with = REJECTED
        elif not working.is_ioc or self._rng.random() < 0.5:
            self._report(working, ACCEPTED)

    def trade(self) -> None:
        """A while passes: some orders fill, wholly or in part, some end."""
        for working in list(self.working.values()):
            if not self.is_prompt and self._rng.random() < 0.4:
                continue
            if self._has_ended(working.instrument):
                working.ends_with = working.ends_with or CANCELLED
            elif working.ends_with is not REJECTED and self._crosses(working):
                self._fill(working)
            if working.left and working.is_ioc and (self.is_prompt or self._rng.random() < 0.7):
                working.ends_with = working.ends_with or CANCELLED
            if working.ends_with is not None and working.left and self._rng.random() < 0.8:
                self._report(working, working.ends_with)

    def _crosses(self, working: Working) -> bool:
        price = self._price(working.instrument)
        return working.limit >= price if working.is_buy else working.limit <= price

    def _fill(self, working: Working) -> None:
        lots = working.left if self.is_prompt or self._rng.random() < 0.5 else self._rng.randint(1, working.left)
        middle = self._price(working.instrument)
        edge = mul_div_up(middle, 1_000, PPM)
        price = min(working.limit, middle + edge) if working.is_buy else max(1, working.limit, middle - edge)
        working.left -= lots
        self._report(working, FILL, lots=lots, price=price)

    def _report(self, working: Working, kind: ledger_pb2.ReportKind, *, lots: int = 0, price: int = 0) -> None:
        self._number += 1
        late_ns = 0 if self.is_prompt else self._rng.choice((0, 0, 0, 6 * 10**9))
        report = venue_pb2.ExecutionReport(
            sequence=self._number, order=working.order, kind=kind, executed_at_ns=self._now_ns() - late_ns
        )
        if kind == FILL:
            fee = self._fee_units(working.instrument, lots=lots, price=price)
            settlement = self._house.directory.asset_by_id[working.instrument.settlement]
            report.lots, report.trade = lots, f"{self.venue.name}-{self._number}"
            report.price = from_scaled(price, working.instrument.price_exponent)
            report.fee = from_units(fee, settlement.decimals)
            self.trades.append(Trade(working.order, lots, price, fee, report.executed_at_ns))
            self.notices.traded(working.instrument, lots if working.is_buy else -lots)
        if (kind == FILL and not working.left) or kind in (CANCELLED, REJECTED):
            self._known[working.order] = True
            del self.working[working.order]
        self._outbox.append(report)
        self._untold += 1

    def _fee_units(self, instrument: Instrument, *, lots: int, price: int) -> int:
        if instrument.base_units_per_lot == 0:
            notional = mul_div_down(lots, instrument.c_num, instrument.c_den * price)
        else:
            notional = mul_div_down(lots * price, instrument.c_num, instrument.c_den)
        return mul_div_up(notional, self.venue.taker_fee, PPM)
