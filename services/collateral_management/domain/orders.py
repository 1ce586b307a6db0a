"""Orders and what venues report of them."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount
from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import PPM, mul_div_down, mul_div_up
from services.collateral_management.domain import money, movements, positions
from services.collateral_management.domain.accounts import owned
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.places import at_venue
from services.collateral_management.domain.state import CASH, LIVE, LOTS
from services.collateral_management.domain.trades import trade


def changed_order(
    order: journal_pb2.Order,
    *,
    state: words.OrderState,
    remaining: int | None = None,
    send_by_ns: int | None = None,
    reason: words.Refusal = words.REFUSAL_UNSPECIFIED,
) -> journal_pb2.Order:
    """A copy of the order with what changed."""
    changed = journal_pb2.Order()
    changed.CopyFrom(order)
    changed.state = state
    changed.reason = reason
    if remaining is not None:
        changed.remaining = remaining
    if send_by_ns is not None:
        changed.send_by_ns = send_by_ns
    return changed


def tradable(draft: Draft, *, instrument: int, venue: int, lots: int, price: int) -> Refused | None:
    """Refuses an unknown instrument or venue, and lots or a price out of range."""
    known = draft.context.parameters.instrument(instrument)
    if known is None:
        return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no instrument {instrument}")
    where = draft.context.parameters.venue(venue)
    if where is None or instrument not in where.instruments:
        return Refused(words.REFUSAL_UNKNOWN_VENUE, f"venue {venue} does not trade {known.symbol}")
    lifecycle = draft.state.lifecycle
    if instrument in lifecycle.listings or 0 < known.closes_ns <= draft.context.now_ns:
        return Refused(words.REFUSAL_INSTRUMENT_CLOSED, f"{known.symbol} has ended")
    for asset in (known.underlying, known.quote) if lifecycle.redenominations else ():
        if asset in lifecycle.redenominations:
            return Refused(words.REFUSAL_ASSET_CLOSED, f"asset {asset} became another one")
    if not 0 < lots <= known.max_order_lots:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected 1 to {known.max_order_lots} lots, was {lots}")
    if not 0 < price <= known.max_price:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected a price of 1 to {known.max_price}, was {price}")
    return None


def place_order(draft: Draft, body: commands_pb2.PlaceOrder, sender: commands_pb2.Principal) -> int | Refused:
    """Id of a reserved order; it goes nowhere before risk's verdict."""
    refused = owned(draft, body.account, sender) or tradable(
        draft, instrument=body.instrument, venue=body.venue, lots=body.lots, price=body.limit_price
    )
    if refused:
        return refused
    if body.side not in (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, "expected a side, buy or sell")
    if body.time_in_force not in (market_pb2.TIME_IN_FORCE_IOC, market_pb2.TIME_IN_FORCE_GTC):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, "expected a time in force, IOC or GTC")
    attributes = draft.account(body.account)
    # Beside an episode's own orders even a reducing one could overshoot, and a live one would hold the waterfall up.
    if attributes is not None and (attributes.episode or (attributes.restricted and not body.reduce_only)):
        return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {body.account} is restricted")
    count = draft.state.orders_count(body.account)
    if count >= draft.context.parameters.ledger.open_orders_max:
        return Refused(words.REFUSAL_TOO_MANY_ORDERS, f"account {body.account} has {count} open orders")
    instrument = draft.context.parameters.instrument(body.instrument)
    if body.reduce_only and instrument is not None:
        room = reducing_room(draft, body.account, instrument, side=body.side)
        live = draft.state.orders_of(body.account)
        room -= sum(o.remaining for o in live if o.instrument == body.instrument and o.side == body.side)
        if body.lots > room:
            return Refused(words.REFUSAL_NOT_REDUCING, f"expected at most {max(0, room)} lots, was {body.lots}")
    order = journal_pb2.Order(
        order=draft.new_id(), account=body.account, instrument=body.instrument, venue=body.venue, side=body.side,
        lots=body.lots, remaining=body.lots, limit_price=body.limit_price, time_in_force=body.time_in_force,
        reduce_only=body.reduce_only, state=words.ORDER_STATE_RESERVED, reserved_sequence=draft.context.sequence,
    )  # fmt: skip
    draft.put_order(order)
    return order.order


