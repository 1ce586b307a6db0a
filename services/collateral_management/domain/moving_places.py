"""Places at venues move with their entity: what a venue keeps for it changes from one omnibus shard to another.

What an entity has at venues follows it in a movement of its own, right behind its lines. So in each partition a venue
still holds the sum of what is placed there, before, between and after (I20), and what was lost at an impaired venue is
known where the account lives: a larger loss reaches it there, and what is given back too.
"""

from __future__ import annotations

from collections.abc import Iterable

from ballast.events.v1 import custody_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, system_index, system_kind
from services.collateral_management.domain import locations, money, movements
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.places import place
from services.collateral_management.domain.state import CASH


def follow(draft: Draft, accounts: Iterable[journal_pb2.Account], *, entity: int, to: int) -> None:
    """Sends the places of an entity's accounts after it."""
    placements = [one for account in accounts for one in draft.custody.places(account.account)]
    if not placements:
        return
    units: dict[tuple[int, int], int] = {}
    for one in placements:
        units[one.venue, one.asset] = units.get((one.venue, one.asset), 0) + one.units
        draft.custody.put_placement(
            custody_pb2.Placement(account=one.account, asset=one.asset, venue=one.venue)
        )  # nothing is left of it here
    lines = [
        movements.line(money.house(draft, SystemAccount.VENUE, venue), asset, CASH, -each)
        for (venue, asset), each in sorted(units.items())
        if each
    ]
    gone = movement_pb2.Movement(
        to_partition=to, kind=words.MOVEMENT_KIND_PLACES, account=entity, lines=lines, placements=placements
    )
    movements.send(draft, gone)


def settle_in(draft: Draft, one: movement_pb2.Movement) -> None:
    """Takes in what an entity has at venues; of an account that has left again meanwhile it is the treasury's."""
    away = movements.in_transit(draft, one.from_partition)
    for each in one.lines:
        venue = money.house(draft, SystemAccount.VENUE, system_index(each.account))
        draft.move(debit=away, credit=venue, asset=each.asset, kind=each.kind, units=each.units)
    for placed in one.placements:
        account = draft.state.aliases.get(placed.account, placed.account)
        attributes = draft.account(account)
        if attributes is None or attributes.moved_out:
            account = money.house(draft, SystemAccount.TREASURY)
            place(draft, account, venue=placed.venue, asset=placed.asset, units=placed.units)
        else:
            _take(draft, placed, account)


def _take(draft: Draft, arrived: custody_pb2.Placement, account: int) -> None:
    here = copied(draft.custody.placement(account, arrived.asset, arrived.venue))
    here.units += arrived.units
    here.impaired_units += arrived.impaired_units
    here.lost_units += arrived.lost_units
    draft.custody.put_placement(here)
    impairment = draft.custody.impairment(arrived.venue)
    if impairment is not None and system_kind(account) is None:  # nobody moves away from the loss of a venue
        wanted = locations.wanted(here, impairment)
        if wanted != here:
            locations.bear(draft, here, wanted)
