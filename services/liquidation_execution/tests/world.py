"""A ledger, a risk and venues in memory, as far as the process manager sees them: through topics and ports."""

from __future__ import annotations

from collections.abc import Sequence

from ballast.events.v1 import journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common.ids import AccountId, InstrumentId, VenueId, account_id, serial_id
from libs.common.units import Lots
from libs.common.validity import ValidityClass
from services.liquidation_execution.app.depth import Depth
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.ports import Answer, Citation, CloseIt, Decision, ResolveIt, Step
from services.liquidation_execution.app.process import Process
from services.liquidation_execution.domain.episodes import Outcome
from services.liquidation_execution.domain.router import BUY, VenueOrder
from services.liquidation_execution.domain.slices import Candidate
from services.liquidation_execution.errors import RiskBehind
from services.liquidation_execution.tests import kernel
from services.liquidation_execution.tests.kernel import CATALOGUE, MARKS, Account

PARTITION = 1
SESSION = b"s" * 16
SECOND_NS = 10**9
START_NS = 1_513_900_000 * SECOND_NS

_CASH, _DEBT = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_DEBT_SHARES
_SIDES = {BUY: market_words.SIDE_BUY, -BUY: market_words.SIDE_SELL}


class Clock:
    """Wall seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Meter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.plans: list[str] = []
        self.refusals: list[str] = []
        self.slippage_bp: list[float] = []

    def episodes(self, *, open_now: int, waiting: dict[str, int]) -> None:
        self.waiting = waiting

    def planned(self, *, seconds: float, kind: str) -> None:
        self.plans.append(kind)

    def decided(self, *, kind: str) -> None:
        pass

    def refused(self, *, reason: str) -> None:
        self.refusals.append(reason)

    def filled(self, *, slippage_bp: float) -> None:
        self.slippage_bp.append(slippage_bp)


class World:
    """Accounts of one partition whose every change is a journal frame that `live` folds."""

    def __init__(self) -> None:
        self.clock, self.meter = Clock(), Meter()
        self.bodies: list[journal_pb2.JournalBody] = []
        self.accounts: dict[int, Account] = {}
        self.orders: dict[int, tuple[VenueOrder, journal_pb2.Order]] = {}
        self.decisions: list[Decision] = []
        self.plans: list[Decision] = []
        self.mark_sequence = 1
        self.risk_is_up = True
        self.backlog = 0
        self.without_orders: list[bool] = []
        self.answer_validity = ValidityClass.VALID
        self._serial = 0
        self.live = self.restarted()

    def restarted(self) -> Live:
        """A process manager that knows only what the topics say."""
        self.live = Live(
            CATALOGUE, session=SESSION, monotonic=self.clock, meter=self.meter, partitions=range(PARTITION + 1)
        )
        for sequence, body in enumerate(self.bodies, 1):
            self.live.fold(PARTITION, sequence=sequence, run_time_ns=START_NS, body=body)
        self.marks()
        self.show()
        return self.live

    def process(self) -> Process:
        return Process(
            self.live, risk=self, decisions=self, plans=self, meter=self.meter, monotonic=self.clock,
            is_ready=lambda: True,
        )  # fmt: skip

    # What the topics bring.

    def frame(
        self,
        *effects: journal_pb2.Effect,
        refusal: ledger_pb2.Refusal = ledger_pb2.REFUSAL_UNSPECIFIED,
        number: int = 0,
    ) -> int:
        outcome = journal_pb2.Outcome(effects=effects, refusal=refusal)
        if number:
            outcome.session.session, outcome.session.n = SESSION, number
        self.bodies.append(journal_pb2.JournalBody(outcomes=[outcome]))
        self.live.fold(PARTITION, sequence=len(self.bodies), run_time_ns=START_NS, body=self.bodies[-1])
        return len(self.bodies)

    def open_account(self, account: Account) -> int:
        """Id of a new account with an open episode."""
        number = account_id(partition=PARTITION, entity=len(self.accounts) + 1, sub=0)
        self.accounts[number] = account
        episode = journal_pb2.Episode(
            episode=self._new_id(), account=number, state=ledger_pb2.EPISODE_STATE_OPEN,
            opened_sequence=len(self.bodies) + 1,
        )  # fmt: skip
        attributes = journal_pb2.Account(account=number, entity=number, restricted=True, episode=episode.episode)
        self.frame(*self._lines(number), journal_pb2.Effect(account=attributes), journal_pb2.Effect(episode=episode))
        return number

    def margin(self, *, validity: ValidityClass = ValidityClass.VALID, full: bool = True) -> None:
        """Risk publishes on what it has."""
        frame = risk_pb2.MarginFrame(
            partition=PARTITION, journal_sequence=len(self.bodies), mark_sequence=self.mark_sequence,
            control_sequence=1, full=full,
        )  # fmt: skip
        for number, account in self.accounts.items():
            now = account.margin()
            frame.account.append(number)
            frame.equity.append(now.equity)
            frame.initial_margin.append(now.initial)
            frame.maintenance_margin.append(now.maintenance)
        frame.validity = bytes([validity] * len(self.accounts))
        self.live.add_margin(frame)

    def marks(self, validity: ValidityClass = ValidityClass.VALID) -> None:
        body = market_pb2.MarksBody(
            instrument=list(MARKS), mark_price=list(MARKS.values()), validity=bytes([validity] * len(MARKS))
        )
        self.live.marks.apply(sequence=self.mark_sequence, run_time_ns=START_NS, body=body)

    def show(self, *, lots: int = 4_000, run_time_ns: int = START_NS) -> None:
        """Every venue shows this much a level."""
        for venue in CATALOGUE.parameters.venues:
            for instrument in venue.instruments:
                levels = kernel.book(MARKS[InstrumentId(instrument)], lots=lots)
                depth = Depth(VenueId(venue.id), InstrumentId(instrument), run_time_ns, levels[-1], levels[1])
                self.live.depth.update(depth)

    # The ports.

    async def evaluate(
        self, *, account: AccountId, at_least: int, candidates: Sequence[Candidate], without_orders: bool
    ) -> Answer:
        self.without_orders.append(without_orders)
        assert at_least <= len(self.bodies)
        if not self.risk_is_up:
            raise RiskBehind("risk is away")
        cited = Citation(len(self.bodies), self.mark_sequence, 1, START_NS)
        return Answer(kernel.evaluate(self.accounts[account], candidates), cited, self.answer_validity)

    def submit(self, decision: Decision) -> int:
        self.decisions.append(decision)
        return len(self.decisions)

    def publish(self, decision: Decision) -> None:
        self.plans.append(decision)

    # What the ledger and the venues make of a decision.

    def accept(self, number: int) -> None:
        """The decision of this number is journalled."""
        decision = self.decisions[number - 1]
        episode = journal_pb2.Episode()
        episode.CopyFrom(self.live.books[PARTITION].episodes[decision.episode])
        effects: list[journal_pb2.Effect] = []
        match decision.what:
            case Step(step=step, orders=orders):
                episode.step = step
                effects = [journal_pb2.Effect(order=self._released(decision, order)) for order in orders]
            case ResolveIt():
                self.accounts[decision.account] = Account({})
                effects = self._lines(decision.account)
            case CloseIt(outcome=outcome):
                is_healthy = outcome is Outcome.HEALTHY
                episode.state = ledger_pb2.EPISODE_STATE_HEALTHY if is_healthy else ledger_pb2.EPISODE_STATE_EMPTIED
                attributes = journal_pb2.Account(account=decision.account, entity=decision.account)
                effects = [journal_pb2.Effect(account=attributes)]
        self.frame(*effects, journal_pb2.Effect(episode=episode), number=number)

    def refuse(self, number: int, refusal: ledger_pb2.Refusal) -> None:
        self.frame(refusal=refusal, number=number)

    def fill(self, *, part: int = 1) -> None:
        """Every live order fills by 1/part at its limit and ends."""
        for number, (order, journalled) in list(self.orders.items()):
            del self.orders[number]
            account, lots = self.accounts[journalled.account], order.lots // part
            if lots:
                account.trade(order.instrument, order.direction * lots, order.limit_price, 0)
            done = journal_pb2.Order()
            done.CopyFrom(journalled)
            done.remaining = order.lots - lots
            done.state = ledger_pb2.ORDER_STATE_CANCELLED if done.remaining else ledger_pb2.ORDER_STATE_FILLED
            effects = self._filled(done, lots, order.limit_price) if lots else []
            self.frame(*effects, *self._lines(journalled.account), journal_pb2.Effect(order=done))

    def _filled(self, order: journal_pb2.Order, lots: int, price: int) -> list[journal_pb2.Effect]:
        episode = journal_pb2.Episode()
        episode.CopyFrom(self.live.books[PARTITION].episodes[order.episode])
        episode.last_fill_sequence = len(self.bodies) + 1
        fill = journal_pb2.Fill(
            order=order.order, account=order.account, instrument=order.instrument, venue=order.venue, side=order.side,
            lots=lots, price=price, episode=order.episode, executed_at_ns=START_NS,
        )  # fmt: skip
        return [journal_pb2.Effect(fill=fill), journal_pb2.Effect(episode=episode)]

    def _released(self, decision: Decision, order: VenueOrder) -> journal_pb2.Order:
        number = self._new_id()
        made = journal_pb2.Order(
            order=number, account=decision.account, instrument=order.instrument, venue=order.venue,
            side=_SIDES[order.direction], lots=order.lots, remaining=order.lots, limit_price=order.limit_price,
            state=ledger_pb2.ORDER_STATE_RELEASED, episode=decision.episode,
        )  # fmt: skip
        self.orders[number] = (order, made)
        return made

    def _lines(self, number: int) -> list[journal_pb2.Effect]:
        account, effects = self.accounts[number], []
        before = self.live.books[PARTITION].lines_of(number) if self.bodies else {}
        balances: dict[tuple[int, int], int] = dict.fromkeys(before, 0)
        for asset, units in account.cash.items():
            balances[asset, _CASH if units > 0 else _DEBT] = abs(units)
        balances |= {(one, ledger_pb2.LINE_KIND_LOTS): lots for one, lots in account.lots.items()}
        for (asset, kind), balance in balances.items():
            posting = journal_pb2.Posting(account=number, asset=asset, balance=balance)
            posting.kind = kind  # type: ignore[assignment]
            effects.append(journal_pb2.Effect(posting=posting))
        return effects

    def _new_id(self) -> int:
        self._serial += 1
        return serial_id(partition=PARTITION, serial=self._serial)


def lots_of(orders: Sequence[VenueOrder]) -> Lots:
    """Lots of all orders together."""
    return Lots(sum(order.lots for order in orders))
