"""A state saved while it moves, in pieces of different moments, and made again from them and the journal's tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ballast.events.v1 import checkpoint_pb2, journal_pb2
from services.collateral_management.domain.changes import Changes
from services.collateral_management.domain.checkpoint import Loading, count, everything, registers, save
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import fold
from services.collateral_management.domain.state import State

Frames = Sequence[tuple[Context, journal_pb2.JournalBody]]


class Checkpoints:
    """Checkpoints of a state that folds frames; what is written survives, in order, whenever it stops.

    Args:
        random: decides how often a checkpoint is begun and how fast it is written.
    """

    def __init__(self, partition: int, random: Random) -> None:
        self.state = State(partition)
        self.written: dict[bytes, bytes] = {}  # what a compacted topic keeps
        self.head_at = -1  # frames folded at the newest head
        self.registers = b""
        self.items = 0
        self._random = random
        self._pending: list[tuple[bytes, bytes | None]] = []
        self._next_head: tuple[int, bytes, int] | None = None
        self._saving = save(self.state, Changes())
        self._is_complete = False

    def run(self, frames: Frames) -> None:
        """Folds all frames and writes what it comes to; the last checkpoint is likely to be unfinished."""
        for folded, (context, body) in enumerate(frames):
            if self._next_head is None and self._random.random() < 0.3:
                self._begin(folded)
            for _ in range(self._random.randrange(6)):
                self._write_one()
            fold(self.state, body, context)

    def _begin(self, folded: int) -> None:
        changes = self.state.changes if self._is_complete else everything(self.state)
        self.state.changes = Changes()
        self._next_head = (folded, registers(self.state).SerializeToString(), count(self.state))
        self._saving = save(self.state, changes)

    def _write_one(self) -> None:
        if self._next_head is None:
            return
        found = next(self._saving, None)
        if found is None:
            self.head_at, self.registers, self.items = self._next_head
            self._next_head, self._is_complete = None, True
            return
        name, item = found
        if item is None:
            self.written.pop(name, None)
        else:
            self.written[name] = item.SerializeToString()


def restored(checkpoints: Checkpoints, frames: Frames) -> State:
    """The state made from what is written and the frames behind its head; from all frames when there is no head."""
    state = State(checkpoints.state.partition)
    if checkpoints.head_at >= 0:
        loading = Loading(state)
        for name, value in checkpoints.written.items():
            loading.take(name, checkpoint_pb2.CheckpointItem.FromString(value))
        loading.finish(checkpoint_pb2.Registers.FromString(checkpoints.registers))
    for context, body in frames[max(0, checkpoints.head_at) :]:
        fold(state, body, context)
    return state


def comparable(state: State) -> dict[str, object]:
    """All that a state holds and means, without the numbers by which it keeps an order."""
    found = dict(vars(state))
    for one in ("changes", "places", "closed_places", "orders", "_orders_of", "_reservations_of"):
        del found[one]
    found["orders"] = sorted(state.orders.items())
    found["closed_orders"] = list(state.closed_orders.items())
    found["sessions"] = {
        principal: [(key, one.high, list(one.outcomes.items())) for key, one in sessions.items()]
        for principal, sessions in state.sessions.items()
    }
    found["client_keys"] = {
        principal: [(key, replace(one, place=0)) for key, one in keys.items()]
        for principal, keys in state.client_keys.items()
        if keys
    }
    newest = max((window for window, _ in state.windows.values()), default=0)
    found["windows"] = {client: one for client, one in state.windows.items() if one[0] == newest}
    for index in ("_holders", "_overdrawn"):
        found[index] = {key: members for key, members in vars(state)[index].items() if members}
    for account in state.accounts:
        found[f"of {account}"] = (state.orders_of(account), state.reservations_of(account))
    return found
