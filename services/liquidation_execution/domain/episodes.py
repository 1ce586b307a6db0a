"""What an episode needs next, from the journal's fold and the latest published margin alone: so a restart is a fold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from libs.common.ids import AccountId
from libs.common.units import PPM, Usd6, mul_div_down
from libs.common.validity import Action, ValidityClass, permits

_SOLVENT_FIRST = PPM * PPM


class WaitReason(StrEnum):
    """Why nothing is to be done now."""

    IN_FLIGHT = "a decision is on its way to the journal"
    ORDERS_ALIVE = "orders of the last step are alive"
    DELEVERAGING = "other partitions are asked who holds the opposite, or have lots of it"
    MARGIN_BEHIND = "no margin at or after the opening and the last fill"
    MARK_NOT_USABLE = "a mark it depends on may not be acted on"
    STEPS_EXHAUSTED = "the bound on steps is reached: a person is called"
    NOTHING_TO_RESOLVE = "below initial margin with neither debt nor anything that orders reduce"


class Outcome(StrEnum):
    """How an episode ends."""

    HEALTHY = "healthy"
    EMPTIED = "emptied"


@dataclass(frozen=True, slots=True)
class MarginRow:
    """An account's row of a published margin frame, money in 10^-6 USD."""

    journal_sequence: int
    mark_sequence: int
    control_sequence: int
    run_time_ns: int
    equity: Usd6
    initial: Usd6
    maintenance: Usd6
    validity: ValidityClass


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """An open episode as the journal has it.

    Args:
        step: steps taken.
        moved_sequence: journal sequence that last moved the account.
        live_orders: orders of the episode that are not terminal.
        is_in_flight: a decision was sent and has not come back in the journal.
        is_deleveraging: other partitions have not answered.
        is_empty: neither assets nor debt are left.
        has_reducible: orders can reduce something.
        has_supply: shares of lending pools are held.
        has_debt: something is owed.
    """

    episode: int
    account: AccountId
    step: int
    opened_sequence: int
    last_fill_sequence: int
    moved_sequence: int
    live_orders: int
    is_in_flight: bool
    is_deleveraging: bool
    is_empty: bool
    has_reducible: bool
    has_supply: bool
    has_debt: bool

    @property
    def needed_sequence(self) -> int:
        """Journal sequence that a margin must stand on before anything is decided."""
        return max(self.opened_sequence, self.last_fill_sequence)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to be done now."""

    reason: WaitReason


@dataclass(frozen=True, slots=True)
class TakeStep:
    """Plan and send this step."""

    step: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """Bring back what is lent; once nothing is, run the waterfall on the debt that no assets are left for."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the episode."""

    outcome: Outcome


Next = Wait | TakeStep | Resolve | Close


def next_action(view: EpisodeView, row: MarginRow | None, *, steps_max: int) -> Next:
    """What the episode needs next."""
    if view.is_in_flight:
        return Wait(WaitReason.IN_FLIGHT)
    if view.is_deleveraging:
        return Wait(WaitReason.DELEVERAGING)
    if view.live_orders:
        return Wait(WaitReason.ORDERS_ALIVE)
    if row is None or row.journal_sequence < view.needed_sequence:
        return Wait(WaitReason.MARGIN_BEHIND)
    if view.is_empty:  # depends on no mark, but the margin it cites is one of the empty account
        is_seen = row.journal_sequence >= view.moved_sequence
        return Close(Outcome.EMPTIED) if is_seen else Wait(WaitReason.MARGIN_BEHIND)
    if not permits(row.validity, Action.LIQUIDATION):
        return Wait(WaitReason.MARK_NOT_USABLE)
    if row.equity >= row.initial:
        return Close(Outcome.HEALTHY)
    return _reduction(view, steps_max)


def _reduction(view: EpisodeView, steps_max: int) -> Next:
    if view.has_reducible:
        return TakeStep(view.step + 1) if view.step < steps_max else Wait(WaitReason.STEPS_EXHAUSTED)
    return Resolve() if view.has_debt or view.has_supply else Wait(WaitReason.NOTHING_TO_RESOLVE)


def urgency(row: MarginRow | None) -> int:
    """Sorts the worst first: equity over maintenance margin in millionths; an account without margin comes last."""
    if row is None:
        return _SOLVENT_FIRST
    return mul_div_down(row.equity, PPM, max(row.maintenance, 1))
