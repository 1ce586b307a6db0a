"""A small honest run of the whole loop in memory, made with the services' own rules: what a reconciliation reads."""

from __future__ import annotations

from pathlib import Path

from ballast.events.v1 import commands_pb2, interest_pb2, journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2 as sides
from libs.common.book import PartitionBook
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, partition_of, system_account
from libs.common.units import Index15, Units, UnixNs
from libs.common.validity import ValidityClass
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import handle
from services.collateral_management.domain.state import State
from services.interest_accrual.domain.accrual import PoolState, decide
from tools.reconcile.engine import Result, reconcile
from tools.reconcile.margins import Recomputation
from tools.reconcile.records import CommandRecord, JournalFrame, MarginRecord, MarkFrame
from tools.reconcile.world import World

LOADED = load_parameters(Path(__file__).resolve().parents[3] / "config")
PARAMETERS = LOADED.parameters
USD, BTC = 1, 2
SPOT, PERP = 1, 11
DOLLAR, COIN = 10**6, 10**8
HOUR_NS = 3_600_000_000_000
BUY, SELL = sides.SIDE_BUY, sides.SIDE_SELL
SERVICES = {
    "verdict": "risk_evaluation",
    "open_episode": "risk_evaluation",
    "step_episode": "liquidation_execution",
    "close_episode": "liquidation_execution",
    "resolve_shortfall": "liquidation_execution",
    "order_report": "venue_gateway",
    "set_index": "interest_accrual",
    "set_funding": "interest_accrual",
    "settle_variation": "interest_accrual",
    "arrive": "collateral_management",
    "confirm_movements": "collateral_management",
}
OPERATED = frozenset(("distribute", "redenominate_asset", "restrict_account"))
CRASH_PRICE = 1_235_000  # BTC in cents, low enough to open an episode on alice


