"""The chained log of marks: this process as its one writer, and what it holds for the next one."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Sequence

from ballast.events.v1 import market_pb2
from libs.common.chain import OWNER_BYTES, AcceptedFrame, ChainFollower, ChainWriter, LogReading
from libs.common.codec import headers
from libs.common.ids import AssetId, InstrumentId
from libs.common.topics import MARKS
from libs.common.trace import Tracer, of_mark
from libs.common.units import Ppm, UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.adapters.surface_words import surface_message, surface_of
from services.price_ingestion.app.ports import Appended, Resumed, Volatilities
from services.price_ingestion.domain.averages import SettlementAverage
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.domain.surfaces import SurfaceRow
from services.price_ingestion.domain.volatility import Close, Closes, Profiles, ProfileState, Sample

SILENCE_SECONDS = 5.0  # a log whose owner beats four times a second has lost it after so long
_NO_SNAPSHOT = -1


class MarksFold:
    """What the accepted frames of the log add up to."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self.rows: dict[InstrumentId, MarkRow] = {}
        self.run_time_ns = UnixNs(0)
        self.sequence = 0  # of the last frame that carried rows
        self.snapshot_offset = _NO_SNAPSHOT
        self.surfaces: dict[AssetId, SurfaceRow] = {}
        self.settlements: dict[InstrumentId, SettlementAverage] = {}

    def apply(self, frame: AcceptedFrame) -> None:
        """Folds one accepted frame; heartbeats change nothing."""
        body = market_pb2.MarksBody.FromString(frame.body)
        rows = rows_of(body)
        if rows:
            self.rows.update((row.instrument, row) for row in rows)
            self.run_time_ns, self.sequence = UnixNs(frame.run_time_ns), frame.sequence
            if body.snapshot:
                states, closes = profiles_of(body), closes_of(body)
                self._profiles.restore(states, rows, closes=closes, at_ns=self.run_time_ns)
            else:
                self._profiles.take(rows, now_ns=self.run_time_ns)
        if body.snapshot:
            self.snapshot_offset = frame.offset
        self.surfaces.update((row.underlying, row) for row in map(surface_of, body.surfaces))
        self.settlements.update((one.instrument, one) for one in map(average_of, body.settlement_average))

    @property
    def resumed(self) -> Resumed | None:
        """What a new owner goes on from, None on a log without marks."""
        if not self.sequence:
            return None
        return Resumed(
            rows=tuple(self.rows.values()),
            run_time_ns=self.run_time_ns,
            sequence=self.sequence,
            profiles=self._profiles.states,
            closes=self._profiles.closes,
            surfaces=tuple(self.surfaces.values()),
            settlements=tuple(self.settlements.values()),
        )


class OwnedMarksLog:
    """Implements MarksLog with a chain writer; over for good once another writer claims the log."""

    def __init__(self, *, bootstrap: str, client_id: str, tracer: Tracer, profiles: Profiles) -> None:
        self._tracer = tracer
        self._fold = MarksFold(profiles)
        self._writer = ChainWriter(
            bootstrap=bootstrap,
            topic=MARKS,
            partition=0,
            owner=secrets.token_bytes(OWNER_BYTES),
            input_topic_id=b"",
            client_id=client_id,
            on_accepted=self._fold.apply,
        )
        self._has_written = False

    @property
    def reading(self) -> LogReading:
        """Where the reading back of the log stands."""
        return self._writer.reading

    async def take_over(self) -> Resumed | None:
        """Claims the log; returns what it stands on. Raises LostOwnership, Fault."""
        await self._writer.take_over(self._fold.apply)
        return self._fold.resumed

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
        if is_snapshot and self._has_written:
            # A reader that begins at the claim the last record names then finds a whole snapshot right behind it.
            await self._writer.reclaim(secrets.token_bytes(OWNER_BYTES))
        self._has_written = True
        started_ns = time.time_ns()
        offset = self._fold.snapshot_offset
        body = body_of(rows, is_snapshot=is_snapshot, snapshot_offset=offset, volatilities=volatilities)
        body.surfaces.extend(map(surface_message, surfaces))
        body.settlement_average.extend(map(average_message, settlements))
        accepted = await self._writer.append(
            body.SerializeToString(),
            input_offset=-1,
            input_index=0,
            run_time_ns=run_time_ns,
            control_sequence=0,
            headers=dict(headers(wall_ns=time.time_ns())),
        )
        frame = await accepted
        if self._tracer.on:
            mark = of_mark(MARKS.name, frame.sequence)
            name = "mark" if rows else "mark heartbeat"  # a decision may cite either
            self._tracer.span(
                name, own=mark, parent=None, start_ns=started_ns, attributes={"mark_sequence": frame.sequence}
            )
        return Appended(frame.sequence, frame.offset)

    async def close(self) -> None:
        """Returns when every connection is closed."""
        await self._writer.close()


