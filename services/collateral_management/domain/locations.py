"""The custodian moves assets between vault and venues; an operator says what a venue has lost, and who bears it."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, custody_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.units import PPM, mul_div_up
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.guards import reason_missing
from services.collateral_management.domain.places import place
from services.collateral_management.domain.reservations import end_reservation
from services.collateral_management.domain.state import CASH, RESERVED

PLACEMENTS_MAX = 2_000  # of one command: their postings fit a frame


def move_location(draft: Draft, body: custody_pb2.MoveLocation, _: commands_pb2.Principal) -> int | Refused:
    """The account whose units the custodian moves between the vault and a venue."""
    treasury = money.house(draft, SystemAccount.TREASURY)
    if body.account != treasury and draft.account(body.account) is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {body.account}")
    if draft.context.parameters.asset(body.asset) is None:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"no asset {body.asset}")
    if draft.context.parameters.venue(body.venue) is None:
        return Refused(words.REFUSAL_UNKNOWN_VENUE, f"no venue {body.venue}")
    if not body.units:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, "expected units, was 0")
    impairment = draft.custody.impairment(body.venue)
    if body.units > 0 and impairment is not None and impairment.haircut_ppm:
        return Refused(words.REFUSAL_LOCATION_IMPAIRED, f"venue {body.venue} is impaired: {impairment.reason}"[:300])
    least, most = _movable(draft, body.account, asset=body.asset, venue=body.venue)
    if not least <= body.units <= most:
        return Refused(words.REFUSAL_INSUFFICIENT_BALANCE, f"expected {least} to {most} units, was {body.units}")
    vault, venue = money.house(draft, SystemAccount.CUSTODY), money.house(draft, SystemAccount.VENUE, body.venue)
    draft.move(debit=venue, credit=vault, asset=body.asset, kind=CASH, units=body.units)
    place(draft, body.account, venue=body.venue, asset=body.asset, units=body.units)
    return body.account


def _movable(draft: Draft, account: int, *, asset: int, venue: int) -> tuple[int, int]:
    """Units that may come back from a venue, negative, and go there: nobody's but the account's own.

    The treasury goes by the same rule, so the house cannot settle what it owes a venue with clients' units.
    """
    there = draft.custody.placement(account, asset, venue).units
    own = draft.balance(account, asset, CASH) + draft.balance(account, asset, RESERVED)
    own -= sum(one.units for one in draft.custody.places(account) if one.asset == asset)
    return -max(0, there), max(0, own)


def impair_venue(draft: Draft, body: custody_pb2.ImpairVenue, _: commands_pb2.Principal) -> int | Refused:
    """Placements left for the same command again; a venue's loss goes to those whose assets sit there, pro rata.

    Each placement bears the share of what it was when the impairment began, rounded up, and no more than is left of it;
    so the same command again changes nothing, a smaller loss gives back, and one of 0 gives everything back.
    """
    if draft.context.parameters.venue(body.venue) is None:
        return Refused(words.REFUSAL_UNKNOWN_VENUE, f"no venue {body.venue}")
    if max(body.loss_ppm, body.haircut_ppm) > PPM:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected shares up to {PPM}, was {body.loss_ppm}")
    refused = reason_missing(body.reason)
    if refused:
        return refused
    waiting = [
        one
        for account in draft.custody.accounts_at(body.venue)
        for one in draft.custody.places(account)
        if one.venue == body.venue and wanted(one, body) != one
    ]
    for one in waiting[:PLACEMENTS_MAX]:
        bear(draft, one, wanted(one, body))
    marked = custody_pb2.Impairment(
        venue=body.venue, loss_ppm=body.loss_ppm, haircut_ppm=body.haircut_ppm, reason=body.reason,
        at_ns=draft.context.now_ns, remaining=max(0, len(waiting) - PLACEMENTS_MAX),
    )  # fmt: skip
    draft.custody.put_impairment(marked)
    detail = f"venue {body.venue}: {body.loss_ppm} ppm lost, {body.reason}"
    draft.alert("venue_impaired", account=0, detail=detail[:200])
    return marked.remaining


def wanted(one: custody_pb2.Placement, body: custody_pb2.ImpairVenue | custody_pb2.Impairment) -> custody_pb2.Placement:
    """What a placement is to be under an impairment."""
    base = one.impaired_units or max(0, one.units)
    found = copied(one)
    found.impaired_units = base if body.loss_ppm or body.haircut_ppm else 0
    left = one.lost_units + max(0, one.units)  # what was sold or taken out since cannot be lost any more
    found.lost_units = min(left, mul_div_up(base, body.loss_ppm, PPM))
    found.units -= found.lost_units - one.lost_units
    return found


def bear(draft: Draft, one: custody_pb2.Placement, after: custody_pb2.Placement) -> None:
    """Moves one placement's loss: cash goes to the venue's account, or comes back."""
    more = after.lost_units - one.lost_units
    if more > 0 or after.impaired_units > one.impaired_units:
        for waiting in draft.state.reservations_of(one.account):
            if waiting.asset == one.asset:
                end_reservation(draft, waiting, reason=words.REFUSAL_LOCATION_IMPAIRED)
    venue = money.house(draft, SystemAccount.VENUE, one.venue)
    draft.custody.put_placement(after)
    if more >= 0:
        draft.move(debit=one.account, credit=venue, asset=one.asset, kind=CASH, units=more)
    else:  # it follows an account that has moved since
        movements.credit_cash(draft, one.account, source=venue, asset=one.asset, units=-more)
