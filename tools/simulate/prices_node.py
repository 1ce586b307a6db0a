"""A process of price ingestion: the guard and the book of marks of the service, written to the log of marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ballast.events.v1 import market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import LostOwnership
from libs.common.ids import AssetId, InstrumentId
from libs.common.units import UnixNs
from services.price_ingestion.adapters.marks_log import average_message, average_of, body_of, rows_of
from services.price_ingestion.adapters.surface_words import surface_message, surface_of
from services.price_ingestion.app.ports import Volatilities
from services.price_ingestion.domain.averages import Averages, SettlementAverage
from services.price_ingestion.domain.marks import MarkBook, MarkRow
from services.price_ingestion.domain.surfaces import SurfaceBook, SurfaceRow
from tools.simulate.chains import Writer
from tools.simulate.house import House
from tools.simulate.market import Market
from tools.simulate.network import Node
from tools.simulate.setting import Setting

_BEAT_SECONDS = 0.4
_BEATS_A_PRICE = 2
_PRICES_A_SNAPSHOT = 8


@dataclass(frozen=True, slots=True)
class _Told:
    """What a frame says; without rows it is a heartbeat."""

    rows: tuple[MarkRow, ...] = ()
    surfaces: tuple[SurfaceRow, ...] = ()
    averages: tuple[SettlementAverage, ...] = ()
    is_snapshot: bool = False


class _Book:
    """Marks, surfaces and averages of the service, moved together as its replay does."""

    def __init__(self, house: House) -> None:
        self._marks = MarkBook(house.parameters.instruments, house.parameters.prices)
        self._surfaces = SurfaceBook(house.parameters)
        self._averages = Averages(house.parameters)

    def restore(
        self,
        rows: Iterable[MarkRow],
        surfaces: Iterable[SurfaceRow],
        averages: Iterable[SettlementAverage],
        *,
        at_ns: UnixNs,
    ) -> None:
        """Goes on from what stands on the log."""
        rows = tuple(rows)
        self._marks.restore(rows, at_ns=at_ns)
        self._surfaces.restore(surfaces, rows)
        self._averages.restore(averages, rows, at_ns=at_ns)

    def tell(self, market: Market, now_ns: UnixNs, *, is_snapshot: bool) -> _Told:
        """What a frame says now."""
        changed = self._marks.price(market.quotes(now_ns), now_ns=now_ns).changed
        moved = self._surfaces.move(market.surfaces(now_ns), marks=self._marks.rows(), now_ns=now_ns)
        averages = self._averages.take(self._marks.rows(), now_ns=now_ns)
        if not is_snapshot and changed:
            return _Told((*changed, *moved.marks), moved.surfaces, averages)
        rows = (*self._marks.rows(), *self._surfaces.rows())
        return _Told(rows, self._surfaces.surfaces, self._averages.known, is_snapshot=True)


class PricesNode(Node):
    """The one writer of marks, for as long as the chain lets it.

    Args:
        run_clock_ns: the run clock; this process's own lies apart from it.
    """

    def __init__(self, name: str, setting: Setting, market: Market, run_clock_ns: Callable[[], int]) -> None:
        super().__init__(name, setting.network)
        self._setting, self._market, self._run_clock_ns = setting, market, run_clock_ns
        self._rows: dict[InstrumentId, MarkRow] = {}
        self._surfaces: dict[AssetId, SurfaceRow] = {}
        self._averages: dict[InstrumentId, SettlementAverage] = {}
        self._at_ns = UnixNs(0)
        self._snapshot_offset = -1
        self.spawn(self._own(), "marks")

    def _fold(self, accepted: AcceptedFrame) -> None:
        body = market_pb2.MarksBody.FromString(accepted.body)
        for row in rows_of(body):
            self._rows[row.instrument] = row
            self._at_ns = UnixNs(accepted.run_time_ns)
        self._surfaces.update((one.underlying, one) for one in map(surface_of, body.surfaces))
        self._averages.update((one.instrument, one) for one in map(average_of, body.settlement_average))
        if body.snapshot:
            self._snapshot_offset = accepted.offset

    async def _own(self) -> None:
        while True:
            setting = self._setting
            writer = Writer(self, setting.marks, setting.marks_chain, input_topic=b"", on_accepted=self._fold)
            try:
                await writer.take_over(self._fold)
                await self._tell(writer)
            except LostOwnership as lost:
                self.network.trace(f"{self.name}: {lost}")
            await writer.close()
            await self.pause(self.network.rng.uniform(3.0, 6.0))

    async def _tell(self, writer: Writer) -> None:
        book = _Book(self._setting.house)
        if self._rows:
            book.restore(self._rows.values(), self._surfaces.values(), self._averages.values(), at_ns=self._at_ns)
        beats = prices = 0
        while True:
            is_price = beats % _BEATS_A_PRICE == 0
            is_snapshot = is_price and prices % _PRICES_A_SNAPSHOT == 0
            if is_snapshot and prices:
                await writer.reclaim(b"")
            now_ns = UnixNs(max(self._run_clock_ns() + self.skew_ns, writer.run_time_ns))  # it never falls
            told = book.tell(self._market, now_ns, is_snapshot=is_snapshot) if is_price else _Told()
            await self._append(writer, told, now_ns)
            prices += is_price
            beats += 1
            await self.pause(_BEAT_SECONDS)

    async def _append(self, writer: Writer, told: _Told, now_ns: UnixNs) -> None:
        body = body_of(
            told.rows,
            is_snapshot=told.is_snapshot,
            snapshot_offset=self._snapshot_offset,
            volatilities=Volatilities(),
        )
        body.surfaces.extend(map(surface_message, told.surfaces))
        body.settlement_average.extend(map(average_message, told.averages))
        await writer.append(
            body.SerializeToString(),
            input_offset=-1,
            input_index=0,
            run_time_ns=now_ns,
            control_sequence=0,
            headers={},
        )
        await writer.drain()
