"""One command's changes: built on top of the state, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.errors import invariant
from libs.common.ids import CLIENT_BITS, SYSTEM_INDEX_COUNT, SystemAccount, serial_id, system_account
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, INT63, mul_div_down
from services.collateral_management.domain.custody import DraftedCustody
from services.collateral_management.domain.state import CASH, DEBT, LOSS, LOTS, QUOTA, SERIAL_MASK, SUPPLY, Line, State

_NOTHING = (0, 0)
_NONE: dict[int, Any] = {}  # stays empty
_LEAST = -INT63
_LOCAL = (1 << 48) - 1  # an account id without its partition
_OF_KIND = _LOCAL ^ (SYSTEM_INDEX_COUNT - 1)  # a house account's without its index either
_POOLS = system_account(SystemAccount.POOL, partition=0)
_POOL_UNITS = frozenset((CASH, LOSS, QUOTA))  # what other shards hold of it counts as if it were here


@dataclass(frozen=True, slots=True)
class Context:
    """What a command is handled under.

    Args:
        sequence: of the frame that will carry the outcome.
        now_ns: run time of that frame.
        control_sequence: of the control log in force.
        marks_alive: a mark heartbeat was read within the last second of wall time.
        outage_at_ns: run time at which the owner last noticed an outage, 0 if never.
        window: number of the part of run time in which the commands of a client are counted together.
    """

    parameters: Parameters
    sequence: int
    now_ns: int
    control_sequence: int
    marks_alive: bool
    outage_at_ns: int = 0
    window: int = field(init=False)

    def __post_init__(self) -> None:
        window = mul_div_down(self.now_ns, 1, self.parameters.ledger.command_window_ns)
        object.__setattr__(self, "window", window)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an intent is refused, with words a person understands."""

    reason: ledger_pb2.Refusal
    detail: str


