"""Where assets sit, from an accepted book: an account's, or everybody's in the partition."""

from __future__ import annotations

from collections.abc import Iterator

from ballast.api.v1 import ledger_pb2 as api
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.parameters import Parameters

VAULT = 0  # in place of a venue's id
_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED


def of_account(book: PartitionBook, account: int) -> Iterator[api.LocatedUnits]:
    """An account's units by asset and place; they add up to its cash and what waits to leave."""
    lines, places = book.lines_of(account), book.custody.places.get(account, {})
    assets = {asset for asset, kind in lines if kind in (_CASH, _RESERVED)} | {asset for asset, _ in places}
    for asset in sorted(assets):
        placed = book.custody.placed(account, asset)
        held = lines.get((asset, _CASH), 0) + lines.get((asset, _RESERVED), 0)
        yield _located(book, asset, VAULT, held - sum(one.units for one in placed))
        for one in placed:
            yield _located(book, asset, one.venue, one.units, lost=one.lost_units)


def of_house(book: PartitionBook, parameters: Parameters) -> Iterator[api.LocatedUnits]:
    """Everybody's units by asset and place, as the accounts of vault and venues have them."""
    vault = system_account(SystemAccount.CUSTODY, partition=book.partition)
    lost: dict[tuple[int, int], int] = {}
    for places in book.custody.places.values():
        for place, one in places.items():
            lost[place] = lost.get(place, 0) + one.lost_units
    for asset in parameters.assets:
        outside = sum(book.lines.get((vault, asset.id, kind), 0) for kind in (_CASH, _RESERVED))
        yield _located(book, asset.id, VAULT, -outside)
        for venue in parameters.venues:
            omnibus = system_account(SystemAccount.VENUE, partition=book.partition, index=venue.id)
            there = -book.lines.get((omnibus, asset.id, _CASH), 0)
            yield _located(book, asset.id, venue.id, there, lost=lost.get((asset.id, venue.id), 0))


def _located(book: PartitionBook, asset: int, venue: int, units: int, *, lost: int = 0) -> api.LocatedUnits:
    return api.LocatedUnits(
        partition=book.partition, sequence=book.sequence, asset=asset, venue=venue, units=units, lost_units=lost
    )
