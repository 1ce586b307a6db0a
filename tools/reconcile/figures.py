"""What happened, counted from the journal: episodes, fills, slippage, the waterfall, who holds what at the end."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_kind
from libs.common.parameters import Instrument
from tools.reconcile.records import JournalFrame, key_of
from tools.reconcile.world import MarginRow, World

BASIS_POINT = 10_000


@dataclass(slots=True)
class Episode:
    """One liquidation from opening to close."""

    episode: int
    account: int
    opened_at_ns: int
    equity: int
    maintenance_margin: int
    opened_wall_ns: int = 0
    mark_received_wall_ns: int = 0
    first_order_wall_ns: int = 0
    steps: int = 0
    fills: int = 0
    closed_at_ns: int = 0
    state: int = ledger_pb2.EPISODE_STATE_OPEN
    shortfall: bool = False
    closed_on: MarginRow | None = None  # the published margin that its close cites


class Slippage:
    """Adverse distance of fills from the mark in force when they were executed, basis points."""

    def __init__(self) -> None:
        self.values = array("d")
        self.unpriced = 0

    def add(self, *, price: int, mark: int, side: market_pb2.Side) -> None:
        """One fill."""
        if mark <= 0:
            self.unpriced += 1
            return
        sign = 1 if side == market_pb2.SIDE_BUY else -1
        self.values.append(sign * (price - mark) * BASIS_POINT / mark)

    @property
    def average(self) -> float:
        """Mean over fills, 0 without any."""
        return sum(self.values) / len(self.values) if self.values else 0.0

    @property
    def worst(self) -> float:
        """The most adverse one, 0 without any."""
        return max(self.values, default=0.0)


class Figures:
    """Counts, frame by frame."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.frames = 0
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.repeated = 0
        self.alerts: Counter[str] = Counter()
        self.episodes: dict[int, Episode] = {}
        self.fills = Slippage()
        self.liquidation_fills = Slippage()
        self.waterfall: dict[tuple[int, int], int] = defaultdict(int)  # asset, step -> units
        self.insurance_paid_in: dict[int, int] = defaultdict(int)  # asset -> units deposited
        self.liquidation_fees: dict[int, int] = defaultdict(int)
        self.holdings: dict[tuple[str, int, int], int] = defaultdict(int)  # holder, asset, kind -> balance
        self.accounts = 0
        self.lenders = 0
        self._instruments: dict[int, Instrument] = {one.id: one for one in world.parameters.instruments}

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Counts one frame."""
        self.frames += 1
        for outcome in frame.body.outcomes:
            if outcome.repeated:
                self.repeated += 1
            elif outcome.refusal:
                self.refused[outcome.command, ledger_pb2.Refusal.Name(outcome.refusal)] += 1
            else:
                self.accepted[outcome.command] += 1
                for effect in outcome.effects:
                    self._effect(frame, outcome, effect)

    def _effect(self, frame: JournalFrame, outcome: journal_pb2.Outcome, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case "episode":
                self._episode(frame, outcome, effect.episode)
            case "fill":
                self._fill(effect.fill)
            case "waterfall":
                one = effect.waterfall
                self.waterfall[one.asset, one.step] += one.units
                if one.episode in self.episodes:
                    self.episodes[one.episode].shortfall = True
            case "alert":
                self.alerts[effect.alert.name] += 1
            case "order":
                self._order(effect.order)
            case "posting" if outcome.command == "confirm_deposit":
                if system_kind(effect.posting.account) is SystemAccount.INSURANCE:
                    self.insurance_paid_in[effect.posting.asset] += effect.posting.delta

    def _episode(self, frame: JournalFrame, outcome: journal_pb2.Outcome, one: journal_pb2.Episode) -> None:
        known = self.episodes.get(one.episode)
        if known is None:
            known = Episode(one.episode, one.account, one.opened_at_ns, one.equity, one.maintenance_margin)
            known.opened_wall_ns = frame.wall_ns
            decision = self._world.decisions.get(key_of(frame.partition, outcome))
            known.mark_received_wall_ns = decision.mark_received_wall_ns if decision else 0
            self.episodes[one.episode] = known
        if one.state != ledger_pb2.EPISODE_STATE_OPEN:
            known.closed_on = self._world.cited_row(key_of(frame.partition, outcome))
        known.steps, known.state, known.closed_at_ns = one.step, one.state, one.closed_at_ns

    def _order(self, one: journal_pb2.Order) -> None:
        received = self._world.order_received_wall_ns.get(one.order, 0)
        episode = self.episodes.get(one.episode)
        if episode and received and not 0 < episode.first_order_wall_ns <= received:
            episode.first_order_wall_ns = received

    def _fill(self, one: journal_pb2.Fill) -> None:
        marks = self._world.marks
        mark = marks.mark(one.instrument, marks.number_at(one.executed_at_ns))
        instrument = self._instruments.get(one.instrument)
        if instrument is None or not instrument.is_paid_up:  # an option's moves several times as far as its underlying
            into = self.liquidation_fills if one.episode else self.fills
            into.add(price=one.price, mark=mark.price, side=one.side)
        if one.episode in self.episodes:
            self.episodes[one.episode].fills += 1
        if one.liquidation_fee_units and one.instrument in self._instruments:
            self.liquidation_fees[self._instruments[one.instrument].settlement] += one.liquidation_fee_units

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Sums who holds what at the end."""
        for book in books.values():
            self.accounts += len(book.accounts)
            for (account, asset, kind), balance in book.lines.items():
                house = system_kind(account)
                self.holdings[house.name if house else "CLIENTS", asset, kind] += balance
            self.lenders += len({account for account, _, kind in book.lines if _is_lent(account, kind)})

    def held(self, holder: SystemAccount, asset: int) -> int:
        """Cash of a house account over all partitions at the end."""
        return self.holdings.get((holder.name, asset, ledger_pb2.LINE_KIND_CASH), 0)


def _is_lent(account: int, kind: int) -> bool:
    return kind == ledger_pb2.LINE_KIND_SUPPLY_SHARES and system_kind(account) is None
