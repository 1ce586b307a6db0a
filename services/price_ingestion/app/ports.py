"""What the replay needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.common.ids import AssetId, InstrumentId
from libs.common.units import UnixNs
from services.price_ingestion.domain.averages import SettlementAverage
from services.price_ingestion.domain.guard import Quote
from services.price_ingestion.domain.marks import MarkRow, Priced
from services.price_ingestion.domain.pacing_words import HoldReason, Overdue
from services.price_ingestion.domain.surfaces import SurfaceQuote, SurfaceRow
from services.price_ingestion.domain.volatility import Closes, Level, ProfileState


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a frame of marks stands on the log."""

    sequence: int
    offset: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the log said when it was taken over: the marks in force and the last frame that carried any."""

    rows: tuple[MarkRow, ...]
    run_time_ns: UnixNs
    sequence: int
    profiles: Mapping[AssetId, ProfileState] = field(default_factory=dict)
    closes: Closes = field(default_factory=dict)
    surfaces: tuple[SurfaceRow, ...] = ()
    settlements: tuple[SettlementAverage, ...] = ()


@dataclass(frozen=True, slots=True)
class Volatilities:
    """What a frame says of volatilities: levels and closes it adds; in a snapshot all, with the profiles' states."""

    levels: tuple[Level, ...] = ()
    closes: Closes = field(default_factory=dict)
    states: Mapping[AssetId, ProfileState] = field(default_factory=dict)


class QuoteSource(Protocol):
    """Venues, oracles or a recording: whatever gives prices."""

    def latest(self, now_ns: UnixNs) -> Mapping[InstrumentId, Sequence[Quote]]:
        """The newest quote of each source, by instrument."""


class SurfaceSource(Protocol):
    """Venues or a recording: whatever gives volatility surfaces."""

    def latest(self, now_ns: UnixNs) -> Mapping[AssetId, Sequence[SurfaceQuote]]:
        """The newest surface of each source, by underlying."""


class MarksLog(Protocol):
    """The chained log of marks, owned by its one writer."""

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
        """Returns when the frame is accepted. Raises LostOwnership when another writer took over."""


class QuotesLog(Protocol):
    """The topic of quotes as received."""

    async def send(self, priced: Priced, *, run_time_ns: UnixNs, mark_sequence: int) -> None:
        """Hands the quotes of a frame to the broker, without waiting for it."""


class Screen(Protocol):
    """Whoever watches the replay."""

    def show(
        self,
        *,
        run_time_ns: UnixNs,
        mark_sequence: int,
        held_reason: str,
        has_ended: bool,
        surfaces: Sequence[SurfaceRow],
    ) -> None:
        """Replaces what was shown before."""


class Observer(Protocol):
    """The meters of the service."""

    def framed(self, priced: Priced, rows: Sequence[MarkRow], *, run_time_ns: UnixNs, accepted_seconds: float) -> None:
        """A frame was accepted; `rows` are all marks in force."""

    def paced(self, *, held_ns: Mapping[HoldReason, int], overdue: Mapping[Overdue, int]) -> None:
        """How long the clock has been held so far, and what outlasted its bound."""
