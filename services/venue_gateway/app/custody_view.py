"""Where an account's assets sit, and on what terms, as a client reads it: symbols and decimal strings."""

from __future__ import annotations

from ballast.api.v1 import custody_pb2 as api
from ballast.events.v1 import custody_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.custody import must_stay
from libs.common.ids import partition_of
from libs.common.parameters import Asset
from libs.common.units import INDEX_ONE, from_units, mul_div_down
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.domain.directory import Directory

VAULT = "vault"
_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES


def custody_response(view: LedgerView, directory: Directory, account: int) -> api.GetCustodyResponse:
    """The account's assets at the sequence its partition has reached; the account exists."""
    book = view.books[partition_of(account)]
    gate = book.custody.gate
    lines = book.lines_of(account)
    named = {asset for asset, kind in lines if kind in (_CASH, _RESERVED, _SUPPLY)}
    named |= {asset for asset, _ in book.custody.places.get(account, ())} | set(book.custody.terms.get(account, ()))
    known = sorted((directory.asset_by_id[one] for one in named if one in directory.asset_by_id), key=_symbol)
    return api.GetCustodyResponse(
        partition=book.partition,
        sequence=book.sequence,
        assets=[_of_asset(book, directory, account, asset) for asset in known],
        gate_until_ns=gate.until_ns if gate.until_ns > book.run_time_ns else 0,
        gate_closed=gate.closed,
    )


def _symbol(asset: Asset) -> str:
    return asset.symbol


def _of_asset(book: PartitionBook, directory: Directory, account: int, asset: Asset) -> api.CustodyOfAsset:
    def shown(units: int) -> str:
        return from_units(units, asset.decimals)

    lines, id_ = book.lines_of(account), int(asset.id)
    held = lines.get((id_, _CASH), 0) + lines.get((id_, _RESERVED), 0)
    placed = book.custody.placed(account, id_)
    places = [api.CustodyPlace(place=VAULT, amount=shown(held - sum(one.units for one in placed)))]
    for one in placed:
        venue = directory.venue_by_id.get(one.venue)
        name = venue.name if venue is not None else f"venue {one.venue}"
        lost = shown(one.lost_units) if one.lost_units else ""
        places.append(api.CustodyPlace(place=name, amount=shown(one.units), lost=lost))
    pool, shares = book.pools.get(id_), lines.get((id_, _SUPPLY), 0)
    terms = book.custody.terms.get(account, {}).get(id_) or custody_pb2.CustodyTerms()
    return api.CustodyOfAsset(
        asset=asset.symbol,
        held=shown(held),
        places=places,
        lent=shown(mul_div_down(shares, pool.supply_index if pool else INDEX_ONE, INDEX_ONE)),
        mode=terms.mode or custody_words.CUSTODY_MODE_SEGREGATED,
        cap=shown(terms.cap_units) if terms.cap_units else "",
        recalled=shown(terms.recall_units) if terms.recall_units else "",
        document_hash=terms.document_hash,
        consented_at_ns=terms.consented_at_ns,
        must_stay=shown(must_stay(book.custody, account, id_)),
    )
