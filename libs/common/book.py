"""What one partition's journal adds up to: folded by overwriting, so no follower needs a rule of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.accounts import Attributes, Balances, Lines
from libs.common.custody import CUSTODY_ITEMS, CustodyBook
from libs.common.errors import invariant
from libs.common.fingerprint import ItemSum
from libs.common.lifecycle import LIFECYCLE_ITEMS, Lifecycle

LIVE_ORDER_STATES = frozenset(
    (
        ledger_pb2.ORDER_STATE_RESERVED,
        ledger_pb2.ORDER_STATE_RELEASED,
        ledger_pb2.ORDER_STATE_WORKING,
        ledger_pb2.ORDER_STATE_CANCELLING,
    )
)


class _Copied(Protocol):
    def CopyFrom(self, other: Any, /) -> None: ...


_M = TypeVar("_M", bound=_Copied)
_K = TypeVar("_K")


class Fingerprint(ItemSum):
    """Fingerprint of a partition's state."""

    __slots__ = ()

    def apply(self, effect: journal_pb2.Effect) -> None:
        """Counts an effect of the journal."""
        item = item_of(effect)
        if item is not None:
            self.set(*item)


_Item = tuple[tuple[int, ...], tuple[int, ...] | None]


def _posting(effect: journal_pb2.Effect) -> _Item:
    one = effect.posting
    return (1, one.account, one.asset, one.kind), (one.balance, one.version)


def _account(effect: journal_pb2.Effect) -> _Item:
    return (2, effect.account.account), _attributes(effect.account)


def _attributes(one: journal_pb2.Account) -> tuple[int, ...]:
    owner = int.from_bytes(hashlib.blake2b(one.owner.encode(), digest_size=8).digest(), "big")
    value: tuple[int, ...] = (one.entity, owner, one.restricted, one.episode)
    if one.moving_to or one.moved_from:  # nearly nobody moves: their items stay what they were
        value += (one.moving_to, one.moved_out, one.moved_to, one.moved_from)
    if one.closed or one.held:
        value += (one.closed, one.held)
    return value


def _order(effect: journal_pb2.Effect) -> _Item:
    one = effect.order
    if one.state not in LIVE_ORDER_STATES:
        return (3, one.order), None
    amended = (one.amended_lots, one.amended_price, one.replaces) if one.amended_lots or one.replaces else ()
    return (3, one.order), (
        one.account, one.instrument, one.venue, one.side, one.lots, one.remaining, one.limit_price,
        one.time_in_force, one.reduce_only, one.state, one.episode, one.step, one.send_by_ns, one.reserved_sequence,
        *amended,
    )  # fmt: skip


def _reservation(effect: journal_pb2.Effect) -> _Item:
    one = effect.reservation
    if one.state != ledger_pb2.RESERVATION_STATE_PENDING:
        return (4, one.reservation), None
    value: tuple[int, ...] = (one.account, one.to_account, one.asset, one.units, one.reserved_sequence)
    if one.asks:
        value += (one.asked_at_ns, one.asks, one.is_answered, one.granted_units)
    return (4, one.reservation), value


def _episode(effect: journal_pb2.Effect) -> _Item:
    one = effect.episode
    if one.state != ledger_pb2.EPISODE_STATE_OPEN:
        return (5, one.episode), None
    return (5, one.episode), (one.account, one.step, one.opened_sequence, one.last_fill_sequence, one.opened_at_ns)


def _pool_index(effect: journal_pb2.Effect) -> _Item:
    one = effect.pool_index
    return (6, one.asset), (one.tick, one.run_time_ns, one.borrow_index, one.supply_index, one.overdraft_index)


def _funding_index(effect: journal_pb2.Effect) -> _Item:
    one = effect.funding_index
    return (7, one.instrument), (one.tick, one.run_time_ns, int.from_bytes(one.cumulative_funding, "big", signed=True))


def _settlement(effect: journal_pb2.Effect) -> _Item:
    return (8, effect.settlement.instrument), (effect.settlement.tick, effect.settlement.price)


def _venue_session(effect: journal_pb2.Effect) -> _Item:
    return (9, effect.venue_session.venue), (effect.venue_session.epoch,)


def _movement(effect: journal_pb2.Effect) -> _Item:
    one = effect.movement
    key = (20, one.to_partition, one.sequence)
    if one.arrived:
        return key, None
    whole = hashlib.blake2b(one.SerializeToString(deterministic=True), digest_size=16)
    return key, (int.from_bytes(whole.digest(), "big"),)


def _transit_mark(effect: journal_pb2.Effect) -> _Item:
    return (21, effect.transit_mark.to_partition), (effect.transit_mark.sent, effect.transit_mark.arrived)


def _entity_move(effect: journal_pb2.Effect) -> _Item:
    one = effect.entity_move
    return (22, one.entity), None if one.is_out else (one.to_partition, one.into_entity)


