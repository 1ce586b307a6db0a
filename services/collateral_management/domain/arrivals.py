"""What another partition has sent: a fact, never refused. What nobody here can take goes back, or to suspense."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ballast.events.v1 import commands_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, system_kind
from services.collateral_management.domain import (
    capital,
    cuts,
    deleveragings,
    guards,
    money,
    movements,
    moving,
    moving_places,
    outflows,
    quotas,
    waterfall,
)
from services.collateral_management.domain.draft import Draft, Refused

Arrived = movement_pb2.Movement


def arrive(draft: Draft, body: movement_pb2.Arrive, _: commands_pb2.Principal) -> int | Refused:
    """Transfer sequence of the movement that is taken in."""
    one = body.movement
    take = ARRIVALS.get(one.kind)
    if take is None or one.to_partition != draft.state.partition:
        return Refused(words.REFUSAL_UNKNOWN_MOVEMENT, f"kind {one.kind} for partition {one.to_partition}")
    take(draft, one)
    return one.sequence


def _transfer(draft: Draft, one: Arrived) -> None:
    account = draft.state.aliases.get(one.to_account, one.to_account)
    attributes = draft.account(account)
    if attributes is not None and attributes.owner == one.owner and not attributes.closed:
        _credit(draft, account, one)
        return
    suspense = money.house(draft, SystemAccount.SUSPENSE)
    movements.land(draft, one, suspense)
    draft.alert("transfer_returned", account=0, detail=f"no account {one.to_account} of {one.owner!r} lives here")
    back = movement_pb2.Movement(
        to_partition=one.from_partition, kind=words.MOVEMENT_KIND_RETURN, account=one.to_account,
        to_account=one.account, owner=one.owner, distributions=one.distributions,
        lines=[movements.line(suspense, each.asset, each.kind, each.units) for each in one.lines],
    )  # fmt: skip
    movements.send(draft, back)


def _credit(draft: Draft, account: int, one: Arrived) -> None:
    away = movements.in_transit(draft, one.from_partition)
    if movements.credit(draft, account, source=away, lines=one.lines, distributions=one.distributions):
        cuts.credit_arrived(draft, account, one.lines, distributions=one.distributions)


def _return(draft: Draft, one: Arrived) -> None:
    account = draft.state.aliases.get(one.to_account, one.to_account)
    attributes = draft.account(account)
    if attributes is not None and attributes.owner == one.owner:
        _credit(draft, account, one)
        return
    movements.land(draft, one, money.house(draft, SystemAccount.SUSPENSE))  # it does not go to and fro for ever
    draft.alert("fact_in_suspense", account=0, detail=f"a transfer comes back for {one.to_account}, who is not here")


def _capital(draft: Draft, one: Arrived) -> None:
    kind = system_kind(one.account)
    home = SystemAccount.SUSPENSE if kind is None else kind
    movements.land(draft, one, money.house(draft, home))


def _loss_notice(draft: Draft, one: Arrived) -> None:
    for each in one.wanted:
        waterfall.hold_pool(draft, each.asset, one.tick)


ARRIVALS: Mapping[int, Callable[[Draft, Arrived], None]] = {
    words.MOVEMENT_KIND_TRANSFER: _transfer,
    words.MOVEMENT_KIND_RETURN: _return,
    words.MOVEMENT_KIND_ENTITY: moving.enter,
    words.MOVEMENT_KIND_RECEIPT: moving.take_receipt,
    words.MOVEMENT_KIND_QUOTA: quotas.take,
    words.MOVEMENT_KIND_CAPITAL: _capital,
    words.MOVEMENT_KIND_CAPITAL_ASK: capital.answer,
    words.MOVEMENT_KIND_CAPITAL_GRANT: capital.take_grant,
    words.MOVEMENT_KIND_LOSS_NOTICE: _loss_notice,
    words.MOVEMENT_KIND_GATE_NOTICE: guards.take_notice,
    words.MOVEMENT_KIND_DELEVERAGING_ASK: deleveragings.answer,
    words.MOVEMENT_KIND_DELEVERAGING_OFFER: deleveragings.take_offer,
    words.MOVEMENT_KIND_DELEVERAGING_TAKE: deleveragings.take_lots,
    words.MOVEMENT_KIND_DELEVERAGING_DONE: deleveragings.take_done,
    words.MOVEMENT_KIND_PLACES: moving_places.settle_in,
    words.MOVEMENT_KIND_OUTFLOW_ASK: outflows.answer,
    words.MOVEMENT_KIND_OUTFLOW_GRANT: outflows.take_grant,
    words.MOVEMENT_KIND_OUTFLOW_RETURN: outflows.take_back,
    words.MOVEMENT_KIND_DISTRIBUTION_NOTICE: cuts.take_notice,
}
