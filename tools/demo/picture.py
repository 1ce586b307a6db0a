"""Folds what the topics and endpoints of a run say into one picture of it; no input or output of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from dataclasses import dataclass

from ballast.api.v1 import replay_pb2
from ballast.events.v1 import journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from ballast.types.v1 import market_pb2 as market_words
from libs.common.book import LIVE_ORDER_STATES, PartitionBook
from libs.common.ids import system_kind
from libs.common.parameters import Instrument, Parameters
from tools.demo.margins import MarginTable, OnWorse
from tools.demo.valuation import Valuation, account_label, slippage_bp
from tools.demo.view import FillRow, Happening, Kind, ServiceRow
from tools.demo.windows import Windows

FILLS_KEPT = 8
HAPPENINGS_KEPT = 400
MARKS_KEPT = 4_000
LATENCIES_KEPT = 512
_PAYERS = {
    ledger_pb2.WATERFALL_STEP_FIRST_LOSS: "first-loss capital",
    ledger_pb2.WATERFALL_STEP_INSURANCE_FUND: "insurance fund",
    ledger_pb2.WATERFALL_STEP_SECOND_CAPITAL: "second capital",
    ledger_pb2.WATERFALL_STEP_WRITE_OFF: "lenders",
}


@dataclass(slots=True)
class SlippageSum:
    """Slippage of fills so far, weighted by notional."""

    fills: int = 0
    notional: float = 0.0
    weighted: float = 0.0
    worst: float | None = None

    def add(self, bp: float | None, *, notional: float) -> None:
        """Counts a fill; `bp` is None without a mark."""
        self.fills += 1
        if bp is not None:
            self.notional += notional
            self.weighted += bp * notional
            self.worst = bp if self.worst is None else max(self.worst, bp)


class MarkHistory:
    """Marks of one instrument by run time, the newest ones."""

    __slots__ = ("prices", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.prices: list[int] = []

    def add(self, *, run_time_ns: int, price: int) -> None:
        """A later mark."""
        if len(self.times) >= MARKS_KEPT:
            del self.times[: MARKS_KEPT // 2], self.prices[: MARKS_KEPT // 2]
        self.times.append(run_time_ns)
        self.prices.append(price)

    def at(self, run_time_ns: int) -> int | None:
        """The mark in force at a moment, None before the first."""
        row = bisect_right(self.times, run_time_ns) - 1
        return self.prices[row] if row >= 0 else None


class Picture:
    """State of a run as far as it was read.

    Attributes: on_margin_call is told of accounts that became worse than healthy, or worse than that.
    """

    def __init__(self, parameters: Parameters, windows: Windows) -> None:
        self.parameters = parameters
        self.windows = windows
        self.instruments: dict[int, Instrument] = {one.id: one for one in parameters.instruments}
        self.venues: dict[int, str] = {one.id: one.name for one in parameters.venues}
        self.valuation = Valuation(parameters, self.mark)
        self.books = {number: PartitionBook(number) for number in range(parameters.partitions)}
        self.input_offsets = dict.fromkeys(self.books, -1)  # last command record that the journal has consumed
        self.margins = {number: MarginTable() for number in self.books}
        self.on_margin_call: OnWorse | None = None
        self.marks: defaultdict[int, MarkHistory] = defaultdict(MarkHistory)
        self.validity: dict[int, int] = {}
        self.baseline: dict[int, int] = {}  # mark of an instrument when the window began
        self.mark_frames: deque[int] = deque(maxlen=1_024)  # sequences of the marks frames that had rows
        self.window = 0  # the one that began last
        self.run_time_ns = 0
        self.watch = replay_pb2.WatchResponse()
        self.held_seconds: dict[str, float] = {}
        self._paid_up: dict[int, Instrument] = {one.id: one for one in parameters.instruments if one.is_paid_up}
        self.surfaces: dict[int, market_words.VolatilitySurface] = {}
        self.episode_orders: dict[int, journal_pb2.Order] = {}  # live ones
        self.opened = self.closed_healthy = self.closed_emptied = 0
        self._open_episodes: set[int] = set()
        self.fills: deque[FillRow] = deque(maxlen=FILLS_KEPT)
        self.client_slippage = SlippageSum()
        self.episode_slippage = SlippageSum()
        self.bad_debt: defaultdict[str, float] = defaultdict(float)  # USD by who bore it
        self.liquidity: dict[tuple[int, int], market_pb2.Liquidity] = {}
        self.services: dict[str, ServiceRow] = {}
        self.mark_to_margin_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.happenings: deque[Happening] = deque(maxlen=HAPPENINGS_KEPT)
        self._once_ready: set[str] = set()  # before that, not being ready is no news
        self._happened = 0

    def mark(self, instrument: int) -> int | None:
        """The mark in force, integer with the instrument's exponent."""
        history = self.marks.get(instrument)
        return history.prices[-1] if history is not None else None

    def options_in(self, instrument: int, lots: int) -> list[tuple[Instrument, int]]:
        """Options that lots of an instrument are or hold, with how many of each."""
        one = self._paid_up.get(instrument)
        if one is None or one.is_option:
            return [(one, lots)] if one is not None else []
        return [(self._paid_up[leg.instrument], lots * leg.amount) for leg in one.legs if leg.instrument]

    def label(self, account: int) -> str:
        """Short name of an account."""
        known = self.books[account >> 48].accounts.get(account) if account >> 48 in self.books else None
        return account_label(account, known.owner if known is not None else "")

    def note(self, text: str, kind: Kind = Kind.NOTE) -> None:
        """Puts a line in the log of the run."""
        self._happened += 1
        self.happenings.append(Happening(self._happened, self.run_time_ns, kind, text))

    def take_journal(
        self, partition: int, body: journal_pb2.JournalBody, *, sequence: int, run_time_ns: int, input_offset: int
    ) -> None:
        """Folds an accepted frame of a journal. Raises InvariantBroken when it is not the next one."""
        self.books[partition].apply(sequence=sequence, run_time_ns=run_time_ns, body=body)
        self.input_offsets[partition] = input_offset
        for outcome in body.outcomes:
            self._take_settled(partition, outcome)
            for effect in outcome.effects:
                match effect.WhichOneof("effect"):
                    case "order":
                        self._take_order(effect.order)
                    case "episode":
                        self._take_episode(effect.episode)
                    case "fill":
                        self._take_fill(effect.fill)
                    case "waterfall":
                        self._take_waterfall(effect.waterfall)
                    case "alert":
                        where = f" on {self.label(effect.alert.account)}" if effect.alert.account else ""
                        self.note(f"alert {effect.alert.name}{where}: {effect.alert.detail}", Kind.ALERT)

    def _take_settled(self, partition: int, outcome: journal_pb2.Outcome) -> None:
        closed = (effect.position_closed for effect in outcome.effects if effect.HasField("position_closed"))
        settled = [
            one for one in closed if one.cause == kinds.CLOSING_CAUSE_SETTLED and system_kind(one.account) is None
        ]
        instrument = self.instruments.get(settled[0].instrument) if settled else None
        if instrument is not None:
            price = settled[0].price * 10.0**instrument.settlement_exponent
            who = f"{len(settled)} position{'' if len(settled) == 1 else 's'} of partition {partition}"
            self.note(f"{instrument.symbol} has ended: {who} settled at {price:,.2f} USD", Kind.SETTLED)

    def take_marks(self, body: market_pb2.MarksBody, *, sequence: int, run_time_ns: int) -> None:
        """Folds an accepted frame of marks."""
        self._move(run_time_ns)
        if not body.instrument:
            return
        self.mark_frames.append(sequence)
        self.surfaces.update((one.underlying, one) for one in body.surfaces)
        for instrument, price, validity in zip(body.instrument, body.mark_price, body.validity, strict=True):
            history = self.marks[instrument]
            history.add(run_time_ns=run_time_ns, price=price)
            self.validity[instrument] = validity
            self.baseline.setdefault(instrument, price)

    def take_margin(self, frame: risk_pb2.MarginFrame, *, received_ns: int = 0, published_ns: int = 0) -> None:
        """Folds a margin frame; the two wall times are its headers' and 0 when absent."""
        self.margins[frame.partition].take(frame, on_worse=self.on_margin_call)
        if 0 < received_ns <= published_ns:
            self.mark_to_margin_ms.append((published_ns - received_ns) / 1e6)

    def take_liquidity(self, liquidity: market_pb2.Liquidity) -> None:
        """Folds the depth of an instrument at a venue."""
        self.liquidity[liquidity.venue, liquidity.instrument] = liquidity

    def take_watch(self, state: replay_pb2.WatchResponse) -> None:
        """Folds a move of the replay."""
        self._move(state.run_time_ns)
        if state.ended and not self.watch.ended:
            self.note("the replay has ended", Kind.WINDOW)
        self.watch = state

    def take_service(self, row: ServiceRow) -> None:
        """Folds what a process says of itself."""
        before = self.services.get(row.name)
        self.services[row.name] = row
        was_ready = row.name in self._once_ready
        if row.is_ready:
            self._once_ready.add(row.name)
        if was_ready and before is not None and before.is_ready != row.is_ready:
            text = "is ready again" if row.is_ready else f"is not ready: {row.detail or 'no answer'}"
            self.note(f"{row.name} {text}", Kind.SERVICE)

    def _move(self, run_time_ns: int) -> None:
        self.run_time_ns = max(self.run_time_ns, run_time_ns)
        number = self.windows.number(self.run_time_ns)
        if number > self.window and self.windows.has_begun(number, self.run_time_ns):
            self.window = number
            self.baseline.clear()
            total = len(self.windows.bounds)
            self.note(f"window {number} of {total} begins: {self.windows.name(number)}", Kind.WINDOW)

    def _take_order(self, order: journal_pb2.Order) -> None:
        if order.episode and order.state in LIVE_ORDER_STATES:
            self.episode_orders[order.order] = order
        else:
            self.episode_orders.pop(order.order, None)

    def _take_episode(self, episode: journal_pb2.Episode) -> None:
        who = self.label(episode.account)
        if episode.state == ledger_pb2.EPISODE_STATE_OPEN:
            if episode.episode not in self._open_episodes:
                self._open_episodes.add(episode.episode)
                self.opened += 1
                equity, required = episode.equity / 1e6, episode.maintenance_margin / 1e6
                self.note(f"episode opened: {who}, equity {equity:,.0f} < {required:,.0f} USD", Kind.OPENED)
            return
        self._open_episodes.discard(episode.episode)
        seconds = (episode.closed_at_ns - episode.opened_at_ns) / 1e9
        how = f"{episode.step} step{'' if episode.step == 1 else 's'}, {seconds:,.0f} s"
        if episode.state == ledger_pb2.EPISODE_STATE_HEALTHY:
            self.closed_healthy += 1
            self.note(f"episode closed: {who} healthy, {how}", Kind.CLOSED)
        else:
            self.closed_emptied += 1
            self.note(f"episode closed: {who} emptied, {how}", Kind.EMPTIED)

    def _take_fill(self, fill: journal_pb2.Fill) -> None:
        instrument = self.instruments.get(fill.instrument)
        if instrument is None:
            return
        is_buy = fill.side == market_words.SIDE_BUY
        history = self.marks.get(fill.instrument)
        mark = history.at(fill.executed_at_ns) if history is not None else None
        bp = slippage_bp(is_buy=is_buy, price=fill.price, mark=mark) if mark else None
        total = self.episode_slippage if fill.episode else self.client_slippage
        # An option's price against its mark says how far its underlying is from its own.
        counted = None if instrument.is_paid_up else bp
        total.add(counted, notional=self.valuation.notional(instrument, lots=fill.lots, price=fill.price))
        self.fills.append(
            FillRow(
                account=fill.account,
                symbol=instrument.symbol,
                venue=self.venues.get(fill.venue, str(fill.venue)),
                is_buy=is_buy,
                lots=fill.lots,
                price=self.valuation.price(instrument, fill.price),
                slippage_bp=bp,
                episode=fill.episode,
            )
        )

    def _take_waterfall(self, step: journal_pb2.Waterfall) -> None:
        usd = self.valuation.usd(step.asset, step.units)
        payer = _PAYERS.get(step.step, str(step.step))
        self.bad_debt[payer] += usd
        self.note(f"loss: {usd:,.2f} USD of {self.label(step.account)} borne by {payer}", Kind.LOSS)
