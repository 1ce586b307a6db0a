"""I11 and I16: who is deleveraged and at what; instruments close once, at the published price, and pay what that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from ballast.events.v1 import journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.book import PartitionBook
from libs.common.ids import system_kind
from libs.common.units import PPM
from tools.reconcile.checks.across import OverPartitions, lots_on_their_way
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.payoffs import paid_units
from tools.reconcile.records import JournalFrame, key_of
from tools.reconcile.world import World

_LOTS, _VARIATION = ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
_GROWING = (kinds.CLOSING_CAUSE_TAKEN_OVER, kinds.CLOSING_CAUSE_GIVEN_BACK)
_TAKEN = (*_GROWING, kinds.CLOSING_CAUSE_DELEVERAGED)


def _closings(outcome: journal_pb2.Outcome) -> list[lifecycle_pb2.PositionClosed]:
    return [effect.position_closed for effect in outcome.effects if effect.HasField("position_closed")]


class DeleveragedByRule(Watch):
    """A deleveraging only shrinks positions, of both sides alike; a takeover keeps within the collar of the mark."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._across = OverPartitions(self.findings)

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Looks at every position that somebody was given or lost."""
        for outcome in frame.body.outcomes:
            closed = [one for one in _closings(outcome) if one.cause in _TAKEN]
            if closed:
                self._shrinks(frame, outcome, closed)
                if outcome.command != "arrive":
                    self._price(frame, outcome, closed[0])
            self._across.outcome(frame, outcome)

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """At the end every choice over partitions is held against what all of them have offered."""
        self._across.finish()

    def _shrinks(
        self, frame: JournalFrame, outcome: journal_pb2.Outcome, closed: list[lifecycle_pb2.PositionClosed]
    ) -> None:
        if sum(one.lots for one in closed) != lots_on_their_way(outcome):
            self.findings.add(f"{where(frame)}: {outcome.command} gives other lots than it takes")
        balances: dict[tuple[int, int], list[int]] = defaultdict(list)
        for effect in outcome.effects:
            one = effect.posting
            if effect.HasField("posting") and one.kind == _LOTS and system_kind(one.account) is None:
                balances[one.account, one.asset] += [one.balance - one.delta, one.balance]
        for (account, instrument), states in balances.items():
            before, after = states[0], states[-1]
            shrinks = abs(after) < abs(before) and after * before >= 0
            may_grow = any(one.account == account and one.cause in _GROWING for one in closed)
            if not shrinks and not may_grow:
                self.findings.add(
                    f"{where(frame)}: deleveraging moves account {account} from {before} to {after} of {instrument}"
                )

    def _price(self, frame: JournalFrame, outcome: journal_pb2.Outcome, one: lifecycle_pb2.PositionClosed) -> None:
        decision = self.world.decisions.get(key_of(frame.partition, outcome))
        number = self.world.marks.number_of(decision.mark_sequence) if decision else -1
        mark = self.world.marks.mark(one.instrument, number).price
        if not mark:
            self.findings.add(f"{where(frame)}: {outcome.command} cites no mark of instrument {one.instrument}")
        elif one.cause == kinds.CLOSING_CAUSE_TAKEN_OVER:
            collar = self.world.parameters.liquidation.collar
            if abs(one.price - mark) * PPM > collar * mark + PPM:
                self.findings.add(f"{where(frame)}: taken over at {one.price}, the mark was {mark}")


class SettledAsPublished(Watch):
    """Instruments close at the final average that the cited frame of marks published, once, and pay what that is worth.

    Attributes: prices (settlement price by instrument), settled (clients' positions that were paid, by instrument),
    paid (units that who won was paid, by instrument).
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.prices: dict[int, int] = {}  # the same in every partition
        self.settled: Counter[int] = Counter()
        self.paid: Counter[int] = Counter()
        self._closed: set[tuple[int, int]] = set()  # partition, instrument

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Looks at every closing and at the positions it ends."""
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("listing"):
                    self._listing(frame, effect.listing)
            for one in _closings(outcome):
                if one.cause == kinds.CLOSING_CAUSE_SETTLED:
                    self._settled(frame, outcome, one, book)

    def _settled(
        self, frame: JournalFrame, outcome: journal_pb2.Outcome, one: lifecycle_pb2.PositionClosed, book: PartitionBook
    ) -> None:
        self.settled[one.instrument] += system_kind(one.account) is None
        self.paid[one.instrument] += max(0, one.paid_units)
        if one.price != self.prices.get(one.instrument):
            self.findings.add(
                f"{where(frame)}: account {one.account} is settled at {one.price}, "
                f"instrument {one.instrument} closed at {self.prices.get(one.instrument)}"
            )
        instrument = self.world.parameters.instrument(one.instrument)
        if instrument is None or one.delivered_units or outcome.command != "close_instrument":
            return
        funding = book.funding.get(one.instrument)
        paid_so_far = int.from_bytes(funding.cumulative_funding, "big", signed=True) if funding else 0
        worth = paid_units(
            self.world.parameters, instrument, lots=one.lots, price=one.price, variation=_variation(outcome, one),
            funding=paid_so_far,
        )  # fmt: skip
        if worth != one.paid_units:
            self.findings.add(
                f"{where(frame)}: account {one.account} is paid {one.paid_units} for {one.lots} lots of "
                f"{instrument.symbol}, they are worth {worth}"
            )

    def _listing(self, frame: JournalFrame, one: lifecycle_pb2.Listing) -> None:
        published = self.world.marks.settlement_price(one.instrument, one.mark_sequence)
        if published != one.price:
            self.findings.add(
                f"{where(frame)}: instrument {one.instrument} closes at {one.price}, mark {one.mark_sequence} "
                f"published {published}"
            )
        if self.prices.setdefault(one.instrument, one.price) != one.price:
            self.findings.add(f"{where(frame)}: instrument {one.instrument} closes at two prices")
        if (frame.partition, one.instrument) in self._closed:
            self.findings.add(f"{where(frame)}: instrument {one.instrument} closes twice")
        self._closed.add((frame.partition, one.instrument))

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """At the end nobody holds what has closed, once every batch is done."""
        for partition, book in books.items():
            under_way = {subject for kind, subject in book.lifecycle.sweeps if kind == kinds.SWEEP_KIND_CLOSING}
            done = {one for number, one in self._closed if number == partition} - under_way
            for (account, asset, kind), balance in book.lines.items():
                if asset in done and kind in (_LOTS, _VARIATION) and system_kind(account) is None:
                    self.findings.add(f"account {account} holds {balance} of instrument {asset}, which has closed")


def _variation(outcome: journal_pb2.Outcome, one: lifecycle_pb2.PositionClosed) -> int:
    """Variation that the closing took off the account's line."""
    postings = (effect.posting for effect in outcome.effects if effect.HasField("posting"))
    mine = (each for each in postings if (each.account, each.asset) == (one.account, one.instrument))
    return -sum(each.delta for each in mine if each.kind == _VARIATION)


def explains(outcome: journal_pb2.Outcome, account: int, asset: int, *, redenominated: Mapping[int, int]) -> bool:
    """Whether the journal says why this account loses units of the asset here; amounts are judged elsewhere.

    Args:
        redenominated: asset that came, by asset that went.
    """
    closed = any(one.account == account for one in _closings(outcome))
    for effect in outcome.effects:
        if effect.HasField("loss_allocated") and effect.loss_allocated.account == account:
            return True
        if effect.HasField("distribution") and effect.distribution.credited == asset:
            return True  # who owes the asset that counts owes what is credited
    return closed or asset in redenominated
