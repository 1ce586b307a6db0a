"""From the live state to the last resort: which position, who could take it over, who holds the opposite."""

from __future__ import annotations

from collections.abc import Iterator

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.deleveraging import Candidate, candidate
from libs.common.ids import AccountId, InstrumentId, SystemAccount, partition_of, system_account, system_kind
from libs.common.parameters import Clearing, InstrumentKind
from libs.common.units import INDEX_ONE, SECOND_NS, Lots, Units, mul_div_up
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.domain.catalogue import notional
from services.liquidation_execution.domain.episodes import MarginRow
from services.liquidation_execution.domain.last_resort import (
    Deleveraging,
    Position,
    Provider,
    TakeOver,
    deleveraging,
    take_over,
)

PATIENCE_NS = 60 * SECOND_NS  # run time in which a solvent account waits for depth to come back
PARTIES_MAX = 2_000  # the ledger takes no more in one step
_PROVIDER = "liquidity_provider"
_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_DEBT, _OVERDRAFT = ledger_pb2.LINE_KIND_DEBT_SHARES, ledger_pb2.LINE_KIND_OVERDRAFT_SHARES
_LOTS, _VARIATION = ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
_CAPITAL = (SystemAccount.FIRST_LOSS, SystemAccount.INSURANCE)


def is_due(live: Live, episode: journal_pb2.Episode, row: MarginRow) -> bool:
    """The account cannot wait for depth any longer."""
    return row.equity < 0 or live.marks.run_time_ns - episode.opened_at_ns >= PATIENCE_NS


def positions(live: Live, account: int, row: MarginRow) -> list[Position]:
    """Positions on a usable mark that may go, the largest first, at the marks that the margin was judged at.

    The decision cites that margin: a price made from a mark that has moved since could not be checked against it.
    """
    catalogue = live.catalogue
    found: list[tuple[int, Position]] = []
    for number, lots in live.holdings(account).lots.items():
        instrument, mark = catalogue.instruments[number], live.marks.usable(InstrumentId(number))
        if mark is not None:
            mark = live.marks.cited(InstrumentId(number), row.mark_sequence)
        if mark is not None and instrument.kind is not InstrumentKind.SPOT:
            # 10^-6 USD are units of the numeraire; in another settlement asset the equity is not exact.
            is_exact = instrument.settlement == catalogue.numeraire
            equity = Units(row.equity) if is_exact else None
            worth = notional(catalogue, instrument, lots=abs(lots), marks=live.marks.prices)
            found.append((worth, Position(instrument, Lots(lots), mark, equity)))
    return [one for _, one in sorted(found, key=lambda each: (-each[0], each[1].instrument.id))]


def takeover_of(live: Live, account: int, position: Position) -> TakeOver | None:
    """The takeover by one of the partition's liquidity providers."""
    parameters = live.catalogue.parameters
    owners = {one.id for one in parameters.principals if one.role == _PROVIDER}
    book = live.books[partition_of(account)]
    if not owners:
        return None
    providers = [
        Provider(AccountId(number), _line(book, number, position.instrument.id, _LOTS), _has(book, number, position))
        for number, one in book.accounts.items()
        if one.owner in owners and not (one.restricted or one.closed or one.episode) and number != account
    ]
    return take_over(position, providers, parameters.liquidation)


def deleveraging_of(live: Live, account: int, position: Position) -> Deleveraging | None:
    """The deleveraging of a position in an internal instrument; capital and holders of all partitions count."""
    if position.instrument.clearing is not Clearing.INTERNAL:
        return None
    asset, books = position.instrument.settlement, live.books.values()
    capital = sum(
        max(0, _line(book, system_account(kind, partition=book.partition), asset, _CASH))
        for book in books
        for kind in _CAPITAL
    )
    holders = [one for book in books for one in _opposite(book, position)]
    return deleveraging(position, holders, capital=capital, parties_max=PARTIES_MAX, home=partition_of(account))


def _opposite(book: PartitionBook, position: Position) -> Iterator[Candidate]:
    instrument = position.instrument
    known = book.funding.get(instrument.id)
    funding = int.from_bytes(known.cumulative_funding, "big", signed=True) if known else 0
    for number, one in book.accounts.items():
        lots = _line(book, number, instrument.id, _LOTS)
        if not lots or (lots > 0) == (position.lots > 0) or one.episode or system_kind(number) is not None:
            continue
        yield candidate(
            instrument,
            account=number,
            lots=lots,
            variation=_line(book, number, instrument.id, _VARIATION),
            cash=_has(book, number, position),
            price=position.mark,
            funding=funding,
        )


def _has(book: PartitionBook, account: int, position: Position) -> Units:
    asset = position.instrument.settlement
    pool = book.pools.get(asset)
    borrow, overdraft = (pool.borrow_index, pool.overdraft_index) if pool else (INDEX_ONE, INDEX_ONE)
    owed = mul_div_up(_line(book, account, asset, _DEBT), borrow, INDEX_ONE)
    owed += mul_div_up(_line(book, account, asset, _OVERDRAFT), overdraft, INDEX_ONE)
    return Units(_line(book, account, asset, _CASH) + _line(book, account, asset, _RESERVED) - owed)


def _line(book: PartitionBook, account: int, asset: int, kind: ledger_pb2.LineKind) -> int:
    return book.lines.get((account, asset, kind), 0)
