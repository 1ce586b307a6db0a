"""What a partition remembers of commands and entities besides money."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

from ballast.types.v1 import ledger_pb2
from libs.common.accounts import Attributes
from services.collateral_management.domain.changes import CHUNK_BITS, Changes

SESSIONS_MAX = 64  # of one principal: whoever opens more forgets its own oldest, nobody else's


class Remembered(NamedTuple):
    """The outcome of a key: what a repetition gets again (one a command: frozen dataclasses are slow to make)."""

    request_hash: bytes
    refusal: ledger_pb2.Refusal
    detail: str
    subject: int


@dataclass(frozen=True, slots=True)
class RememberedKey:
    """A unary key with the run time it was issued at, and its place among those of its principal."""

    issued_at_ns: int
    outcome: Remembered
    place: int = 0


class Session:
    """High mark and last outcomes of a stream of commands, by ascending number; its place by last use."""

    __slots__ = ("high", "outcomes", "place")

    def __init__(self) -> None:
        self.high = 0
        self.outcomes: OrderedDict[int, Remembered] = OrderedDict()
        self.place = 0


class Memory:
    """What a repetition of a command gets, and what a checkpoint is to save."""

    def __init__(self) -> None:
        self.sessions: dict[str, OrderedDict[bytes, Session]] = {}  # by principal, least recently used first
        self.client_keys: dict[str, OrderedDict[str, RememberedKey]] = {}
        self.changes = Changes()
        self.places = 0  # counts what is forgotten in the order it came

    def session(self, principal: str, session: bytes) -> Session | None:
        """A principal's session, if it is remembered."""
        sessions = self.sessions.get(principal)
        return sessions.get(session) if sessions else None

    def load_session(self, principal: str, session: bytes, one: Session) -> None:
        """Puts a session that a checkpoint holds behind the principal's others."""
        one.place = self.next_place()
        self.sessions.setdefault(principal, OrderedDict())[session] = one

    def remember_session(self, principal: str, session: bytes, n: int, outcome: Remembered, *, keep: int) -> None:
        """Records the outcome of a session command."""
        sessions = self.sessions.get(principal)
        if sessions is None:
            sessions = self.sessions[principal] = OrderedDict()
        one = sessions.get(session)
        if one is None:
            one = sessions[session] = Session()
        sessions.move_to_end(session)
        self.places += 1
        one.place = self.places
        changed = self.changes.sessions.get((principal, session))
        if changed is None:
            changed = self.changes.sessions[principal, session] = set()
        outcomes = one.outcomes
        if n > one.high:
            one.high = n
            outcomes[n] = outcome
            changed.add(n >> CHUNK_BITS)
        elif n in outcomes:  # else folded again, behind a checkpoint that has forgotten it
            outcomes[n] = outcome
            changed.add(n >> CHUNK_BITS)
        while len(outcomes) > keep:
            oldest, _ = outcomes.popitem(last=False)
            changed.add(oldest >> CHUNK_BITS)
        while len(sessions) > SESSIONS_MAX:
            forgotten, gone = sessions.popitem(last=False)
            chunks = self.changes.sessions.setdefault((principal, forgotten), set())
            chunks.update(each >> CHUNK_BITS for each in gone.outcomes)

    def remember_key(self, principal: str, key: str, remembered: RememberedKey, *, oldest_ns: int) -> None:
        """Records the outcome of a unary command and forgets what is past the horizon."""
        keys = self.client_keys.setdefault(principal, OrderedDict())
        keys.pop(key, None)  # one issued anew goes to the end
        keys[key] = replace(remembered, place=self.next_place())
        self.changes.client_keys[(principal, key)] = None
        while keys and next(iter(keys.values())).issued_at_ns < oldest_ns:
            expired, _ = keys.popitem(last=False)
            self.changes.client_keys[(principal, expired)] = None

    def next_place(self) -> int:
        """Place of what comes now among what is forgotten in the order it came."""
        self.places += 1
        return self.places


class EntityAccounts:
    """Number of accounts of an entity; only those with several cost memory."""

    __slots__ = ("_accounts", "_several")

    def __init__(self, accounts: Attributes) -> None:
        self._accounts = accounts
        self._several: dict[int, int] = {}

    def get(self, entity: int, default: int) -> int:
        """Number of accounts, `default` when there is none."""
        found = self._several.get(entity)
        return found or (1 if entity in self._accounts else default)

    def opened(self, entity: int, account: int) -> None:
        """The entity has a further account: they are numbered from the first one, which has the entity's own id."""
        if account != entity:
            self._several[entity] = max(self._several.get(entity, 1), (account - entity) + 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntityAccounts) and self._several == other._several

    __hash__ = None  # type: ignore[assignment]
