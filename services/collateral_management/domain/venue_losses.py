"""What a venue does to our omnibus account, allocated to clients by a published rule.

Closings are shared pro rata of the position on the side that is closed, socialised losses pro rata of the position on
either side, a bust pro rata of the units kept at the venue. Shares are rounded down, what is left goes one by one to
the largest remainders, equal ones in the order of account ids. Nobody bears more than his position or units: what is
beyond them is the house's. Beyond `BEARERS_MAX` holders, those with the largest weights bear. What a venue pays later
(`venue_payments`) comes back to those who bore it.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount, system_kind
from libs.common.parameters import Instrument
from services.collateral_management.domain import money, positions, venue_payments
from services.collateral_management.domain.accounts import known_asset
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.places import at_venue
from services.collateral_management.domain.sharing import shares
from services.collateral_management.domain.state import LOTS
from services.collateral_management.domain.trades import trade

BEARERS_MAX = 4_000
CLOSINGS = (kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_DELEVERAGING)


def venue_event(draft: Draft, body: lifecycle_pb2.VenueEvent, _: commands_pb2.Principal) -> int | Refused:
    """Venue id. A fact: what cannot be read is kept as an alert, for a person."""
    venue = draft.context.parameters.venue(body.venue)
    if venue is None:
        return Refused(words.REFUSAL_UNKNOWN_VENUE, f"no venue {body.venue}")
    if body.kind == kinds.VENUE_EVENT_KIND_BUST:
        refused = known_asset(draft, body.asset) or _not_negative(body)
        if not refused:
            _bust(draft, body)
    elif body.kind == kinds.VENUE_EVENT_KIND_RECOVERY:
        refused = venue_payments.recover(draft, body)
    else:
        instrument = draft.context.parameters.instrument(body.instrument)
        if instrument is None or not (instrument.is_margined or instrument.is_paid_up):
            return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no position in instrument {body.instrument}")
        refused = _of_instrument(draft, body, instrument)
    if refused:
        return refused
    if body.number:
        taken = lifecycle_pb2.VenueShare(
            venue=body.venue, number=body.number, left_lots=body.left_lots, left_units=body.left_units
        )
        draft.note(journal_pb2.Effect(venue_share=taken))
    if not (body.lots or body.units):  # nobody here has a part in it
        return body.venue
    said = kinds.VenueEventKind.Name(body.kind).removeprefix("VENUE_EVENT_KIND_").lower()
    draft.alert("venue_event", account=0, detail=f"{venue.name}: {said} {body.lots or body.units} {body.detail}"[:200])
    return body.venue


def _of_instrument(draft: Draft, body: lifecycle_pb2.VenueEvent, instrument: Instrument) -> Refused | None:
    if body.kind == kinds.VENUE_EVENT_KIND_SETTLEMENT:
        return venue_payments.settle(draft, body, instrument)
    if not 0 < body.price <= instrument.max_price:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected 1 to {instrument.max_price}, was {body.price}")
    if body.kind in CLOSINGS:
        return _closing(draft, body, instrument)
    return _socialised(draft, body, instrument)


def _not_negative(body: lifecycle_pb2.VenueEvent) -> Refused | None:
    if body.lots < 0 or body.units < 0:
        return Refused(
            words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected lots and units >= 0, was {body.lots} and {body.units}"
        )
    return None


def _closing(draft: Draft, body: lifecycle_pb2.VenueEvent, instrument: Instrument) -> Refused | None:
    if body.side not in (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, "expected a side, buy or sell")
    refused = _not_negative(body)
    if refused:
        return refused
    sign = 1 if body.side == market_pb2.SIDE_BUY else -1
    held = _largest(
        {one: -sign * draft.balance(one, instrument.id, LOTS) for one in draft.state.holders(instrument.id)}
    )
    parts = shares(body.lots, held, caps=held)
    beyond = body.lots - sum(parts.values())
    if beyond:  # nobody here holds it: the house has what the venue closed
        parts[money.house(draft, SystemAccount.SUSPENSE)] = beyond
        draft.alert("venue_event_beyond", account=0, detail=f"{beyond} of {body.lots} lots are nobody's")
    fees = shares(body.units, parts, caps=dict.fromkeys(parts, body.units))
    for account, lots in sorted(parts.items()):
        trade(draft, account, instrument, traded=sign * lots, price=body.price, at_ns=body.executed_at_ns)
        fee = fees.get(account, 0)
        at_venue(draft, account, venue=body.venue, asset=instrument.settlement, units=-fee)
        closed = lifecycle_pb2.PositionClosed(
            account=account, instrument=instrument.id, lots=-sign * lots, price=body.price, paid_units=-fee,
            cause=kinds.CLOSING_CAUSE_VENUE, weight=held.get(account, 0),
        )  # fmt: skip
        draft.note(journal_pb2.Effect(position_closed=closed))
    return None


def _socialised(draft: Draft, body: lifecycle_pb2.VenueEvent, instrument: Instrument) -> Refused | None:
    if body.kind != kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS:
        return Refused(words.REFUSAL_UNKNOWN_COMMAND, f"expected a kind of event, was {body.kind}")
    refused = known_asset(draft, body.asset) or _not_negative(body)
    if refused:
        return refused
    held = _largest({one: abs(draft.balance(one, instrument.id, LOTS)) for one in draft.state.holders(instrument.id)})
    caps = held
    if body.asset == instrument.settlement:  # nobody loses more than his position is worth
        caps = {one: positions.notional_down(instrument, lots=lots, price=body.price) for one, lots in held.items()}
    _take(draft, body, held, caps)
    return None


def _bust(draft: Draft, body: lifecycle_pb2.VenueEvent) -> None:
    kept = {
        account: draft.custody.placement(account, body.asset, body.venue).units
        for account in draft.custody.accounts_at(body.venue)
        if system_kind(account) is None
    }
    kept = _largest(kept)
    _take(draft, body, kept, kept)


def _take(draft: Draft, body: lifecycle_pb2.VenueEvent, weights: Mapping[int, int], caps: Mapping[int, int]) -> None:
    parts = shares(body.units, weights, caps=caps)
    beyond = body.units - sum(parts.values())
    if beyond:
        parts[money.house(draft, SystemAccount.TREASURY)] = beyond
        draft.alert("venue_event_beyond", account=0, detail=f"{beyond} of {body.units} units are the house's")
    venue_payments.claim(draft, body, parts)
    for account, units in sorted(parts.items()):
        at_venue(draft, account, venue=body.venue, asset=body.asset, units=-units)
        borne = lifecycle_pb2.LossAllocated(
            account=account, venue=body.venue, asset=body.asset, units=units, weight=weights.get(account, 0),
            kind=body.kind,
        )  # fmt: skip
        draft.note(journal_pb2.Effect(loss_allocated=borne))


def _largest(weights: Mapping[int, int]) -> dict[int, int]:
    positive_ones = {account: weight for account, weight in weights.items() if weight > 0}
    if len(positive_ones) <= BEARERS_MAX:
        return positive_ones
    return dict(nlargest(BEARERS_MAX, positive_ones.items(), key=lambda one: (one[1], -one[0])))
