"""Units counted once by a distribution, whichever partition they are in at its cut there.

Each partition begins a distribution when its own command comes, and tells the others. Units of what counts leave a
partition only when every other one has begun what has begun here: so none that were counted here are counted again
there. What left before a cut here and arrives behind the one there is credited as it arrives.
"""

from __future__ import annotations

from collections.abc import Iterable

from ballast.events.v1 import journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.units import INDEX_ONE, mul_div_down, mul_div_up
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, DEBT, OVERDRAFT, SUPPLY


def tell(draft: Draft, number: int) -> None:
    """Tells the other partitions that a distribution has begun here."""
    for other in range(draft.context.parameters.partitions):
        if other != draft.state.partition:
            kind = words.MOVEMENT_KIND_DISTRIBUTION_NOTICE
            movements.send(draft, movement_pb2.Movement(to_partition=other, kind=kind, distributions=number + 1))


def take_notice(draft: Draft, one: movement_pb2.Movement) -> None:
    """A distribution has begun in another partition."""
    told = lifecycle_pb2.DistributionTold(partition=one.from_partition, number=one.distributions - 1)
    draft.note(journal_pb2.Effect(distribution_told=told))


def must_wait(draft: Draft, assets: Iterable[int], *, to: int) -> Refused | None:
    """Refuses to let units go to a partition while a distribution that counted them has not begun everywhere."""
    known = draft.state.lifecycle.distributions
    if not known or to == draft.state.partition:
        return None
    begun_everywhere, leaving = _begun_everywhere(draft), set(assets)
    for one in known.values():
        if one.number > begun_everywhere and one.held in leaving:
            return Refused(words.REFUSAL_SWEEP_OPEN, f"distribution {one.number} has not begun in every partition")
    return None


def _begun_everywhere(draft: Draft) -> int:
    """Number of the last distribution that all other partitions have told of, by this command at the latest."""
    told = dict(draft.state.lifecycle.distributions_told)
    for effect in draft.effects:
        if effect.HasField("distribution_told"):
            told[effect.distribution_told.partition] = effect.distribution_told.number
    others = (one for one in range(draft.context.parameters.partitions) if one != draft.state.partition)
    return min((told.get(one, 0) for one in others), default=len(draft.state.lifecycle.distributions))


def credit_arrived(draft: Draft, account: int, lines: Iterable[movement_pb2.MovedLine], *, distributions: int) -> None:
    """Credits units that left before a cut where they were, and arrive behind the one here."""
    arrived = list(lines)
    for one in draft.state.lifecycle.distributions.values():
        if one.number >= distributions and distributions:
            units = mul_div_down(_counted(draft, arrived, one.held), one.numerator, one.denominator)
            custody = money.house(draft, SystemAccount.CUSTODY)
            draft.move(debit=custody, credit=account, asset=one.credited, kind=CASH, units=units)


def _counted(draft: Draft, lines: Iterable[movement_pb2.MovedLine], asset: int) -> int:
    state, counted = draft.state, 0
    for each in lines:
        if each.asset != asset:
            continue
        if each.kind == CASH:
            counted += each.units
        elif each.kind == SUPPLY:
            counted += mul_div_down(each.units, state.supply_index(asset), INDEX_ONE)
        elif each.kind == DEBT:
            counted -= mul_div_up(each.units, state.borrow_index(asset), INDEX_ONE)
        elif each.kind == OVERDRAFT:
            counted -= mul_div_up(each.units, state.overdraft_index(asset), INDEX_ONE)
    return counted