def reducing_room(draft: Draft, account: int, instrument: Instrument, *, side: market_pb2.Side) -> int:
    """Most lots on that side that only reduce: the opposite position; for spot the coins held, or the coins owed."""
    buying = side == market_pb2.SIDE_BUY
    if instrument.is_margined or instrument.is_paid_up:
        lots = draft.balance(account, instrument.id, LOTS)
        return max(0, -lots if buying else lots)
    if buying:  # one lot more than whole lots covers a debt that is no whole number of lots
        return mul_div_up(money.debt_units(draft, account, instrument.underlying), 1, instrument.base_units_per_lot)
    cash = max(0, draft.balance(account, instrument.underlying, CASH))
    return mul_div_down(cash, 1, instrument.base_units_per_lot)


def cancel_what_no_longer_reduces(draft: Draft, account: int) -> None:
    """Cancels reduce-only orders beyond what is left to reduce: they were let out without the margin of new risk."""
    wanted: dict[tuple[int, market_pb2.Side], int] = {}
    for order in (draft.order(one.order) or one for one in draft.state.orders_of(account)):
        instrument = draft.context.parameters.instrument(order.instrument)
        if not order.reduce_only or order.episode or order.state not in LIVE or instrument is None:
            continue
        key = (order.instrument, order.side)
        wanted[key] = wanted.get(key, 0) + order.remaining
        if wanted[key] > reducing_room(draft, account, instrument, side=order.side):
            cancel(draft, order, reason=words.REFUSAL_NOT_REDUCING)


def cancel_order(draft: Draft, body: commands_pb2.CancelOrder, sender: commands_pb2.Principal) -> int | Refused:
    """Id of the order: voided at once while reserved, cancelling once it is out."""
    refused = owned(draft, body.account, sender)
    if refused:
        return refused
    order = draft.state.orders.get(body.order)
    if order is None or order.account != body.account or order.episode:
        return Refused(words.REFUSAL_UNKNOWN_ORDER, f"no live order {body.order} of account {body.account}")
    cancel(draft, order, reason=words.REFUSAL_CANCELLED_BY_OWNER)
    return order.order


def cancel(draft: Draft, order: journal_pb2.Order, *, reason: words.Refusal) -> None:
    """Voids a reserved order, asks the venue for one that is out."""
    if order.state == words.ORDER_STATE_RESERVED:
        draft.put_order(changed_order(order, state=words.ORDER_STATE_VOIDED, reason=reason))
    elif order.state != words.ORDER_STATE_CANCELLING or order.amended_lots:
        changed = changed_order(order, state=words.ORDER_STATE_CANCELLING, reason=reason)
        changed.amended_lots = changed.amended_price = 0  # nothing replaces what is not wanted any more
        draft.put_order(changed)


def order_report(draft: Draft, body: commands_pb2.OrderReport, _: commands_pb2.Principal) -> int | Refused:
    """Id of the order a venue reports about. A fact: what does not fit is posted to suspense with an alert."""
    order = draft.order(body.order)
    if order is None or order.venue != body.venue:
        draft.alert("unknown_order", account=0, detail=f"venue {body.venue} reports {_said(body)}")
    elif order.state in (words.ORDER_STATE_RESERVED, words.ORDER_STATE_VOIDED):
        draft.alert("unreleased_order", account=order.account, detail=f"venue {body.venue} reports {_said(body)}")
        if body.kind == words.REPORT_KIND_FILL:  # it never went out: the trade is not the client's
            _post_trade(draft, money.house(draft, SystemAccount.SUSPENSE), order, body)
    else:
        _take_report(draft, order, body)
    return body.order


def _said(body: commands_pb2.OrderReport) -> str:
    return " ".join(str(body).split())[:200]


def _take_report(draft: Draft, order: journal_pb2.Order, body: commands_pb2.OrderReport) -> None:
    if body.kind == words.REPORT_KIND_FILL:
        _fill(draft, order, body)
    elif order.state not in LIVE:
        draft.alert("late_report", account=order.account, detail=f"report {body.kind} for closed order {body.order}")
    elif body.kind == words.REPORT_KIND_ACCEPTED:
        if order.state == words.ORDER_STATE_RELEASED:
            draft.put_order(changed_order(order, state=words.ORDER_STATE_WORKING))
    elif body.kind == words.REPORT_KIND_CANCELLED:
        draft.put_order(changed_order(order, state=words.ORDER_STATE_CANCELLED))
    elif body.kind == words.REPORT_KIND_REJECTED:
        draft.put_order(changed_order(order, state=words.ORDER_STATE_REJECTED))
    else:
        draft.alert("unknown_report", account=order.account, detail=f"kind {body.kind} for order {body.order}")


