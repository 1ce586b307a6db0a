"""Client requests into commands of the ledger: one function a kind, in a dict you can see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ballast.api.v1 import client_pb2
from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import partition_for_owner, partition_of, system_kind
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.domain import translation
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.domain.refusals import Refused

DESTINATION_MAX = 200

_ROLES = {
    "custodian": ledger_pb2.ROLE_CUSTODIAN,
    "service": ledger_pb2.ROLE_SERVICE,
    "operator": ledger_pb2.ROLE_OPERATOR,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A command without key, and the partition it belongs to."""

    partition: int
    command: commands_pb2.Command


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and what is known when they ask."""

    principal: commands_pb2.Principal
    directory: Directory
    view: LedgerView


def principal_named(name: str, directory: Directory) -> commands_pb2.Principal:
    """The principal with its role: those of the parameters have theirs, all others are clients."""
    role = _ROLES.get(directory.roles.get(name, ""), ledger_pb2.ROLE_CLIENT)
    return commands_pb2.Principal(id=name, role=role)


def _owned(asker: Asker, account: int) -> journal_pb2.Account | Refused:
    found = asker.view.account(account)
    if found is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"expected an existing account, was {account}")
    if found.owner != asker.principal.id:
        return Refused(
            ledger_pb2.REFUSAL_NOT_AUTHORISED, f"account {account} does not belong to {asker.principal.id!r}"
        )
    return found


def _planned(asker: Asker, partition: int, **body: Any) -> Planned:
    return Planned(partition, commands_pb2.Command(principal=asker.principal, **body))


def owned_account(asker: Asker, account: int) -> Refused | None:
    """A refusal unless the account exists and belongs to who asks."""
    found = _owned(asker, account)
    return found if isinstance(found, Refused) else None


def open_account(request: client_pb2.OpenAccountRequest, asker: Asker) -> Planned | Refused:
    """A first account in the partition of the owner's name, or a further one beside the entity's others."""
    owner = asker.principal.id
    if not request.entity:
        partition = partition_for_owner(owner, partitions=len(asker.view.books))
        return _planned(asker, partition, open_account=commands_pb2.OpenAccount(owner=owner))
    found = asker.view.entity_owner(request.entity)
    if found is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"expected an existing entity, was {request.entity}")
    if found != owner:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, f"entity {request.entity} does not belong to {owner!r}")
    body = commands_pb2.OpenAccount(owner=owner, entity=request.entity)
    return _planned(asker, partition_of(request.entity), open_account=body)


def confirm_deposit(request: client_pb2.ConfirmDepositRequest, asker: Asker) -> Planned | Refused:
    """A deposit into a client's or a house account, by a custodian only."""
    if asker.principal.role != ledger_pb2.ROLE_CUSTODIAN:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected a custodian: only they confirm deposits")
    account = request.account
    is_house = system_kind(account) is not None and partition_of(account) < len(asker.view.books)
    if not is_house and asker.view.account(account) is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"expected an existing account, was {account}")
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    body = commands_pb2.ConfirmDeposit(account=account, asset=amount.asset.id, units=amount.units)
    return _planned(asker, partition_of(account), confirm_deposit=body)


def withdraw(request: client_pb2.WithdrawRequest, asker: Asker) -> Planned | Refused:
    """A reservation of units that leave the house."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    if len(request.destination) > DESTINATION_MAX:
        detail = f"expected a destination of at most {DESTINATION_MAX} characters, was {len(request.destination)}"
        return Refused(ledger_pb2.REFUSAL_TOO_LARGE, detail)
    body = commands_pb2.Withdraw(
        account=request.account, asset=amount.asset.id, units=amount.units, destination=request.destination
    )
    return _planned(asker, partition_of(request.account), withdraw=body)


def transfer(request: client_pb2.TransferRequest, asker: Asker) -> Planned | Refused:
    """A reservation of units that go to another account of the same entity, or of the same owner elsewhere."""
    source, target = _owned(asker, request.account), _owned(asker, request.to_account)
    if isinstance(source, Refused):
        return source
    if isinstance(target, Refused):
        return target
    is_here = partition_of(source.account) == partition_of(target.account)
    if (is_here and source.entity != target.entity) or source.account == target.account:
        detail = f"expected two accounts of one entity, was {source.account} and {target.account}"
        return Refused(ledger_pb2.REFUSAL_OTHER_ENTITY, detail)
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    body = movement_pb2.Transfer(
        account=source.account, to_account=target.account, asset=amount.asset.id, units=amount.units
    )
    return _planned(asker, partition_of(source.account), transfer=body)


def place_order(request: client_pb2.PlaceOrderRequest, asker: Asker) -> Planned | Refused:
    """A reservation of an order."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    terms = translation.order_words(request.side, request.time_in_force) or translation.order_terms(
        asker.directory,
        symbol=request.instrument,
        venue_name=request.venue,
        quantity=request.quantity,
        limit_price=request.limit_price,
    )
    if isinstance(terms, Refused):
        return terms
    body = commands_pb2.PlaceOrder(
        account=request.account,
        instrument=terms.instrument.id,
        venue=terms.venue.id,
        side=request.side,
        lots=terms.lots,
        limit_price=terms.limit_price,
        time_in_force=request.time_in_force,
        reduce_only=request.reduce_only,
    )
    return _planned(asker, partition_of(request.account), place_order=body)


