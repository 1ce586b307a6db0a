"""Who waits for which outcome: answers come from accepted frames of the journal and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ballast.events.v1 import commands_pb2, journal_pb2

Key = tuple[str, bytes, int]  # principal, session or client key, number (0 for client keys)


@dataclass(frozen=True, slots=True)
class Answer:
    """An outcome with the place it was journalled at."""

    partition: int
    sequence: int
    outcome: journal_pb2.Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A wait for one outcome."""

    key: Key
    request_hash: bytes
    deliver: Callable[[Answer], None]


def key_of(keyed: commands_pb2.Command | journal_pb2.Outcome) -> Key:
    """The key of a command or of its outcome; nobody waits for that of a fact."""
    match keyed.WhichOneof("key"):
        case "session":
            return keyed.principal.id, keyed.session.session, keyed.session.n
        case "client":
            return keyed.principal.id, keyed.client.key.encode(), 0
        case _:
            return keyed.principal.id, b"", 0


class Answers:
    """Delivers each outcome to the first that waits for its key and request."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Ticket]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def expect(self, key: Key, request_hash: bytes, deliver: Callable[[Answer], None]) -> Ticket:
        """Has `deliver` called once with the outcome."""
        ticket = Ticket(key, request_hash, deliver)
        self._waiting.setdefault(key, []).append(ticket)
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Ends a wait; nothing happens when it has ended already."""
        waiting = self._waiting.get(ticket.key, [])
        if ticket in waiting:
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[ticket.key]

    def resolve(self, answer: Answer) -> None:
        """Delivers an outcome."""
        if not self._waiting:
            return
        for ticket in self._waiting.get(key_of(answer.outcome), ()):
            if ticket.request_hash == answer.outcome.request_hash:
                self.forget(ticket)
                ticket.deliver(answer)
                return