class Story:
    """All partitions and topics of a run; every command is a frame of its own."""

    def __init__(self) -> None:
        self.states = [State(partition=number) for number in range(PARAMETERS.partitions)]
        self.books = [PartitionBook(number) for number in range(PARAMETERS.partitions)]
        self.frames: list[JournalFrame] = []
        self.marks: list[MarkFrame] = []
        self.commands: list[CommandRecord] = []
        self.margins: list[MarginRecord] = []
        self.rates: list[interest_pb2.RateDecision] = []
        self.now_ns = int(PARAMETERS.genesis_ns)
        self.wall_ns = 1_700_000_000_000_000_000
        self._n = 0
        self._facts: dict[int, int] = {}

    def send(
        self, name: str, *, partition: int = 0, sender: str = "", stamps: dict[str, int] | None = None, **fields: object
    ) -> journal_pb2.Outcome:
        """Outcome of a command, which must be accepted."""
        command = commands_pb2.Command()
        body = getattr(command, name)
        body.SetInParent()
        body.MergeFrom(type(body)(**fields))
        command.principal.id, command.principal.role = sender, words.ROLE_CLIENT
        if name in ("confirm_deposit", "move_location"):
            command.principal.id, command.principal.role = "custodian", words.ROLE_CUSTODIAN
        elif name in OPERATED:
            command.principal.id, command.principal.role = "operator", words.ROLE_OPERATOR
        elif name in SERVICES:
            command.principal.id, command.principal.role = SERVICES[name], words.ROLE_SERVICE
        if name == "arrive":
            command.fact.stream = f"transit/{command.arrive.movement.from_partition}"
            command.fact.sequence = command.arrive.movement.sequence
            command.fact.previous = command.fact.sequence - 1
        elif name == "order_report":
            previous = self._facts.get(partition, 0)
            self._facts[partition] = previous + 1
            command.fact.stream, command.fact.sequence, command.fact.previous = "venue/north", previous + 1, previous
        else:
            self._n += 1
            command.session.session, command.session.n = b"s" * 16, self._n
        batch = commands_pb2.CommandBatch(commands=[command])
        self.commands.append(CommandRecord(partition, batch, stamps or {}))
        book = self.books[partition]
        context = Context(PARAMETERS, book.sequence + 1, self.now_ns, 1, True)
        outcome = handle(self.states[partition], command, context)
        assert not outcome.refusal, (name, outcome.detail)
        self._journal(partition, outcome)
        if name not in ("arrive", "confirm_movements"):
            self._relay()
        return outcome

    def _relay(self) -> None:
        """Everything that a partition has sent arrives, and is confirmed."""
        while sent := [state.movements[key] for state in self.states for key in sorted(state.movements)]:
            for one in sent:
                if self.states[one.to_partition].streams.get(f"transit/{one.from_partition}", 0) < one.sequence:
                    self.send("arrive", partition=one.to_partition, movement=one)
            for one in sent:
                to, sequence = one.to_partition, one.sequence
                self.send("confirm_movements", partition=one.from_partition, to_partition=to, sequence=sequence)

    def _journal(self, partition: int, outcome: journal_pb2.Outcome) -> None:
        book = self.books[partition]
        body = journal_pb2.JournalBody(outcomes=[outcome])
        book.apply(sequence=book.sequence + 1, run_time_ns=self.now_ns, body=body)
        body.fingerprint = book.fingerprint
        self.wall_ns += 1_000_000
        self.frames.append(JournalFrame(partition, book.sequence, self.now_ns, 1, body, self.wall_ns))

    def mark(
        self, price: int, *, validity: ValidityClass = ValidityClass.VALID, hours: float = 0.001, others: int = 900_000
    ) -> None:
        """Publishes marks: BTC at a price in cents, everything else at another."""
        self.now_ns += int(hours * HOUR_NS)
        ids = [one.id for one in PARAMETERS.instruments]
        levels = [price if one.underlying == BTC else others for one in PARAMETERS.instruments]
        body = market_pb2.MarksBody(
            snapshot=not self.marks,
            instrument=ids,
            mark_price=levels,
            index_price=levels,
            confidence=[0] * len(ids),
            slow_price=levels,
            validity=bytes([validity] * len(ids)),
        )
        self.marks.append(MarkFrame(len(self.marks) + 1, self.now_ns, body))

    def world(self) -> World:
        """Everything but the journal, gathered as the reader gathers it."""
        world = World(PARAMETERS, parameters_hash=LOADED.hash)
        for mark in self.marks:
            world.marks.take(mark)
        for command in self.commands:
            world.take_commands(command)
        for margin in self.margins:
            world.take_margin(margin)
        for rate in self.rates:
            world.rates[rate.asset, rate.tick].append(rate)
        return world

    def reconcile(self) -> Result:
        """The result over the story as it stands."""
        return reconcile(self.world(), self.frames)

    def publish(self, partition: int = 0) -> dict[int, tuple[int, int]]:
        """Publishes the margin of a partition as risk does; returns equity and maintenance margin by account."""
        book = self.books[partition]
        again = Recomputation(self.world())
        columns, found = again.margins(book, mark_number=len(self.marks) - 1)
        frame = risk_pb2.MarginFrame(
            partition=partition,
            journal_sequence=book.sequence,
            mark_sequence=len(self.marks),
            control_sequence=1,
            run_time_ns=self.now_ns,
            parameters_hash=LOADED.hash,
            fingerprint=book.fingerprint,
            account=columns.accounts,
            equity=found.equity.tolist(),
            initial_margin=found.initial_margin.tolist(),
            maintenance_margin=found.maintenance_margin.tolist(),
            equity_for_new_risk=found.equity_for_new_risk.tolist(),
            state=found.state.tobytes(),
            worst_scenario=bytes(found.worst_scenario.tolist()),
            validity=found.validity.tobytes(),
            scan_loss=found.scan_loss.T.reshape(-1).tolist(),
            add_on=found.add_on.tolist(),
            open_orders=found.open_orders.tolist(),
            gross_notional=found.gross_notional.tolist(),
        )
        self.margins.append(MarginRecord(frame, self.wall_ns, self.wall_ns + 2_000_000))
        return dict(zip(frame.account, zip(frame.equity, frame.maintenance_margin, strict=True), strict=True))

    def cite(self, partition: int = 0) -> commands_pb2.Citation:
        """The state and the mark as they are."""
        return commands_pb2.Citation(
            journal_sequence=self.books[partition].sequence,
            mark_sequence=len(self.marks),
            control_sequence=1,
            mark_run_time_ns=self.now_ns,
        )

    def account(self, owner: str, *, partition: int = 0, **deposits: int) -> int:
        """Id of a new account with deposits in whole dollars and coins."""
        account = self.send("open_account", partition=partition, sender=owner, owner=owner).subject
        for symbol, whole in deposits.items():
            asset, one = {"usd": (USD, DOLLAR), "btc": (BTC, COIN)}[symbol]
            self.send("confirm_deposit", partition=partition, account=account, asset=asset, units=whole * one)
        return account

    def fill(self, account: int, order: int, lots: int, price: int) -> None:
        """The venue reports a fill of all of an order."""
        received = self.wall_ns + 500_000
        self.send(
            "order_report", partition=partition_of(account), stamps={"order_received_wall_ns": received}, venue=1,
            order=order, kind=words.REPORT_KIND_FILL, lots=lots, price=price, fee_units=1_000,
            executed_at_ns=self.now_ns,
        )  # fmt: skip

    def trade(self, owner: str, account: int, side: sides.Side, lots: int, price: int, *, instrument: int) -> int:
        """Id of an order that was placed, judged and filled."""
        home = partition_of(account)
        order = self.send(
            "place_order", partition=home, sender=owner, account=account, instrument=instrument, venue=1, side=side,
            lots=lots, limit_price=price, time_in_force=sides.TIME_IN_FORCE_IOC,
        ).subject  # fmt: skip
        self.send("verdict", partition=home, account=account, order=order, settle=True, citation=self.cite(home))
        self.fill(account, order, lots, price)
        return order

    def liquidate(self, account: int, orders: list[commands_pb2.StepOrder], *, price: int) -> int:
        """Id of an episode that was opened on published figures and whose first step is filled."""
        equity, maintenance = self.publish()[account]
        stamps = {"mark_received_wall_ns": self.wall_ns - 3_000_000}
        episode = self.send(
            "open_episode", stamps=stamps, account=account, equity=equity, maintenance_margin=maintenance,
            citation=self.cite(),
        ).subject  # fmt: skip
        self.publish()
        self.send("step_episode", account=account, episode=episode, step=1, orders=orders, citation=self.cite())
        for order in list(self.books[0].orders.values()):
            if order.episode == episode:
                self.fill(account, order.order, order.lots, price)
        self.publish()
        return episode

    def tick(self) -> None:
        """One interest tick of every pool: decided in its home partition, relayed to the others."""
        for pool in PARAMETERS.pools:
            home = pool.asset % PARAMETERS.partitions
            state = self._pool_state(pool.asset)
            tick = decide(
                pool,
                state,
                run_time_ns=UnixNs(self.now_ns),
                elapsed_ns=HOUR_NS,
                index_step_max=PARAMETERS.ledger.index_step_max,
            )
            self.rates.append(
                interest_pb2.RateDecision(
                    asset=pool.asset, tick=tick.tick, supply_shares=state.supply_shares, loss_units=state.loss,
                    supply_index=tick.supply_index, borrow_index=tick.borrow_index,
                )
            )  # fmt: skip
            others = [number for number in range(PARAMETERS.partitions) if number != home]
            for partition in (home, *others):
                self.send(
                    "set_index", partition=partition, asset=pool.asset, tick=tick.tick, run_time_ns=self.now_ns,
                    borrow_index=tick.borrow_index, supply_index=tick.supply_index,
                    overdraft_index=tick.overdraft_index, borrow_rate=tick.borrow_rate,
                    home_sequence=0 if partition == home else self.books[home].sequence,
                    write_off_units=tick.write_off if partition == home else 0,
                )  # fmt: skip

    def _pool_state(self, asset: int) -> PoolState:
        def total(kind: int) -> int:
            return sum(
                book.lines.get((system_account(SystemAccount.POOL, partition=number, index=asset), asset, kind), 0)
                for number, book in enumerate(self.books)
            )

        index = self.books[0].pools.get(asset) or journal_pb2.PoolIndex(
            borrow_index=10**15, supply_index=10**15, overdraft_index=10**15
        )
        return PoolState(
            asset=PARAMETERS.pools[0].asset if asset == USD else PARAMETERS.assets[asset - 1].id,
            tick=index.tick,
            idle=Units(total(words.LINE_KIND_CASH)),
            debt_shares=-total(words.LINE_KIND_DEBT_SHARES),
            supply_shares=-total(words.LINE_KIND_SUPPLY_SHARES),
            loss=Units(total(words.LINE_KIND_LOSS)),
            borrow_index=Index15(index.borrow_index),
            supply_index=Index15(index.supply_index),
            overdraft_index=Index15(index.overdraft_index),
        )