def cancel_order(request: client_pb2.CancelOrderRequest, asker: Asker) -> Planned | Refused:
    """A wish to have an order cancelled."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    if not request.order or partition_of(request.order) != partition_of(request.account):
        detail = f"expected a live order of account {request.account}, was {request.order}"
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ORDER, detail)
    body = commands_pb2.CancelOrder(account=request.account, order=request.order)
    return _planned(asker, partition_of(request.account), cancel_order=body)


def supply(request: client_pb2.SupplyRequest, asker: Asker) -> Planned | Refused:
    """A loan to a pool."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    body = commands_pb2.Supply(account=request.account, asset=amount.asset.id, units=amount.units)
    return _planned(asker, partition_of(request.account), supply=body)


def redeem(request: client_pb2.RedeemRequest, asker: Asker) -> Planned | Refused:
    """Units taken back from a pool; all of them when no amount is given."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    text = request.amount or "1"  # any amount, to look the asset up
    amount = translation.amount(asker.directory, symbol=request.asset, text=text)
    if isinstance(amount, Refused):
        return amount
    units = amount.units if request.amount else 0
    body = commands_pb2.Redeem(account=request.account, asset=amount.asset.id, units=units)
    return _planned(asker, partition_of(request.account), redeem=body)


def move_entity(request: client_pb2.MoveEntityRequest, asker: Asker) -> Planned | Refused:
    """A move of an entity that belongs to who asks."""
    entity = _owned(asker, request.entity)
    if isinstance(entity, Refused):
        return entity
    body = movement_pb2.MoveEntity(
        account=request.entity, to_partition=request.to_partition, into_entity=request.into_entity
    )
    return _planned(asker, partition_of(request.entity), move_entity=body)


def move_capital(request: client_pb2.MoveCapitalRequest, asker: Asker) -> Planned | Refused:
    """A move of house capital, by custodian or operator."""
    if asker.principal.role not in (ledger_pb2.ROLE_CUSTODIAN, ledger_pb2.ROLE_OPERATOR):
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected a custodian or operator: they move house capital")
    if system_kind(request.account) is None or partition_of(request.account) >= len(asker.view.books):
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"expected a house account, was {request.account}")
    amount = translation.amount(asker.directory, symbol=request.asset, text=request.amount)
    if isinstance(amount, Refused):
        return amount
    body = movement_pb2.MoveCapital(
        account=request.account, to_partition=request.to_partition, asset=amount.asset.id, units=amount.units
    )
    return _planned(asker, partition_of(request.account), move_capital=body)


def close_account(request: client_pb2.CloseAccountRequest, asker: Asker) -> Planned | Refused:
    """An account of who asks, to be closed."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    body = lifecycle_pb2.CloseAccount(account=request.account)
    return _planned(asker, partition_of(request.account), close_account=body)


