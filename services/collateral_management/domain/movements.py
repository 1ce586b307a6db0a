"""What leaves for another partition, exactly once: the in-transit account, transfer sequences, and forwarding.

A movement debits its lines to the in-transit account of the two partitions and stands in the origin's state until the
other partition has it. There the in-transit account is credited, so the two accounts sum to what is on its way, and to
zero on a consistent cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain import money
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH

Line = movement_pb2.MovedLine


def in_transit(draft: Draft, partition: int) -> int:
    """This partition's side of what is on its way to or from another one."""
    return money.house(draft, SystemAccount.IN_TRANSIT, partition)


def line(account: int, asset: int, kind: int, units: int) -> Line:
    """Units of an account's line that move."""
    return Line(account=account, asset=asset, kind=cast("words.LineKind", kind), units=units)


def reachable(draft: Draft, partition: int) -> Refused | None:
    """Refuses a partition that does not exist, and this one."""
    if not 0 <= partition < draft.context.parameters.partitions or partition == draft.state.partition:
        return Refused(words.REFUSAL_UNKNOWN_PARTITION, f"expected another partition, was {partition}")
    return None


def send(draft: Draft, one: movement_pb2.Movement) -> int:
    """Sends a movement with the next transfer sequence of its pair; returns the sequence.

    Args:
        one: everything but origin and sequence; each line is taken from its account.
    """
    mark = draft.transit_mark(one.to_partition)
    one.from_partition, one.sequence = draft.state.partition, mark.sent + 1
    if one.lines and not one.distributions:  # what is sent on or back has been counted elsewhere
        one.distributions = len(draft.state.lifecycle.distributions) + 1
    away = in_transit(draft, one.to_partition)
    for each in one.lines:
        draft.move(debit=each.account, credit=away, asset=each.asset, kind=each.kind, units=each.units)
    draft.note(journal_pb2.Effect(movement=one))
    draft.put_transit_mark(
        movement_pb2.TransitMark(to_partition=one.to_partition, sent=one.sequence, arrived=mark.arrived)
    )
    return one.sequence


def land(draft: Draft, one: movement_pb2.Movement, account: int) -> None:
    """Credits all lines of a movement that arrives to one account."""
    away = in_transit(draft, one.from_partition)
    for each in one.lines:
        draft.move(debit=away, credit=account, asset=each.asset, kind=each.kind, units=each.units)


def to_suspense(draft: Draft, body: movement_pb2.Arrive) -> None:
    """Keeps what arrived and cannot be applied, so that nothing hangs between the partitions."""
    land(draft, body.movement, money.house(draft, SystemAccount.SUSPENSE))


def credit(draft: Draft, account: int, *, source: int, lines: Iterable[Line], distributions: int = 0) -> bool:
    """Gives lines of a house account to a client's account of this partition, or sends them after it; true when here.

    Args:
        distributions: of the movement that brought them.
    """
    lines, attributes = list(lines), draft.account(account)
    if attributes is None or not attributes.moved_out:
        for each in lines:
            draft.move(debit=source, credit=account, asset=each.asset, kind=each.kind, units=each.units)
        return True
    following = movement_pb2.Movement(
        to_partition=attributes.moving_to - 1, kind=words.MOVEMENT_KIND_TRANSFER, account=account, to_account=account,
        owner=attributes.owner, lines=[line(source, each.asset, each.kind, each.units) for each in lines],
        distributions=distributions,
    )  # fmt: skip
    send(draft, following)
    return False


def credit_cash(draft: Draft, account: int, *, source: int, asset: int, units: int) -> None:
    """Gives cash of a house account to a client's account, or sends it after one that has moved."""
    credit(draft, account, source=source, lines=[line(source, asset, CASH, units)])


def confirm_movements(draft: Draft, body: movement_pb2.ConfirmMovements, _: commands_pb2.Principal) -> int | Refused:
    """Partition in which everything up to a sequence has arrived: it is no longer kept here."""
    mark = draft.transit_mark(body.to_partition)
    if not 0 < body.sequence <= mark.sent:
        return Refused(words.REFUSAL_UNKNOWN_MOVEMENT, f"expected a sequence of 1 to {mark.sent}, was {body.sequence}")
    if body.sequence <= mark.arrived:  # told again
        return body.to_partition
    for sequence in range(mark.arrived + 1, body.sequence + 1):
        gone = movement_pb2.Movement(
            from_partition=draft.state.partition, to_partition=body.to_partition, sequence=sequence, arrived=True
        )
        draft.note(journal_pb2.Effect(movement=gone))
    draft.put_transit_mark(
        movement_pb2.TransitMark(to_partition=body.to_partition, sent=mark.sent, arrived=body.sequence)
    )
    return body.to_partition
