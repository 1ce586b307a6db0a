"""The replay clock: what holds it, for how long, and how far it goes."""

from __future__ import annotations

import pytest

from libs.common.units import SECOND_NS, UnixNs
from services.price_ingestion.domain.pacing import EPISODE_PATIENCE, Pacer
from services.price_ingestion.domain.pacing_words import (
    Advance,
    Ended,
    EpisodeClosed,
    EpisodeOpened,
    Event,
    FramePublished,
    Held,
    HoldReason,
    OrderEnded,
    OrderReleased,
    OrderReserved,
    Overdue,
    PacingRules,
    ReservationPending,
    ReservationResolved,
    RiskPublished,
    ServiceReadiness,
    Window,
)

MS = SECOND_NS // 1_000
HOUR = 3_600 * SECOND_NS
SERVICES = ("ledger", "risk")
WINDOWS = (Window(UnixNs(0), UnixNs(HOUR)), Window(UnixNs(100 * HOUR), UnixNs(101 * HOUR)))


class Replay:
    """Drives a pacer and plays the house: answers at once unless a case says otherwise."""

    def __init__(
        self, *, rules: PacingRules | None = None, move_ppm: int = 0, windows: tuple[Window, ...] = WINDOWS
    ) -> None:
        self.pacer = Pacer(
            windows,
            partitions=2,
            services=SERVICES,
            rules=rules or PacingRules(gap_step_ns=0),
            largest_move=lambda since, until: move_ppm * (until - since) // SECOND_NS,
            path_end_ns=UnixNs(102 * HOUR),
        )
        self.wall_ns = 0
        self.sequence = 0
        self.run_ns = 0

    def tell(self, *events: Event) -> None:
        for event in events:
            self.pacer.apply(event, wall_ns=self.wall_ns)

    def ready(self) -> None:
        self.tell(*(ServiceReadiness(service, True) for service in SERVICES))

    def held(self) -> HoldReason | None:
        step = self.pacer.next_step(wall_ns=self.wall_ns)
        return step.reason if isinstance(step, Held) else None

    def publish(self) -> Advance:
        step = self.pacer.next_step(wall_ns=self.wall_ns)
        assert isinstance(step, Advance), step
        self.sequence += 1
        self.run_ns = step.run_time_ns
        self.tell(FramePublished(self.sequence, step.run_time_ns))
        return step

    def risk(self, *liquidatable: int) -> None:
        self.tell(RiskPublished(0, self.sequence, frozenset(liquidatable), is_full=True))
        self.tell(RiskPublished(1, self.sequence))

    def calm_frame(self) -> Advance:
        step = self.publish()
        self.risk()
        return step


def started(*, rules: PacingRules | None = None, move_ppm: int = 0, windows: tuple[Window, ...] = WINDOWS) -> Replay:
    replay = Replay(rules=rules, move_ppm=move_ppm, windows=windows)
    replay.ready()
    replay.calm_frame()
    return replay


def test_clock_stands_on_its_first_frame_until_every_service_is_ready() -> None:
    replay = Replay()
    assert replay.calm_frame() == Advance(UnixNs(0))
    assert replay.held() == HoldReason.SERVICE_NOT_READY
    replay.tell(ServiceReadiness("ledger", True))
    assert replay.held() == HoldReason.SERVICE_NOT_READY
    replay.tell(ServiceReadiness("risk", True))
    assert replay.publish() == Advance(UnixNs(300 * SECOND_NS))


def test_clock_moves_only_when_risk_has_published_for_the_last_frame_everywhere() -> None:
    replay = started()
    replay.publish()
    assert replay.held() == HoldReason.RISK_BEHIND
    replay.tell(RiskPublished(0, replay.sequence))
    assert replay.held() == HoldReason.RISK_BEHIND
    replay.tell(RiskPublished(1, replay.sequence - 1))
    assert replay.held() == HoldReason.RISK_BEHIND
    replay.tell(RiskPublished(1, replay.sequence), RiskPublished(1, replay.sequence - 1))
    assert replay.publish() == Advance(UnixNs(600 * SECOND_NS))


def test_clock_stands_while_a_service_is_not_ready() -> None:
    replay = started()
    replay.tell(ServiceReadiness("risk", False))
    replay.wall_ns += 3_600 * SECOND_NS
    assert replay.held() == HoldReason.SERVICE_NOT_READY
    replay.ready()
    assert replay.held() is None


