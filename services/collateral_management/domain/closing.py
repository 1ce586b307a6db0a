"""Expiry, delivery and delisting: every position becomes what it is worth at the published settlement price."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount, system_kind
from libs.common.parameters import Delivery, Instrument
from services.collateral_management.domain import indices, money, positions, sweeps
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.orders import cancel
from services.collateral_management.domain.payoffs import paid_up_worth
from services.collateral_management.domain.state import CASH, LOTS, VARIATION

SETTLEMENT_PRICE_MAX = 2**62
HOUSES = (SystemAccount.SUSPENSE,)  # house accounts that may hold a position


def close_instrument(draft: Draft, body: lifecycle_pb2.CloseInstrument, _: commands_pb2.Principal) -> int | Refused:
    """Id of an instrument past its expiry or delisting, closed: orders first, then positions, a batch a command.

    The price is decided once, by the first command in the home partition; the others take that journalled value.
    """
    instrument = draft.context.parameters.instrument(body.instrument)
    if instrument is None or not instrument.closes_ns:
        return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no instrument {body.instrument} that ends")
    refused = indices.is_relayed(draft, body.instrument, body.home_sequence)
    if refused:
        return refused
    if not 0 < body.price <= SETTLEMENT_PRICE_MAX:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected 1 to {SETTLEMENT_PRICE_MAX}, was {body.price}")
    if draft.context.now_ns < instrument.closes_ns:
        return Refused(words.REFUSAL_INSTRUMENT_NOT_DUE, f"{instrument.symbol} ends at {instrument.closes_ns}")
    sweep = sweeps.under_way(draft, kinds.SWEEP_KIND_CLOSING, body.instrument)
    listing = draft.state.lifecycle.listings.get(body.instrument)
    if listing is not None and sweep is None:
        return Refused(words.REFUSAL_INSTRUMENT_CLOSED, f"{instrument.symbol} was closed at {listing.price}")
    if listing is not None and listing.price != body.price:
        return Refused(words.REFUSAL_OTHER_PRICE, f"expected {listing.price}, was {body.price}")
    if listing is None:
        draft.note(
            journal_pb2.Effect(
                listing=lifecycle_pb2.Listing(
                    instrument=body.instrument,
                    price=body.price,
                    mark_sequence=body.mark_sequence,
                    closed_at_ns=draft.context.now_ns,
                )
            )
        )
        _end_settlement(draft, body.instrument)
    _close_batch(draft, instrument, body, sweep)
    return body.instrument


def _end_settlement(draft: Draft, instrument: int) -> None:
    """A settlement that has not gone over all holders ends here: closing pays what it would have."""
    under_way = sweeps.under_way(draft, kinds.SWEEP_KIND_SETTLEMENT, instrument)
    if under_way is not None:
        ended = sweeps.begun(under_way)
        ended.is_over = True
        draft.note(journal_pb2.Effect(sweep=ended))


def _close_batch(
    draft: Draft,
    instrument: Instrument,
    body: lifecycle_pb2.CloseInstrument,
    under_way: lifecycle_pb2.Sweep | None,
) -> None:
    sweep = sweeps.begun(
        under_way, kind=kinds.SWEEP_KIND_CLOSING, subject=body.instrument, price=body.price,
        mark_sequence=body.mark_sequence,
    )  # fmt: skip
    alive = [one for one in draft.state.orders.values() if _goes_on(one, body.instrument)]
    for order in alive[: sweeps.ACCOUNTS_MAX]:
        cancel(draft, order, reason=words.REFUSAL_INSTRUMENT_CLOSED)
    if 2 * len(alive) > sweeps.ACCOUNTS_MAX:  # enough for one frame
        sweep.batches += 1
        draft.note(journal_pb2.Effect(sweep=sweep))
        return
    accounts, last = sweeps.next_holders(draft, body.instrument, cursor=sweep.cursor)

    def deed(account: int) -> None:
        close_position(draft, account, instrument, price=body.price)

    if sweeps.advance(draft, sweep, accounts, deed, last=last):
        for kind in HOUSES:
            deed(money.house(draft, kind))


def _goes_on(order: journal_pb2.Order, instrument: int) -> bool:
    return order.instrument == instrument and order.state != words.ORDER_STATE_CANCELLING


def close_position(draft: Draft, account: int, instrument: Instrument, *, price: int) -> None:
    """Pays and delivers what an account's position is worth; no lots and no variation are left.

    Every unit is taken from the instrument's contra: over all accounts nothing is made or lost. A future is paid what
    settling its variation would pay, a package what its legs pay; who must deliver coins that he has not borrows them.
    """
    lots = draft.balance(account, instrument.id, LOTS)
    variation = draft.balance(account, instrument.id, VARIATION)
    if not lots and not variation:
        return
    delivered = 0
    if instrument.is_paid_up:
        worth = paid_up_worth(draft.context.parameters, instrument, lots=lots, price=price)
        paid = worth.get(instrument.settlement, 0)
        if instrument.underlying != instrument.settlement:
            delivered = worth.get(instrument.underlying, 0)
    else:
        funding = draft.state.funding_at(instrument.id, draft.context.now_ns)
        paid = positions.settlement(instrument, lots=lots, variation=variation, price=price, funding=funding)
        if instrument.delivery is Delivery.PHYSICAL:
            delivered = lots * instrument.base_units_per_lot
            paid -= positions.value_up(instrument, lots=lots, price=price)
    contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
    draft.move(debit=account, credit=contra, asset=instrument.id, kind=LOTS, units=lots)
    draft.move(debit=account, credit=contra, asset=instrument.id, kind=VARIATION, units=variation)
    draft.move(debit=contra, credit=account, asset=instrument.settlement, kind=CASH, units=paid)
    draft.move(debit=contra, credit=account, asset=instrument.underlying, kind=CASH, units=delivered)
    closed = lifecycle_pb2.PositionClosed(
        account=account, instrument=instrument.id, lots=lots, price=price, paid_units=paid, delivered_units=delivered,
        cause=kinds.CLOSING_CAUSE_SETTLED,
    )  # fmt: skip
    draft.note(journal_pb2.Effect(position_closed=closed))


def close_what_came_late(draft: Draft) -> None:
    """Closes positions in closed instruments that a late fill, or an entity from elsewhere, has brought."""
    listings = draft.state.lifecycle.listings
    if not listings:
        return
    for account, asset in draft.positions_moved:
        instrument = draft.context.parameters.instrument(asset) if asset in listings else None
        kind = system_kind(account)  # what stands against a position, or is on its way, is none
        if instrument is not None and (kind is None or kind in HOUSES):
            close_position(draft, account, instrument, price=listings[asset].price)
