"""A ledger of one partition driven by short words, for story tests; time and sequences are the story's own."""

from __future__ import annotations

from pathlib import Path

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, system_account
from libs.common.parameters import Parameters
from libs.common.units import SECOND_NS
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import handle
from services.collateral_management.domain.state import CASH, State

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
}


class Story:
    """Each call is one frame with one command; every outcome is kept."""

    def __init__(self, parameters: Parameters = PARAMETERS) -> None:
        self.parameters = parameters
        self.state = State(partition=0)
        self.sequence = 0
        self.now_ns = int(parameters.genesis_ns)
        self.marks_alive = True
        self.outcomes: list[journal_pb2.Outcome] = []
        self.frames: list[journal_pb2.JournalBody] = []
        self.contexts: list[Context] = []
        self._n = 0
        self._facts: dict[str, int] = {}

    def send(self, command: commands_pb2.Command) -> journal_pb2.Outcome:
        """Outcome of a whole command."""
        self.sequence += 1
        context = Context(self.parameters, self.sequence, self.now_ns, 1, self.marks_alive)
        outcome = handle(self.state, command, context)
        self.outcomes.append(outcome)
        self.contexts.append(context)
        self.frames.append(journal_pb2.JournalBody(outcomes=[outcome]))
        return outcome

    def command(self, name: str, *, sender: str = "alice", **fields: object) -> commands_pb2.Command:
        """A command with the next key of its sender's stream."""
        command = commands_pb2.Command(**{name: getattr(commands_pb2, _message(name))(**fields)})
        if name == "confirm_deposit":
            command.principal.id, command.principal.role = "custodian", words.ROLE_CUSTODIAN
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

    def do(self, name: str, *, sender: str = "alice", **fields: object) -> journal_pb2.Outcome:
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
            journal_sequence=self.sequence, mark_sequence=1, control_sequence=1, mark_run_time_ns=self.now_ns
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
        self.do("verdict", account=account, order=placed.subject, settle=True, citation=self.cite())
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
        return system_account(kind, partition=0, index=index)

    def pass_time(self, seconds: float) -> None:
        """Moves the run clock."""
        self.now_ns += int(seconds * SECOND_NS)


def _message(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def line_sums(state: State) -> dict[tuple[int, int], int]:
    """Sum of all lines by (asset, kind): every one zero (I1)."""
    sums: dict[tuple[int, int], int] = {}
    for (_, asset, kind), balance in state.all_lines():
        sums[asset, kind] = sums.get((asset, kind), 0) + balance
    return sums
