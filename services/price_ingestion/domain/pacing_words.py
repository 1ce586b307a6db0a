"""What the replay clock is told, what it answers, and the bounds it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from libs.common.units import SECOND_NS, UnixNs

LargestMove = Callable[[UnixNs, UnixNs], int]  # (from, to) -> largest move of a reference price between them, in ppm


class HoldReason(StrEnum):
    """Why the clock stands."""

    SERVICE_NOT_READY = "service_not_ready"
    RISK_BEHIND = "risk_behind"
    EPISODE_OPENING = "episode_opening"
    ORDER_IN_FLIGHT = "order_in_flight"
    EPISODE_STEP = "episode_step"
    RESERVATION_PENDING = "reservation_pending"
    SPEED_LIMIT = "speed_limit"


class Overdue(StrEnum):
    """What outlasted its bound and was no longer waited for."""

    EPISODE_OPENING = "episode_opening"
    ORDER = "order"
    EPISODE_STEP = "episode_step"
    RESERVATION = "reservation"
    RESTING_ORDERS = "resting_orders_at_jump"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of run time replayed at calm pace; what lies between windows is passed at gap pace."""

    start_ns: UnixNs
    end_ns: UnixNs


@dataclass(frozen=True, slots=True)
class PacingRules:
    """Steps in run time, bounds in wall time.

    Args:
        calm_step_ns: step in a window; halved down to the fine step while a price would move by more than its limit.
        gap_step_ns: step between windows, 0 jumps to the next window at once.
        fine_step_ns: step while an episode is open, and the shortest step.
        speed: run seconds per wall second at most, 0 for no limit.
        run_on_ns_max: how long resting client orders alone may put off a jump or the end.
    """

    calm_step_ns: int = 300 * SECOND_NS
    calm_move_ppm_max: int = 10_000
    gap_step_ns: int = 3_600 * SECOND_NS
    gap_move_ppm_max: int = 30_000
    fine_step_ns: int = 60 * SECOND_NS
    speed: int = 0
    opening_wall_ns_max: int = 2 * SECOND_NS
    order_wall_ns_max: int = 5 * SECOND_NS
    episode_wall_ns_max: int = SECOND_NS
    reservation_wall_ns_max: int = 2 * SECOND_NS
    run_on_ns_max: int = 6 * 3_600 * SECOND_NS


@dataclass(frozen=True, slots=True)
class ServiceReadiness:
    """A service answered whether it is ready."""

    service: str
    is_ready: bool


@dataclass(frozen=True, slots=True)
class FramePublished:
    """A frame of marks is on the log."""

    sequence: int
    run_time_ns: UnixNs


@dataclass(frozen=True, slots=True)
class RiskPublished:
    """Risk published a partition's margins for a mark; `is_full` says that no other account is liquidatable there."""

    partition: int
    mark_sequence: int
    liquidatable: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class EpisodeOpened:
    """An account's episode is open."""

    account: int


@dataclass(frozen=True, slots=True)
class EpisodeClosed:
    """An account's episode is closed."""

    account: int


@dataclass(frozen=True, slots=True)
class OrderReserved:
    """An order waits for risk's verdict."""

    order: int


@dataclass(frozen=True, slots=True)
class OrderReleased:
    """An order may go out; `is_episode` when a liquidation sent it, `is_known` once its venue has told of it."""

    order: int
    account: int
    is_episode: bool
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class OrderEnded:
    """An order is terminal, whatever its end, released or not."""

    order: int


@dataclass(frozen=True, slots=True)
class ReservationPending:
    """A withdrawal or transfer waits for risk's verdict."""

    reservation: int


@dataclass(frozen=True, slots=True)
class ReservationResolved:
    """A reservation was decided."""

    reservation: int


Event = (
    ServiceReadiness
    | FramePublished
    | RiskPublished
    | EpisodeOpened
    | EpisodeClosed
    | OrderReserved
    | OrderReleased
    | OrderEnded
    | ReservationPending
    | ReservationResolved
)


@dataclass(frozen=True, slots=True)
class Advance:
    """Publish marks for this run time next; `is_jump` when the stretch before it was skipped."""

    run_time_ns: UnixNs
    is_jump: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """Stand still; ask again when something happened, or at `until_wall_ns` when that is given."""

    reason: HoldReason
    detail: str
    until_wall_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The last window is over."""


Step = Advance | Held | Ended
