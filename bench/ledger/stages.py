"""Where the CPU time of the ledger's owner goes: `python -m bench.ledger.stages`, no broker, one thread.

Decode, handle, encode, fingerprint, decode what is accepted, fold it into the book, its fingerprint, the second look.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ballast.events.v1 import commands_pb2, journal_pb2
from bench.ledger.workload import KINDS, Client
from libs.common.book import PartitionBook
from libs.common.config import load_parameters
from libs.common.parameters import Parameters
from services.collateral_management.app.audit import Audit
from services.collateral_management.app.frame import Frame
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import handle
from services.collateral_management.domain.state import State

_FRAME, _ROUNDS, _COMMANDS = 500, 5, 8_000
_STAGES = ("decode", "handle", "encode", "fingerprint", "decode again", "book", "its fingerprint", "second look")

_T = TypeVar("_T")


def _broke(number: str, detail: str) -> None:
    raise RuntimeError(f"{number}: {detail}")


class Owner:
    """What an owner does with a frame, stage by stage."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._state, self._book = State(0), PartitionBook(0)
        self._audit = Audit(0, partitions=parameters.partitions, found=_broke, paid=lambda asset, step, units: None)
        self.spent: dict[tuple[str, str], list[float]] = {}

    def take(self, kind: str, commands: Sequence[commands_pb2.Command]) -> None:
        """One frame of commands of one kind."""

        def timed(stage: str, work: Callable[[], _T]) -> _T:
            begun = time.process_time()
            result = work()
            self.spent.setdefault((kind, stage), []).append((time.process_time() - begun) / len(commands) * 1e6)
            return result

        record = commands_pb2.CommandBatch(commands=commands).SerializeToString()
        batch = timed("decode", lambda: list(commands_pb2.CommandBatch.FromString(record).commands))
        sequence = self._book.sequence + 1
        context = Context(self._parameters, sequence, self._parameters.genesis_ns, 0, True)
        outcomes = timed("handle", lambda: [handle(self._state, command, context) for command in batch])
        if refused := [one for one in outcomes if one.refusal]:
            raise RuntimeError(refused[0].detail)
        frame = Frame()

        def encode() -> None:
            for outcome in outcomes:
                frame.add(outcome, at=(0, 0))

        timed("encode", encode)
        content = frame.body(fingerprint=timed("fingerprint", lambda: self._state.fingerprint))
        body = timed("decode again", lambda: journal_pb2.JournalBody.FromString(content))
        timed("book", lambda: self._book.apply(sequence=sequence, run_time_ns=context.now_ns, body=body))
        if timed("its fingerprint", lambda: self._book.fingerprint) != body.fingerprint:
            raise RuntimeError("I13")
        timed("second look", lambda: self._audit.frame(sequence, body, self._book, is_history=False))


def main() -> None:
    """Prints the median and the least of frames, CPU microseconds a command."""
    owner = Owner(load_parameters(Path(__file__).parents[2] / "config").parameters)
    client = Client(0)
    _keyed(owner, "open", list(client.opening()))
    for _ in range(_ROUNDS):
        by_kind: dict[str, list[commands_pb2.Command]] = {kind: [] for kind in KINDS}
        for command in client.commands(_COMMANDS):
            by_kind[command.WhichOneof("body") or ""].append(command)
        for kind, commands in by_kind.items():
            _keyed(owner, kind, commands)
    print(f"{'':14}" + "".join(f"{stage:>16}" for stage in (*_STAGES, "all")))
    for kind in KINDS:
        frames = [sorted(owner.spent[kind, stage]) for stage in _STAGES]
        for name, row in ((kind, [one[len(one) // 2] for one in frames]), ("  least", [one[0] for one in frames])):
            print(f"{name:14}" + "".join(f"{value:16.1f}" for value in (*row, sum(row))))


def _keyed(owner: Owner, kind: str, commands: Sequence[commands_pb2.Command]) -> None:
    session = secrets.token_bytes(16)
    for n, command in enumerate(commands, start=1):
        command.session.session, command.session.n = session, n
    for start in range(0, len(commands), _FRAME):
        owner.take(kind, commands[start : start + _FRAME])


if __name__ == "__main__":
    main()