def _late_fill(draft: Draft, order: journal_pb2.Order, body: commands_pb2.OrderReport) -> None:
    """A trade of an account that has moved since follows it: its order had ended, so nothing waited for the report."""
    suspense = money.house(draft, SystemAccount.SUSPENSE)
    first = len(draft.effects)
    if _post_trade(draft, suspense, order, body) is None:
        return
    posted = [each.posting for each in draft.effects[first:] if each.HasField("posting")]
    lines = [movements.line(suspense, one.asset, one.kind, one.delta) for one in posted if one.account == suspense]
    movements.credit(draft, order.account, source=suspense, lines=lines)
    draft.alert("moved_fill", account=order.account, detail=f"order {order.order} had ended: {_said(body)}")


def _fill(draft: Draft, order: journal_pb2.Order, body: commands_pb2.OrderReport) -> None:
    attributes = draft.account(order.account)
    if attributes is not None and attributes.moved_out:
        _late_fill(draft, order, body)
        return
    instrument = _post_trade(draft, order.account, order, body)
    if instrument is None:
        return
    if body.lots > order.remaining or order.state not in LIVE:
        draft.alert("overfill", account=order.account, detail=f"{body.lots} lots against {order.remaining} open")
    is_worse = body.price > order.limit_price if order.side == market_pb2.SIDE_BUY else body.price < order.limit_price
    if is_worse:
        draft.alert("off_limit", account=order.account, detail=f"filled at {body.price}, limit {order.limit_price}")
    fee = _liquidation_fee(draft, order, instrument, body)
    _record_fill(draft, order, body, fee=fee)
    if order.state in LIVE:
        remaining = max(0, order.remaining - body.lots)
        state = order.state if remaining else words.ORDER_STATE_FILLED
        if state == words.ORDER_STATE_RELEASED:
            state = words.ORDER_STATE_WORKING
        draft.put_order(changed_order(order, state=state, remaining=remaining))


def _post_trade(
    draft: Draft, account: int, order: journal_pb2.Order, body: commands_pb2.OrderReport
) -> Instrument | None:
    """Posts a trade and the venue's fee; returns the instrument, None when there can be no such trade."""
    instrument = draft.context.parameters.instrument(order.instrument)
    # No order is larger or priced higher: posted to a client, one such report could cost more than there is.
    if instrument is None or not (
        0 < body.lots <= instrument.max_order_lots and 0 < body.price <= instrument.max_price
    ):
        draft.alert("impossible_fill", account=order.account, detail=f"{body.lots} lots at {body.price}")
        return None
    traded = body.lots if order.side == market_pb2.SIDE_BUY else -body.lots
    if instrument.kind is InstrumentKind.SPOT:
        _post_spot(draft, account, instrument, traded=traded, body=body)
    else:
        trade(draft, account, instrument, traded=traded, price=body.price, at_ns=body.executed_at_ns)
    at_venue(draft, account, venue=order.venue, asset=instrument.settlement, units=-body.fee_units)
    return instrument


def _post_spot(
    draft: Draft, account: int, instrument: Instrument, *, traded: int, body: commands_pb2.OrderReport
) -> None:
    base = traded * instrument.base_units_per_lot
    if traded > 0:
        quote = -positions.notional_up(instrument, lots=traded, price=body.price)
    else:
        quote = positions.notional_down(instrument, lots=-traded, price=body.price)
    at_venue(draft, account, venue=body.venue, asset=instrument.underlying, units=base)
    at_venue(draft, account, venue=body.venue, asset=instrument.quote, units=quote)


def _liquidation_fee(
    draft: Draft, order: journal_pb2.Order, instrument: Instrument, body: commands_pb2.OrderReport
) -> int:
    if not order.episode:
        return 0
    notional = positions.notional_up(instrument, lots=body.lots, price=body.price)
    fee = mul_div_up(notional, draft.context.parameters.ledger.liquidation_fee, PPM)
    fund = money.house(draft, SystemAccount.INSURANCE)
    draft.move(debit=order.account, credit=fund, asset=instrument.settlement, kind=CASH, units=fee)
    return fee


def _record_fill(draft: Draft, order: journal_pb2.Order, body: commands_pb2.OrderReport, *, fee: int) -> None:
    draft.note(
        journal_pb2.Effect(
            fill=journal_pb2.Fill(
                order=order.order,
                account=order.account,
                instrument=order.instrument,
                venue=order.venue,
                side=order.side,
                lots=body.lots,
                price=body.price,
                fee_units=body.fee_units,
                liquidation_fee_units=fee,
                executed_at_ns=body.executed_at_ns,
                episode=order.episode,
            )
        )
    )
    episode = draft.episode(order.episode) if order.episode else None
    if episode is not None:
        filled = journal_pb2.Episode()
        filled.CopyFrom(episode)
        filled.last_fill_sequence = draft.context.sequence
        draft.put_episode(filled)
