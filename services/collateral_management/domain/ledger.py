"""The ledger of one partition: one command in, one outcome out, state moved by its effects only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import InvariantBroken
from libs.common.ids import partition_of
from services.collateral_management.domain import (
    accounts,
    amending,
    arrivals,
    capital,
    client_money,
    closing,
    consent,
    conversions,
    deleveragings,
    episodes,
    guards,
    indices,
    locations,
    money,
    movements,
    moving,
    orders,
    outflows,
    quotas,
    reservations,
    standing,
    takeovers,
    venue_losses,
)
from services.collateral_management.domain.draft import Context, Draft, Refused, apply_all
from services.collateral_management.domain.remembered import Remembered, RememberedKey
from services.collateral_management.domain.state import State

Handler = Callable[[Draft, Any, commands_pb2.Principal], int | Refused]

# command -> handler, roles that may send it; a name stands for one service only
HANDLERS: dict[str, tuple[Handler, frozenset[str]]] = {
    "open_account": (accounts.open_account, frozenset(("client",))),
    "confirm_deposit": (accounts.confirm_deposit, frozenset(("custodian",))),
    "withdraw": (reservations.withdraw, frozenset(("client",))),
    "transfer": (reservations.transfer, frozenset(("client",))),
    "place_order": (orders.place_order, frozenset(("client",))),
    "cancel_order": (orders.cancel_order, frozenset(("client",))),
    "supply": (accounts.supply, frozenset(("client",))),
    "redeem": (accounts.redeem, frozenset(("client",))),
    "verdict": (reservations.verdict, frozenset(("risk_evaluation",))),
    "open_episode": (episodes.open_episode, frozenset(("risk_evaluation",))),
    "step_episode": (episodes.step_episode, frozenset(("liquidation_execution",))),
    "close_episode": (episodes.close_episode, frozenset(("liquidation_execution",))),
    "resolve_shortfall": (episodes.resolve_shortfall, frozenset(("liquidation_execution",))),
    "order_report": (amending.order_report, frozenset(("venue_gateway",))),
    "begin_venue_session": (indices.begin_venue_session, frozenset(("venue_gateway",))),
    "set_index": (indices.set_index, frozenset(("interest_accrual",))),
    "set_funding": (indices.set_funding, frozenset(("interest_accrual",))),
    "settle_variation": (indices.settle_variation, frozenset(("interest_accrual",))),
    "arrive": (arrivals.arrive, frozenset(("collateral_management",))),
    "confirm_movements": (movements.confirm_movements, frozenset(("collateral_management",))),
    "move_entity": (moving.move_entity, frozenset(("client", "operator"))),
    "move_quota": (quotas.move_quota, frozenset(("interest_accrual",))),
    "move_capital": (capital.move_capital, frozenset(("custodian", "operator"))),
    "close_account": (standing.close_account, frozenset(("client", "operator"))),
    "reopen_account": (standing.reopen_account, frozenset(("client", "operator"))),
    "restrict_account": (standing.restrict_account, frozenset(("operator",))),
    "amend_order": (amending.amend_order, frozenset(("client",))),
    "close_instrument": (closing.close_instrument, frozenset(("interest_accrual",))),
    "redenominate_asset": (conversions.redenominate_asset, frozenset(("operator",))),
    "distribute": (conversions.distribute, frozenset(("operator",))),
    "take_over_position": (takeovers.take_over_position, frozenset(("liquidation_execution",))),
    "deleverage": (takeovers.deleverage, frozenset(("liquidation_execution",))),
    "deleverage_across": (deleveragings.deleverage_across, frozenset(("liquidation_execution",))),
    "venue_event": (venue_losses.venue_event, frozenset(("venue_gateway",))),
    "set_gate": (guards.set_gate, frozenset(("operator",))),
    "set_outflow_limit": (outflows.set_outflow_limit, frozenset(("interest_accrual",))),
    "set_custody_terms": (consent.set_custody_terms, frozenset(("client",))),
    "sweep_lendable": (consent.sweep_lendable, frozenset(("operator",))),
    "recall_lent": (consent.recall_lent, frozenset(("client", "operator"))),
    "move_location": (locations.move_location, frozenset(("custodian",))),
    "impair_venue": (locations.impair_venue, frozenset(("operator",))),
}

# What happened outside: under the key of a fact it is never refused. No other command goes under such a key: accepted,
# it would move the mark of a stream, and what comes on it afterwards would count as known.
FACTS = frozenset(("arrive", "confirm_deposit", "order_report", "venue_event"))
PARKED: dict[str, Callable[[Draft, Any], None]] = {
    "arrive": movements.to_suspense,
    "confirm_deposit": accounts.deposit_to_suspense,
}
# Streams of facts by what their names begin with: nobody else moves their marks, under whatever command.
STREAMS = {
    "transit/": "collateral_management",
    "venue/": "venue_gateway",
    "gateway/": "venue_gateway",
    "notice/": "venue_gateway",
}
ROLES = {words.ROLE_CLIENT: "client", words.ROLE_CUSTODIAN: "custodian", words.ROLE_OPERATOR: "operator"}
EFFECTS_BYTES_MAX = 4 * 1024 * 1024
DETAIL_MAX = 300
_PRINCIPAL = b"\x22"  # field 4 of Command and of Outcome, length-delimited
_HASH = b"\x32\x10"  # field 6 of Outcome, 16 bytes
_NEVER = (-1, 0)


def handle(state: State, command: commands_pb2.Command, context: Context) -> journal_pb2.Outcome:
    """Outcome of a command; the state has moved when, and only when, it carries effects."""
    name, key = command.WhichOneof("body") or "", command.WhichOneof("key")
    sender, role = command.principal.id, command.principal.role
    outcome, digest = _opened(command, name, has_key=key is not None)
    if key == "session":
        early = _seen_on_session(state, command.session, sender, digest)
    elif key == "client":
        early = _seen_key(state, command, digest, context)
    elif key == "fact":
        early = _seen_fact(state, command.fact)
    else:
        early = (words.REFUSAL_KEY_EXPIRED, "expected a key", 0, False)
    if early is None and role == words.ROLE_CLIENT:
        early = _too_many(state, sender, context)
    if early is not None:
        outcome.refusal, outcome.detail, outcome.subject, outcome.repeated = early
        return outcome
    body = getattr(command, name, None)
    stream = command.fact.stream if key == "fact" else None
    refused = _may_send(state, name, body, sender=sender, role=role, stream=stream)
    if refused is None:
        refused = _decide(state, command, name, body, outcome, context)
    if refused is not None:
        is_theirs = refused.reason != words.REFUSAL_NOT_AUTHORISED  # who may not post a fact must not move its stream
        if key == "fact" and name in FACTS and is_theirs:
            _park(state, command, refused, outcome, context)
        else:
            outcome.refusal, outcome.detail = refused.reason, refused.detail[:DETAIL_MAX]
    _remember(state, outcome, context, key=key, sender=sender, role=role, digest=digest)
    return outcome


def _opened(command: commands_pb2.Command, name: str, *, has_key: bool) -> tuple[journal_pb2.Outcome, bytes]:
    """An outcome with the command's key, sender and name, and the request's hash.

    Key and sender have the same fields in both messages, and come first, in the order of their numbers: they are taken
    over as they are encoded.
    """
    content = command.SerializeToString(deterministic=True)
    key_end = _field_end(content, 0) if has_key else 0
    digest = hashlib.sha256(content[key_end:] if key_end else content).digest()[:16]
    if content[key_end : key_end + 1] == _PRINCIPAL:
        head = content[: _field_end(content, key_end)]
    else:  # a nobody
        head = content[:key_end] + _PRINCIPAL + b"\0"
    outcome = journal_pb2.Outcome.FromString(head + _HASH + digest)
    outcome.command = name
    return outcome, digest


def _decide(
    state: State,
    command: commands_pb2.Command,
    name: str,
    body: Any,
    outcome: journal_pb2.Outcome,
    context: Context,
) -> Refused | None:
    draft = Draft(state, context, outcome)
    try:
        result = HANDLERS[name][0](draft, body, command.principal)
        if not isinstance(result, Refused):
            _follow(draft)
            result = _small_enough(outcome) or result
    except InvariantBroken:
        raise
    except (ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
        result = Refused(words.REFUSAL_INTERNAL, f"{type(error).__name__}: {error}")
    if isinstance(result, Refused):
        del outcome.effects[:]
        return result
    draft.commit()
    outcome.subject = result
    return None


def _follow(draft: Draft) -> None:
    """What every command leaves true, whatever it was for."""
    if draft.has_moved:
        closing.close_what_came_late(draft)
        conversions.keep_cuts(draft)
        conversions.convert_what_came_late(draft)
        for account, asset in draft.cash_touched:
            money.straighten(draft, account, asset)
        for account in draft.clients_moved:
            if draft.state.orders_count(account):
                orders.cancel_what_no_longer_reduces(draft, account)
    moving.leave(draft)
    if draft.has_moved:
        standing.reopen_what_is_used(draft)
    client_money.keep(draft)


def _may_send(
    state: State, name: str, body: Any, *, sender: str, role: words.Role, stream: str | None
) -> Refused | None:
    if name not in HANDLERS:
        return Refused(words.REFUSAL_UNKNOWN_COMMAND, "no body, or one this build does not know")
    known_as = ROLES.get(role, "")
    if role == words.ROLE_SERVICE and sender not in ROLES.values():
        known_as = sender
    if known_as not in HANDLERS[name][1]:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"{sender} may not send {name} in role {role}")
    if stream is not None:
        begin, slash, _ = stream.partition("/")
        if name not in FACTS or STREAMS.get(begin + slash, known_as) != known_as:
            return Refused(words.REFUSAL_NOT_AUTHORISED, f"{known_as} may not post {name} on stream {stream[:64]}")
    account = getattr(body, "account", 0)
    if account and partition_of(account) != state.partition:
        return Refused(words.REFUSAL_WRONG_PARTITION, f"account {account} lives in partition {partition_of(account)}")
    return None


def _small_enough(outcome: journal_pb2.Outcome) -> Refused | None:
    size = outcome.ByteSize()
    if size > EFFECTS_BYTES_MAX:
        return Refused(words.REFUSAL_TOO_LARGE, f"expected at most {EFFECTS_BYTES_MAX} bytes of effects, was {size}")
    return None


def _park(
    state: State, command: commands_pb2.Command, refused: Refused, outcome: journal_pb2.Outcome, context: Context
) -> None:
    """A fact that cannot be applied is never refused: its money goes to suspense, and an alert says what it was."""
    draft = Draft(state, context, outcome)
    body = getattr(command, outcome.command)
    if outcome.command in PARKED:
        try:
            PARKED[outcome.command](draft, body)
        except OverflowError:
            del outcome.effects[:]
            draft = Draft(state, context, outcome)
    said = " ".join(str(body).split())
    detail = f"{command.fact.stream}/{command.fact.sequence} {said}: {words.Refusal.Name(refused.reason)}"
    draft.alert("fact_in_suspense", account=0, detail=f"{detail[:200]} {refused.detail}"[:DETAIL_MAX])
    draft.commit()


def request_hash(command: commands_pb2.Command) -> bytes:
    """16 bytes that tell one request from another under the same key: SHA-256 over all but the key."""
    return _opened(command, "", has_key=command.WhichOneof("key") is not None)[1]


def _field_end(content: bytes, at: int) -> int:
    """Where the field that begins there ends: a tag of one byte, a length, so many bytes."""
    at += 1
    size, shift = content[at], 0
    if size >= 0x80:
        size = 0
        while content[at] >= 0x80:
            size |= (content[at] & 0x7F) << shift
            shift += 7
            at += 1
        size |= content[at] << shift
    return at + 1 + size


_Early = tuple[words.Refusal, str, int, bool]


def _too_many(state: State, client: str, context: Context) -> _Early | None:
    """Refuses what a client sends beyond its commands in a window of run time; not remembered, so it may ask again."""
    counted = state.windows.get(client)
    if counted is None or counted[0] != context.window:
        return None
    count = counted[1]
    if count < context.parameters.ledger.commands_per_window_max:
        return None
    return (words.REFUSAL_TOO_MANY_COMMANDS, f"{count} commands in this window, wait for the next", 0, False)


def _seen_on_session(state: State, key: commands_pb2.SessionKey, sender: str, digest: bytes) -> _Early | None:
    name, n = key.session, key.n
    if len(name) != 16 or not n:
        return (words.REFUSAL_KEY_EXPIRED, "expected a session of 16 bytes and n >= 1", 0, False)
    session = state.session(sender, name)
    if session is None or n > session.high:
        return None
    known = session.outcomes.get(n)
    if known is None:
        return (words.REFUSAL_KEY_EXPIRED, f"the outcome of {n} is no longer remembered", 0, False)
    return _again(known, digest)


def _seen_key(state: State, command: commands_pb2.Command, digest: bytes, context: Context) -> _Early | None:
    rules, key = context.parameters.ledger, command.client
    if not 0 < len(key.key.encode()) <= 64:
        return (words.REFUSAL_KEY_EXPIRED, "expected a key of 1 to 64 bytes", 0, False)
    keys: Mapping[str, RememberedKey] = state.client_keys.get(command.principal.id, {})
    known = keys.get(key.key)
    oldest_ns = context.now_ns - rules.key_horizon_ns
    if known is not None and known.issued_at_ns >= oldest_ns:
        return _again(known.outcome, digest)
    if key.issued_at_ns < oldest_ns:
        return (words.REFUSAL_KEY_EXPIRED, f"issued before {oldest_ns}", 0, False)
    newest_ns = context.now_ns + rules.key_horizon_ns
    if key.issued_at_ns > newest_ns:  # it would be remembered, and count as alive, for as long as it likes
        return (words.REFUSAL_KEY_EXPIRED, f"issued after {newest_ns}", 0, False)
    if len(keys) >= rules.client_keys_max and next(iter(keys.values())).issued_at_ns >= oldest_ns:
        return (words.REFUSAL_TOO_MANY_KEYS, f"{len(keys)} keys are alive", 0, False)
    return None


def _seen_fact(state: State, key: commands_pb2.FactKey) -> _Early | None:
    high = state.streams.get(key.stream, 0)
    if key.sequence <= high:
        return (words.REFUSAL_UNSPECIFIED, "", 0, True)
    if key.previous != high:
        return (words.REFUSAL_GAP, f"expected the fact after {high}, was after {key.previous}", 0, False)
    return None


def _again(known: Remembered, digest: bytes) -> _Early:
    if known.request_hash != digest:
        return (words.REFUSAL_KEY_REUSED, "the key was used with another request", 0, False)
    return (known.refusal, known.detail, known.subject, True)


def remember(state: State, outcome: journal_pb2.Outcome, context: Context) -> None:
    """Keeps what a repetition of the command must get."""
    key, principal = outcome.WhichOneof("key"), outcome.principal
    _remember(
        state, outcome, context, key=key, sender=principal.id, role=principal.role, digest=outcome.request_hash
    )  # fmt: skip


def _remember(
    state: State,
    outcome: journal_pb2.Outcome,
    context: Context,
    *,
    key: str | None,
    sender: str,
    role: words.Role,
    digest: bytes,
) -> None:
    if role == words.ROLE_CLIENT:
        windows, window = state.windows, context.window
        last, count = windows.get(sender, _NEVER)
        if last != window and windows and next(iter(windows.values()))[0] != window:
            windows.clear()  # only those who have sent in this window are remembered
        windows[sender] = (window, count + 1 if last == window else 1)
    if key == "fact":
        if not outcome.refusal:
            state.streams[outcome.fact.stream] = outcome.fact.sequence
        return
    rules = context.parameters.ledger
    known = Remembered(digest, outcome.refusal, outcome.detail, outcome.subject)
    if key == "session":
        session = outcome.session
        state.remember_session(sender, session.session, session.n, known, keep=rules.session_outcomes)
    elif key == "client":
        one = RememberedKey(outcome.client.issued_at_ns, known)
        oldest_ns = context.now_ns - rules.key_horizon_ns
        state.remember_key(sender, outcome.client.key, one, oldest_ns=oldest_ns)


FORGOTTEN = frozenset(
    (
        words.REFUSAL_KEY_EXPIRED,
        words.REFUSAL_KEY_REUSED,
        words.REFUSAL_TOO_MANY_KEYS,
        words.REFUSAL_GAP,
        words.REFUSAL_TOO_MANY_COMMANDS,
    )
)


def fold(state: State, body: journal_pb2.JournalBody, context: Context) -> None:
    """Moves the state by one accepted frame, exactly as handling did."""
    for outcome in body.outcomes:
        if not outcome.repeated and outcome.refusal not in FORGOTTEN:
            remember(state, outcome, context)
        apply_all(state, outcome.effects)
