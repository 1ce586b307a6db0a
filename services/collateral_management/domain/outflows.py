"""How much may leave: a limit of the house an hour and a day, shared by its partitions without ever being exceeded.

An even part of half of the floor is every partition's base. The rest is the pot of the asset's home partition, its
bank, which grants it for one withdrawal at a time, all or nothing. A grant is good for the part of five minutes it was
made in and for the next one; the bank counts it in every window in which it may be used. So in any hour and any day
bases and grants together are the limit at most, whatever is late, lost or dead (I22), and who dies with a grant keeps
it from others for as long as one window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ballast.events.v1 import commands_pb2, custody_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, home_partition
from libs.common.parameters import OutflowRule
from libs.common.units import SECOND_NS, mul_div_down
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, RESERVED

HOUR_PART_NS, HOUR_PARTS = 300 * SECOND_NS, 12
DAY_PART_NS, DAY_PARTS = 3600 * SECOND_NS, 24
BANK_SILENT_NS = 60 * SECOND_NS  # then a withdrawal that waits for its share comes back
ASKS_MAX = 3  # of one withdrawal: what was granted may be used by another, or run out

Parts = Iterable[custody_pb2.OutflowPart]


def set_outflow_limit(draft: Draft, body: custody_pb2.SetOutflowLimit, _: commands_pb2.Principal) -> int | Refused:
    """Asset id whose limit follows what the house holds."""
    rule = draft.context.parameters.guards.outflow(body.asset)
    if rule is None:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"no outflow limit for asset {body.asset}")
    if not _is_bank(draft, body.asset):
        return Refused(words.REFUSAL_WRONG_PARTITION, f"asset {body.asset} has its bank in another partition")
    known, latest = draft.custody.pot(body.asset), _part(draft, HOUR_PART_NS) + 1  # the sender's clock may be ahead
    if not known.number < body.number <= latest:
        return Refused(
            words.REFUSAL_TICK_OUT_OF_ORDER, f"expected a part from {known.number + 1} to {latest}, was {body.number}"
        )
    if body.held_units < 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected units >= 0, was {body.held_units}")
    changed = copied(known)
    changed.number, changed.held_units = body.number, body.held_units
    draft.custody.put_pot(changed)
    return body.asset


def beyond(draft: Draft, *, asset: int, units: int) -> Refused | None:
    """Refuses what the limit does not let out, where the bank is; elsewhere the bank is asked when risk lets it go."""
    rule = draft.context.parameters.guards.outflow(asset)
    if rule is None or not _is_bank(draft, asset):
        return None
    return _ungranted(draft, rule, units - _free_base(draft, rule))


def claim(draft: Draft, one: journal_pb2.Reservation) -> Refused | bool:
    """Whether a withdrawal leaves now, and is counted; false when its share is asked for, so that it waits.

    Refused with OUTFLOW_ASKED while the bank has not answered, with OUTFLOW_LIMIT when it may not leave.
    """
    rule = draft.context.parameters.guards.outflow(one.asset)
    if rule is None:
        return True
    base = min(one.units, _free_base(draft, rule))
    need = one.units - base
    if need > 0 and _is_bank(draft, one.asset):
        refused = _ungranted(draft, rule, need)
        if refused:
            return refused
        _grant(draft, one.asset, need)
        _count(draft, one.asset, units=one.units, granted=need)
        return True
    lacking = need - sum(each.units for each in _usable(draft, one.asset))
    if lacking <= 0:
        _use(draft, one.asset, need)
        _count(draft, one.asset, units=one.units, granted=need)
        return True
    return _ask(draft, one, lacking)


def _ask(draft: Draft, one: journal_pb2.Reservation, units: int) -> Refused | bool:
    now_ns = draft.context.now_ns
    bank = home_partition(one.asset, partitions=draft.context.parameters.partitions)
    if one.asks and not one.is_answered and now_ns < one.asked_at_ns + BANK_SILENT_NS:
        return Refused(words.REFUSAL_OUTFLOW_ASKED, f"partition {bank} has not answered")
    if one.asks and not one.is_answered:
        return Refused(words.REFUSAL_OUTFLOW_LIMIT, f"partition {bank}, the limit's bank, is silent")
    if one.asks >= ASKS_MAX or (one.asks and not one.granted_units):
        return Refused(words.REFUSAL_OUTFLOW_LIMIT, f"the house lets no {units} units of {one.asset} more out now")
    waiting = journal_pb2.Reservation()
    waiting.CopyFrom(one)
    waiting.asked_at_ns, waiting.asks, waiting.is_answered = now_ns, one.asks + 1, False
    draft.note(journal_pb2.Effect(reservation=waiting))
    _send(draft, bank, words.MOVEMENT_KIND_OUTFLOW_ASK, reservation=one.reservation, asset=one.asset, units=units)
    return False


def _send(
    draft: Draft, to: int, kind: words.MovementKind, *, reservation: int, asset: int, units: int, part: int = 0
) -> None:
    wanted = [movements.line(0, asset, CASH, units)]
    movements.send(
        draft,
        movement_pb2.Movement(to_partition=to, kind=kind, reservation=reservation, wanted=wanted, part=part),
    )


def answer(draft: Draft, one: movement_pb2.Movement) -> None:
    """The bank grants what is asked for, or nothing: less would let nothing out and be kept from others."""
    asset, units = one.wanted[0].asset, one.wanted[0].units
    rule = draft.context.parameters.guards.outflow(asset)
    if rule is not None and _ungranted(draft, rule, units) is None:
        _grant(draft, asset, units)
    else:
        units = 0
    kind, part = words.MOVEMENT_KIND_OUTFLOW_GRANT, _part(draft, HOUR_PART_NS)
    _send(draft, one.from_partition, kind, reservation=one.reservation, asset=asset, units=units, part=part)


def take_grant(draft: Draft, one: movement_pb2.Movement) -> None:
    """Keeps a share for the withdrawal that it was asked for, or gives it back when that has ended."""
    asset, units = one.wanted[0].asset, one.wanted[0].units
    waiting = draft.state.reservations.get(one.reservation)
    if waiting is None:
        if units:
            kind = words.MOVEMENT_KIND_OUTFLOW_RETURN
            _send(draft, one.from_partition, kind, reservation=0, asset=asset, units=units, part=one.part)
        return
    answered = journal_pb2.Reservation()
    answered.CopyFrom(waiting)
    answered.is_answered, answered.granted_units = True, waiting.granted_units + units
    draft.note(journal_pb2.Effect(reservation=answered))
    if units:
        share = custody_pb2.OutflowShare(asset=asset, granted=_living(draft, asset))
        _add(share.granted, one.part, units)
        draft.custody.put_share(share)


def release(draft: Draft, one: journal_pb2.Reservation) -> None:
    """Gives back what was granted for a withdrawal that does not leave."""
    left, bank = one.granted_units, home_partition(one.asset, partitions=draft.context.parameters.partitions)
    if not left:
        return
    share = custody_pb2.OutflowShare(asset=one.asset)
    for each in _living(draft, one.asset):
        back = min(left, each.units)
        left -= back
        if back:
            kind = words.MOVEMENT_KIND_OUTFLOW_RETURN
            _send(draft, bank, kind, reservation=0, asset=one.asset, units=back, part=each.number)
        if each.units > back:
            share.granted.add(number=each.number, units=each.units - back)
    if share != draft.custody.share(one.asset):
        draft.custody.put_share(share)


def take_back(draft: Draft, one: movement_pb2.Movement) -> None:
    """The bank may grant again what was not used."""
    asset, units = one.wanted[0].asset, one.wanted[0].units
    changed = copied(draft.custody.pot(asset))
    day = mul_div_down(one.part * HOUR_PART_NS, 1, DAY_PART_NS)
    for parts, number in ((changed.hour, one.part), (changed.day, day)):
        for each in parts:
            if each.number == number:
                each.units = max(0, each.units - units)
    if changed != draft.custody.pot(asset):
        draft.custody.put_pot(changed)


def held_units(draft: Draft, asset: int) -> int:
    """What the house holds of an asset in this partition, in the vault and at venues."""
    vault = money.house(draft, SystemAccount.CUSTODY)
    outside = draft.balance(vault, asset, CASH) + draft.balance(vault, asset, RESERVED)
    for venue in draft.context.parameters.venues:
        outside += draft.balance(money.house(draft, SystemAccount.VENUE, venue.id), asset, CASH)
    return -outside


def granted_in(pot: custody_pb2.OutflowPot, now_ns: int, *, partitions: int) -> tuple[int, int]:
    """Units granted that may leave within the hour and the day that end now, or have left in them."""
    later = 0 if partitions == 1 else 1  # a grant may be used in the part after its own
    return (
        sum(part.units for part in _recent(pot.hour, now_ns, HOUR_PART_NS, HOUR_PARTS + later)),
        sum(part.units for part in _recent(pot.day, now_ns, DAY_PART_NS, DAY_PARTS + later)),
    )


def pot_limits(rule: OutflowRule, held: int, *, partitions: int) -> tuple[int, int]:
    """Units that the bank may grant in an hour and in a day: the house's limit without everybody's base."""
    limits, base = rule.limits(held), rule.base(partitions=partitions)
    return (limits[0] - base[0] * partitions, limits[1] - base[1] * partitions)


def _is_bank(draft: Draft, asset: int) -> bool:
    return home_partition(asset, partitions=draft.context.parameters.partitions) == draft.state.partition


def _ungranted(draft: Draft, rule: OutflowRule, units: int) -> Refused | None:
    """Why the bank does not grant these units."""
    pot, partitions = draft.custody.pot(rule.asset), draft.context.parameters.partitions
    held = held_units(draft, rule.asset) if partitions == 1 else pot.held_units
    granted = granted_in(pot, draft.context.now_ns, partitions=partitions)
    limits = pot_limits(rule, held, partitions=partitions)
    for name, given, limit in (("hour", granted[0], limits[0]), ("day", granted[1], limits[1])):
        if units > 0 and given + units > limit:
            return Refused(
                words.REFUSAL_OUTFLOW_LIMIT,
                f"{given} units of {rule.asset} granted in the {name}, {units} more are beyond its limit of {limit}",
            )
    return None


def _grant(draft: Draft, asset: int, units: int) -> None:
    changed, now_ns = copied(draft.custody.pot(asset)), draft.context.now_ns
    for parts, part_ns, count in (
        (changed.hour, HOUR_PART_NS, HOUR_PARTS + 1),
        (changed.day, DAY_PART_NS, DAY_PARTS + 1),
    ):
        kept = _recent(parts, now_ns, part_ns, count)
        del parts[:]
        parts.extend(kept)
        _add(parts, _part(draft, part_ns), units)
    draft.custody.put_pot(changed)


def _free_base(draft: Draft, rule: OutflowRule) -> int:
    """Units that may leave here without asking."""
    base = rule.base(partitions=draft.context.parameters.partitions)
    window, now_ns = draft.custody.outflow(rule.asset), draft.context.now_ns
    hour = _recent(window.hour, now_ns, HOUR_PART_NS, HOUR_PARTS)
    day = _recent(window.day, now_ns, DAY_PART_NS, DAY_PARTS)
    used = [sum(part.units - part.granted_units for part in parts) for parts in (hour, day)]
    return max(0, min(base[0] - used[0], base[1] - used[1]))


def _living(draft: Draft, asset: int) -> list[custody_pb2.OutflowPart]:
    """Grants that are good now or will be, oldest first."""
    last = _part(draft, HOUR_PART_NS) - 1
    return [copied(one) for one in draft.custody.share(asset).granted if one.number >= last]


def _usable(draft: Draft, asset: int) -> list[custody_pb2.OutflowPart]:
    """Grants that are good now: the bank's clock may be ahead of this one."""
    now = _part(draft, HOUR_PART_NS)
    return [one for one in _living(draft, asset) if one.number <= now]


