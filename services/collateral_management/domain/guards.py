"""What keeps assets in when something is wrong: the gate; how much may leave, `outflows` says."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, custody_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2 as words
from libs.common.units import SECOND_NS, mul_div_down
from services.collateral_management.domain import movements, outflows
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused

CLOSED_FOR_MAX_NS = 30 * 86_400 * SECOND_NS
REASON_MAX = 256


def reason_missing(reason: str) -> Refused | None:
    """Refuses an operator's command without a reason that others can read."""
    if not 0 < len(reason.strip()) <= REASON_MAX:
        return Refused(words.REFUSAL_REASON_MISSING, f"expected a reason of 1 to {REASON_MAX} characters")
    return None


def set_gate(draft: Draft, body: custody_pb2.SetGate, sender: commands_pb2.Principal) -> int | Refused:
    """The partition whose gate a person closes or opens."""
    refused = reason_missing(body.reason)
    if refused:
        return refused
    if not 0 <= body.for_ns <= (CLOSED_FOR_MAX_NS if body.closed else 0):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected a time up to 30 days, was {body.for_ns} ns")
    if body.cause != custody_words.GATE_CAUSE_OPERATOR:  # the other causes are the ledger's own to see
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"{sender.id} may not move the gate for cause {body.cause}")
    now_ns = draft.context.now_ns
    moved = custody_pb2.Gate(
        cause=body.cause, reason=body.reason, at_ns=now_ns, told_until_ns=draft.custody.gate.told_until_ns
    )
    if body.closed and body.for_ns:
        moved.closed = draft.custody.gate.closed
        moved.until_ns = max(draft.custody.gate.until_ns, now_ns + body.for_ns)
    elif body.closed:
        moved.closed, moved.until_ns = True, draft.custody.gate.until_ns
    draft.custody.put_gate(moved)
    if body.closed:
        draft.alert("gate_closed", account=0, detail=body.reason[:200])
    return draft.state.partition


def close_gate(draft: Draft, cause: custody_words.GateCause, reason: str) -> None:
    """Closes the gate for the time that the cause calls for; one that is closed for longer stays so."""
    rules, now_ns = draft.context.parameters.guards, draft.context.now_ns
    is_outage = cause == custody_words.GATE_CAUSE_OUTAGE
    until_ns = now_ns + (rules.gate_after_outage_ns if is_outage else rules.gate_after_negative_ns)
    if until_ns <= draft.custody.gate.until_ns:
        return
    if (
        draft.custody.gate.until_ns <= now_ns and not draft.custody.gate.closed
    ):  # told once, not at each account of one crash
        draft.alert("gate_closed", account=0, detail=reason)
    closed, told_ns = draft.custody.gate.closed, draft.custody.gate.told_until_ns
    moved = custody_pb2.Gate(
        closed=closed, until_ns=until_ns, cause=cause, reason=reason, at_ns=now_ns, told_until_ns=told_ns
    )
    draft.custody.put_gate(moved)


def _tell_others(draft: Draft) -> None:
    """Closes the gates of other partitions too; told anew when half of the time has gone by, not at each account."""
    gate, rules = draft.custody.gate, draft.context.parameters.guards
    if mul_div_down(gate.until_ns - gate.told_until_ns, 2, 1) <= rules.gate_after_negative_ns:
        return
    told = copied(gate)
    told.told_until_ns = gate.until_ns
    draft.custody.put_gate(told)
    for other in range(draft.context.parameters.partitions):
        if other != draft.state.partition:
            kind = words.MOVEMENT_KIND_GATE_NOTICE
            movements.send(draft, movement_pb2.Movement(to_partition=other, kind=kind))


def take_notice(draft: Draft, one: movement_pb2.Movement) -> None:
    """Closes the gate because an account of another partition was below zero."""
    reason = f"an account of partition {one.from_partition} was below zero"
    close_gate(draft, custody_words.GATE_CAUSE_NEGATIVE_ACCOUNT, reason)


def close_after_loss(draft: Draft, account: int) -> None:
    """Closes the gate after an account was below zero, or others had to pay for it."""
    close_gate(draft, custody_words.GATE_CAUSE_NEGATIVE_ACCOUNT, f"account {account} was below zero")
    _tell_others(draft)


def note_outage(draft: Draft) -> None:
    """Journals an outage that the owner noticed and the gate does not know yet, with the first accepted command."""
    if draft.context.outage_at_ns > draft.custody.gate.at_ns:
        close_gate(draft, custody_words.GATE_CAUSE_OUTAGE, "marks were silent, or commands waited, too long")


def shut(draft: Draft) -> Refused | None:
    """Why nothing leaves now."""
    gate, now_ns = draft.custody.gate, draft.context.now_ns
    if gate.closed or now_ns < gate.until_ns:
        until = "an operator opens it" if gate.closed else f"run time {gate.until_ns}"
        return Refused(words.REFUSAL_GATE_CLOSED, f"nothing leaves until {until}: {gate.reason}"[:300])
    if draft.context.outage_at_ns > gate.at_ns:
        return Refused(words.REFUSAL_GATE_CLOSED, "nothing leaves after an outage")
    return None


def held_back(draft: Draft, *, asset: int, units: int) -> Refused | None:
    """Why these units may not leave the house now, as far as it is known here."""
    return shut(draft) or outflows.beyond(draft, asset=asset, units=units)


def note_held_back(draft: Draft, one: journal_pb2.Reservation, refused: Refused) -> None:
    """Records that a limit held a judged withdrawal back."""
    if refused.reason == words.REFUSAL_OUTFLOW_LIMIT:
        tripped = copied(draft.custody.outflow(one.asset))
        tripped.tripped_at_ns = draft.context.now_ns
        draft.custody.put_outflow(tripped)
        draft.alert("outflow_limit", account=one.account, detail=refused.detail[:200])
