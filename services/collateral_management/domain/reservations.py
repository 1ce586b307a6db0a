"""Withdrawals, transfers and orders wait for risk: reserve, judge, settle or void."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, entity_of, partition_of, system_kind
from services.collateral_management.domain import cuts, guards, money, movements, outflows
from services.collateral_management.domain.accounts import known_asset, owned, positive, spendable
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.orders import changed_order
from services.collateral_management.domain.places import impaired
from services.collateral_management.domain.state import CASH, RESERVED

DESTINATION_MAX = 256


def withdraw(draft: Draft, body: commands_pb2.Withdraw, sender: commands_pb2.Principal) -> int | Refused:
    """Reservation id of a withdrawal: its units leave cash at once and wait."""
    refused = _may_reserve(draft, body, sender)
    refused = refused or _sibling_in_episode(draft, body.account)
    if refused is None and len(body.destination) > DESTINATION_MAX:
        return Refused(words.REFUSAL_TOO_LARGE, f"expected a destination of at most {DESTINATION_MAX} characters")
    refused = refused or guards.held_back(draft, asset=body.asset, units=body.units)
    return refused or _reserve(draft, body, to_account=0, destination=body.destination)


def transfer(draft: Draft, body: movement_pb2.Transfer, sender: commands_pb2.Principal) -> int | Refused:
    """Reservation id of a transfer to another account of the same entity."""
    refused = _may_reserve(draft, body, sender)
    if refused:
        return refused
    if partition_of(body.to_account) != draft.state.partition:
        return _transfer_away(draft, body)
    refused = owned(draft, body.to_account, sender)
    if refused:
        return refused
    if entity_of(body.account) != entity_of(body.to_account) or body.account == body.to_account:
        return Refused(words.REFUSAL_OTHER_ENTITY, f"{body.to_account} is no other account of the same entity")
    return _reserve(draft, body, to_account=body.to_account, destination="")


def _transfer_away(draft: Draft, body: movement_pb2.Transfer) -> int | Refused:
    """To an account of the same owner elsewhere: its partition alone knows whether there is one, else it comes back."""
    refused = movements.reachable(draft, partition_of(body.to_account))
    if refused is None and (system_kind(body.to_account) is not None or not body.to_account >> 16 & 0xFFFFFFFF):
        refused = Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"{body.to_account} is no client's account")
    refused = refused or cuts.must_wait(draft, (body.asset,), to=partition_of(body.to_account))
    refused = refused or _sibling_in_episode(draft, body.account)  # it leaves the entity's margin as a withdrawal does
    return refused or _reserve(draft, body, to_account=body.to_account, destination="")


def _may_reserve(
    draft: Draft, body: commands_pb2.Withdraw | movement_pb2.Transfer, sender: commands_pb2.Principal
) -> Refused | None:
    refused = owned(draft, body.account, sender) or known_asset(draft, body.asset) or positive(body.units)
    refused = refused or spendable(draft, body.account, asset=body.asset, units=body.units)
    if refused:
        return refused
    # An episode voids them all in one frame: without a bound an account could make itself too large to be liquidated.
    pending, most = len(draft.state.reservations_of(body.account)), draft.context.parameters.ledger.open_orders_max
    if pending >= most:
        return Refused(words.REFUSAL_TOO_MANY_ORDERS, f"account {body.account} has {pending} pending reservations")
    return None


def _sibling_in_episode(draft: Draft, account: int) -> Refused | None:
    """Refuses an outflow while another account of the entity is liquidated: a winning leg stays with the losing one."""
    entity = entity_of(account)
    for sub in range(draft.state.entity_accounts.get(entity, 0)):
        sibling = draft.account(entity | sub)
        if sibling is not None and sibling.episode:
            return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {sibling.account} of the entity is liquidated")
    return None


def _reserve(
    draft: Draft, body: commands_pb2.Withdraw | movement_pb2.Transfer, *, to_account: int, destination: str
) -> int:
    reservation = draft.new_id()
    draft.post(body.account, body.asset, CASH, -body.units)
    draft.post(body.account, body.asset, RESERVED, body.units)
    # RESERVED and CASH are kinds of their own: the contra keeps each at zero over all accounts
    custody = money.house(draft, SystemAccount.CUSTODY)
    draft.post(custody, body.asset, CASH, body.units)
    draft.post(custody, body.asset, RESERVED, -body.units)
    one = journal_pb2.Reservation(
        reservation=reservation, account=body.account, to_account=to_account, asset=body.asset, units=body.units,
        state=words.RESERVATION_STATE_PENDING, reserved_sequence=draft.context.sequence, destination=destination,
    )  # fmt: skip
    draft.note(journal_pb2.Effect(reservation=one))
    return reservation


def end_reservation(draft: Draft, one: journal_pb2.Reservation, *, reason: words.Refusal | None) -> None:
    """Settles a pending reservation, or voids it for a reason."""
    custody = money.house(draft, SystemAccount.CUSTODY)
    draft.post(one.account, one.asset, RESERVED, -one.units)
    draft.post(custody, one.asset, RESERVED, one.units)
    if reason is not None:  # back to where it came from
        outflows.release(draft, one)
        draft.move(debit=custody, credit=one.account, asset=one.asset, kind=CASH, units=one.units)
    elif one.to_account and is_inside(draft, one):
        movements.credit_cash(draft, one.to_account, source=custody, asset=one.asset, units=one.units)
    elif one.to_account:
        _send_away(draft, one, custody)
    ended = journal_pb2.Reservation()
    ended.CopyFrom(one)
    ended.state = words.RESERVATION_STATE_SETTLED if reason is None else words.RESERVATION_STATE_VOIDED
    ended.reason = reason or words.REFUSAL_UNSPECIFIED
    draft.note(journal_pb2.Effect(reservation=ended))


def is_inside(draft: Draft, one: journal_pb2.Reservation) -> bool:
    """Whether its units stay with the entity: a transfer to another of its accounts."""
    return bool(one.to_account) and partition_of(one.to_account) == draft.state.partition


def _send_away(draft: Draft, one: journal_pb2.Reservation, custody: int) -> None:
    attributes = draft.account(one.account)
    out = movement_pb2.Movement(
        to_partition=partition_of(one.to_account), kind=words.MOVEMENT_KIND_TRANSFER, account=one.account,
        to_account=one.to_account, owner=attributes.owner if attributes else "",
        lines=[movements.line(custody, one.asset, CASH, one.units)],
    )  # fmt: skip
    movements.send(draft, out)


def verdict(draft: Draft, body: commands_pb2.Verdict, _: commands_pb2.Principal) -> int | Refused:
    """Id of what risk has judged, settled or voided."""
    if body.WhichOneof("target") == "order":
        order = draft.state.orders.get(body.order)
        if order is None or order.state != words.ORDER_STATE_RESERVED or order.account != body.account:
            return Refused(words.REFUSAL_UNKNOWN_ORDER, f"no reserved order {body.order} of account {body.account}")
        refused = _may_decide(draft, body, reserved_sequence=order.reserved_sequence)
        if refused:
            return refused
        attributes = draft.account(order.account)
        if body.settle and attributes is not None and attributes.restricted and not order.reduce_only:
            return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {order.account} is restricted")
        if body.settle:
            send_by = draft.context.now_ns + draft.context.parameters.ledger.send_by_ns
            draft.put_order(changed_order(order, state=words.ORDER_STATE_RELEASED, send_by_ns=send_by))
        else:
            draft.put_order(changed_order(order, state=words.ORDER_STATE_VOIDED, reason=body.reason))
        return order.order
    reservation = draft.state.reservations.get(body.reservation)
    if reservation is None or reservation.account != body.account:
        return Refused(
            words.REFUSAL_UNKNOWN_RESERVATION,
            f"no pending reservation {body.reservation} of account {body.account}",
        )
    refused = _may_decide(draft, body, reserved_sequence=reservation.reserved_sequence)
    if refused:
        return refused
    attributes = draft.account(reservation.account)
    if body.settle and attributes is not None and attributes.restricted:
        return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {reservation.account} is restricted")
    if body.settle and not is_inside(draft, reservation):
        refused = _sibling_in_episode(draft, reservation.account)
        if refused:
            return refused
    held = _held_back(draft, reservation) if body.settle else None
    if held is None and body.settle and not reservation.to_account:
        leaves = outflows.claim(draft, reservation)
        if leaves is False:  # its share of the house's limit is asked for; risk judges again when it is there
            return reservation.reservation
        held = None if leaves is True else leaves
        if held is not None and held.reason == words.REFUSAL_OUTFLOW_ASKED:
            return held
    if held is not None:  # not refused: risk would ask again at every mark, for as long as the gate is closed
        end_reservation(draft, reservation, reason=held.reason)
        guards.note_held_back(draft, reservation, held)
        return reservation.reservation
    end_reservation(draft, reservation, reason=None if body.settle else body.reason)
    return reservation.reservation


def _held_back(draft: Draft, one: journal_pb2.Reservation) -> Refused | None:
    """Why a withdrawal or transfer that risk has let go may not leave now."""
    refused = impaired(draft, one.account, asset=one.asset, units=0)
    if refused is None and not one.to_account:
        refused = guards.shut(draft)
    elif refused is None:
        refused = cuts.must_wait(draft, (one.asset,), to=partition_of(one.to_account))
    return refused


def _may_decide(draft: Draft, body: commands_pb2.Verdict, *, reserved_sequence: int) -> Refused | None:
    context, cited = draft.context, body.citation
    if not reserved_sequence <= cited.journal_sequence < context.sequence:
        return Refused(
            words.REFUSAL_CITES_EARLIER_STATE,
            f"expected a state from {reserved_sequence} to {context.sequence - 1}, was {cited.journal_sequence}",
        )
    if cited.control_sequence != context.control_sequence:
        return Refused(
            words.REFUSAL_CITES_OTHER_PARAMETERS,
            f"expected control {context.control_sequence}, was {cited.control_sequence}",
        )
    if not body.settle:
        return None
    late_ns = context.now_ns - cited.mark_run_time_ns - context.parameters.ledger.verdict_validity_ns
    if late_ns > 0:
        return Refused(words.REFUSAL_VERDICT_EXPIRED, f"the cited mark is {late_ns} ns past its validity")
    if not context.marks_alive:
        return Refused(words.REFUSAL_MARKS_SILENT, "no mark heartbeat within a second")
    return None
