"""A ledger of one partition driven by short words, for story tests; time and sequences are the story's own."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.book import Fingerprint, PartitionBook
from libs.common.config import load_parameters
from libs.common.ids import AssetId, SystemAccount, system_account, system_kind
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, SECOND_NS
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import fold, handle
from services.collateral_management.domain.state import CASH, DEBT, LOSS, LOTS, QUOTA, SUPPLY, VARIATION, State
from services.collateral_management.tests.restoring import Checkpoints, comparable, restored

USD, BTC, ETH, LTC = 1, 2, 3, 4
BTC_SPOT, BTC_PERP, BTC_INVERSE = 1, 11, 21
NORTH, SOUTH = 1, 2
BUY, SELL = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL
DOLLAR, COIN = 10**6, 10**8
PARAMETERS: Parameters = load_parameters(Path(__file__).parents[3] / "config").parameters
SERVICES = {
    "verdict": "risk_evaluation",
    "open_episode": "risk_evaluation",
    "step_episode": "liquidation_execution",
    "close_episode": "liquidation_execution",
    "resolve_shortfall": "liquidation_execution",
    "order_report": "venue_gateway",
    "begin_venue_session": "venue_gateway",
    "set_index": "interest_accrual",
    "set_funding": "interest_accrual",
    "settle_variation": "interest_accrual",
    "close_instrument": "interest_accrual",
    "take_over_position": "liquidation_execution",
    "deleverage_across": "liquidation_execution",
    "deleverage": "liquidation_execution",
    "venue_event": "venue_gateway",
    "arrive": "collateral_management",
    "confirm_movements": "collateral_management",
    "move_quota": "interest_accrual",
    "set_outflow_limit": "interest_accrual",
}


ROLES = {
    "confirm_deposit": ("custodian", words.ROLE_CUSTODIAN),
    "move_location": ("custodian", words.ROLE_CUSTODIAN),
    "set_gate": ("operator", words.ROLE_OPERATOR),
    "sweep_lendable": ("operator", words.ROLE_OPERATOR),
    "impair_venue": ("operator", words.ROLE_OPERATOR),
    "move_capital": ("operator", words.ROLE_OPERATOR),
    "restrict_account": ("operator", words.ROLE_OPERATOR),
    "redenominate_asset": ("operator", words.ROLE_OPERATOR),
    "distribute": ("operator", words.ROLE_OPERATOR),
}


class Story:
    """Each call is one frame with one command; every outcome is kept, and every frame judged by I1 and I2."""

    def __init__(self, parameters: Parameters = PARAMETERS, *, partition: int = 0) -> None:
        self.parameters = parameters
        self.partition = partition
        self.state = State(partition)
        self.sequence = 0
        self.control_sequence = 1
        self.now_ns = int(parameters.genesis_ns)
        self.marks_alive = True
        self.outage_at_ns = 0
        self.outcomes: list[journal_pb2.Outcome] = []
        self.frames: list[journal_pb2.JournalBody] = []
        self.contexts: list[Context] = []
        self._fingerprint = Fingerprint()
        self._n = 0
        self._facts: dict[str, int] = {}

    def send(self, *commands: commands_pb2.Command) -> journal_pb2.Outcome:
        """Outcome of a whole command, or of the last of several in one frame."""
        self.sequence += 1
        context = Context(
            self.parameters, self.sequence, self.now_ns, self.control_sequence, self.marks_alive, self.outage_at_ns
        )
        body = journal_pb2.JournalBody()
        for command in commands:
            left_over = {pool.asset: pool_left_over(self.state, pool.asset) for pool in self.parameters.pools}
            outcome = handle(self.state, command, context)
            body.outcomes.append(outcome)
            self.outcomes.append(outcome)
            for effect in outcome.effects:
                self._fingerprint.apply(effect)
            self._judge(outcome, left_over)
        body.fingerprint = self._fingerprint.digest
        self.contexts.append(context)
        self.frames.append(journal_pb2.JournalBody.FromString(body.SerializeToString()))
        return self.outcomes[-1]

    def _judge(self, outcome: journal_pb2.Outcome, left_over: dict[AssetId, int]) -> None:
        assert not (outcome.refusal and outcome.effects), outcome
        assert not (outcome.repeated and outcome.effects), outcome
        for asset, before in left_over.items():
            idle = self.balance(self.house(SystemAccount.POOL, asset), asset)
            assert idle >= 0, f"I2: {outcome.command} leaves {idle} idle in pool {asset}"
            after = pool_left_over(self.state, asset)
            assert outcome.command == "set_index" or after >= before, f"I2: {outcome.command} takes from pool {asset}"
        for effect in outcome.effects:
            one = effect.posting
            if effect.HasField("posting") and system_kind(one.account) is None and one.kind not in (LOTS, VARIATION):
                assert self.balance(one.account, one.asset, one.kind) >= 0, outcome

    def _verify_restoring(self, random: Random) -> None:
        frames = list(zip(self.contexts, self.frames, strict=True))
        checkpoints = Checkpoints(self.partition, random)
        checkpoints.run(frames)
        assert comparable(restored(checkpoints, frames)) == comparable(self.state)

    def verify(self) -> None:
        """The state is the fold of the frames, and so is a follower's book: everything, byte for byte."""
        folded, book = State(self.partition), PartitionBook(self.partition)
        for context, body in zip(self.contexts, self.frames, strict=True):
            fold(folded, body, context)
            book.apply(sequence=context.sequence, run_time_ns=context.now_ns, body=body)
            assert book.fingerprint == body.fingerprint
        assert content(folded) == content(self.state)
        for seed in range(3):
            self._verify_restoring(Random(seed))
        assert book.lines == {line: balance for line, balance in self.state.all_lines() if balance}
        assert (book.accounts, book.orders) == (self.state.accounts, self.state.orders)
        assert (book.reservations, book.episodes) == (self.state.reservations, self.state.episodes)
        assert (book.pools, book.streams) == (self.state.pools, self.state.streams)
        assert book.venue_epochs == self.state.venue_epochs
        assert (book.movements, book.transit) == (self.state.movements, self.state.transit)
        assert (book.moves, book.quota_moves) == (self.state.moves, self.state.quota_moves)
        assert (book.asks, book.pool_holds) == (self.state.asks, self.state.pool_holds)
        for part in ("gate", "outflows", "terms", "places", "impairments", "shares", "pots"):
            assert getattr(book.custody, part) == getattr(self.state.custody, part)
        assert book.lifecycle == self.state.lifecycle
        assert {key: one.tick for key, one in book.settlements.items()} == self.state.settlement_tick
        assert {key: one.tick for key, one in book.funding.items()} == self.state.funding_tick
        assert set(line_sums(self.state).values()) <= {0}, "I1"

    def command(self, name: str, *, sender: str = "alice", **fields: Any) -> commands_pb2.Command:
        """A command with the next key of its sender's stream; a service's command is sent by that service."""
        command = commands_pb2.Command()
        body = getattr(command, name)
        body.SetInParent()
        body.MergeFrom(type(body)(**fields))
        if name in ROLES:
            command.principal.id, command.principal.role = ROLES[name]
        elif name in SERVICES:
            command.principal.id, command.principal.role = SERVICES[name], words.ROLE_SERVICE
        else:
            command.principal.id, command.principal.role = sender, words.ROLE_CLIENT
        if name == "order_report":
            stream = "venue/north"
            previous = self._facts.get(stream, 0)
            self._facts[stream] = previous + 1
            command.fact.stream, command.fact.sequence, command.fact.previous = stream, previous + 1, previous
        else:
            self._n += 1
            command.session.session, command.session.n = b"s" * 16, self._n
        return command

    def do(self, name: str, *, sender: str = "alice", **fields: Any) -> journal_pb2.Outcome:
        """Outcome of a command by name."""
        return self.send(self.command(name, sender=sender, **fields))

    def account(self, owner: str = "alice", *, usd: int = 0, btc: int = 0, entity: int = 0) -> int:
        """Id of a new account with deposits in whole dollars and coins."""
        account = self.do("open_account", sender=owner, owner=owner, entity=entity).subject
        for asset, units in ((USD, usd * DOLLAR), (BTC, btc * COIN)):
            if units:
                self.do("confirm_deposit", account=account, asset=asset, units=units)
        return account

    def lend(self, *, usd: int = 0, btc: int = 0) -> int:
        """Id of a lender's account that has supplied whole dollars and coins."""
        lender = self.account("lender", usd=usd, btc=btc)
        for asset, units in ((USD, usd * DOLLAR), (BTC, btc * COIN)):
            if units:
                self.do("supply", sender="lender", account=lender, asset=asset, units=units)
        return lender

    def cite(self) -> commands_pb2.Citation:
        """A citation of the state as it is."""
        return commands_pb2.Citation(
            journal_sequence=self.sequence,
            mark_sequence=1,
            control_sequence=self.control_sequence,
            mark_run_time_ns=self.now_ns,
        )

    def order(
        self,
        account: int,
        side: market_pb2.Side,
        lots: int,
        price: int,
        *,
        instrument: int = BTC_PERP,
        sender: str = "alice",
        reduce_only: bool = False,
    ) -> int:
        """Id of an order that risk has let out."""
        placed = self.do(
            "place_order",
            sender=sender,
            account=account,
            instrument=instrument,
            venue=NORTH,
            side=side,
            lots=lots,
            limit_price=price,
            time_in_force=market_pb2.TIME_IN_FORCE_IOC,
            reduce_only=reduce_only,
        )
        assert not placed.refusal, placed.detail
        judged = self.do("verdict", account=account, order=placed.subject, settle=True, citation=self.cite())
        assert not judged.refusal, judged.detail
        return placed.subject

    def fill(self, order: int, lots: int, price: int, *, fee: int = 0, at_ns: int | None = None) -> journal_pb2.Outcome:
        """Outcome of a venue's fill report."""
        return self.do(
            "order_report",
            venue=NORTH,
            order=order,
            kind=words.REPORT_KIND_FILL,
            lots=lots,
            price=price,
            fee_units=fee,
            executed_at_ns=self.now_ns if at_ns is None else at_ns,
        )

    def trade(
        self,
        account: int,
        side: market_pb2.Side,
        lots: int,
        price: int,
        *,
        instrument: int = BTC_PERP,
        sender: str = "alice",
        fee: int = 0,
    ) -> journal_pb2.Outcome:
        """Outcome of the fill of a new order."""
        order = self.order(account, side, lots, price, instrument=instrument, sender=sender)
        return self.fill(order, lots, price, fee=fee)

    def balance(self, account: int, asset: int, kind: int = CASH) -> int:
        """Balance of a line."""
        return self.state.line(account, asset, kind)[0]

    def house(self, kind: SystemAccount, index: int = 0) -> int:
        """Id of a house account."""
        return system_account(kind, partition=self.partition, index=index)

    def fund(self, kind: SystemAccount, *, usd: int = 0, btc: int = 0) -> None:
        """House capital of whole dollars and coins."""
        for asset, units in ((USD, usd * DOLLAR), (BTC, btc * COIN)):
            if units:
                assert not self.do("confirm_deposit", account=self.house(kind), asset=asset, units=units).refusal

    def report(
        self, order: int, kind: words.ReportKind, *, lots: int = 0, price: int = 0, venue: int = NORTH
    ) -> journal_pb2.Outcome:
        """Outcome of a venue's report."""
        return self.do(
            "order_report", venue=venue, order=order, kind=kind, lots=lots, price=price, executed_at_ns=self.now_ns
        )

    def episode(self, account: int) -> int:
        """Id of a new episode of the account."""
        opened = self.do("open_episode", account=account, equity=0, maintenance_margin=1, citation=self.cite())
        assert not opened.refusal, opened.detail
        return opened.subject

    def step(self, account: int, episode: int, *orders: commands_pb2.StepOrder, number: int = 1) -> list[int]:
        """Ids of the orders of an episode's next step."""
        stepped = self.do(
            "step_episode", account=account, episode=episode, step=number, orders=orders, citation=self.cite()
        )
        assert not stepped.refusal, stepped.detail
        return [effect.order.order for effect in stepped.effects if effect.HasField("order")]

    def tick(self, asset: int, **changed: Any) -> journal_pb2.Outcome:
        """Outcome of the next tick of a pool's indices, as they are but for what is changed."""
        fields: dict[str, Any] = {
            "tick": (self.state.pools[asset].tick if asset in self.state.pools else 0) + 1,
            "borrow_index": self.state.borrow_index(asset),
            "supply_index": self.state.supply_index(asset),
            "overdraft_index": self.state.overdraft_index(asset),
            "home_sequence": 0 if asset % self.parameters.partitions == self.partition else 1,
        }
        return self.do("set_index", asset=asset, **{**fields, **changed})

    def pass_time(self, seconds: float) -> None:
        """Moves the run clock."""
        self.now_ns += int(seconds * SECOND_NS)


