"""What the house owes each account at a consistent cut of the journal, and where its assets sit then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ballast.events.v1 import movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, VenueId, system_account, system_index, system_kind
from libs.common.parameters import Parameters
from libs.common.topics import JOURNAL
from libs.common.units import INDEX_ONE, mul_div_down, mul_div_up
from tools.audit.stored import Source, parameters_in_force
from tools.audit.walk import Differs, Walk
from tools.proof.tree import Unprovable
from tools.proof.written import AssetHead, CutHead
from tools.reconcile.reader import Unreadable

ROUNDS_MAX = 8
_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_SUPPLY, _DEBT = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_DEBT_SHARES
_OWED = (_CASH, _RESERVED, _SUPPLY)


@dataclass(frozen=True, slots=True)
class Owed:
    """What one account is owed, by asset id: cash, waiting withdrawals, and claims on pools, each rounded down."""

    account: int
    owner: str
    units: Mapping[int, int]


@dataclass(slots=True)
class Cut:
    """The house at a consistent cut.

    Args:
        sits: units by asset id and place: "vault" or a venue's name; negative where the house owes.
        lent: owed to pools by borrowers, by asset id, rounded up.
    """

    parameters: Parameters
    heads: tuple[CutHead, ...]
    run_time_ns: int
    owed: list[Owed] = field(default_factory=list)
    sits: dict[tuple[int, str], int] = field(default_factory=dict)
    lent: dict[int, int] = field(default_factory=dict)

    @property
    def assets(self) -> tuple[AssetHead, ...]:
        """All assets, by id."""
        return tuple(
            AssetHead(int(one.id), one.symbol, one.decimals)
            for one in sorted(self.parameters.assets, key=lambda one: one.id)
        )


async def cut(source: Source) -> Cut:
    """What is owed at the journal's end, cut so that nothing counts twice or not at all.

    Raises: Unreadable, Differs when a journal is not what the ledger wrote, Unprovable when an account is below zero.
    """
    parameters = (await parameters_in_force(source)).parameters
    walks = {one: Walk(one, heads=(), conserves=lambda _frame, _book: ("", "")) for one in range(parameters.partitions)}
    behind = set(walks)
    for _ in range(ROUNDS_MAX):
        for partition in sorted(behind):
            await _read_on(source, walks[partition])
        behind = _behind({one: walk.book for one, walk in walks.items()})
        if not behind:
            break
    else:
        raise Unreadable(
            f"expected a consistent cut within {ROUNDS_MAX} rounds; the partitions run ahead of each other"
        )
    heads = tuple(CutHead(one, walk.rule.sequence, walk.rule.head) for one, walk in sorted(walks.items()))
    found = Cut(parameters, heads, max(walk.rule.run_time_ns for walk in walks.values()))
    books = {one: walk.book for one, walk in walks.items()}
    found.owed = _all_owed(books)
    for book in books.values():
        _add_places(found, book)
        _add_places_on_their_way(found, book, books)
    return found


async def _read_on(source: Source, walk: Walk) -> None:
    taken = walk.records
    async for stored in source.records(JOURNAL, walk.partition):
        if stored.offset >= taken:  # a walk takes every record from the first one on
            walk.take(stored)
    walk.end()


def _behind(books: Mapping[int, PartitionBook]) -> set[int]:
    """Partitions that have not sent, by this cut, what another has taken in, or not taken in what it knows is there."""
    found = set()
    for to, book in books.items():
        for origin, there in books.items():
            mark, taken = there.transit.get(to), book.streams.get(f"transit/{origin}", 0)
            if taken > (mark.sent if mark else 0):
                found.add(origin)
            if taken < (mark.arrived if mark else 0):
                found.add(to)
    return found


def _all_owed(books: Mapping[int, PartitionBook]) -> list[Owed]:
    owners: dict[int, str] = {}
    units: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for book in books.values():
        for account in book.accounts:
            owners[account] = book.accounts[account].owner
            for (asset, kind), balance in book.lines_of(account).items():
                units[account][asset] += _worth(book, account, asset=asset, kind=kind, balance=balance)
        for account, owner, line in _on_its_way(book, books):
            owners.setdefault(account, owner)
            worth = _worth(book, account, asset=line.asset, kind=line.kind, balance=line.units)
            units[account][line.asset] += worth
    return [
        Owed(account, owners[account], {asset: each for asset, each in sorted(units[account].items()) if each})
        for account in sorted(owners)
    ]


def _on_its_way(
    book: PartitionBook, books: Mapping[int, PartitionBook]
) -> Iterable[tuple[int, str, movement_pb2.MovedLine]]:
    """(account, owner, line) of what has left this partition and arrived nowhere by this cut: it is still owed."""
    for one in _not_arrived(book, books):
        owners = {each.account: each.owner for each in one.accounts}
        for line in one.lines:
            account = line.account if system_kind(line.account) is None else one.to_account
            if account and system_kind(account) is None:
                yield account, owners.get(account, one.owner), line


def _not_arrived(book: PartitionBook, books: Mapping[int, PartitionBook]) -> Iterable[movement_pb2.Movement]:
    for (to, sequence), one in book.movements.items():
        if to not in books or books[to].streams.get(f"transit/{book.partition}", 0) < sequence:
            yield one


def _worth(book: PartitionBook, account: int, *, asset: int, kind: int, balance: int) -> int:
    """What the house owes for a line. Raises Unprovable when it is negative."""
    if kind not in _OWED:
        return 0
    if balance < 0:
        raise Unprovable(f"account {account} has {balance} of asset {asset}, kind {kind}: no sum may hide a debt")
    return mul_div_down(balance, _supply_index(book, asset), INDEX_ONE) if kind == _SUPPLY else balance


def _supply_index(book: PartitionBook, asset: int) -> int:
    pool = book.pools.get(asset)
    return pool.supply_index if pool else INDEX_ONE


def _add_places(found: Cut, book: PartitionBook) -> None:
    def held(account: int, asset: int) -> int:
        return -sum(book.lines.get((account, asset, kind), 0) for kind in (_CASH, _RESERVED))

    for one in found.parameters.assets:
        asset = int(one.id)
        vault = system_account(SystemAccount.CUSTODY, partition=book.partition)
        found.sits[asset, "vault"] = found.sits.get((asset, "vault"), 0) + held(vault, asset)
        for venue in found.parameters.venues:
            account = system_account(SystemAccount.VENUE, partition=book.partition, index=venue.id)
            found.sits[asset, venue.name] = found.sits.get((asset, venue.name), 0) + held(account, asset)
        pool = system_account(SystemAccount.POOL, partition=book.partition, index=asset)
        shares, index = -book.lines.get((pool, asset, _DEBT), 0), book.pools.get(asset)
        units = mul_div_up(shares, index.borrow_index if index else INDEX_ONE, INDEX_ONE)
        found.lent[asset] = found.lent.get(asset, 0) + units


def _add_places_on_their_way(found: Cut, book: PartitionBook, books: Mapping[int, PartitionBook]) -> None:
    """What a venue keeps for an entity that moves sits there all the time."""
    names = {one.id: one.name for one in found.parameters.venues}
    for one in _not_arrived(book, books):
        for line in one.lines:
            if system_kind(line.account) is SystemAccount.VENUE:
                place = (line.asset, names[VenueId(system_index(line.account))])
                found.sits[place] = found.sits.get(place, 0) - line.units


__all__ = ["Cut", "Differs", "Owed", "cut"]
