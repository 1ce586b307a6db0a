"""A checkpoint is written while commands go on: a session restored from it has every outcome below its high mark."""

from __future__ import annotations

from itertools import islice

import pytest

from ballast.events.v1 import checkpoint_pb2
from ballast.types.v1 import ledger_pb2
from services.collateral_management.domain.changes import Changes
from services.collateral_management.domain.checkpoint import Loading, everything, save
from services.collateral_management.domain.remembered import Remembered
from services.collateral_management.domain.state import State

SESSION = b"s" * 16
KEEP = 1_000


def remember(state: State, first: int, last: int) -> None:
    for n in range(first, last + 1):
        state.remember_session(
            "ann", SESSION, n, Remembered(b"%016d" % n, ledger_pb2.REFUSAL_UNSPECIFIED, "", n), keep=KEEP
        )


@pytest.mark.parametrize("at", [1, 255, 256, 300, 511, 512])
@pytest.mark.parametrize("more", [1, 256, 600])
@pytest.mark.parametrize("whole", [True, False], ids=["first set", "what changed"])
def test_no_outcome_is_missing_below_the_high_mark(at: int, more: int, whole: bool) -> None:
    state = State(0)
    remember(state, 1, at)
    changes, state.changes = (everything(state) if whole else state.changes), Changes()
    saving = save(state, changes)
    remember(state, at + 1, at + more)  # the write has begun, the session's turn comes now
    items = {name: item for name, item in saving if item is not None}
    again = State(0)
    loading = Loading(again)
    for name, item in items.items():
        loading.take(name, item)
    loading.finish(checkpoint_pb2.Registers())
    session = again.session("ann", SESSION)
    assert session is not None
    assert session.high == at + more
    last = list(islice(reversed(session.outcomes), KEEP))
    assert last == list(range(at + more, max(0, at + more - KEEP), -1))