@pytest.mark.parametrize(
    ("begin", "end", "reason", "bound_ms", "overdue"),
    [
        (ReservationPending(9), ReservationResolved(9), HoldReason.RESERVATION_PENDING, 2_000, Overdue.RESERVATION),
        (OrderReserved(9), OrderReleased(9, 1, False), HoldReason.RESERVATION_PENDING, 2_000, Overdue.RESERVATION),
        (OrderReserved(9), OrderEnded(9), HoldReason.RESERVATION_PENDING, 2_000, Overdue.RESERVATION),
        (OrderReleased(9, 1, True), OrderEnded(9), HoldReason.ORDER_IN_FLIGHT, 5_000, Overdue.ORDER),
        (OrderReleased(9, 1, False), OrderEnded(9), HoldReason.ORDER_IN_FLIGHT, 2_000, Overdue.ORDER),
        (
            OrderReleased(9, 1, False),
            OrderReleased(9, 1, False, True),
            HoldReason.ORDER_IN_FLIGHT,
            2_000,
            Overdue.ORDER,
        ),
        (EpisodeOpened(1), EpisodeClosed(1), HoldReason.EPISODE_STEP, 1_000, Overdue.EPISODE_STEP),
        (
            RiskPublished(0, 0, frozenset({1})),
            EpisodeClosed(1),
            HoldReason.EPISODE_OPENING,
            2_000,
            Overdue.EPISODE_OPENING,
        ),
        (
            RiskPublished(0, 0, frozenset({1})),
            RiskPublished(0, 0, others=frozenset({1})),
            HoldReason.EPISODE_OPENING,
            2_000,
            Overdue.EPISODE_OPENING,
        ),
    ],
)
def test_hold_ends_with_its_cause_or_with_its_bound(
    begin: Event, end: Event, reason: HoldReason, bound_ms: int, overdue: Overdue
) -> None:
    for outlasts in (False, True):
        replay = started()
        replay.tell(begin)
        replay.tell(FramePublished(replay.sequence, UnixNs(0)))  # pending when the last frame was published
        assert replay.held() == reason
        replay.wall_ns += bound_ms * MS - 1
        assert replay.held() == reason
        if outlasts:
            replay.wall_ns += 1
        else:
            replay.tell(end)
        assert replay.held() is None
        assert replay.pacer.overdue[overdue] == int(outlasts)
        assert replay.pacer.held_ns[reason] == bound_ms * MS - 1 + int(outlasts)


@pytest.mark.parametrize("later", [ReservationPending(9), OrderReserved(9), OrderReleased(9, 1, False)])
def test_client_business_after_the_frame_does_not_hold_the_clock(later: Event) -> None:
    replay = started()
    replay.tell(later)
    assert replay.held() is None


def test_episode_moves_at_most_sixty_seconds_an_order_round_trip() -> None:
    replay = started()
    replay.publish()
    replay.risk(7)
    assert replay.held() == HoldReason.EPISODE_OPENING
    replay.tell(EpisodeOpened(7))
    for order in range(1, 6):
        assert replay.held() == HoldReason.EPISODE_STEP
        replay.tell(OrderReleased(order, 7, True), OrderReleased(order + 100, 7, True))
        assert replay.held() == HoldReason.ORDER_IN_FLIGHT
        replay.tell(OrderEnded(order))
        assert replay.held() == HoldReason.ORDER_IN_FLIGHT
        replay.tell(OrderEnded(order + 100))
        before = replay.run_ns
        replay.publish()
        assert replay.run_ns - before == 60 * SECOND_NS
        replay.risk(7)
    replay.tell(EpisodeClosed(7))
    before = replay.run_ns
    replay.publish()
    assert replay.run_ns - before == 300 * SECOND_NS


def test_episode_that_sends_nothing_is_waited_for_a_few_frames_only() -> None:
    replay = started()
    replay.tell(EpisodeOpened(7))
    for _ in range(EPISODE_PATIENCE):
        assert replay.held() == HoldReason.EPISODE_STEP
        replay.wall_ns += SECOND_NS
        replay.calm_frame()
    assert replay.held() is None
    replay.calm_frame()
    assert replay.held() is None
    replay.tell(OrderReleased(1, 7, True), OrderEnded(1))
    replay.calm_frame()
    assert replay.held() == HoldReason.EPISODE_STEP
    assert replay.pacer.overdue[Overdue.EPISODE_STEP] == EPISODE_PATIENCE


def test_account_whose_opening_never_comes_is_given_up_until_it_is_healthy_again() -> None:
    replay = started()
    replay.risk(7)
    replay.wall_ns += 2 * SECOND_NS
    assert replay.held() is None
    replay.publish()
    replay.risk(7)
    assert replay.held() is None
    replay.risk()
    replay.risk(7)
    assert replay.held() == HoldReason.EPISODE_OPENING


@pytest.mark.parametrize(
    ("move_ppm", "step_s"),  # ppm of the price in each run second; the limit is 1 % a step
    [(0, 300), (33, 300), (34, 150), (66, 150), (67, 75), (133, 75), (134, 60), (10_000, 60)],
)
def test_calm_step_shrinks_while_prices_run(move_ppm: int, step_s: int) -> None:
    replay = started(move_ppm=move_ppm)
    assert replay.publish() == Advance(UnixNs(step_s * SECOND_NS))


