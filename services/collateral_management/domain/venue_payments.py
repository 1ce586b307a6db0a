"""What a venue really pays: what was lost, to those who bore it; what an instrument came to, to its contra.

A recovery is shared by what each account bore of that notice (`VenueClaim`), nobody gets more than he lost; what is
beyond is the treasury's. A settlement goes to the instrument's contra, which has paid clients already and whose cash is
what venues owe for it; once the last payment for an instrument that has ended is there, the treasury takes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from ballast.events.v1 import journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.parameters import Instrument
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.accounts import known_asset
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.places import at_venue, place
from services.collateral_management.domain.sharing import shares
from services.collateral_management.domain.state import CASH


def recover(draft: Draft, body: lifecycle_pb2.VenueEvent) -> Refused | None:
    """Shares a payment among those who bore the loss."""
    refused = known_asset(draft, body.asset)
    if refused:
        return refused
    if body.units < 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected units >= 0, was {body.units}")
    claims = draft.state.lifecycle.venue_claims.get((body.venue, body.recovers), {})
    claims = {account: one for account, one in sorted(claims.items()) if one.asset == body.asset}
    parts = shares(
        body.units,
        {account: one.borne_units for account, one in claims.items()},
        caps={account: one.borne_units - one.recovered_units for account, one in claims.items()},
    )
    for account, claim in claims.items():
        part = parts.get(account, 0)
        _pay(draft, body, account, part)
        _put(draft, claim, recovered=part, is_final=body.is_final)
    beyond = body.units - sum(parts.values())
    if beyond:
        _pay(draft, body, money.house(draft, SystemAccount.TREASURY), beyond)
        draft.alert("venue_event_beyond", account=0, detail=f"{beyond} of {body.units} units were lost by nobody here")
    return None


def claim(draft: Draft, body: lifecycle_pb2.VenueEvent, parts: Mapping[int, int]) -> None:
    """Remembers who bore what, so that it can come back."""
    if not body.number:
        return
    for account, units in sorted(parts.items()):
        one = lifecycle_pb2.VenueClaim(
            venue=body.venue, number=body.number, account=account, asset=body.asset, borne_units=units
        )
        draft.note(journal_pb2.Effect(venue_claim=one))


def settle(draft: Draft, body: lifecycle_pb2.VenueEvent, instrument: Instrument) -> Refused | None:
    """Books what a venue pays or takes for an instrument."""
    if body.asset not in (instrument.settlement, instrument.underlying):
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"{instrument.symbol} does not settle in {body.asset}")
    contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
    _receive(draft, body, contra, body.units)
    left = draft.balance(contra, body.asset, CASH)
    if body.is_final and left and instrument.id in draft.state.lifecycle.listings:
        treasury = money.house(draft, SystemAccount.TREASURY)
        draft.move(debit=contra, credit=treasury, asset=body.asset, kind=CASH, units=left)
        detail = f"{instrument.symbol} came to {left} units more at venues than here"
        draft.alert("venue_event_beyond", account=0, detail=detail)
    return None


def _pay(draft: Draft, body: lifecycle_pb2.VenueEvent, account: int, units: int) -> None:
    if not units:
        return
    attributes = draft.account(account)
    if body.to_vault:
        vault = money.house(draft, SystemAccount.CUSTODY)
        movements.credit_cash(draft, account, source=vault, asset=body.asset, units=units)
    elif attributes is not None and attributes.moved_out:  # its units are there for the house, and its cash follows it
        venue = money.house(draft, SystemAccount.VENUE, body.venue)
        movements.credit_cash(draft, account, source=venue, asset=body.asset, units=units)
        treasury = money.house(draft, SystemAccount.TREASURY)
        place(draft, treasury, venue=body.venue, asset=body.asset, units=units)
    else:
        at_venue(draft, account, venue=body.venue, asset=body.asset, units=units)
    given = lifecycle_pb2.LossAllocated(
        account=account, venue=body.venue, asset=body.asset, units=-units, kind=body.kind
    )
    draft.note(journal_pb2.Effect(loss_allocated=given))


def _put(draft: Draft, claim: lifecycle_pb2.VenueClaim, *, recovered: int, is_final: bool) -> None:
    after = lifecycle_pb2.VenueClaim()
    after.CopyFrom(claim)
    after.recovered_units += recovered
    after.is_over = is_final or after.recovered_units >= after.borne_units
    if after != claim:
        draft.note(journal_pb2.Effect(venue_claim=after))


def _receive(draft: Draft, body: lifecycle_pb2.VenueEvent, account: int, units: int) -> None:
    """A house account gets units, negative when it pays; those at the venue are the treasury's there."""
    if body.to_vault:
        source = money.house(draft, SystemAccount.CUSTODY)
    else:
        source = money.house(draft, SystemAccount.VENUE, body.venue)
        treasury = money.house(draft, SystemAccount.TREASURY)
        place(draft, treasury, venue=body.venue, asset=body.asset, units=units)
    draft.move(debit=source, credit=account, asset=body.asset, kind=CASH, units=units)
