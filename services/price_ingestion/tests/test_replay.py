"""The replay loop on fakes of its ports: frames, snapshots, heartbeats, holds, takeovers and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from libs.common.config import load_parameters
from libs.common.errors import LostOwnership
from libs.common.ids import AssetId, InstrumentId
from libs.common.units import SECOND_NS, Ppm, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.app.ports import Appended, Resumed, Volatilities
from services.price_ingestion.app.replay import Cadence, Replay
from services.price_ingestion.domain.averages import Averages, SettlementAverage
from services.price_ingestion.domain.guard import Mark, Quote
from services.price_ingestion.domain.marks import MarkBook, MarkRow, Priced
from services.price_ingestion.domain.pacing import Pacer
from services.price_ingestion.domain.pacing_words import (
    HoldReason,
    Overdue,
    PacingRules,
    RiskPublished,
    ServiceReadiness,
    Window,
)
from services.price_ingestion.domain.surfaces import SurfaceBook, SurfaceQuote, SurfaceRow
from services.price_ingestion.domain.volatility import Profiles, begin
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters
BTC = InstrumentId(1)
MINUTE = 60 * SECOND_NS


@dataclass
class FakeWorld:
    """Log, quotes, screen, meters and wall clock in one; risk answers every frame at once."""

    prices: Mapping[int, tuple[str, ...]]
    lose_at: int | None = None
    frames: list[tuple[int, tuple[MarkRow, ...], bool]] = field(default_factory=list)
    volatilities: list[Volatilities] = field(default_factory=list)
    settlements: list[tuple[SettlementAverage, ...]] = field(default_factory=list)
    beats: int = 0
    shown: list[tuple[int, int, str, bool]] = field(default_factory=list)
    quoted: list[tuple[int, int]] = field(default_factory=list)
    held: dict[HoldReason, int] = field(default_factory=dict)
    wall_ns: int = 0
    replay: Replay | None = None
    is_risk_alive: bool = True

    def latest(self, now_ns: UnixNs) -> Mapping[InstrumentId, Sequence[Quote]]:
        texts = self.prices.get(now_ns // MINUTE, ("100", "100"))
        return {BTC: [Quote(f"s{index}", text, now_ns) for index, text in enumerate(texts)]}

    async def append(
        self,
        *,
        run_time_ns: UnixNs,
        rows: Sequence[MarkRow],
        is_snapshot: bool,
        volatilities: Volatilities,
        surfaces: Sequence[SurfaceRow],
        settlements: Sequence[SettlementAverage],
    ) -> Appended:
        await asyncio.sleep(0)
        if self.lose_at is not None and len(self.frames) >= self.lose_at:
            raise LostOwnership("another claim")
        if not rows:
            self.beats += 1
        else:
            self.frames.append((run_time_ns // MINUTE, tuple(rows), is_snapshot))
            self.volatilities.append(volatilities)
            self.settlements.append(tuple(settlements))
        sequence = len(self.frames) + self.beats
        if rows and self.is_risk_alive and self.replay is not None:
            self.replay.tell(RiskPublished(0, sequence))
        return Appended(sequence, sequence)

    async def send(self, priced: Priced, *, run_time_ns: UnixNs, mark_sequence: int) -> None:
        self.quoted.append((mark_sequence, len(priced.used)))

    def show(
        self,
        *,
        run_time_ns: UnixNs,
        mark_sequence: int,
        held_reason: str,
        has_ended: bool,
        surfaces: Sequence[SurfaceRow],
    ) -> None:
        self.shown.append((run_time_ns // MINUTE, mark_sequence, held_reason, has_ended))

    def framed(self, priced: Priced, rows: Sequence[MarkRow], *, run_time_ns: UnixNs, accepted_seconds: float) -> None:
        assert accepted_seconds >= 0

    def paced(self, *, held_ns: Mapping[HoldReason, int], overdue: Mapping[Overdue, int]) -> None:
        self.held = dict(held_ns)

    def wall(self) -> int:
        self.wall_ns += SECOND_NS // 1_000  # every look at the clock costs a millisecond
        return self.wall_ns


class NoSurfaces:
    """No source of surfaces."""

    def latest(self, now_ns: UnixNs) -> Mapping[AssetId, Sequence[SurfaceQuote]]:
        return {}


def build(world: FakeWorld, *, minutes: int = 20, heartbeat_ms: int = 250, snapshot_every: int = 3) -> Replay:
    pacer = Pacer(
        [Window(UnixNs(0), UnixNs(minutes * MINUTE))],
        partitions=1,
        services=("risk",),
        rules=PacingRules(),
        largest_move=lambda since, until: 0,
        path_end_ns=UnixNs(minutes * MINUTE),
    )
    world.replay = Replay(
        pacer=pacer,
        new_profiles=lambda: Profiles(PARAMETERS),
        new_surfaces=lambda: SurfaceBook(PARAMETERS),
        new_averages=lambda: Averages(PARAMETERS),
        smiles=NoSurfaces(),
        new_book=lambda: MarkBook([one for one in PARAMETERS.instruments if one.id == BTC], PARAMETERS.prices),
        source=world,
        quotes=world,
        screen=world,
        observer=world,
        cadence=Cadence(heartbeat_ns=heartbeat_ms * 10**6, snapshot_every_frames=snapshot_every),
        wall_ns=world.wall,
    )
    return world.replay


async def run(world: FakeWorld, replay: Replay, *, resumed: Resumed | None = None, seconds: float = 0.0) -> None:
    task = asyncio.create_task(replay.run(world, resumed))
    for _ in range(1_000):
        await asyncio.sleep(0)
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def test_replay_goes_through_its_window_and_ends() -> None:
    world = FakeWorld({5: ("101", "101")})
    replay = build(world)
    replay.tell(ServiceReadiness("risk", True))
    await run(world, replay)
    assert [at for at, _, _ in world.frames] == [0, 5, 10, 15, 20]
    assert world.shown[-1] == (20, 5, "", True)
    assert [sequence for sequence, _ in world.quoted] == [1, 2, 3, 4, 5]


async def test_frames_hold_what_changed_and_every_third_is_a_snapshot() -> None:
    world = FakeWorld({5: ("101", "101"), 10: ("102", "102"), 15: ("103", "103"), 20: ("103", "103")})
    replay = build(world)
    replay.tell(ServiceReadiness("risk", True))
    await run(world, replay)
    # The slow mark still follows at the last frame, so that one has a row too.
    assert [is_snapshot for _, _, is_snapshot in world.frames] == [True, False, False, True, False]
    assert all(len(rows) == 1 for _, rows, _ in world.frames)


async def test_moment_without_change_is_told_as_a_snapshot_not_as_a_heartbeat() -> None:
    world = FakeWorld({})
    replay = build(world, snapshot_every=1_000)
    replay.tell(ServiceReadiness("risk", True))
    await run(world, replay)
    assert [is_snapshot for _, _, is_snapshot in world.frames] == [True] * 5


async def test_clock_that_stands_beats_and_says_why() -> None:
    world = FakeWorld({}, is_risk_alive=False)
    replay = build(world, heartbeat_ms=2)
    replay.tell(ServiceReadiness("risk", True))
    await run(world, replay, seconds=0.1)
    assert [at for at, _, _ in world.frames] == [0]
    assert world.beats > 3
    assert world.shown[-1] == (0, 1, "risk_behind: partitions [0] at frame 1", False)
    assert world.held[HoldReason.RISK_BEHIND] > 0


async def test_takeover_goes_on_after_the_last_frame_with_a_snapshot() -> None:
    world = FakeWorld({})
    replay = build(world)
    replay.tell(ServiceReadiness("risk", True))
    rows = (MarkRow(BTC, Mark(100_00, 100_00, 0, ValidityClass.VALID), slow_price=90_00),)
    replay.tell(RiskPublished(0, 7))
    profile = next(one for one in PARAMETERS.margin.profiles if one.asset == 2)
    state = begin(profile, sigma=Ppm(2_000_000), price=1.0, now_ns=10 * MINUTE)
    await run(world, replay, resumed=Resumed(rows, UnixNs(10 * MINUTE), 7, {profile.asset: state}))
    at, frame_rows, is_snapshot = world.frames[0]
    assert (at, is_snapshot) == (15, True)
    assert [row.slow_price for row in frame_rows] == [90_45]  # the slow mark goes on from the log too
    assert [one.asset for one in world.volatilities[0].levels] == [profile.asset]  # and so do the profiles
    assert world.volatilities[0].levels[0].initial >= 2_000_000
    assert list(world.volatilities[0].states) == [profile.asset]


async def test_frames_say_the_levels_that_moved_and_snapshots_all_with_their_profiles() -> None:
    world = FakeWorld({5: ("100", "100"), 10: ("50", "50"), 15: ("50", "50"), 20: ("50", "50")})
    replay = build(world, snapshot_every=4)
    replay.tell(ServiceReadiness("risk", True))
    await run(world, replay)
    told = zip(world.frames, world.volatilities, strict=True)
    said = [(snapshot, len(one.levels), len(one.states)) for (_, _, snapshot), one in told]
    assert said[0] == (True, 1, 1)
    assert (False, 1, 0) in said  # the fall
    assert all(levels == states == 1 for snapshot, levels, states in said if snapshot)


async def test_lost_log_ends_the_run_of_this_owner() -> None:
    world = FakeWorld({}, lose_at=2)
    replay = build(world)
    replay.tell(ServiceReadiness("risk", True))
    with pytest.raises(LostOwnership):
        await run(world, replay)
    assert len(world.frames) == 2