def body_of(
    rows: Iterable[MarkRow], *, is_snapshot: bool, snapshot_offset: int, volatilities: Volatilities
) -> market_pb2.MarksBody:
    """The body of a frame; without rows it is a heartbeat."""
    columns = tuple(rows)
    return market_pb2.MarksBody(
        snapshot=is_snapshot,
        snapshot_offset=snapshot_offset,
        instrument=[row.instrument for row in columns],
        mark_price=[row.mark.mark_price for row in columns],
        index_price=[row.mark.index_price for row in columns],
        confidence=[row.mark.confidence for row in columns],
        slow_price=[row.slow_price for row in columns],
        validity=bytes(row.mark.validity for row in columns),
        volatility_asset=[level.asset for level in volatilities.levels],
        initial_volatility=[level.initial for level in volatilities.levels],
        maintenance_volatility=[level.maintenance for level in volatilities.levels],
        volatility_profile=[_profile(asset, state) for asset, state in volatilities.states.items()],
        price_history=[
            market_pb2.PriceHistory(
                asset=asset, closed_at_ns=[one.at_ns for one in closes], price=[one.price for one in closes]
            )
            for asset, closes in volatilities.closes.items()
        ],
    )


def average_message(one: SettlementAverage) -> market_pb2.SettlementAverage:
    """A settlement average as it goes onto the log."""
    return market_pb2.SettlementAverage(
        instrument=one.instrument,
        price=one.price,
        known_ppm=one.known,
        is_final=one.is_final,
        covered_ns=one.covered_ns,
        weighted=one.weighted.to_bytes(16, "big"),
    )


def average_of(one: market_pb2.SettlementAverage) -> SettlementAverage:
    """A settlement average as it stands on the log."""
    return SettlementAverage(
        instrument=InstrumentId(one.instrument),
        weighted=int.from_bytes(one.weighted, "big"),
        covered_ns=one.covered_ns,
        price=one.price,
        known=Ppm(one.known_ppm),
        is_final=one.is_final,
    )


def rows_of(body: market_pb2.MarksBody) -> tuple[MarkRow, ...]:
    """The rows of a frame. Raises ValueError when its columns differ in length or a class is unknown."""
    columns = zip(
        body.instrument,
        body.mark_price,
        body.index_price,
        body.confidence,
        body.slow_price,
        body.validity,
        strict=True,
    )
    return tuple(
        MarkRow(InstrumentId(instrument), Mark(mark, index, confidence, ValidityClass(validity)), slow)
        for instrument, mark, index, confidence, slow, validity in columns
    )


def _profile(asset: AssetId, state: ProfileState) -> market_pb2.VolatilityProfile:
    return market_pb2.VolatilityProfile(
        asset=asset,
        now_ns=state.now_ns,
        price=state.price,
        price_at_ns=state.price_at_ns,
        fast=state.fast,
        slow=state.slow,
        sample_at_ns=[one.at_ns for one in state.samples],
        sample_elapsed_ns=[one.elapsed_ns for one in state.samples],
        sample_squared=[one.squared for one in state.samples],
        initial=state.initial,
        maintenance=state.maintenance,
        low_until_ns=[until for until, _ in state.lows],
        low_level=[level for _, level in state.lows],
    )


def closes_of(body: market_pb2.MarksBody) -> Closes:
    """The hourly closes of a frame. Raises ValueError when their columns differ in length."""
    return {
        AssetId(one.asset): tuple(
            Close(UnixNs(at_ns), price) for at_ns, price in zip(one.closed_at_ns, one.price, strict=True)
        )
        for one in body.price_history
    }


def profiles_of(body: market_pb2.MarksBody) -> dict[AssetId, ProfileState]:
    """The profiles of a snapshot. Raises ValueError when their columns differ in length."""
    return {
        AssetId(one.asset): ProfileState(
            now_ns=one.now_ns,
            price=one.price,
            price_at_ns=one.price_at_ns,
            fast=one.fast,
            slow=one.slow,
            samples=tuple(
                Sample(at_ns, elapsed_ns, squared)
                for at_ns, elapsed_ns, squared in zip(
                    one.sample_at_ns, one.sample_elapsed_ns, one.sample_squared, strict=True
                )
            ),
            initial=one.initial,
            maintenance=one.maintenance,
            lows=tuple(zip(one.low_until_ns, one.low_level, strict=True)),
        )
        for one in body.volatility_profile
    }


async def wait_for_silence(*, bootstrap: str, client_id: str) -> None:
    """Returns when nobody has had a frame of marks accepted for `SILENCE_SECONDS`. Raises Fault."""
    follower = ChainFollower(bootstrap=bootstrap, topic=MARKS, partition=0, client_id=client_id, from_last_claim=True)
    await follower.start()
    try:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while loop.time() - heard < SILENCE_SECONDS:
            if await follower.poll(timeout_s=0.5) or not follower.caught_up:
                heard = loop.time()
    finally:
        await follower.stop()