def _quota_moved(effect: journal_pb2.Effect) -> _Item:
    return (23, effect.quota_moved.asset), (effect.quota_moved.number,)


def _capital_ask(effect: journal_pb2.Effect) -> _Item:
    one = effect.capital_ask
    if one.is_over:
        return (24, one.episode), None
    whole = hashlib.blake2b(one.SerializeToString(deterministic=True), digest_size=16)
    return (24, one.episode), (int.from_bytes(whole.digest(), "big"),)


def _pool_hold(effect: journal_pb2.Effect) -> _Item:
    return (25, effect.pool_hold.asset), (effect.pool_hold.until_tick,)


_ITEMS = {
    **CUSTODY_ITEMS,
    **LIFECYCLE_ITEMS,
    "pool_hold": _pool_hold,
    "movement": _movement,
    "transit_mark": _transit_mark,
    "entity_move": _entity_move,
    "quota_moved": _quota_moved,
    "capital_ask": _capital_ask,
    "posting": _posting,
    "account": _account,
    "order": _order,
    "reservation": _reservation,
    "episode": _episode,
    "pool_index": _pool_index,
    "funding_index": _funding_index,
    "settlement": _settlement,
    "venue_session": _venue_session,
}


def item_of(effect: journal_pb2.Effect) -> _Item | None:
    """Key and value of the item that an effect overwrites, value None when it ends; None where there is no item."""
    item = _ITEMS.get(effect.WhichOneof("effect") or "")
    return item(effect) if item is not None else None


