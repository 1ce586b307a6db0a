"""An account as a client reads it: symbols and decimal strings."""

from __future__ import annotations

from ballast.api.v1 import client_pb2, standing_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import partition_of
from libs.common.units import INDEX_ONE, from_units, mul_div_down, mul_div_up
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.domain.directory import Directory

_SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
_DEBT = ledger_pb2.LINE_KIND_DEBT_SHARES
_OVERDRAFT = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES


def account_response(
    view: LedgerView, directory: Directory, account: int
) -> client_pb2.ClientServiceGetAccountResponse:
    """The account at the sequence its partition has reached; the account exists."""
    book = view.books[partition_of(account)]
    attributes = book.accounts[account]
    lines = sorted(book.lines_of(account).items())
    return client_pb2.ClientServiceGetAccountResponse(
        partition=book.partition,
        sequence=book.sequence,
        restricted=attributes.restricted,
        episode=attributes.episode,
        balances=[
            balance
            for (asset, kind), units in lines
            if (balance := _balance(book, directory, asset=asset, kind=kind, units=units)) is not None
        ],
        orders=sorted(order for order, one in book.orders.items() if one.account == account),
        moved_to=attributes.moved_to,
        standing=standing_pb2.AccountStanding(
            closed=attributes.closed, held=attributes.held, moving_to=attributes.moving_to
        ),
    )


def _balance(
    book: PartitionBook, directory: Directory, *, asset: int, kind: int, units: int
) -> client_pb2.Balance | None:
    if kind in (ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION):
        instrument = directory.instrument_by_id.get(asset)
        if instrument is None:
            return None
        lot, decimals = 1, directory.asset_by_id[instrument.settlement].decimals
        if kind == ledger_pb2.LINE_KIND_LOTS:
            lot, decimals = directory.lot(instrument)
        symbol, amount = instrument.symbol, from_units(units * lot, decimals)
    else:
        known = directory.asset_by_id.get(asset)
        if known is None:
            return None
        worth = _worth(book, asset=asset, kind=kind, units=units)
        symbol, amount = known.symbol, from_units(worth, known.decimals)
    return client_pb2.Balance(symbol=symbol, kind=ledger_pb2.LineKind.Name(kind), amount=amount)


def _worth(book: PartitionBook, *, asset: int, kind: int, units: int) -> int:
    """Units of the asset; a claim is rounded down, a debt up."""
    pool = book.pools.get(asset)
    if kind == _SUPPLY:
        return mul_div_down(units, pool.supply_index if pool else INDEX_ONE, INDEX_ONE)
    if kind == _DEBT:
        return mul_div_up(units, pool.borrow_index if pool else INDEX_ONE, INDEX_ONE)
    if kind == _OVERDRAFT:
        return mul_div_up(units, pool.overdraft_index if pool else INDEX_ONE, INDEX_ONE)
    return units