def alerts(outcome: journal_pb2.Outcome) -> list[str]:
    """Names of the alerts that an outcome raises."""
    return [effect.alert.name for effect in outcome.effects if effect.HasField("alert")]


def step_order(
    side: market_pb2.Side, lots: int, price: int, *, instrument: int = BTC_PERP, venue: int = NORTH
) -> commands_pb2.StepOrder:
    """One order of an episode's step."""
    return commands_pb2.StepOrder(instrument=instrument, venue=venue, side=side, lots=lots, limit_price=price)


def content(state: State) -> dict[str, object]:
    """All that a state holds, comparable."""
    found = dict(vars(state))
    for book_keeping in ("changes", "places", "closed_places"):  # of checkpoints: numbers differ, their order does not
        del found[book_keeping]
    found["sessions"] = {
        principal: [(key, one.high, list(one.outcomes.items())) for key, one in sessions.items()]
        for principal, sessions in state.sessions.items()
    }
    return found


def pool_left_over(state: State, asset: int) -> int:
    """What a pool's shard holds beyond its lenders' claims, 10^-15 units, exact (I2)."""
    pool = system_account(SystemAccount.POOL, partition=state.partition, index=asset)
    cash = state.line(pool, asset, CASH)[0] + state.line(pool, asset, QUOTA)[0]
    loss = state.line(pool, asset, LOSS)[0]
    debt, supply = -state.line(pool, asset, DEBT)[0], -state.line(pool, asset, SUPPLY)[0]
    return (cash + loss) * INDEX_ONE + debt * state.borrow_index(asset) - supply * state.supply_index(asset)


def line_sums(state: State) -> dict[tuple[int, int], int]:
    """Sum of all lines by (asset, kind): every one zero (I1)."""
    sums: dict[tuple[int, int], int] = {}
    for (_, asset, kind), balance in state.all_lines():
        sums[asset, kind] = sums.get((asset, kind), 0) + balance
    return sums
