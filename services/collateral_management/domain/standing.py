"""Standing of an account: closed and opened again by its owner, restricted by an operator."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from services.collateral_management.domain import money
from services.collateral_management.domain.accounts import gone
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.guards import reason_missing
from services.collateral_management.domain.orders import cancel
from services.collateral_management.domain.reservations import end_reservation


def close_account(draft: Draft, body: lifecycle_pb2.CloseAccount, sender: commands_pb2.Principal) -> int | Refused:
    """Id of the account, closed: nothing may be on it, and nothing on its way to it."""
    one = _owned(draft, body.account, sender)
    if isinstance(one, Refused):
        return one
    if one.closed:
        return Refused(words.REFUSAL_ACCOUNT_CLOSED, f"account {body.account} is closed")
    if one.episode:
        return Refused(words.REFUSAL_EPISODE_OPEN, f"episode {one.episode} is open")
    orders, reservations = draft.state.orders_of(body.account), draft.state.reservations_of(body.account)
    if orders:
        return Refused(words.REFUSAL_ORDERS_ALIVE, f"{len(orders)} orders are alive, first {orders[0].order}")
    if reservations:
        waits = reservations[0].reservation
        return Refused(words.REFUSAL_ACCOUNT_NOT_EMPTY, f"{len(reservations)} reservations are pending, first {waits}")
    lines = draft.lines_of(body.account)
    if lines:
        return Refused(words.REFUSAL_ACCOUNT_NOT_EMPTY, f"{len(lines)} lines are left, first {lines[0]}")
    _put(draft, one, closed=True)
    return body.account


def reopen_account(draft: Draft, body: lifecycle_pb2.ReopenAccount, sender: commands_pb2.Principal) -> int | Refused:
    """Id of the account, open again; the versions of its lines go on where they were."""
    one = _owned(draft, body.account, sender)
    if isinstance(one, Refused):
        return one
    if not one.closed:
        return Refused(words.REFUSAL_ACCOUNT_NOT_CLOSED, f"account {body.account} is open")
    _put(draft, one, closed=False)
    return body.account


def restrict_account(draft: Draft, body: lifecycle_pb2.RestrictAccount, _: commands_pb2.Principal) -> int | Refused:
    """Id of the account: an operator takes new risk and outflows from it, or gives them back.

    What waits is given back, what is out and adds risk is cancelled.
    """
    one = draft.account(body.account)
    if one is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {body.account}")
    refused = gone(one) or reason_missing(body.reason)
    if refused:
        return refused
    if body.restricted:
        for order in draft.state.orders_of(body.account):
            if not order.reduce_only:
                cancel(draft, order, reason=words.REFUSAL_ACCOUNT_RESTRICTED)
        for reservation in draft.state.reservations_of(body.account):
            end_reservation(draft, reservation, reason=words.REFUSAL_ACCOUNT_RESTRICTED)
    _put(draft, one, held=body.restricted)
    money.refresh_restriction(draft, body.account)
    said = "restricted" if body.restricted else "lifted"
    draft.alert("restriction", account=body.account, detail=f"{said}: {body.reason}")
    return body.account


def reopen_what_is_used(draft: Draft) -> None:
    """Opens closed accounts that a fact has reached: a fact is never refused."""
    for account in draft.clients_moved:
        one = draft.account(account)
        if one is not None and one.closed and draft.lines_of(account):
            _put(draft, one, closed=False)
            draft.alert("reopened", account=account, detail="something arrived on a closed account")


def _owned(draft: Draft, account: int, sender: commands_pb2.Principal) -> journal_pb2.Account | Refused:
    one = draft.account(account)
    if one is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {account}")
    if sender.role == words.ROLE_CLIENT and one.owner != sender.id:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"account {account} is not owned by {sender.id}")
    return gone(one) or one


def _put(draft: Draft, one: journal_pb2.Account, **changes: bool) -> None:
    changed = journal_pb2.Account()
    changed.CopyFrom(one)
    for name, value in changes.items():
        setattr(changed, name, value)
    draft.put_account(changed)