class Draft:
    """Reads through to the state, collects effects. Nothing touches the state before `commit`.

    Args:
        outcome: where the effects are made; whoever gives it takes them out again when the command is refused.
    """

    # What most commands do not change; the first change makes a table of the command's own.
    _orders: dict[int, journal_pb2.Order] = _NONE
    _accounts: dict[int, journal_pb2.Account] = _NONE
    _episodes: dict[int, journal_pb2.Episode] = _NONE
    _marks: dict[int, movement_pb2.TransitMark] = _NONE
    _moves: dict[int, movement_pb2.EntityMove] = _NONE
    _asks: dict[int, movement_pb2.CapitalAsk] = _NONE

    def __init__(self, state: State, context: Context, outcome: journal_pb2.Outcome | None = None) -> None:
        self.state = state
        self.context = context
        self._held = state.held
        outcome = outcome or journal_pb2.Outcome()
        self.effects = outcome.effects
        self._add = self.effects.add
        self.custody = DraftedCustody(state.custody, outcome)
        self._postings = 0  # of the effects
        self._lines: dict[Line, tuple[int, int]] = {}
        self._sums: dict[tuple[int, int], int] = {}  # (asset, kind) -> sum of what was posted one by one
        self._of_account: dict[int, list[tuple[int, int]]] = {}  # (asset, kind) that this command has moved
        self._pools: dict[int, dict[int, int]] = {}  # asset -> change of its pool's lines, by kind
        self.clients_moved: list[int] = []  # accounts of clients with a line that this command has moved, in order
        self._serials = 0
        self._touched: dict[tuple[int, int], None] = {}  # (client account, asset) of cash or debt moved

    # reading

    def balance(self, account: int, asset: int, kind: int) -> int:
        """Balance of a line as this command has left it."""
        found = self._lines.get((account, asset, kind)) or self._held(account, asset, kind)
        return found[0] if found is not None else 0

    def lines_of(self, account: int) -> list[tuple[int, int]]:
        """(asset, kind) of the account's lines that are not zero as this command has left them, sorted."""
        moved = self._of_account.get(account)
        if not moved:
            return self.state.lines_of(account)
        return sorted(key for key in {*moved, *self.state.lines_of(account)} if self.balance(account, *key))

    def account(self, account: int) -> journal_pb2.Account | None:
        """A client's account as this command has left it."""
        return self._accounts.get(account) or self.state.accounts.get(account)

    def order(self, order: int) -> journal_pb2.Order | None:
        """A live or recently closed order as this command has left it."""
        return self._orders.get(order) or self.state.orders.get(order) or self.state.closed_orders.get(order)

    def episode(self, episode: int) -> journal_pb2.Episode | None:
        """An open episode as this command has left it."""
        return self._episodes.get(episode) or self.state.episodes.get(episode)

    def transit_mark(self, to: int) -> movement_pb2.TransitMark:
        """How far the movements to a partition are as this command has left it."""
        known = self._marks.get(to) or self.state.transit.get(to)
        return known or movement_pb2.TransitMark(to_partition=to)

    def capital_ask(self, episode: int) -> movement_pb2.CapitalAsk | None:
        """What an episode has asked of other partitions; over or not."""
        return self._asks.get(episode) or self.state.asks.get(episode)

    @property
    def capital_asks(self) -> list[movement_pb2.CapitalAsk]:
        """What episodes have asked of other partitions and still wait for."""
        return [one for one in {**self.state.asks, **self._asks}.values() if not one.is_over]

    @property
    def has_moved(self) -> bool:
        """Whether this command has moved a line."""
        return bool(self._lines)

    @property
    def entity_moves(self) -> list[movement_pb2.EntityMove]:
        """Entities on their way out as this command has left them."""
        if not self._moves and not self.state.moves:
            return []
        return [one for one in {**self.state.moves, **self._moves}.values() if not one.is_out]

    @property
    def cash_touched(self) -> list[tuple[int, int]]:
        """(account, asset) of clients whose cash this command has moved, in order."""
        return list(self._touched)

    @property
    def pools_moved(self) -> list[int]:
        """Assets whose pool this command has moved, sorted."""
        return sorted(self._pools)

    @property
    def accounts_moved(self) -> list[int]:
        """Accounts with a line that this command has moved, in order."""
        return list(self._of_account)

    @property
    def positions_moved(self) -> list[tuple[int, int]]:
        """(account, instrument) of lots that this command has moved, in order."""
        return [(account, asset) for account, asset, kind in self._lines if kind == LOTS]

    def _no_postings(self) -> Iterable[journal_pb2.Effect]:
        if not self._postings:
            return self.effects
        if len(self.effects) == self._postings:
            return ()
        return [effect for effect in self.effects if not effect.HasField("posting")]

    # writing

    def new_id(self) -> int:
        """Id for a new order, reservation or episode."""
        self._serials += 1
        serial = self.state.serial + self._serials
        invariant(serial <= SERIAL_MASK, "I8", "serials exhausted")
        return serial_id(partition=self.state.partition, serial=serial)

    def post(self, account: int, asset: int, kind: ledger_pb2.LineKind, delta: int) -> None:
        """Moves a line. Raises OverflowError beyond 63 bits: the command is refused, nothing is applied."""
        if delta:
            what = (asset, kind)
            self._sums[what] = self._sums.get(what, 0) + delta
            self._post(account, asset, kind, delta)

    def move(self, *, debit: int, credit: int, asset: int, kind: ledger_pb2.LineKind, units: int) -> None:
        """Takes units from one account's line and gives them to another's."""
        if units:
            self._post(debit, asset, kind, -units)
            self._post(credit, asset, kind, units)

    def _post(self, account: int, asset: int, kind: ledger_pb2.LineKind, delta: int) -> None:
        line: Line = (account, asset, kind)
        known = self._lines.get(line)
        balance, version = known or self._held(account, asset, kind) or _NOTHING
        balance += delta
        version += 1
        if not _LEAST < balance < INT63:
            raise OverflowError(f"line {line} would hold {balance}")
        self._lines[line] = (balance, version)
        if known is None:
            self._note_line(account, asset, kind)
        if account & _LOCAL == _POOLS | asset:
            moved = self._pools[asset]
            moved[kind] = moved.get(kind, 0) + delta
        posting = self._add().posting  # filled where it stands: a posting of its own would be copied
        posting.account = account
        posting.asset = asset
        posting.kind = kind
        posting.delta = delta
        posting.balance = balance
        posting.version = version
        self._postings += 1

    def _note_line(self, account: int, asset: int, kind: ledger_pb2.LineKind) -> None:
        """Notes a line that this command moves for the first time."""
        lines = self._of_account.get(account)
        if lines is not None:
            lines.append((asset, kind))
        else:
            self._of_account[account] = [(asset, kind)]
            if account & CLIENT_BITS:
                self.clients_moved.append(account)
        if account & CLIENT_BITS:
            if kind == CASH:
                self._touched[account, asset] = None
        elif account & _OF_KIND == _POOLS:
            self._pools.setdefault(asset, {})

    def put_account(self, one: journal_pb2.Account) -> None:
        """Replaces an account's attributes."""
        if self._accounts is _NONE:
            self._accounts = {}
        self._accounts[one.account] = one
        self._add().account.CopyFrom(one)

    def put_order(self, one: journal_pb2.Order) -> None:
        """Replaces an order."""
        if self._orders is _NONE:
            self._orders = {}
        self._orders[one.order] = one
        self._add().order.CopyFrom(one)

    def put_episode(self, one: journal_pb2.Episode) -> None:
        """Replaces an episode."""
        if self._episodes is _NONE:
            self._episodes = {}
        self._episodes[one.episode] = one
        self._add().episode.CopyFrom(one)

    def put_transit_mark(self, one: movement_pb2.TransitMark) -> None:
        """Replaces how far the movements to a partition are."""
        if self._marks is _NONE:
            self._marks = {}
        self._marks[one.to_partition] = one
        self.effects.append(journal_pb2.Effect(transit_mark=one))

    def put_entity_move(self, one: movement_pb2.EntityMove) -> None:
        """Replaces an entity's move."""
        if self._moves is _NONE:
            self._moves = {}
        self._moves[one.entity] = one
        self.effects.append(journal_pb2.Effect(entity_move=one))

    def put_capital_ask(self, one: movement_pb2.CapitalAsk) -> None:
        """Replaces what an episode has asked for."""
        if self._asks is _NONE:
            self._asks = {}
        self._asks[one.episode] = one
        self.effects.append(journal_pb2.Effect(capital_ask=one))

    def note(self, effect: journal_pb2.Effect) -> None:
        """Adds an effect that no later part of the command reads; a posting is made by `post` only."""
        self.effects.append(effect)

    def alert(self, name: str, *, account: int, detail: str) -> None:
        """Says that a person must look."""
        self.note(journal_pb2.Effect(alert=journal_pb2.Alert(name=name, account=account, detail=detail)))

    def commit(self) -> None:
        """Applies the effects to the state.

        Raises: InvariantBroken I1 when the postings do not cancel, I2 when a pool lends what it has not or loses value.
        """
        for key, total in self._sums.items():
            if total:
                invariant(False, "I1", f"postings of {key} sum to {total}")
        others = self._no_postings()
        if self._pools and not any(effect.HasField("pool_index") for effect in others):
            for asset in self._pools:
                self._check_pool(asset)
        if self._lines:
            self.state.put_lines(self._lines)
        for effect in others:
            self.state.apply(effect)

    def _check_pool(self, asset: int) -> None:
        """What a pool holds beyond its lenders' claims, exact in 10^-15 units, may only grow, by roundings."""
        moved = self._pools[asset]
        gained = 0
        for kind, change in moved.items():
            if kind == DEBT:
                gained -= change * self.state.borrow_index(asset)
            elif kind == SUPPLY:
                gained += change * self.state.supply_index(asset)
            elif kind in _POOL_UNITS:
                gained += change * INDEX_ONE
        if gained < 0:
            invariant(False, "I2", f"pool {asset} loses {-gained} of 10^-15 units")
        pool = system_account(SystemAccount.POOL, partition=self.state.partition, index=asset)
        idle = self.balance(pool, asset, CASH)
        if idle < 0:
            invariant(False, "I2", f"pool {asset} is left with {idle} units idle")


def apply_all(state: State, effects: Iterable[journal_pb2.Effect]) -> None:
    """Folds effects into the state."""
    for effect in effects:
        state.apply(effect)
