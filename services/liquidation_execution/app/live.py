"""Everything that is known now: the folds of all partitions, and which decisions are on their way."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ballast.events.v1 import journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.book import LIVE_ORDER_STATES, PartitionBook
from libs.common.ids import AccountId, AssetId, InstrumentId, partition_of
from libs.common.units import INDEX_ONE, mul_div_up
from services.liquidation_execution.app.depth import DepthBook, Side
from services.liquidation_execution.app.margins import MarginTable
from services.liquidation_execution.app.marks import Marks
from services.liquidation_execution.app.ports import Decision, MeterPort, Step
from services.liquidation_execution.domain.catalogue import Catalogue
from services.liquidation_execution.domain.episodes import EpisodeView, MarginRow
from services.liquidation_execution.domain.holdings import Holdings, reducible
from services.liquidation_execution.domain.router import BUY, SELL

_LOG = logging.getLogger("ballast.liquidation_execution")
IN_FLIGHT_SECONDS = 2.0  # a decision that is not in the journal by then is made again: the ledger takes the first
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.05, 2.0

_DIRECTION = {market_pb2.SIDE_BUY: BUY, market_pb2.SIDE_SELL: SELL}
_BP = 10_000


@dataclass(frozen=True, slots=True)
class InFlight:
    """A command that is not yet in the journal."""

    command: tuple[int, int]  # partition, number in our session
    sent_at: float


class Live:
    """State of the process manager; every change comes from a topic, or from a decision just submitted.

    Args:
        session: names this process's commands.
        monotonic: wall seconds that never fall.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        session: bytes,
        monotonic: Callable[[], float],
        meter: MeterPort,
        partitions: Iterable[int],
    ) -> None:
        self.catalogue = catalogue
        self.books = {one: PartitionBook(one) for one in partitions}
        self.margins = MarginTable()
        self.marks = Marks(monotonic)
        self.depth = DepthBook(max_age_ns=catalogue.parameters.prices.max_age_ns)
        self.dirty: set[int] = set()  # episodes to look at
        self._session = session
        self._monotonic = monotonic
        self._meter = meter
        self._touched: dict[int, int] = {}  # journal sequence that last moved an account with an open episode
        self._orders: defaultdict[int, set[int]] = defaultdict(set)  # live orders by episode
        self._filled: set[int] = set()  # episodes whose present step had a fill
        self._in_flight: dict[int, InFlight] = {}  # by episode
        self._commands: dict[tuple[int, int], int] = {}  # episode by command
        self._pauses: dict[int, tuple[int, float]] = {}  # by episode: failures in a row, until when

    def episodes(self) -> Iterator[journal_pb2.Episode]:
        """All open episodes."""
        for book in self.books.values():
            yield from book.episodes.values()

    def episode(self, episode: int) -> journal_pb2.Episode | None:
        """An open episode."""
        book = self.books.get(partition_of(episode))
        return book.episodes.get(episode) if book else None

    def fold(self, partition: int, *, sequence: int, run_time_ns: int, body: journal_pb2.JournalBody) -> None:
        """One accepted frame of a journal."""
        book = self.books[partition]
        before = dict(book.episodes)
        touched = book.apply(sequence=sequence, run_time_ns=run_time_ns, body=body)
        for outcome in body.outcomes:
            if outcome.WhichOneof("key") == "session" and outcome.session.session == self._session:
                self._came_back(partition, outcome)
            for effect in outcome.effects:
                self._effect(effect)
        for account in touched:
            episode = book.open_episode(account)
            if episode is not None:
                self._touched[account] = sequence
                self.dirty.add(episode.episode)
        for episode_id in before.keys() - book.episodes.keys():
            self._forget(before[episode_id])

    def add_margin(self, frame: risk_pb2.MarginFrame) -> None:
        """A published margin frame."""
        book = self.books.get(frame.partition)
        if book is not None and self.margins.add(frame):
            self.dirty.update(book.episodes)

    def row(self, episode: journal_pb2.Episode) -> MarginRow | None:
        """The latest published margin of the episode's account."""
        return self.margins.row(partition_of(episode.account), episode.account)

    def needed_sequence(self, account: int) -> int:
        """Journal sequence that risk's book must have for a question about this account."""
        return self._touched.get(account, 0)

    def orders_are_leaving(self, account: int) -> bool:
        """The account has live orders and all of them are being cancelled: what they are charged is about to go."""
        orders = self.books[partition_of(account)].orders.values()
        states = {one.state for one in orders if one.account == account}
        return states == {ledger_pb2.ORDER_STATE_CANCELLING}

    def holdings(self, account: int) -> Holdings:
        """What the account holds and owes."""
        found: dict[str, dict[int, int]] = {"lots": {}, "cash": {}, "debt": {}, "supply": {}}
        book = self.books[partition_of(account)]
        for (asset, kind), balance in book.lines_of(account).items():
            if kind == ledger_pb2.LINE_KIND_LOTS:
                found["lots"][asset] = balance
            elif kind == ledger_pb2.LINE_KIND_CASH:
                found["cash"][asset] = balance
            elif kind == ledger_pb2.LINE_KIND_SUPPLY_SHARES:
                found["supply"][asset] = balance
            elif kind in (ledger_pb2.LINE_KIND_DEBT_SHARES, ledger_pb2.LINE_KIND_OVERDRAFT_SHARES):
                owed = mul_div_up(abs(balance), _index(book, asset, kind), INDEX_ONE)
                found["debt"][asset] = found["debt"].get(asset, 0) + owed
        return Holdings(AccountId(account), found["lots"], found["cash"], found["debt"], found["supply"])

    def view(self, episode: journal_pb2.Episode) -> EpisodeView:
        """The episode as the state machine wants it."""
        holdings, book = self.holdings(episode.account), self.books[partition_of(episode.account)]
        return EpisodeView(
            episode=episode.episode,
            account=AccountId(episode.account),
            step=episode.step,
            opened_sequence=episode.opened_sequence,
            last_fill_sequence=episode.last_fill_sequence,
            moved_sequence=self.needed_sequence(episode.account),
            live_orders=len(self._orders.get(episode.episode, ())),
            is_in_flight=self._is_in_flight(episode.episode),
            is_deleveraging=episode.episode in book.lifecycle.deleveragings,
            is_empty=not book.lines_of(episode.account),
            has_reducible=bool(reducible(holdings, self.catalogue)),
            has_supply=bool(holdings.supply),
            has_debt=bool(holdings.debt),
        )

    def submitted(self, decision: Decision, number: int) -> None:
        """A decision is on its way: nothing more is decided on the episode until it is back or given up."""
        command = (partition_of(decision.account), number)
        self._in_flight[decision.episode] = InFlight(command, self._monotonic())
        self._commands[command] = decision.episode
        if isinstance(decision.what, Step):
            self.depth.plan(command, decision.what.orders)

    def pause(self, episode: int) -> None:
        """The last attempt failed: the next one waits, longer each time."""
        failures = self._pauses.get(episode, (0, 0.0))[0] + 1
        seconds = min(_PAUSE_SECONDS * 2 ** min(failures - 1, 10), _PAUSE_SECONDS_MAX)
        self._pauses[episode] = (failures, self._monotonic() + seconds)
        self.dirty.add(episode)

    def is_paused(self, episode: int) -> bool:
        """The last attempt failed a moment ago."""
        return self._pauses.get(episode, (0, 0.0))[1] > self._monotonic()

    def _is_in_flight(self, episode: int) -> bool:
        found = self._in_flight.get(episode)
        if found is None:
            return False
        if self._monotonic() - found.sent_at < IN_FLIGHT_SECONDS:
            return True
        _LOG.warning("decision not seen in time", extra={"episode": episode, "command": found.command})
        self._done(found.command)
        return False

    def _done(self, command: tuple[int, int]) -> int | None:
        self.depth.unplan(command)
        episode = self._commands.pop(command, None)
        found = self._in_flight.get(episode) if episode is not None else None
        if episode is not None and found is not None and found.command == command:
            del self._in_flight[episode]
        return episode

    def _came_back(self, partition: int, outcome: journal_pb2.Outcome) -> None:
        episode = self._done((partition, outcome.session.n))
        if episode is None:
            return
        self.dirty.add(episode)
        if not outcome.refusal:
            return
        reason = ledger_pb2.Refusal.Name(outcome.refusal)
        self._meter.refused(reason=reason)
        self.pause(episode)
        _LOG.warning(
            "decision refused",
            extra={"episode": episode, "command": outcome.command, "reason": reason, "detail": outcome.detail},
        )

    def _effect(self, effect: journal_pb2.Effect) -> None:
        which = effect.WhichOneof("effect")
        if which == "order" and effect.order.episode:
            self._order(effect.order)
        elif which == "fill" and effect.fill.episode:
            self._fill(effect.fill)

    def _order(self, order: journal_pb2.Order) -> None:
        side = (order.venue, order.instrument, _DIRECTION[order.side])
        alive = self._orders[order.episode]
        if order.state in LIVE_ORDER_STATES:
            self.depth.order(order.order, side, remaining=order.remaining)
            alive.add(order.order)
            return
        self.depth.order(order.order, side, remaining=0)
        alive.discard(order.order)
        if not alive and order.episode not in self._filled:  # the step took nothing: the book it saw was gone
            self.pause(order.episode)
        if not alive:
            self._filled.discard(order.episode)

    def _fill(self, fill: journal_pb2.Fill) -> None:
        direction = _DIRECTION[fill.side]
        side: Side = (fill.venue, fill.instrument, direction)
        self.depth.fill(side, lots=fill.lots, executed_at_ns=fill.executed_at_ns)
        self._filled.add(fill.episode)
        self._pauses.pop(fill.episode, None)
        mark = self.marks.prices.get(InstrumentId(fill.instrument))
        age_ns = abs(self.marks.run_time_ns - fill.executed_at_ns)
        if mark and age_ns <= self.catalogue.parameters.prices.max_age_ns:  # what is folded at a start is long past
            self._meter.filled(slippage_bp=direction * (fill.price - mark) / mark * _BP)

    def _forget(self, ended: journal_pb2.Episode) -> None:
        episode = ended.episode
        for table in (self._orders, self._pauses):
            table.pop(episode, None)
        self._touched.pop(ended.account, None)
        self._filled.discard(episode)
        found = self._in_flight.get(episode)
        if found is not None:
            self._done(found.command)
        self.dirty.discard(episode)


def _index(book: PartitionBook, asset: int, kind: int) -> int:
    pool = book.pools.get(AssetId(asset))
    if pool is None:
        return INDEX_ONE
    return pool.overdraft_index if kind == ledger_pb2.LINE_KIND_OVERDRAFT_SHARES else pool.borrow_index
