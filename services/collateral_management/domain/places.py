"""Where assets of an account sit: what a venue keeps or gives, and what must stay there.

A client's placement at a venue is never negative and never more than the client has: what a client pays there beyond
it, and what leaves the client's cash, the treasury takes over. So the units at a venue are the sum of placements there,
the treasury's counted (I20), and the rest of a client's units sits in the vault.
"""

from __future__ import annotations

from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import invariant
from libs.common.ids import SystemAccount, system_kind
from libs.common.units import PPM, mul_div_up
from services.collateral_management.domain import money
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, RESERVED


def at_venue(draft: Draft, account: int, *, venue: int, asset: int, units: int) -> None:
    """Credits an account with units that a venue gives, or takes those that it keeps."""
    draft.move(
        debit=money.house(draft, SystemAccount.VENUE, venue), credit=account, asset=asset, kind=CASH, units=units
    )
    place(draft, account, venue=venue, asset=asset, units=units)


def place(draft: Draft, account: int, *, venue: int, asset: int, units: int) -> None:
    """Counts units of an account at a venue; what a client has not there, the treasury owes or is owed."""
    if units < 0 and system_kind(account) is None:
        there = draft.custody.placement(account, asset, venue).units
        if there + units < 0:
            treasury = money.house(draft, SystemAccount.TREASURY)
            place(draft, treasury, venue=venue, asset=asset, units=there + units)
            units = -there
    if units:
        changed = copied(draft.custody.placement(account, asset, venue))
        changed.units += units
        draft.custody.put_placement(changed)


def keep_within(draft: Draft, account: int) -> None:
    """Gives the treasury what an account has at venues beyond its cash: the house has paid it from the vault."""
    left: dict[int, int] = {}
    for one in draft.custody.places(account):
        if one.asset not in left:
            cash = draft.balance(account, one.asset, CASH) + draft.balance(account, one.asset, RESERVED)
            left[one.asset] = max(0, cash)
        beyond = one.units - left[one.asset]
        left[one.asset] = max(0, -beyond)
        if beyond > 0:
            place(draft, account, venue=one.venue, asset=one.asset, units=-beyond)
            treasury = money.house(draft, SystemAccount.TREASURY)
            place(draft, treasury, venue=one.venue, asset=one.asset, units=beyond)


def must_stay(draft: Draft, account: int, asset: int) -> int:
    """Units of an account that may not leave while venues they sit at are impaired, rounded up."""
    stay = 0
    for one in draft.custody.places(account):
        impairment = draft.custody.impairment(one.venue) if one.asset == asset else None
        if impairment is not None:  # of what was there: taking out a part must not shrink what stays for the rest
            stay += mul_div_up(one.impaired_units - one.lost_units, impairment.haircut_ppm, PPM)
    return stay


def impaired(draft: Draft, account: int, *, asset: int, units: int) -> Refused | None:
    """Refuses to let out what must stay for an impaired venue."""
    if draft.custody.is_empty:
        return None
    stay = must_stay(draft, account, asset)
    cash = draft.balance(account, asset, CASH)
    if stay and cash - units < stay:
        return Refused(
            words.REFUSAL_LOCATION_IMPAIRED, f"{stay} of {cash} units sit at an impaired venue and must stay"
        )
    return None


def check(draft: Draft, account: int) -> None:
    """Raises InvariantBroken I20 when a client has less than nothing at a venue, or more than it has."""
    by_asset: dict[int, int] = {}
    for one in draft.custody.places(account):
        invariant(one.units >= 0, "I20", f"account {account} has {one.units} at venue {one.venue}")
        by_asset[one.asset] = by_asset.get(one.asset, 0) + one.units
    for asset, units in by_asset.items():
        cash = draft.balance(account, asset, CASH) + draft.balance(account, asset, RESERVED)
        invariant(units <= max(0, cash), "I20", f"account {account} has {units} of {asset} at venues, {cash} in all")
