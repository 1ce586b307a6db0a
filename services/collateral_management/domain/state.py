"""Everything the ledger of one partition holds: the fold of its journal, by overwriting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.accounts import Attributes, Lines
from libs.common.book import PartitionBook, fold_account, item_of, load_account
from libs.common.fingerprint import ItemSum
from libs.common.ids import CLIENT_BITS, entity_of, system_kind
from libs.common.lifecycle import LIFECYCLE_ITEMS, Lifecycle
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.custody import EFFECTS as CUSTODY_EFFECTS
from services.collateral_management.domain.custody import Custody
from services.collateral_management.domain.remembered import EntityAccounts, Memory

Line = tuple[int, int, int]  # account, asset or instrument, LineKind

CASH = ledger_pb2.LINE_KIND_CASH
RESERVED = ledger_pb2.LINE_KIND_RESERVED
SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
DEBT = ledger_pb2.LINE_KIND_DEBT_SHARES
OVERDRAFT = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES
LOTS = ledger_pb2.LINE_KIND_LOTS
VARIATION = ledger_pb2.LINE_KIND_VARIATION
LOSS = ledger_pb2.LINE_KIND_LOSS
QUOTA = ledger_pb2.LINE_KIND_QUOTA
_INDEXED = frozenset((OVERDRAFT, LOTS, VARIATION))

LIVE = frozenset(
    (
        ledger_pb2.ORDER_STATE_RESERVED,
        ledger_pb2.ORDER_STATE_RELEASED,
        ledger_pb2.ORDER_STATE_WORKING,
        ledger_pb2.ORDER_STATE_CANCELLING,
    )
)
CLOSED_ORDERS_MAX = 10_000  # terminal orders remembered, for reports that come late
FUNDING_HISTORY_MAX = 64
SERIAL_MASK = (1 << 48) - 1
ORDER, EPISODE = 3, 5  # kinds of items, by the first number of their keys (libs/common/book.py)


_Kept = TypeVar(
    "_Kept",
    journal_pb2.Account,
    journal_pb2.Order,
    journal_pb2.Reservation,
    journal_pb2.Episode,
    journal_pb2.PoolIndex,
    movement_pb2.TransitMark,
    movement_pb2.EntityMove,
    movement_pb2.CapitalAsk,
    movement_pb2.Movement,
)


def _own(part: _Kept) -> _Kept:
    """A copy to be kept: a part of a message keeps the whole in memory, when folding a frame of many outcomes."""
    copy = type(part)()
    copy.CopyFrom(part)
    return copy


class State(Memory):
    """State of one partition. Changed by `apply` and `remember_*` only; `load_*` are for checkpoints."""

    def __init__(self, partition: int) -> None:
        super().__init__()
        self.partition = partition
        self.serial = 0  # of orders, reservations and episodes
        self.entity_serial = 0
        self.accounts = Attributes()
        self.entity_accounts = EntityAccounts(self.accounts)
        self.orders: dict[int, journal_pb2.Order] = {}
        self.closed_orders: OrderedDict[int, journal_pb2.Order] = OrderedDict()
        self.reservations: dict[int, journal_pb2.Reservation] = {}
        self.episodes: dict[int, journal_pb2.Episode] = {}
        self.closed_sequence: dict[int, int] = {}  # account -> sequence of its last episode's close
        self.pools: dict[int, journal_pb2.PoolIndex] = {}
        self.funding: dict[int, list[tuple[int, int]]] = {}  # instrument -> (run time, F), oldest first
        self.funding_tick: dict[int, int] = {}
        self.settlement_tick: dict[int, int] = {}
        self.venue_epochs: dict[int, int] = {}
        self.streams: dict[str, int] = {}
        self.movements: dict[tuple[int, int], movement_pb2.Movement] = {}  # (to, sequence) -> not known to have arrived
        self.transit: dict[int, movement_pb2.TransitMark] = {}  # by partition they go to
        self.moves: dict[int, movement_pb2.EntityMove] = {}  # entities on their way out
        self.quota_moves: dict[int, int] = {}  # asset -> number of the last move out of its pool
        self.asks: dict[int, movement_pb2.CapitalAsk] = {}  # by episode
        self.pool_holds: dict[int, int] = {}  # asset -> tick before which nothing leaves the pool
        self.aliases: dict[int, int] = {}  # account id before it moved here -> id now
        self.windows: dict[str, tuple[int, int]] = {}  # client -> (window of run time, commands in it)
        self.custody = Custody()
        self.lifecycle = Lifecycle()
        self._lines = Lines()
        self.items: dict[tuple[int, ...], bytes] = {}  # last effect on each item but lines and accounts
        self.closed_places: dict[int, int] = {}  # closed order -> its place
        self._fingerprint = ItemSum()
        self._holders: dict[int, set[int]] = {}  # instrument -> clients with lots or variation
        self._overdrawn: dict[int, set[int]] = {}  # asset -> clients with an overdraft
        self._orders_of: dict[int, set[int]] = {}
        self._reservations_of: dict[int, set[int]] = {}

    @property
    def fingerprint(self) -> bytes:
        """Fingerprint of the state, 16 bytes: the frame's that brings it here."""
        return self._fingerprint.digest

    @property
    def held(self) -> Callable[[int, int, int], tuple[int, int] | None]:
        """`line`, but None for a line that was never posted to."""
        return self._lines.get

    def line(self, account: int, asset: int, kind: int) -> tuple[int, int]:
        """Balance and version of a line."""
        return self._lines.get(account, asset, kind) or (0, 0)

    def lines_of(self, account: int) -> list[tuple[int, int]]:
        """(asset, kind) of the account's lines that are not zero, sorted."""
        return sorted([key for key, value in self._lines.of(account).items() if value[0]])

    def begin_book(self, book: PartitionBook, others: list[journal_pb2.Effect]) -> None:
        """Lets a new book stand where this state stands; they share what rests. `others`: of all items but accounts."""
        book.begin(self._lines, self.accounts, self._fingerprint, others=others)
        book.streams.update(self.streams)

    def packed_lines(self, account: int) -> bytes:
        """Every line the account ever had, as bytes."""
        return self._lines.packed(account)

    def accounts_with_lines(self) -> Iterator[int]:
        """Accounts that have or had a line, the house's too."""
        return self._lines.accounts()

    def holders(self, instrument: int) -> list[int]:
        """Accounts with lots or variation in the instrument, sorted; house accounts left out."""
        return sorted(self._holders.get(instrument, ()))

    def holders_unsorted(self, instrument: int) -> Iterable[int]:
        """The same, in no order."""
        return self._holders.get(instrument, ())

    def overdrawn(self, asset: int) -> list[int]:
        """Clients' accounts with an overdraft in the asset, sorted."""
        return sorted(self._overdrawn.get(asset, ()))

    def orders_of(self, account: int) -> list[journal_pb2.Order]:
        """Live orders of the account, oldest first."""
        return [self.orders[one] for one in sorted(self._orders_of.get(account, ()))]

    def orders_count(self, account: int) -> int:
        """Number of live orders of the account."""
        return len(self._orders_of.get(account, ()))

    def reservations_of(self, account: int) -> list[journal_pb2.Reservation]:
        """Pending reservations of the account, oldest first."""
        return [self.reservations[one] for one in sorted(self._reservations_of.get(account, ()))]

    def all_lines(self) -> Iterator[tuple[Line, int]]:
        """Every line with its balance."""
        for line, (balance, _) in self._lines.items():
            yield line, balance

    def borrow_index(self, asset: int) -> int:
        """Units of debt per share, 10^-15."""
        pool = self.pools.get(asset)
        return pool.borrow_index if pool else INDEX_ONE

    def supply_index(self, asset: int) -> int:
        """Units of claim per share, 10^-15."""
        pool = self.pools.get(asset)
        return pool.supply_index if pool else INDEX_ONE

    def overdraft_index(self, asset: int) -> int:
        """Units of overdraft per share, 10^-15."""
        pool = self.pools.get(asset)
        return pool.overdraft_index if pool else INDEX_ONE

    def funding_at(self, instrument: int, run_time_ns: int) -> int:
        """Cumulative funding at a run time; the oldest remembered one before the history."""
        history = self.funding.get(instrument)
        if not history:
            return 0
        latest = history[0][1] if len(history) == FUNDING_HISTORY_MAX else 0
        for at_ns, value in history:
            if at_ns > run_time_ns:
                break
            latest = value
        return latest

    def apply(self, effect: journal_pb2.Effect) -> None:
        """Folds one effect."""
        which = effect.WhichOneof("effect")
        if which == "posting":
            one = effect.posting
            self.put_lines({(one.account, one.asset, one.kind): (one.balance, one.version)})
            return
        if which == "account":
            self._apply_account(effect.account)
            return
        item = item_of(effect)
        if item is not None:
            self._fingerprint.set(*item)
            self._keep(item[0], effect, is_live=item[1] is not None)
        match which:
            case "order":
                self._apply_order(_own(effect.order))
            case "reservation":
                self._apply_reservation(_own(effect.reservation))
            case "episode":
                self._apply_episode(_own(effect.episode))
            case "pool_index":
                self.pools[effect.pool_index.asset] = _own(effect.pool_index)
            case "funding_index":
                self._apply_funding(effect.funding_index)
            case "settlement":
                self.settlement_tick[effect.settlement.instrument] = effect.settlement.tick
            case "venue_session":
                self.venue_epochs[effect.venue_session.venue] = effect.venue_session.epoch
            case _:
                self._apply_transit(effect)

    def _apply_transit(self, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case which if which in CUSTODY_EFFECTS:
                self.custody.apply(effect)
            case which if which in LIFECYCLE_ITEMS:
                self.lifecycle.apply(effect)
            case "movement":
                moved = effect.movement
                if moved.arrived:
                    self.movements.pop((moved.to_partition, moved.sequence), None)
                else:
                    self.movements[moved.to_partition, moved.sequence] = _own(moved)
            case "transit_mark":
                self.transit[effect.transit_mark.to_partition] = _own(effect.transit_mark)
            case "entity_move":
                if effect.entity_move.is_out:
                    self.moves.pop(effect.entity_move.entity, None)
                else:
                    self.moves[effect.entity_move.entity] = _own(effect.entity_move)
            case "quota_moved":
                self.quota_moves[effect.quota_moved.asset] = effect.quota_moved.number
            case "pool_hold":
                self.pool_holds[effect.pool_hold.asset] = effect.pool_hold.until_tick
            case "capital_ask":
                if effect.capital_ask.is_over:
                    self.asks.pop(effect.capital_ask.episode, None)
                else:
                    self.asks[effect.capital_ask.episode] = _own(effect.capital_ask)
            case _:  # fills, waterfall steps and alerts say why; their postings stand beside them
                pass

    def _keep(self, key: tuple[int, ...], effect: journal_pb2.Effect, *, is_live: bool) -> None:
        self.changes.items[key] = None
        if is_live or key[0] == ORDER:  # a closed order is remembered for a while
            self.items[key] = effect.SerializeToString()
            return
        self.items.pop(key, None)
        if key[0] == EPISODE:  # an account's last closing outlives the episode
            aside = (-EPISODE, effect.episode.account)
            self.items[aside] = effect.SerializeToString()
            self.changes.items[aside] = None

    def put_lines(self, lines: Mapping[Line, tuple[int, int]]) -> None:
        """Overwrites balances and versions of lines."""
        put, replace, changed = self._lines.set, self._fingerprint.replace, self.changes.accounts
        for (account, asset, kind), value in lines.items():
            old = put(account, asset, kind, value)
            changed[account] = None
            replace((1, account, asset, kind), old, value)
            if kind in _INDEXED and account & CLIENT_BITS:
                self._index(account, asset, kind, value[0])

    def _index(self, account: int, asset: int, kind: int, balance: int) -> None:
        if kind == OVERDRAFT:
            overdrawn = self._overdrawn.setdefault(asset, set())
            (overdrawn.add if balance else overdrawn.discard)(account)
            return
        holders = self._holders.setdefault(asset, set())
        if balance or any(self.line(account, asset, either)[0] for either in (LOTS, VARIATION)):
            holders.add(account)
        else:
            holders.discard(account)

    def load_account(self, account: int, *, attributes: bytes, lines: bytes) -> None:
        """Replaces an account and its lines by what a checkpoint holds. Raises struct.error, DecodeError."""
        before = self._lines.peek(account)
        loaded = self._lines.load(account, lines)
        if before:
            for asset, kind, *value in loaded:
                self._fingerprint.replace((1, account, asset, kind), before.get((asset, kind)), tuple(value))
        else:
            self._fingerprint.add_items([(1, account, *line) for line in loaded])
        if system_kind(account) is None:
            for asset, kind, balance, _ in loaded:
                if kind in _INDEXED:
                    self._index(account, asset, kind, balance)
        if attributes:
            is_new = account not in self.accounts
            self._note_account(load_account(self.accounts, self._fingerprint, attributes), is_new=is_new)

    def _apply_account(self, one: journal_pb2.Account) -> None:
        self.changes.accounts[one.account] = None
        self._note_account(one, is_new=fold_account(self.accounts, self._fingerprint, one) is None)

    def _note_account(self, one: journal_pb2.Account, *, is_new: bool) -> None:
        if is_new:
            self.entity_accounts.opened(one.entity, one.account)
            self.entity_serial = max(self.entity_serial, entity_of(one.account) >> 16 & 0xFFFFFFFF)
        if one.moved_from:
            self.aliases[one.moved_from] = one.account

    def _apply_order(self, one: journal_pb2.Order) -> None:
        self.serial = max(self.serial, one.order & SERIAL_MASK)
        live = self._orders_of.setdefault(one.account, set())
        if one.state in LIVE:
            self.orders[one.order] = one
            live.add(one.order)
            return
        self.orders.pop(one.order, None)
        live.discard(one.order)
        self.closed_orders.pop(one.order, None)
        self.closed_orders[one.order] = one
        self.closed_places[one.order] = self.next_place()
        while len(self.closed_orders) > CLOSED_ORDERS_MAX:
            oldest, _ = self.closed_orders.popitem(last=False)
            del self.closed_places[oldest]
            self.items.pop((ORDER, oldest), None)
            self.changes.items[(ORDER, oldest)] = None

    def _apply_reservation(self, one: journal_pb2.Reservation) -> None:
        self.serial = max(self.serial, one.reservation & SERIAL_MASK)
        pending = self._reservations_of.setdefault(one.account, set())
        if one.state == ledger_pb2.RESERVATION_STATE_PENDING:
            self.reservations[one.reservation] = one
            pending.add(one.reservation)
        else:
            self.reservations.pop(one.reservation, None)
            pending.discard(one.reservation)

    def _apply_episode(self, one: journal_pb2.Episode) -> None:
        self.serial = max(self.serial, one.episode & SERIAL_MASK)
        if one.state == ledger_pb2.EPISODE_STATE_OPEN:
            self.episodes[one.episode] = one
        else:
            self.episodes.pop(one.episode, None)
            self.closed_sequence[one.account] = one.closed_sequence

    def _apply_funding(self, one: journal_pb2.FundingIndex) -> None:
        if one.tick <= self.funding_tick.get(one.instrument, -1):
            return  # folded again, behind a checkpoint that has it
        self.changes.funding[one.instrument] = None
        self.funding_tick[one.instrument] = one.tick
        history = self.funding.setdefault(one.instrument, [])
        history.append((one.run_time_ns, int.from_bytes(one.cumulative_funding, "big", signed=True)))
        del history[:-FUNDING_HISTORY_MAX]