def reopen_account(request: client_pb2.ReopenAccountRequest, asker: Asker) -> Planned | Refused:
    """A closed account of who asks, to be opened again."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    body = lifecycle_pb2.ReopenAccount(account=request.account)
    return _planned(asker, partition_of(request.account), reopen_account=body)


def amend_order(request: client_pb2.AmendOrderRequest, asker: Asker) -> Planned | Refused:
    """New quantity and limit of a live order of who asks."""
    account = _owned(asker, request.account)
    if isinstance(account, Refused):
        return account
    order = asker.view.order(request.order)
    instrument = asker.directory.instrument_by_id.get(order.instrument) if order else None
    venue = asker.directory.venue_by_id.get(order.venue) if order else None
    if order is None or order.account != request.account or instrument is None or venue is None:
        detail = f"expected a live order of account {request.account}, was {request.order}"
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ORDER, detail)
    terms = translation.order_terms(
        asker.directory,
        symbol=instrument.symbol,
        venue_name=venue.name,
        quantity=request.quantity,
        limit_price=request.limit_price,
    )
    if isinstance(terms, Refused):
        return terms
    body = lifecycle_pb2.AmendOrder(
        account=request.account, order=request.order, lots=terms.lots, limit_price=terms.limit_price
    )
    return _planned(asker, partition_of(request.account), amend_order=body)


def _operated(asker: Asker, partition: int) -> Refused | None:
    if asker.principal.role != ledger_pb2.ROLE_OPERATOR:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected an operator")
    if partition >= len(asker.view.books):
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_PARTITION, f"expected an existing partition, was {partition}")
    return None


def restrict_account(request: client_pb2.RestrictAccountRequest, asker: Asker) -> Planned | Refused:
    """An account that an operator restricts, or gives free."""
    refused = _operated(asker, partition_of(request.account))
    if refused:
        return refused
    body = lifecycle_pb2.RestrictAccount(account=request.account, restricted=request.restricted, reason=request.reason)
    return _planned(asker, partition_of(request.account), restrict_account=body)


def redenominate_asset(request: client_pb2.RedenominateAssetRequest, asker: Asker) -> Planned | Refused:
    """An asset that becomes another one in a partition."""
    ids = _assets(asker, request.partition, request.asset, request.into)
    if isinstance(ids, Refused):
        return ids
    body = lifecycle_pb2.RedenominateAsset(asset=ids[0], into=ids[1])
    return _at_ratio(asker, request, redenominate_asset=body)


def distribute(request: client_pb2.DistributeRequest, asker: Asker) -> Planned | Refused:
    """A fork or an airdrop in a partition."""
    ids = _assets(asker, request.partition, request.held, request.credited)
    if isinstance(ids, Refused):
        return ids
    body = lifecycle_pb2.Distribute(number=request.number, held=ids[0], credited=ids[1])
    return _at_ratio(asker, request, distribute=body)


def _at_ratio(
    asker: Asker, request: client_pb2.RedenominateAssetRequest | client_pb2.DistributeRequest, **body: Any
) -> Planned:
    """One asset for another in a partition, for a reason."""
    for each in body.values():
        each.numerator, each.denominator, each.reason = request.numerator, request.denominator, request.reason
    return _planned(asker, request.partition, **body)


def _assets(asker: Asker, partition: int, *symbols: str) -> tuple[int, ...] | Refused:
    refused = _operated(asker, partition)
    if refused:
        return refused
    found = [asker.directory.asset_by_symbol.get(symbol) for symbol in symbols]
    ids = tuple(one.id for one in found if one is not None)
    if len(ids) < len(symbols):
        known = ", ".join(asker.directory.asset_by_symbol)
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, f"expected assets of {known}, was {', '.join(symbols)[:80]}")
    return ids


Handlers = Mapping[str, Callable[[Any, Asker], Planned | Refused]]

# By the name of the field in SubmitCommand and of the command's body alike.
REQUESTS: dict[str, Callable[[Any, Asker], Planned | Refused]] = {
    "open_account": open_account,
    "confirm_deposit": confirm_deposit,
    "withdraw": withdraw,
    "transfer": transfer,
    "place_order": place_order,
    "cancel_order": cancel_order,
    "supply": supply,
    "redeem": redeem,
    "move_entity": move_entity,
    "move_capital": move_capital,
    "close_account": close_account,
    "reopen_account": reopen_account,
    "amend_order": amend_order,
    "restrict_account": restrict_account,
    "redenominate_asset": redenominate_asset,
    "distribute": distribute,
}

# Unary calls of these answer when the reservation is settled or voided.
JUDGED = frozenset({"withdraw", "transfer"})


def plan(name: str, request: Any, asker: Asker, handlers: Handlers = REQUESTS) -> Planned | Refused:
    """The command of a request, or why there is none."""
    if asker.principal.role == ledger_pb2.ROLE_SERVICE:
        return Refused(ledger_pb2.REFUSAL_NOT_AUTHORISED, "expected a client or custodian: no service uses the edge")
    handler = handlers.get(name)
    if handler is None:
        return Refused(ledger_pb2.REFUSAL_UNKNOWN_COMMAND, f"expected one of {', '.join(handlers)}, was none")
    return handler(request, asker)
