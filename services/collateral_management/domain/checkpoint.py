"""A state as items that can be saved one by one, and a state made of such items again.

Items may be of different moments. What was saved later than the place from which the journal is folded again is
overwritten by that fold, or is no longer what it waits for: at the end of the fold the state is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ballast.events.v1 import checkpoint_pb2, journal_pb2
from services.collateral_management.domain.changes import CHUNK_BITS, Changes
from services.collateral_management.domain.remembered import Remembered, RememberedKey, Session
from services.collateral_management.domain.state import ORDER, State

Item = tuple[bytes, checkpoint_pb2.CheckpointItem | None]  # what it is, its value; None when it is no longer there
HEAD = b"H"
_ACCOUNT = b"A"
_Item = checkpoint_pb2.CheckpointItem


def everything(state: State) -> Changes:
    """Names of all there is to save."""
    return Changes(
        accounts=dict.fromkeys(chain(state.accounts, state.accounts_with_lines())),
        items=dict.fromkeys(state.items),
        sessions={
            (principal, key): {n >> CHUNK_BITS for n in one.outcomes}
            for principal, sessions in state.sessions.items()
            for key, one in sessions.items()
        },
        client_keys={(principal, key): None for principal, keys in state.client_keys.items() for key in keys},
        funding=dict.fromkeys(state.funding),
    )


def count(state: State) -> int:
    """Number of items of a state, outcomes of sessions not counted, house accounts neither."""
    few = sum(map(len, state.sessions.values())) + sum(map(len, state.client_keys.values()))
    return len(state.accounts) + len(state.items) + len(state.funding) + few


def registers(state: State) -> checkpoint_pb2.Registers:
    """What there is one of: it goes into the head, since folding it again is not the same."""
    window = max((window for window, _ in state.windows.values()), default=0)
    return checkpoint_pb2.Registers(
        serial=state.serial,
        entity_serial=state.entity_serial,
        streams=state.streams,
        window=window,
        window_counts={client: count for client, (one, count) in state.windows.items() if one == window},
    )


def save(state: State, changes: Changes) -> Iterator[Item]:
    """Each named item as the state has it when it is asked for; what is gone comes last."""
    gone: list[bytes] = []
    for account in changes.accounts:
        kept = checkpoint_pb2.AccountItem(
            account=account, attributes=state.accounts.packed(account), lines=state.packed_lines(account)
        )
        yield _ACCOUNT + b"%d" % account, _Item(account=kept)
    for key in changes.items:
        found = state.items.get(key)
        name = b"E" + b"|".join([b"%d" % part for part in key])
        if found is None:
            gone.append(name)
        else:
            item = _Item()  # filled where it stands, here and below: a part of its own would be copied
            item.effect.effect.MergeFromString(found)
            item.effect.place = state.closed_places.get(key[1], 0) if key[0] == ORDER else 0
            yield name, item
    for (principal, session), chunks in changes.sessions.items():
        # Outcomes since the names were taken come along: the session's high mark is of now, and a fold skips up to it.
        chunks = chunks | state.changes.sessions.get((principal, session), set())
        yield from _save_session(state.session(principal, session), principal, session, chunks, gone)
    for principal, text in changes.client_keys:
        yield from _save_key(state, principal, text, gone)
    for instrument in changes.funding:
        yield b"F%d" % instrument, _Item(funding=_funding(state, instrument))
    for name in gone:
        yield name, None


def _save_session(one: Session | None, principal: str, key: bytes, chunks: set[int], gone: list[bytes]) -> list[Item]:
    # A list: what a session says of its outcomes and these outcomes must be of one moment.
    ending = key + principal.encode()
    if one is None:
        gone += [b"O%d|" % chunk + ending for chunk in chunks]
        gone.append(b"S" + ending)
        return []
    found: dict[int, list[int]] = {chunk: [] for chunk in chunks}
    oldest = min(chunks, default=0)
    for n in reversed(one.outcomes):
        if n >> CHUNK_BITS < oldest:
            break
        if n >> CHUNK_BITS in found:
            found[n >> CHUNK_BITS].append(n)
    saved: list[Item] = []
    for chunk, numbers in sorted(found.items()):
        name = b"O%d|" % chunk + ending
        if numbers:
            of_chunk = _Item()
            of_chunk.outcomes.principal, of_chunk.outcomes.session = principal, key
            for n in reversed(numbers):
                _put_outcome(of_chunk.outcomes.outcomes.add(), one.outcomes[n], n=n)
            saved.append((name, of_chunk))
        else:
            gone.append(name)
    first = next(iter(one.outcomes), 0)
    item = checkpoint_pb2.SessionItem(principal=principal, session=key, high=one.high, first=first, place=one.place)
    saved.append((b"S" + ending, _Item(session=item)))
    return saved


def _save_key(state: State, principal: str, key: str, gone: list[bytes]) -> Iterator[Item]:
    keys = state.client_keys.get(principal)
    known = keys.get(key) if keys else None
    name = b"K%d|" % len(principal.encode()) + principal.encode() + key.encode()
    if known is None:
        gone.append(name)
        return
    item = _Item()
    one = item.client_key
    one.principal, one.key, one.issued_at_ns, one.place = principal, key, known.issued_at_ns, known.place
    _put_outcome(one.outcome, known.outcome, n=0)
    yield name, item


def _put_outcome(kept: checkpoint_pb2.RememberedOutcome, known: Remembered, *, n: int) -> None:
    kept.n = n
    kept.request_hash, kept.refusal, kept.detail, kept.subject = known


def _funding(state: State, instrument: int) -> checkpoint_pb2.FundingItem:
    history = state.funding[instrument]
    return checkpoint_pb2.FundingItem(
        instrument=instrument,
        tick=state.funding_tick[instrument],
        run_times_ns=[at_ns for at_ns, _ in history],
        cumulative_funding=[paid.to_bytes(16, "big", signed=True) for _, paid in history],
    )


class Loading:
    """Puts items into a new state: accounts as they come, what may still be taken back when all have come."""

    def __init__(self, state: State) -> None:
        self.accounts = 0
        self.is_torn = False  # accounts are never removed: somebody is removing the whole set
        self.effects: list[journal_pb2.Effect] = []  # of all items, once loaded
        self._state = state
        self._rest: dict[bytes, checkpoint_pb2.CheckpointItem] = {}

    def take(self, name: bytes, item: checkpoint_pb2.CheckpointItem | None) -> None:
        """Takes an item; a later one of the same name takes its place. Raises struct.error, DecodeError."""
        if item is None:
            self._rest.pop(name, None)
            self.is_torn |= name.startswith(_ACCOUNT)
        elif item.HasField("account"):
            one = item.account
            self._state.load_account(one.account, attributes=one.attributes, lines=one.lines)
            self.accounts += 1
            if self.accounts % 1_000 == 0:
                self._state.fingerprint  # noqa: B018  hashes what has come, which would be kept until it is asked for
        else:
            self._rest[name] = item

    def finish(self, registers: checkpoint_pb2.Registers) -> None:
        """The state has everything. Raises DecodeError."""
        state = self._state
        items = sorted(self._rest.values(), key=lambda one: one.effect.place)
        self.effects = [one.effect.effect for one in items if one.HasField("effect")]
        for effect in self.effects:
            state.apply(effect)
        state.funding.clear()  # a last tick may have been saved later than the ticks before it
        state.funding_tick.clear()
        for one in (one for one in items if one.HasField("funding")):
            _load_funding(state, one.funding)
        _load_sessions(state, items)
        for key in sorted((one.client_key for one in items if one.HasField("client_key")), key=lambda one: one.place):
            known = RememberedKey(key.issued_at_ns, _remembered(key.outcome))
            state.remember_key(key.principal, key.key, known, oldest_ns=-1)
        self._rest.clear()
        state.serial = max(state.serial, registers.serial)
        state.entity_serial = max(state.entity_serial, registers.entity_serial)
        state.streams.update(registers.streams)
        state.windows.update({client: (registers.window, count) for client, count in registers.window_counts.items()})
        state.changes = Changes()


def _load_funding(state: State, one: checkpoint_pb2.FundingItem) -> None:
    state.funding_tick[one.instrument] = one.tick
    paid = [int.from_bytes(each, "big", signed=True) for each in one.cumulative_funding]
    state.funding[one.instrument] = list(zip(one.run_times_ns, paid, strict=True))


def _load_sessions(state: State, items: list[checkpoint_pb2.CheckpointItem]) -> None:
    outcomes: dict[tuple[str, bytes], list[checkpoint_pb2.RememberedOutcome]] = {}
    for chunk in (one.outcomes for one in items if one.HasField("outcomes")):
        outcomes.setdefault((chunk.principal, chunk.session), []).extend(chunk.outcomes)
    for one in sorted((one.session for one in items if one.HasField("session")), key=lambda one: one.place):
        known = sorted(outcomes.get((one.principal, one.session), ()), key=lambda outcome: outcome.n)
        session = Session()
        session.outcomes.update((each.n, _remembered(each)) for each in known if each.n >= one.first)
        session.high = max(one.high, next(reversed(session.outcomes), 0))
        state.load_session(one.principal, one.session, session)


def _remembered(one: checkpoint_pb2.RememberedOutcome) -> Remembered:
    return Remembered(one.request_hash, one.refusal, one.detail, one.subject)
