"""Commands that go over many accounts: in batches, each a command of its own, the place kept in the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest

from ballast.events.v1 import journal_pb2, lifecycle_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import entity_of
from services.collateral_management.domain.draft import Draft

ACCOUNTS_MAX = 2_000  # of one batch: 0.9 MB of effects when each delivers and borrows twice; 4 MiB is the bound
LOOKED_AT_MAX = 50_000  # accounts of one batch, those without a holding too


def under_way(draft: Draft, kind: kinds.SweepKind, subject: int) -> lifecycle_pb2.Sweep | None:
    """The sweep of this kind and subject, None when none is under way."""
    return draft.state.lifecycle.sweeps.get((kind, subject))


def begun(sweep: lifecycle_pb2.Sweep | None, **fields: int) -> lifecycle_pb2.Sweep:
    """A copy of the sweep under way, or a new one."""
    one = lifecycle_pb2.Sweep(**fields)  # type: ignore[arg-type]
    if sweep is not None:
        one.CopyFrom(sweep)
    return one


def advance(
    draft: Draft, sweep: lifecycle_pb2.Sweep, accounts: Iterable[int], deed: Callable[[int], object], *, last: int
) -> bool:
    """Does a deed for each account of a batch and keeps the place; returns whether all are done.

    Args:
        accounts: of this batch, in the order of ids, each beyond the cursor.
        last: account up to which the batch has looked, 0 when there is none beyond it.
    """
    for account in accounts:
        deed(account)
        sweep.accounts += 1
    sweep.cursor, sweep.is_over, sweep.batches = last or sweep.cursor, not last, sweep.batches + 1
    if draft.state.lifecycle.sweeps.get((sweep.kind, sweep.subject)) is not None or not sweep.is_over:
        draft.note(journal_pb2.Effect(sweep=sweep))
    return sweep.is_over


def next_holders(draft: Draft, instrument: int, *, cursor: int) -> tuple[list[int], int]:
    """Clients of the next batch that hold the instrument, and the last of them, 0 when nobody is left after them."""
    beyond = (account for account in draft.state.holders_unsorted(instrument) if account > cursor)
    found = nsmallest(ACCOUNTS_MAX + 1, beyond)
    return found[:ACCOUNTS_MAX], found[ACCOUNTS_MAX - 1] if len(found) > ACCOUNTS_MAX else 0


def next_accounts(draft: Draft, *, cursor: int, holds: Callable[[int], bool]) -> tuple[list[int], int]:
    """Clients of the next batch that hold something, and the last one looked at, 0 when nobody is left after it."""
    found: list[int] = []
    looked = 0
    for account in _accounts_after(draft, cursor):
        if looked == LOOKED_AT_MAX or len(found) == ACCOUNTS_MAX:
            return found, cursor
        looked, cursor = looked + 1, account
        if holds(account):
            found.append(account)
    return found, 0


def _accounts_after(draft: Draft, cursor: int) -> Iterator[int]:
    state = draft.state
    step = 1 << 16
    first = entity_of(cursor) if cursor else (state.partition << 48) + step
    for entity in range(first, (state.partition << 48) + (state.entity_serial + 1) * step, step):
        for account in range(entity, entity + state.entity_accounts.get(entity, 0)):
            if account > cursor:
                yield account
