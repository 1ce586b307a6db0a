"""Who waits for which outcome: answers come from accepted frames of the journal and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True, eq=False)
class StreamWaits:
    """The waits of one stream: hash of the request by number. `deliver` is told each number once with its answer."""

    principal: str
    session: bytes
    deliver: Callable[[int, Answer], None]
    requests: dict[int, bytes] = field(default_factory=dict)


class Answers:
    """Delivers each outcome to the first that waits for its key and request."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Ticket]] = {}
        self._streams: dict[tuple[str, bytes], list[StreamWaits]] = {}

    def __len__(self) -> int:
        streams = sum(len(one.requests) for several in self._streams.values() for one in several)
        return streams + sum(map(len, self._waiting.values()))

    def open(self, stream: StreamWaits) -> None:
        """Looks for the outcomes of a stream until it is closed."""
        self._streams.setdefault((stream.principal, stream.session), []).append(stream)

    def close(self, stream: StreamWaits) -> None:
        """Looks for them no more; nothing happens when it is closed already."""
        key = (stream.principal, stream.session)
        left = [one for one in self._streams.pop(key, []) if one is not stream]
        if left:
            self._streams[key] = left
        stream.requests.clear()

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
        outcome = answer.outcome
        if self._streams and outcome.WhichOneof("key") == "session":
            n = outcome.session.n
            for stream in self._streams.get((outcome.principal.id, outcome.session.session), ()):
                if stream.requests.get(n) == outcome.request_hash:
                    del stream.requests[n]
                    stream.deliver(n, answer)
                    return
        if not self._waiting:
            return
        for ticket in self._waiting.get(key_of(outcome), ()):
            if ticket.request_hash == outcome.request_hash:
                self.forget(ticket)
                ticket.deliver(answer)
                return