def _use(draft: Draft, asset: int, units: int) -> None:
    share, now = custody_pb2.OutflowShare(asset=asset), _part(draft, HOUR_PART_NS)
    for each in _living(draft, asset):
        used = min(units, each.units) if each.number <= now else 0
        units -= used
        if each.units > used:
            share.granted.add(number=each.number, units=each.units - used)
    if share != draft.custody.share(asset):
        draft.custody.put_share(share)


def _count(draft: Draft, asset: int, *, units: int, granted: int) -> None:
    """Counts units that leave, those of them by a grant too."""
    now_ns, before = draft.context.now_ns, draft.custody.outflow(asset)
    counted = custody_pb2.OutflowWindow(asset=asset, tripped_at_ns=before.tripped_at_ns)
    for parts, known, part_ns, count in (
        (counted.hour, before.hour, HOUR_PART_NS, HOUR_PARTS),
        (counted.day, before.day, DAY_PART_NS, DAY_PARTS),
    ):
        parts.extend(_recent(known, now_ns, part_ns, count))
        _add(parts, _part(draft, part_ns), units, granted)
    draft.custody.put_outflow(counted)


def _add(parts: Any, number: int, units: int, granted: int = 0) -> None:
    for part in parts:
        if part.number == number:
            part.units += units
            part.granted_units += granted
            return
    parts.add(number=number, units=units, granted_units=granted)


def _part(draft: Draft, part_ns: int) -> int:
    return mul_div_down(draft.context.now_ns, 1, part_ns)


def _recent(parts: Parts, now_ns: int, part_ns: int, count: int) -> list[custody_pb2.OutflowPart]:
    least = mul_div_down(now_ns, 1, part_ns) - count
    return [copied(part) for part in parts if part.number >= least]