class PartitionBook:
    """State of one partition at `sequence`, with the ledger's own messages as values.

    `lines` holds balances that are not zero; `orders`, `reservations` the live ones; `episodes` the open ones and each
    account's last closed one.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.sequence = 0
        self.run_time_ns = 0
        self.alerts: list[journal_pb2.Alert] = []  # of the last frame
        self.accounts = Attributes()
        self.orders: dict[int, journal_pb2.Order] = {}
        self.reservations: dict[int, journal_pb2.Reservation] = {}
        self.episodes: dict[int, journal_pb2.Episode] = {}
        self.last_closed: dict[int, journal_pb2.Episode] = {}  # by account
        self.pools: dict[int, journal_pb2.PoolIndex] = {}
        self.funding: dict[int, journal_pb2.FundingIndex] = {}
        self.settlements: dict[int, journal_pb2.Settlement] = {}
        self.streams: dict[str, int] = {}
        self.venue_epochs: dict[int, int] = {}
        self.movements: dict[tuple[int, int], movement_pb2.Movement] = {}  # sent, not known to have arrived
        self.transit: dict[int, movement_pb2.TransitMark] = {}  # by partition they go to
        self.moves: dict[int, movement_pb2.EntityMove] = {}  # entities on their way out
        self.quota_moves: dict[int, int] = {}  # asset -> number of the last move out of its pool
        self.asks: dict[int, movement_pb2.CapitalAsk] = {}  # by episode
        self.pool_holds: dict[int, int] = {}  # asset -> tick before which nothing leaves the pool
        self.custody = CustodyBook()
        self.lifecycle = Lifecycle()
        self._fingerprint = Fingerprint()
        self._lines = Lines()

    @property
    def fingerprint(self) -> bytes:
        """Fingerprint of the state, 16 bytes; equals the frame's at the same sequence (I13)."""
        return self._fingerprint.digest

    @property
    def lines(self) -> Balances:
        """Balances that are not zero, by (account, asset or instrument, kind)."""
        return Balances(self._lines)

    def lines_of(self, account: int) -> dict[tuple[int, ledger_pb2.LineKind], int]:
        """Balances of an account that are not zero, by (asset or instrument, kind)."""
        return {(asset, kind): value for (asset, kind), (value, _) in self._lines.of(account).items() if value}  # type: ignore[misc]

    def open_episode(self, account: int) -> journal_pb2.Episode | None:
        """The account's open episode."""
        attributes = self.accounts.get(account)
        return self.episodes.get(attributes.episode) if attributes and attributes.episode else None

    def begin(
        self, lines: Lines, accounts: Attributes, fingerprint: ItemSum, *, others: Iterable[journal_pb2.Effect]
    ) -> None:
        """Stands at a frame instead of before the first one: tables and fingerprint as of it, effects of all others."""
        self._apply_effects(others, set())
        self._lines, self.accounts = lines.fork(), accounts.fork()
        self._fingerprint.become(fingerprint)

    def away(self) -> Iterator[movement_pb2.MovedLine]:
        """Lines of entities that have left for another partition and are not known to have arrived there."""
        for one in self.movements.values():
            if one.kind == ledger_pb2.MOVEMENT_KIND_ENTITY:
                yield from one.lines

    def apply(self, *, sequence: int, run_time_ns: int, body: journal_pb2.JournalBody) -> set[int]:
        """Folds one accepted frame; returns the accounts it touched.

        Raises:
            InvariantBroken: I8 when the sequence is not the next one.
        """
        invariant(sequence == self.sequence + 1, "I8", f"expected sequence {self.sequence + 1}, was {sequence}")
        self.sequence, self.run_time_ns = sequence, run_time_ns
        self.alerts = []
        touched: set[int] = set()
        for outcome in body.outcomes:
            if outcome.WhichOneof("key") == "fact" and not outcome.refusal and not outcome.repeated:
                self.streams[outcome.fact.stream] = outcome.fact.sequence
            self._apply_effects(outcome.effects, touched)
        return touched

    def _apply_effects(self, effects: Iterable[journal_pb2.Effect], touched: set[int]) -> None:
        put, replace = self._lines.set, self._fingerprint.replace
        for effect in effects:
            which = effect.WhichOneof("effect")
            if which == "posting":
                one = effect.posting
                account, asset, kind, value = one.account, one.asset, one.kind, (one.balance, one.version)
                touched.add(account)
                replace((1, account, asset, kind), put(account, asset, kind, value), value)
            elif which == "account":
                touched.add(effect.account.account)
                fold_account(self.accounts, self._fingerprint, effect.account)
            elif which is not None:
                self._fingerprint.apply(effect)
                self._apply_other(which, effect, touched)

    def _apply_other(self, which: str, effect: journal_pb2.Effect, touched: set[int]) -> None:
        match which:
            case "order":
                touched.add(effect.order.account)
                _keep(self.orders, effect.order.order, effect.order, effect.order.state in LIVE_ORDER_STATES)
            case "reservation":
                one = effect.reservation
                touched.add(one.account)
                _keep(self.reservations, one.reservation, one, one.state == ledger_pb2.RESERVATION_STATE_PENDING)
            case "episode":
                touched.add(effect.episode.account)
                is_open = effect.episode.state == ledger_pb2.EPISODE_STATE_OPEN
                _keep(self.episodes, effect.episode.episode, effect.episode, is_open)
                if not is_open:
                    self.last_closed[effect.episode.account] = own(effect.episode)
            case "pool_index":
                self.pools[effect.pool_index.asset] = own(effect.pool_index)
            case "funding_index":
                self.funding[effect.funding_index.instrument] = own(effect.funding_index)
            case "settlement":
                self.settlements[effect.settlement.instrument] = own(effect.settlement)
            case "venue_session":
                self.venue_epochs[effect.venue_session.venue] = effect.venue_session.epoch
            case "alert":
                self.alerts.append(effect.alert)
            case _:
                self._apply_transit(which, effect)

    def _apply_transit(self, which: str, effect: journal_pb2.Effect) -> None:
        match which:
            case "movement":
                moved = effect.movement
                _keep(self.movements, (moved.to_partition, moved.sequence), moved, not moved.arrived)
            case "transit_mark":
                self.transit[effect.transit_mark.to_partition] = own(effect.transit_mark)
            case "entity_move":
                _keep(self.moves, effect.entity_move.entity, effect.entity_move, not effect.entity_move.is_out)
            case "quota_moved":
                self.quota_moves[effect.quota_moved.asset] = effect.quota_moved.number
            case "pool_hold":
                self.pool_holds[effect.pool_hold.asset] = effect.pool_hold.until_tick
            case "capital_ask":
                _keep(self.asks, effect.capital_ask.episode, effect.capital_ask, not effect.capital_ask.is_over)
            case _:
                self.custody.apply(which, effect)
                self.lifecycle.apply(effect)


def fold_account(accounts: Attributes, fingerprint: ItemSum, one: journal_pb2.Account) -> journal_pb2.Account | None:
    """Overwrites an account's attributes; returns what they were."""
    old = accounts.get(one.account)
    accounts[one.account] = one
    fingerprint.replace((2, one.account), None if old is None else _attributes(old), _attributes(one))
    return old


def load_account(accounts: Attributes, fingerprint: ItemSum, packed: bytes) -> journal_pb2.Account:
    """Overwrites an account's attributes by a serialised message; returns it. Raises DecodeError."""
    one = journal_pb2.Account.FromString(packed)
    if one.account in accounts:
        fold_account(accounts, fingerprint, one)
    else:
        accounts.load(one.account, packed)
        fingerprint.add_items(((2, one.account, *_attributes(one)),))
    return one


def own(part: _M) -> _M:
    """A copy to be kept: a part of a message keeps the whole in memory, here a frame of hundreds of outcomes."""
    copy = type(part)()
    copy.CopyFrom(part)
    return copy


def _keep(table: dict[_K, _M], key: _K, value: _M, keep: bool) -> None:
    if keep:
        table[key] = own(value)
    else:
        table.pop(key, None)
