"""What a partition remembers of commands and entities besides money."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ballast.types.v1 import ledger_pb2
from libs.common.accounts import Attributes


@dataclass(frozen=True, slots=True)
class Remembered:
    """The outcome of a key: what a repetition gets again."""

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
