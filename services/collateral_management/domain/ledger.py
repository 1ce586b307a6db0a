"""The ledger of one partition: one command in, one outcome out, state moved by its effects only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import InvariantBroken
from libs.common.ids import partition_of
from libs.common.units import mul_div_down
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

# What happened outside: under the key of a fact it is never refused. Under such a key any other command is an intent.
FACTS = frozenset(("arrive", "confirm_deposit", "order_report", "venue_event"))
PARKED: dict[str, Callable[[Draft, Any], None]] = {
    "arrive": movements.to_suspense,
    "confirm_deposit": accounts.deposit_to_suspense,
}
ROLES = {words.ROLE_CLIENT: "client", words.ROLE_CUSTODIAN: "custodian", words.ROLE_OPERATOR: "operator"}
EFFECTS_BYTES_MAX = 4 * 1024 * 1024
DETAIL_MAX = 300


def handle(state: State, command: commands_pb2.Command, context: Context) -> journal_pb2.Outcome:
    """Outcome of a command; the state has moved when, and only when, it carries effects."""
    name = command.WhichOneof("body") or ""
    digest = request_hash(command)
    outcome = journal_pb2.Outcome(command=name, principal=command.principal, request_hash=digest)
    key = command.WhichOneof("key")
    if key == "session":
        outcome.session.CopyFrom(command.session)
        early = _seen_on_session(state, command, digest)
    elif key == "client":
        outcome.client.CopyFrom(command.client)
        early = _seen_key(state, command, digest, context)
    elif key == "fact":
        outcome.fact.CopyFrom(command.fact)
        early = _seen_fact(state, command.fact)
    else:
        early = (words.REFUSAL_KEY_EXPIRED, "expected a key", 0, False)
    early = early or _too_many(state, command, context)
    if early is not None:
        outcome.refusal, outcome.detail, outcome.subject, outcome.repeated = early
        return outcome
    _decide(state, command, name, outcome, context)
    remember(state, outcome, context)
    return outcome


def _decide(
    state: State, command: commands_pb2.Command, name: str, outcome: journal_pb2.Outcome, context: Context
) -> None:
    draft = Draft(state, context)
    refused = _may_send(state, command, name)
    if refused is None:
        try:
            result = HANDLERS[name][0](draft, getattr(command, name), command.principal)
            if not isinstance(result, Refused):
                closing.close_what_came_late(draft)
                conversions.convert_what_came_late(draft)
                conversions.keep_cuts(draft)
                for account, asset in draft.cash_touched:
                    money.straighten(draft, account, asset)
                for account in draft.clients_moved:
                    orders.cancel_what_no_longer_reduces(draft, account)
                moving.leave(draft)
                standing.reopen_what_is_used(draft)
                client_money.keep(draft)
                result = _small_enough(draft) or result
        except InvariantBroken:
            raise
        except (ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
            result = Refused(words.REFUSAL_INTERNAL, f"{type(error).__name__}: {error}")
        if not isinstance(result, Refused):
            draft.commit()
            outcome.subject = result
            outcome.effects.extend(draft.effects)
            return
        refused = result
    is_theirs = refused.reason != words.REFUSAL_NOT_AUTHORISED  # who may not post a fact must not move its stream
    if command.WhichOneof("key") == "fact" and name in FACTS and is_theirs:
        _park(state, command, refused, outcome, context)
        return
    outcome.refusal, outcome.detail = refused.reason, refused.detail[:DETAIL_MAX]


def _may_send(state: State, command: commands_pb2.Command, name: str) -> Refused | None:
    if name not in HANDLERS:
        return Refused(words.REFUSAL_UNKNOWN_COMMAND, "no body, or one this build does not know")
    principal = command.principal
    role = principal.role
    sender = ROLES.get(role, "")
    if role == words.ROLE_SERVICE and principal.id not in ROLES.values():
        sender = principal.id
    if sender not in HANDLERS[name][1]:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"{principal.id} may not send {name} in role {role}")
    account = getattr(getattr(command, name), "account", 0)
    if account and partition_of(account) != state.partition:
        return Refused(words.REFUSAL_WRONG_PARTITION, f"account {account} lives in partition {partition_of(account)}")
    return None


def _small_enough(draft: Draft) -> Refused | None:
    size = draft.bytes_max
    if size > EFFECTS_BYTES_MAX:
        return Refused(
            words.REFUSAL_TOO_LARGE, f"expected at most {EFFECTS_BYTES_MAX} bytes of effects, was up to {size}"
        )
    return None


def _park(
    state: State, command: commands_pb2.Command, refused: Refused, outcome: journal_pb2.Outcome, context: Context
) -> None:
    """A fact that cannot be applied is never refused: its money goes to suspense, and an alert says what it was."""
    draft = Draft(state, context)
    body = getattr(command, outcome.command)
    if outcome.command in PARKED:
        try:
            PARKED[outcome.command](draft, body)
        except OverflowError:
            draft = Draft(state, context)
    said = " ".join(str(body).split())
    detail = f"{command.fact.stream}/{command.fact.sequence} {said}: {words.Refusal.Name(refused.reason)}"
    draft.alert("fact_in_suspense", account=0, detail=f"{detail[:200]} {refused.detail}"[:DETAIL_MAX])
    draft.commit()
    outcome.effects.extend(draft.effects)


def request_hash(command: commands_pb2.Command) -> bytes:
    """16 bytes that tell one request from another under the same key: SHA-256 over all but the key."""
    content = command.SerializeToString(deterministic=True)
    key = command.WhichOneof("key")
    if key is not None:  # fields are written in the order of their numbers, the key before all others
        size = getattr(command, key).ByteSize()
        content = content[size + (2 if size < 0x80 else 3 if size < 0x4000 else _varint_end(content)) :]
    return hashlib.sha256(content).digest()[:16]


def _varint_end(content: bytes) -> int:
    return next(at for at in range(1, len(content)) if content[at] < 0x80) + 1


_Early = tuple[words.Refusal, str, int, bool]


def _too_many(state: State, command: commands_pb2.Command, context: Context) -> _Early | None:
    """Refuses what a client sends beyond its commands in a window of run time; not remembered, so it may ask again."""
    if command.principal.role != words.ROLE_CLIENT:
        return None
    rules = context.parameters.ledger
    window = mul_div_down(context.now_ns, 1, rules.command_window_ns)
    last, count = state.windows.get(command.principal.id, (window, 0))
    if last != window or count < rules.commands_per_window_max:
        return None
    return (words.REFUSAL_TOO_MANY_COMMANDS, f"{count} commands in this window, wait for the next", 0, False)


def _seen_on_session(state: State, command: commands_pb2.Command, digest: bytes) -> _Early | None:
    key = command.session
    if len(key.session) != 16 or not key.n:
        return (words.REFUSAL_KEY_EXPIRED, "expected a session of 16 bytes and n >= 1", 0, False)
    session = state.session(command.principal.id, key.session)
    if session is None or key.n > session.high:
        return None
    known = session.outcomes.get(key.n)
    if known is None:
        return (words.REFUSAL_KEY_EXPIRED, f"the outcome of {key.n} is no longer remembered", 0, False)
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
    rules, sender, key = context.parameters.ledger, outcome.principal.id, outcome.WhichOneof("key")
    if outcome.principal.role == words.ROLE_CLIENT:
        window = mul_div_down(context.now_ns, 1, rules.command_window_ns)
        last, count = state.windows.get(sender, (0, 0))
        if last != window and state.windows and next(iter(state.windows.values()))[0] != window:
            state.windows.clear()  # only those who have sent in this window are remembered
        state.windows[sender] = (window, count + 1 if last == window else 1)
    if key == "fact":
        if not outcome.refusal:
            state.streams[outcome.fact.stream] = outcome.fact.sequence
        return
    known = Remembered(outcome.request_hash, outcome.refusal, outcome.detail, outcome.subject)
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
