"""The closed-loop replay clock: it moves only when the house has dealt with the last frame of marks.

`Pacer` is told what happens (`apply`) and asked what to do now (`next_step`); wall time is an argument.
The first frame goes out at once, so that services can get ready on it. Then the clock stands

1. while a service is not ready;
2. until risk has published for the last frame on every partition;
3. while an account is liquidatable and its episode is not yet open           (at most `opening_wall_ns_max`);
4. while an order of an episode is in flight                                  (at most `order_wall_ns_max` each);
5. while an open episode has not had an order's round trip since the last frame (at most `episode_wall_ns_max`);
6. while a reservation that was pending at the last frame is undecided, or a client's order that was on its way to a
   venue then has not been heard of                                         (at most `reservation_wall_ns_max` each);
7. while the speed limit says so.

What outlasts its bound is counted and no longer waited for, so nothing stops the replay for good except 1 and 2. An
episode that let `EPISODE_PATIENCE` frames pass without an order is not waited for until it sends one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from libs.common.units import SECOND_NS, UnixNs, mul_div_down, mul_div_up
from services.price_ingestion.domain.pacing_words import (
    Advance,
    Ended,
    EpisodeClosed,
    EpisodeOpened,
    Event,
    FramePublished,
    Held,
    HoldReason,
    LargestMove,
    OrderEnded,
    OrderReleased,
    OrderReserved,
    Overdue,
    PacingRules,
    ReservationPending,
    ReservationResolved,
    RiskPublished,
    ServiceReadiness,
    Step,
    Window,
)

EPISODE_PATIENCE = 3


_Pending = tuple[str, int]  # what waits: ("order" or "reservation" for a verdict, "sent" for its venue, its id)


@dataclass(slots=True)
class _Episode:
    since_wall_ns: int
    has_stepped: bool = False  # an order's round trip since the last frame
    is_waived: bool = False  # no longer waited for until the next frame
    idle_frames: int = 0


@dataclass(slots=True)
class _Order:
    account: int
    is_episode: bool
    since_wall_ns: int
    is_overdue: bool = False


@dataclass(slots=True)
class _Book:
    not_ready: set[str]
    risk: dict[int, int]
    frame: FramePublished | None = None
    frame_wall_ns: int = 0
    window: int = 0
    liquidatable: dict[int, dict[int, int]] = field(default_factory=dict)  # partition -> account -> wall time seen
    given_up: set[int] = field(default_factory=set)  # accounts whose opening outlasted its bound
    episodes: dict[int, _Episode] = field(default_factory=dict)
    orders: dict[int, _Order] = field(default_factory=dict)
    pending: dict[_Pending, int] = field(default_factory=dict)  # -> wall time seen
    awaited: set[_Pending] = field(default_factory=set)  # pending when the last frame was published


class Pacer:
    """State of the replay clock; deterministic in its events and the wall times given."""

    def __init__(
        self,
        windows: Sequence[Window],
        *,
        partitions: int,
        services: Iterable[str],
        rules: PacingRules,
        largest_move: LargestMove,
        path_end_ns: UnixNs,
    ) -> None:
        """Every service named has yet to say that it is ready; no step goes past `path_end_ns`."""
        bounds = [bound for window in windows for bound in (window.start_ns, window.end_ns)]
        if not bounds or bounds != sorted(set(bounds)) or bounds[-1] > path_end_ns:
            raise ValueError(f"expected windows apart, oldest first and up to {path_end_ns}, was {windows}")
        self._windows = tuple(windows)
        self._rules = rules
        self._largest_move = largest_move
        self._path_end_ns = path_end_ns
        self._book = _Book(set(services), dict.fromkeys(range(partitions), 0))
        self._held_since: tuple[HoldReason, int] | None = None
        self.held_ns: Counter[HoldReason] = Counter()
        self.overdue: Counter[Overdue] = Counter()

    def apply(self, event: Event, *, wall_ns: int) -> None:
        """Takes one event in; what repeats an earlier one changes nothing."""
        book = self._book
        match event:
            case ServiceReadiness(service, is_ready):
                (book.not_ready.discard if is_ready else book.not_ready.add)(service)
            case FramePublished():
                self._frame_published(event, wall_ns)
            case RiskPublished():
                self._risk_published(event, wall_ns)
            case EpisodeOpened(account):
                book.episodes.setdefault(account, _Episode(wall_ns))
                self._forget_opening(account)
            case EpisodeClosed(account):
                book.episodes.pop(account, None)
                self._forget_opening(account)
            case OrderReserved(order):
                book.pending.setdefault(("order", order), wall_ns)
            case OrderReleased(order, account, is_episode, is_known):
                self._resolve(("order", order))
                if is_known:
                    self._resolve(("sent", order))
                elif not is_episode:
                    book.pending.setdefault(("sent", order), wall_ns)
                book.orders.setdefault(order, _Order(account, is_episode, wall_ns))
            case OrderEnded(order):
                self._resolve(("order", order))
                self._resolve(("sent", order))
                self._order_ended(book.orders.pop(order, None))
            case ReservationPending(reservation):
                book.pending.setdefault(("reservation", reservation), wall_ns)
            case ReservationResolved(reservation):
                self._resolve(("reservation", reservation))

    def next_step(self, *, wall_ns: int) -> Step:
        """What the clock does now; the time since a hold began is booked on its reason."""
        if self._held_since is not None:
            reason, since_ns = self._held_since
            self.held_ns[reason] += max(0, wall_ns - since_ns)
        step = self._hold(wall_ns) or self._move(wall_ns)
        self._held_since = (step.reason, wall_ns) if isinstance(step, Held) else None
        return step

    def _frame_published(self, event: FramePublished, wall_ns: int) -> None:
        book = self._book
        for episode in book.episodes.values():
            episode.idle_frames = 0 if episode.has_stepped else episode.idle_frames + 1
            episode.has_stepped = episode.is_waived = False
        book.frame, book.frame_wall_ns = event, wall_ns
        book.awaited = set(book.pending)

    def _risk_published(self, event: RiskPublished, wall_ns: int) -> None:
        book = self._book
        book.risk[event.partition] = max(book.risk.get(event.partition, 0), event.mark_sequence)
        known = book.liquidatable.setdefault(event.partition, {})
        gone = set(known) - event.liquidatable if event.is_full else set(known) & event.others
        for account in gone:
            self._forget_opening(account)
        for account in event.liquidatable - set(book.episodes):
            known.setdefault(account, wall_ns)

    def _resolve(self, pending: _Pending) -> None:
        self._book.pending.pop(pending, None)
        self._book.awaited.discard(pending)

    def _forget_opening(self, account: int) -> None:
        self._book.given_up.discard(account)
        for accounts in self._book.liquidatable.values():
            accounts.pop(account, None)

    def _order_ended(self, order: _Order | None) -> None:
        episode = self._book.episodes.get(order.account) if order is not None and order.is_episode else None
        if episode is not None:
            episode.has_stepped, episode.idle_frames = True, 0

    def _hold(self, wall_ns: int) -> Held | None:
        book = self._book
        if book.frame is None:
            return None
        if book.not_ready:
            return Held(HoldReason.SERVICE_NOT_READY, ", ".join(sorted(book.not_ready)))
        behind = [partition for partition, mark in book.risk.items() if mark < book.frame.sequence]
        if behind:
            return Held(HoldReason.RISK_BEHIND, f"partitions {behind} at frame {book.frame.sequence}")
        return (
            self._hold_for_openings(wall_ns)
            or self._hold_for_orders(wall_ns)
            or self._hold_for_episodes(wall_ns)
            or self._hold_for_reservations(wall_ns)
        )

    def _hold_for_openings(self, wall_ns: int) -> Held | None:
        book = self._book
        for accounts in book.liquidatable.values():
            for account, since_ns in accounts.items():
                if account in book.given_up:
                    continue
                until_ns = since_ns + self._rules.opening_wall_ns_max
                if wall_ns < until_ns:
                    return Held(HoldReason.EPISODE_OPENING, f"account {account}", until_ns)
                book.given_up.add(account)
                self.overdue[Overdue.EPISODE_OPENING] += 1
        return None

    def _hold_for_orders(self, wall_ns: int) -> Held | None:
        for number, order in self._book.orders.items():
            if not order.is_episode or order.is_overdue:
                continue
            until_ns = order.since_wall_ns + self._rules.order_wall_ns_max
            if wall_ns < until_ns:
                return Held(HoldReason.ORDER_IN_FLIGHT, f"order {number}", until_ns)
            order.is_overdue = True
            self._order_ended(order)
            self.overdue[Overdue.ORDER] += 1
        return None

    def _hold_for_episodes(self, wall_ns: int) -> Held | None:
        for account, episode in self._book.episodes.items():
            if episode.has_stepped or episode.is_waived or episode.idle_frames >= EPISODE_PATIENCE:
                continue
            until_ns = max(episode.since_wall_ns, self._book.frame_wall_ns) + self._rules.episode_wall_ns_max
            if wall_ns < until_ns:
                return Held(HoldReason.EPISODE_STEP, f"account {account}", until_ns)
            episode.is_waived = True
            self.overdue[Overdue.EPISODE_STEP] += 1
        return None

    def _hold_for_reservations(self, wall_ns: int) -> Held | None:
        book = self._book
        for awaited in sorted(book.awaited):
            until_ns = book.pending[awaited] + self._rules.reservation_wall_ns_max
            is_sent = awaited[0] == "sent"
            if wall_ns < until_ns:
                reason = HoldReason.ORDER_IN_FLIGHT if is_sent else HoldReason.RESERVATION_PENDING
                return Held(reason, f"{awaited[0]} {awaited[1]}", until_ns)
            self._resolve(awaited)
            self.overdue[Overdue.ORDER if is_sent else Overdue.RESERVATION] += 1
        return None

    def _move(self, wall_ns: int) -> Step:
        book, rules = self._book, self._rules
        if book.frame is None:
            return Advance(self._windows[0].start_ns)
        now_ns = book.frame.run_time_ns
        if now_ns < self._windows[0].start_ns:  # the log was left before the first window by another replay
            return Advance(self._windows[0].start_ns, is_jump=True)
        while book.window + 1 < len(self._windows) and now_ns >= self._windows[book.window + 1].start_ns:
            book.window += 1
        window = self._windows[book.window]
        following = self._windows[book.window + 1] if book.window + 1 < len(self._windows) else None
        is_over = now_ns >= window.end_ns
        if now_ns >= self._path_end_ns:
            return Ended()
        if is_over and (following is None or not rules.gap_step_ns) and self._is_quiet(now_ns - window.end_ns):
            return Advance(following.start_ns, is_jump=True) if following else Ended()
        step_ns = self._step_ns(now_ns, is_gap=is_over and following is not None and rules.gap_step_ns > 0)
        if rules.speed:
            step_ns = min(step_ns, rules.speed * SECOND_NS)
            until_ns = book.frame_wall_ns + mul_div_up(step_ns, 1, rules.speed)
            if wall_ns < until_ns:
                return Held(HoldReason.SPEED_LIMIT, f"{rules.speed} run seconds per second", until_ns)
        bound_ns = following.start_ns if is_over and following else self._path_end_ns if is_over else window.end_ns
        return Advance(UnixNs(min(now_ns + step_ns, bound_ns)))

    def _step_ns(self, now_ns: UnixNs, *, is_gap: bool) -> int:
        rules, book = self._rules, self._book
        if book.episodes or any(book.liquidatable.values()):
            return rules.fine_step_ns
        step_ns, limit_ppm = rules.calm_step_ns, rules.calm_move_ppm_max
        if is_gap and not any(kind == "sent" for kind, _ in book.pending):  # what is on its way has to arrive in time
            step_ns, limit_ppm = rules.gap_step_ns, rules.gap_move_ppm_max
        while step_ns > rules.fine_step_ns and self._largest_move(now_ns, UnixNs(now_ns + step_ns)) > limit_ppm:
            step_ns = max(rules.fine_step_ns, mul_div_down(step_ns, 1, 2))
        return step_ns

    def _is_quiet(self, overrun_ns: int) -> bool:
        book = self._book
        if book.episodes or any(book.liquidatable.values()) or book.pending:
            return False
        if book.orders and overrun_ns < self._rules.run_on_ns_max:
            return False
        if book.orders:
            self.overdue[Overdue.RESTING_ORDERS] += len(book.orders)
        return True
