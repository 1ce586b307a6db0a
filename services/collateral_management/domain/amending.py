"""Amending an order: one that waits for risk waits anew; one that is out is cancelled, then replaced and judged."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from services.collateral_management.domain import orders
from services.collateral_management.domain.accounts import owned
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import LIVE


def amend_order(draft: Draft, body: lifecycle_pb2.AmendOrder, sender: commands_pb2.Principal) -> int | Refused:
    """Id of the order that is amended. Its replacement has an id of its own, and is reserved when this one is gone."""
    refused = owned(draft, body.account, sender)
    if refused:
        return refused
    order = draft.state.orders.get(body.order)
    if order is None or order.account != body.account or order.episode or order.state == words.ORDER_STATE_CANCELLING:
        return Refused(words.REFUSAL_UNKNOWN_ORDER, f"no live order {body.order} of account {body.account}")
    refused = orders.tradable(
        draft, instrument=order.instrument, venue=order.venue, lots=body.lots, price=body.limit_price
    )
    if refused:
        return refused
    filled = order.lots - order.remaining
    if body.lots <= filled:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected more than the {filled} lots that are filled")
    obstacle = _obstacle(draft, order, left=body.lots - filled)
    if obstacle:
        return obstacle
    changed = journal_pb2.Order()
    changed.CopyFrom(order)
    if order.state == words.ORDER_STATE_RESERVED:  # what was judged is not what is asked for any more
        changed.lots = changed.remaining = body.lots
        changed.limit_price, changed.reserved_sequence = body.limit_price, draft.context.sequence
    else:
        changed.state, changed.reason = words.ORDER_STATE_CANCELLING, words.REFUSAL_AMENDED
        changed.amended_lots, changed.amended_price = body.lots, body.limit_price
    draft.put_order(changed)
    return order.order


def replace(draft: Draft, order: journal_pb2.Order) -> None:
    """Reserves what replaces an order that the venue has cancelled: only now can both not fill."""
    left = order.amended_lots - (order.lots - order.remaining)
    if not order.amended_lots or left <= 0:
        return
    one = journal_pb2.Order(
        order=draft.new_id(), account=order.account, instrument=order.instrument, venue=order.venue, side=order.side,
        lots=left, remaining=left, limit_price=order.amended_price, time_in_force=order.time_in_force,
        reduce_only=order.reduce_only, state=words.ORDER_STATE_RESERVED, reserved_sequence=draft.context.sequence,
        replaces=order.order,
    )  # fmt: skip
    obstacle = orders.tradable(
        draft, instrument=one.instrument, venue=one.venue, lots=left, price=one.limit_price
    ) or _obstacle(draft, order, left=left)
    if obstacle:
        one.state, one.reason = words.ORDER_STATE_VOIDED, obstacle.reason
    draft.put_order(one)


def _obstacle(draft: Draft, order: journal_pb2.Order, *, left: int) -> Refused | None:
    account = draft.account(order.account)
    if account is None or account.episode or account.moving_to or (account.restricted and not order.reduce_only):
        return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {order.account} is restricted")
    instrument = draft.context.parameters.instrument(order.instrument)
    if not order.reduce_only or instrument is None:
        return None
    room = orders.reducing_room(draft, order.account, instrument, side=order.side)
    others = (draft.order(one.order) or one for one in draft.state.orders_of(order.account))
    room -= sum(
        one.remaining
        for one in others
        if one.order != order.order
        and one.state in LIVE
        and one.instrument == order.instrument
        and one.side == order.side
    )
    if left > room:
        return Refused(words.REFUSAL_NOT_REDUCING, f"expected at most {max(0, room)} lots, was {left}")
    return None


def order_report(draft: Draft, body: commands_pb2.OrderReport, sender: commands_pb2.Principal) -> int | Refused:
    """Id of the order a venue reports about; one that is cancelled to be replaced is replaced by the same frame."""
    was_alive = body.order in draft.state.orders
    result = orders.order_report(draft, body, sender)
    order = draft.order(body.order)
    if was_alive and order is not None and order.state == words.ORDER_STATE_CANCELLED:
        replace(draft, order)
    return result
