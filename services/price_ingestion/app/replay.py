"""The replay: asks the pacer, prices the moment, puts the frame on the log, shows it; heartbeats while it stands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from libs.common.units import SECOND_NS, UnixNs
from services.price_ingestion.app.ports import (
    MarksLog,
    Observer,
    QuotesLog,
    QuoteSource,
    Resumed,
    Screen,
    SurfaceSource,
    Volatilities,
)
from services.price_ingestion.domain.averages import Averages
from services.price_ingestion.domain.marks import MarkBook
from services.price_ingestion.domain.pacing import Pacer
from services.price_ingestion.domain.pacing_words import Advance, Ended, Event, FramePublished, Held
from services.price_ingestion.domain.surfaces import SurfaceBook
from services.price_ingestion.domain.volatility import Profiles

_LOG = logging.getLogger("ballast.price_ingestion.replay")


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often marks are repeated: heartbeats by wall time, whole snapshots by frames."""

    heartbeat_ns: int
    snapshot_every_frames: int


class Replay:
    """One owner's replay of recorded prices on the log of marks.

    Args:
        wall_ns: wall time now, ns since 1970.
        new_book, new_profiles, new_surfaces: empty books and profiles without history; a takeover starts from them.
    """

    def __init__(
        self,
        *,
        pacer: Pacer,
        new_book: Callable[[], MarkBook],
        new_profiles: Callable[[], Profiles],
        new_surfaces: Callable[[], SurfaceBook],
        new_averages: Callable[[], Averages],
        source: QuoteSource,
        smiles: SurfaceSource,
        quotes: QuotesLog,
        screen: Screen,
        observer: Observer,
        cadence: Cadence,
        wall_ns: Callable[[], int],
    ) -> None:
        self._pacer = pacer
        self._new_book = new_book
        self._book = new_book()
        self._new_profiles = new_profiles
        self._profiles = new_profiles()
        self._new_surfaces = new_surfaces
        self._surfaces = new_surfaces()
        self._new_averages = new_averages
        self._averages = new_averages()
        self._source = source
        self._smiles = smiles
        self._quotes = quotes
        self._screen = screen
        self._observer = observer
        self._cadence = cadence
        self._wall_ns = wall_ns
        self._woken = asyncio.Event()
        self._appended_wall_ns = 0
        self._since_snapshot = 0
        self._at = FramePublished(0, UnixNs(0))
        self._has_ended = False

    def tell(self, event: Event) -> None:
        """Takes in what happened elsewhere."""
        self._pacer.apply(event, wall_ns=self._wall_ns())
        self._woken.set()

    async def run(self, log: MarksLog, resumed: Resumed | None) -> None:
        """Replays from where the log stands, until cancelled. Raises LostOwnership when another writer took over."""
        self._book, self._profiles, self._surfaces = self._new_book(), self._new_profiles(), self._new_surfaces()
        self._averages = self._new_averages()
        self._since_snapshot = self._cadence.snapshot_every_frames  # a new owner begins with a snapshot
        if resumed is not None:
            self._book.restore(resumed.rows, at_ns=resumed.run_time_ns)
            at_ns, closes = resumed.run_time_ns, resumed.closes
            self._profiles.restore(resumed.profiles, resumed.rows, closes=closes, at_ns=at_ns)
            self._surfaces.restore(resumed.surfaces, resumed.rows)
            self._averages.restore(resumed.settlements, resumed.rows, at_ns=resumed.run_time_ns)
            self._at = FramePublished(resumed.sequence, resumed.run_time_ns)
            self.tell(self._at)
        while True:
            self._woken.clear()
            step = self._pacer.next_step(wall_ns=self._wall_ns())
            self._observer.paced(held_ns=self._pacer.held_ns, overdue=self._pacer.overdue)
            if isinstance(step, Advance):
                await self._advance(step, log)
            else:
                await self._stand(step, log)

    async def _advance(self, step: Advance, log: MarksLog) -> None:
        if step.is_jump:
            _LOG.info("replay jumps", extra={"from_ns": self._at.run_time_ns, "to_ns": step.run_time_ns})
        priced = self._book.price(self._source.latest(step.run_time_ns), now_ns=step.run_time_ns)
        for instrument, dropped in priced.dropped:
            _LOG.warning(
                "quote dropped",
                extra={"instrument": instrument, "source": dropped.source, "reason": dropped.fault.value},
            )
        smiles = self._smiles.latest(step.run_time_ns)
        shifted = self._surfaces.move(smiles, marks=self._book.rows(), now_ns=step.run_time_ns)
        for each in shifted.dropped:
            _LOG.warning(
                "surface dropped",
                extra={"underlying": each.underlying, "source": each.source, "reason": each.reason},
            )
        # A frame without rows would read as a heartbeat, so a moment at which nothing moved is told as a snapshot.
        is_snapshot = self._since_snapshot >= self._cadence.snapshot_every_frames or not priced.changed
        rows = (*self._book.rows(), *self._surfaces.rows()) if is_snapshot else (*priced.changed, *shifted.marks)
        moved = self._profiles.take(rows, now_ns=step.run_time_ns)
        profiles = self._profiles
        volatilities = Volatilities(moved, profiles.closed)
        if is_snapshot:
            volatilities = Volatilities(profiles.levels(), profiles.closes, profiles.states)
        settlements = self._averages.take(self._book.rows(), now_ns=step.run_time_ns)
        sent_ns = self._wall_ns()
        appended = await log.append(
            run_time_ns=step.run_time_ns,
            rows=rows,
            is_snapshot=is_snapshot,
            volatilities=volatilities,
            surfaces=self._surfaces.surfaces if is_snapshot else shifted.surfaces,
            settlements=self._averages.known if is_snapshot else settlements,
        )
        self._appended_wall_ns = self._wall_ns()
        self._since_snapshot = 1 if is_snapshot else self._since_snapshot + 1
        self._at = FramePublished(appended.sequence, step.run_time_ns)
        self._pacer.apply(self._at, wall_ns=self._appended_wall_ns)
        self._show("")
        await self._quotes.send(priced, run_time_ns=step.run_time_ns, mark_sequence=appended.sequence)
        self._observer.framed(
            priced,
            (*self._book.rows(), *self._surfaces.rows()),
            run_time_ns=step.run_time_ns,
            accepted_seconds=(self._appended_wall_ns - sent_ns) / SECOND_NS,
        )

    async def _stand(self, step: Held | Ended, log: MarksLog) -> None:
        if isinstance(step, Ended) and not self._has_ended:
            self._has_ended = True
            _LOG.info(
                "replay ended",
                extra={
                    "run_time_ns": self._at.run_time_ns,
                    "held_ms": {reason.value: ns // 10**6 for reason, ns in self._pacer.held_ns.items()},
                    "overdue": {what.value: count for what, count in self._pacer.overdue.items()},
                },
            )
            self._show("")
        beat_ns = self._appended_wall_ns + self._cadence.heartbeat_ns
        until_ns = step.until_wall_ns if isinstance(step, Held) and step.until_wall_ns is not None else beat_ns
        wait_seconds = (min(until_ns, beat_ns) - self._wall_ns()) / SECOND_NS
        if wait_seconds > 0:
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        if self._wall_ns() >= beat_ns and self._at.sequence:
            await log.append(
                run_time_ns=self._at.run_time_ns,
                rows=(),
                is_snapshot=False,
                volatilities=Volatilities(),
                surfaces=(),
                settlements=(),
            )
            self._appended_wall_ns = self._wall_ns()
            self._show(f"{step.reason.value}: {step.detail}" if isinstance(step, Held) else "")

    def _show(self, held_reason: str) -> None:
        self._screen.show(
            run_time_ns=self._at.run_time_ns,
            mark_sequence=self._at.sequence,
            held_reason=held_reason,
            has_ended=self._has_ended,
            surfaces=self._surfaces.surfaces,
        )
