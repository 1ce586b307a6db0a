"""Requests about client money into commands of the ledger: one function a kind, in a dict you can see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ballast.api.v1 import custody_pb2 as api
from ballast.events.v1 import commands_pb2, custody_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2
from libs.common.ids import partition_of, system_kind
from services.venue_gateway.app.requests import Asker, Planned, owned_account
from services.venue_gateway.domain import translation
from services.venue_gateway.domain.refusals import Refused


def set_custody_terms(request: api.SetCustodyTermsRequest, asker: Asker) -> Planned | Refused:
    """A consent to lend, or its end, by the account's owner."""
    refused = owned_account(asker, request.account)
    if refused:
        return refused
    asset = _asset(asker, request.asset)
    if isinstance(asset, Refused):
        return asset
    body = custody_pb2.SetCustodyTerms(
        account=request.account, asset=asset, mode=request.mode, document_hash=request.document_hash,
        consented_at_ns=request.consented_at_ns,
    )  # fmt: skip
    if request.cap:
        cap = translation.amount(asker.directory, symbol=request.asset, text=request.cap)
        if isinstance(cap, Refused):
            return cap
        body.cap_units = cap.units
    return _planned(asker, partition_of(request.account), commands_pb2.Command(set_custody_terms=body))


def recall_lent(request: api.RecallLentRequest, asker: Asker) -> Planned | Refused:
    """What is lent beyond the terms is called back, by the owner or an operator."""
    is_operator = asker.principal.role == ledger_pb2.ROLE_OPERATOR
    refused = _known(asker, request.account) if is_operator else owned_account(asker, request.account)
    asset = refused or _asset(asker, request.asset)
    if isinstance(asset, Refused):
        return asset
    body = custody_pb2.RecallLent(account=request.account, asset=asset)
    return _planned(asker, partition_of(request.account), commands_pb2.Command(recall_lent=body))


def sweep_lendable(request: api.SweepLendableRequest, asker: Asker) -> Planned | Refused:
    """What an account's terms allow is lent, by an operator."""
    asset = _operated(asker) or _known(asker, request.account) or _asset(asker, request.asset)
    if isinstance(asset, Refused):
        return asset
    body = custody_pb2.SweepLendable(account=request.account, asset=asset)
    return _planned(asker, partition_of(request.account), commands_pb2.Command(sweep_lendable=body))


def move_location(request: api.MoveLocationRequest, asker: Asker) -> Planned | Refused:
    """Units that a custodian moves between the vault and a venue."""
    if asker.principal.role != ledger_pb2.ROLE_CUSTODIAN:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected a custodian: only they move assets")
    venue = _known(asker, request.account) or _venue(asker, request.venue)
    if isinstance(venue, Refused):
        return venue
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    units = -amount.units if request.back else amount.units
    body = custody_pb2.MoveLocation(account=request.account, asset=amount.asset.id, venue=venue, units=units)
    return _planned(asker, partition_of(request.account), commands_pb2.Command(move_location=body))


def impair_venue(request: api.ImpairVenueRequest, asker: Asker) -> Planned | Refused:
    """What a venue has lost, said by an operator for one partition."""
    venue = _operated(asker) or _partition(asker, request.partition) or _venue(asker, request.venue)
    if isinstance(venue, Refused):
        return venue
    body = custody_pb2.ImpairVenue(
        venue=venue, loss_ppm=request.loss_ppm, haircut_ppm=request.haircut_ppm, reason=request.reason
    )
    return _planned(asker, request.partition, commands_pb2.Command(impair_venue=body))


def set_gate(request: api.SetGateRequest, asker: Asker) -> Planned | Refused:
    """The gate of one partition, closed or opened by an operator."""
    refused = _operated(asker) or _partition(asker, request.partition)
    if refused:
        return refused
    body = custody_pb2.SetGate(
        closed=request.closed, for_ns=request.for_ns, reason=request.reason, cause=custody_words.GATE_CAUSE_OPERATOR
    )
    return _planned(asker, request.partition, commands_pb2.Command(set_gate=body))


def _planned(asker: Asker, partition: int, command: commands_pb2.Command) -> Planned:
    command.principal.CopyFrom(asker.principal)
    return Planned(partition, command)


def _operated(asker: Asker) -> Refused | None:
    if asker.principal.role != ledger_pb2.ROLE_OPERATOR:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected an operator")
    return None


def _partition(asker: Asker, partition: int) -> Refused | None:
    if partition >= len(asker.view.books):
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_PARTITION, f"expected an existing partition, was {partition}")
    return None


def _known(asker: Asker, account: int) -> Refused | None:
    is_house = system_kind(account) is not None and partition_of(account) < len(asker.view.books)
    if not is_house and asker.view.account(account) is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"expected an existing account, was {account}")
    return None


def _asset(asker: Asker, symbol: str) -> int | Refused:
    found = asker.directory.asset_by_symbol.get(symbol)
    if found is None:
        known = ", ".join(asker.directory.asset_by_symbol)
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, f"expected one of {known}, was {symbol[:80]!r}")
    return int(found.id)


def _venue(asker: Asker, name: str) -> int | Refused:
    found = asker.directory.venue_by_name.get(name)
    if found is None:
        known = ", ".join(asker.directory.venue_by_name)
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_VENUE, f"expected one of {known}, was {name[:80]!r}")
    return int(found.id)


# By the name of the command's body.
CUSTODY_REQUESTS: dict[str, Callable[[Any, Asker], Planned | Refused]] = {
    "set_custody_terms": set_custody_terms,
    "recall_lent": recall_lent,
    "sweep_lendable": sweep_lendable,
    "move_location": move_location,
    "impair_venue": impair_venue,
    "set_gate": set_gate,
}