@pytest.mark.parametrize(("speed", "step_s", "wait_ms"), [(600, 300, 500), (100, 100, 1_000), (1, 1, 1_000)])
def test_speed_is_an_upper_bound(speed: int, step_s: int, wait_ms: int) -> None:
    replay = started(rules=PacingRules(speed=speed, gap_step_ns=0))
    replay.wall_ns += wait_ms * MS - 1
    assert replay.held() == HoldReason.SPEED_LIMIT
    replay.wall_ns += 1
    assert replay.publish() == Advance(UnixNs(step_s * SECOND_NS))


def run_to(replay: Replay, run_ns: int) -> None:
    while replay.run_ns < run_ns:
        replay.calm_frame()


def test_clock_jumps_between_windows_and_ends_after_the_last() -> None:
    replay = started()
    run_to(replay, HOUR)
    assert replay.run_ns == HOUR
    assert replay.calm_frame() == Advance(UnixNs(100 * HOUR), is_jump=True)
    run_to(replay, 101 * HOUR)
    assert replay.pacer.next_step(wall_ns=0) == Ended()


def test_clock_strides_between_windows_when_a_gap_step_is_given() -> None:
    replay = started(rules=PacingRules())
    run_to(replay, HOUR)
    assert replay.calm_frame() == Advance(UnixNs(2 * HOUR))
    run_to(replay, 100 * HOUR)
    assert replay.run_ns == 100 * HOUR
    assert replay.calm_frame() == Advance(UnixNs(100 * HOUR + 300 * SECOND_NS))


def test_no_stride_while_a_clients_order_is_on_its_way_to_a_venue() -> None:
    replay = started(rules=PacingRules())
    run_to(replay, HOUR)
    replay.tell(OrderReleased(4, 5, False))
    assert replay.calm_frame() == Advance(UnixNs(HOUR + 300 * SECOND_NS))
    assert replay.held() == HoldReason.ORDER_IN_FLIGHT
    replay.tell(OrderReleased(4, 5, False, is_known=True))
    assert replay.calm_frame() == Advance(UnixNs(2 * HOUR + 300 * SECOND_NS))


def test_jump_waits_for_what_is_open() -> None:
    replay = started()
    run_to(replay, HOUR)
    replay.tell(EpisodeOpened(7), OrderReleased(1, 7, True), OrderEnded(1))
    assert replay.calm_frame() == Advance(UnixNs(HOUR + 60 * SECOND_NS))
    replay.tell(EpisodeClosed(7), ReservationPending(3))
    assert replay.calm_frame() == Advance(UnixNs(HOUR + 360 * SECOND_NS))
    replay.tell(ReservationResolved(3), OrderReleased(4, 5, False))
    assert not replay.calm_frame().is_jump
    replay.tell(OrderEnded(4))
    assert replay.calm_frame().is_jump


def test_resting_orders_put_a_jump_off_for_a_while_only() -> None:
    replay = started()
    run_to(replay, HOUR)
    replay.tell(OrderReleased(4, 5, False, is_known=True))
    while not (step := replay.calm_frame()).is_jump:
        assert step.run_time_ns <= 7 * HOUR
    assert replay.pacer.overdue[Overdue.RESTING_ORDERS] == 1


def test_open_episode_runs_on_into_the_next_window_and_to_the_end_of_the_path() -> None:
    replay = started(windows=(Window(UnixNs(0), UnixNs(HOUR)), Window(UnixNs(2 * HOUR), UnixNs(3 * HOUR))))
    replay.tell(EpisodeOpened(7))
    for _ in range(102 * 60):
        replay.wall_ns += SECOND_NS
        if isinstance(replay.pacer.next_step(wall_ns=replay.wall_ns), Ended):
            break
        assert not replay.calm_frame().is_jump
    assert replay.run_ns == 102 * HOUR


@pytest.mark.parametrize(
    "windows",
    [
        (),
        (Window(UnixNs(5), UnixNs(5)),),
        (Window(UnixNs(0), UnixNs(HOUR)), Window(UnixNs(HOUR), UnixNs(2 * HOUR))),
        (Window(UnixNs(0), UnixNs(103 * HOUR)),),
    ],
)
def test_impossible_windows_are_refused(windows: tuple[Window, ...]) -> None:
    with pytest.raises(ValueError, match="windows"):
        Replay(windows=windows)


def test_replay_resumes_where_the_log_was_left() -> None:
    for left_ns, expected in [
        (-HOUR, Advance(UnixNs(0), is_jump=True)),
        (600 * SECOND_NS, Advance(UnixNs(900 * SECOND_NS))),
        (100 * HOUR, Advance(UnixNs(100 * HOUR + 300 * SECOND_NS))),
        (102 * HOUR, Ended()),
    ]:
        replay = Replay()
        replay.tell(FramePublished(5, UnixNs(left_ns)), RiskPublished(0, 5), RiskPublished(1, 5))
        replay.ready()
        assert replay.pacer.next_step(wall_ns=0) == expected


def test_repeated_events_change_nothing() -> None:
    replay = started()
    for _ in range(2):
        replay.tell(OrderEnded(1), EpisodeClosed(1), ReservationResolved(1), OrderReserved(2), OrderEnded(2))
    assert replay.held() is None