def honest(*, crash: ValidityClass = ValidityClass.DEGRADED, closed: bool = True, dust: int = 0) -> Story:
    """Lending, trading on margin, a withdrawal, interest, settlement, a crash: one account saved, one closed out.

    Args:
        crash: class of the marks in the crash.
        closed: the second episode is closed.
        dust: units of BTC below one lot on the account that is closed out.
    """
    story = Story()
    story.mark(1_500_000)
    insurance = system_account(SystemAccount.INSURANCE, partition=0)
    story.send("confirm_deposit", account=insurance, asset=USD, units=1_000 * DOLLAR)
    elsewhere = system_account(SystemAccount.INSURANCE, partition=2)
    story.send("confirm_deposit", partition=2, account=elsewhere, asset=USD, units=10 * DOLLAR)
    lender = story.account("lender", usd=500_000)
    story.send("supply", sender="lender", account=lender, asset=USD, units=400_000 * DOLLAR)
    alice, bob, carol = (
        story.account("alice", usd=9_000),
        story.account("bob", usd=6_000),
        story.account("carol", btc=3),
    )
    story.trade("alice", alice, BUY, 2_000, 1_500_100, instrument=PERP)
    if dust:
        story.send("confirm_deposit", account=bob, asset=BTC, units=dust)
    story.trade("bob", bob, BUY, 1_000, 1_500_200, instrument=SPOT)  # 9,000 USD of it borrowed
    reserved = story.send("withdraw", sender="carol", account=carol, asset=BTC, units=COIN, destination="cold").subject
    story.publish()
    story.send("verdict", account=carol, reservation=reserved, settle=True, citation=story.cite())
    story.mark(1_510_000, hours=1)
    story.tick()
    story.send("settle_variation", instrument=PERP, tick=1, price=1_510_000, mark_sequence=len(story.marks))
    story.publish()
    story.mark(CRASH_PRICE, hours=2, validity=crash)
    sell = commands_pb2.StepOrder(instrument=PERP, venue=1, side=SELL, lots=1_600, limit_price=1_200_000)
    saved = story.liquidate(alice, [sell], price=CRASH_PRICE - 1_000)
    healthy = words.EPISODE_STATE_HEALTHY
    story.send("close_episode", account=alice, episode=saved, outcome=healthy, citation=story.cite())
    story.mark(700_000, hours=1)
    sell = commands_pb2.StepOrder(instrument=SPOT, venue=1, side=SELL, lots=1_000, limit_price=600_000)
    lost = story.liquidate(bob, [sell], price=699_000)
    story.send("resolve_shortfall", account=bob, episode=lost)
    story.publish()
    if closed:
        emptied = words.EPISODE_STATE_EMPTIED
        story.send("close_episode", account=bob, episode=lost, outcome=emptied, citation=story.cite())
    story.mark(705_000, hours=1)
    story.tick()
    story.tick()
    story.publish()
    return story
