"""A process of price ingestion: the guard and the book of marks of the service, written to the log of marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ballast.events.v1 import market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import LostOwnership
from libs.common.ids import InstrumentId
from libs.common.units import UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkBook, MarkRow
from tools.simulate.chains import Writer
from tools.simulate.house import parameters
from tools.simulate.market import Market
from tools.simulate.network import Node
from tools.simulate.setting import Setting

_BEAT_SECONDS = 0.4
_BEATS_A_PRICE = 2
_PRICES_A_SNAPSHOT = 8


class PricesNode(Node):
    """The one writer of marks, for as long as the chain lets it.

    Args:
        run_clock_ns: the run clock; this process's own lies apart from it.
    """

    def __init__(self, name: str, setting: Setting, market: Market, run_clock_ns: Callable[[], int]) -> None:
        super().__init__(name, setting.network)
        self._setting, self._market, self._run_clock_ns = setting, market, run_clock_ns
        self._rows: dict[InstrumentId, MarkRow] = {}
        self._at_ns = UnixNs(0)
        self._snapshot_offset = -1
        self.spawn(self._own(), "marks")

    def _fold(self, accepted: AcceptedFrame) -> None:
        body = market_pb2.MarksBody.FromString(accepted.body)
        for row in _rows_of(body):
            self._rows[row.instrument] = row
            self._at_ns = UnixNs(accepted.run_time_ns)
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
        book = MarkBook(parameters().instruments, parameters().prices)
        if self._rows:
            book.restore(self._rows.values(), at_ns=self._at_ns)
        beats = prices = 0
        while True:
            if beats % _BEATS_A_PRICE == 0:
                is_snapshot = prices % _PRICES_A_SNAPSHOT == 0
                if is_snapshot and prices:
                    await writer.reclaim(b"")
                prices += 1
                now_ns = UnixNs(self._run_clock_ns() + self.skew_ns)
                priced = book.price(self._market.quotes(now_ns), now_ns=now_ns)
                is_snapshot |= not priced.changed
                await self._append(writer, book.rows() if is_snapshot else priced.changed, is_snapshot, now_ns)
            else:
                await self._append(writer, (), False, UnixNs(self._run_clock_ns() + self.skew_ns))
            beats += 1
            await self.pause(_BEAT_SECONDS)

    async def _append(self, writer: Writer, rows: Iterable[MarkRow], is_snapshot: bool, now_ns: UnixNs) -> None:
        body = body_of(rows, is_snapshot=is_snapshot, snapshot_offset=self._snapshot_offset)
        await writer.append(
            body.SerializeToString(),
            input_offset=-1,
            input_index=0,
            run_time_ns=now_ns,
            control_sequence=0,
            headers={},
        )
        await writer.drain()


def body_of(rows: Iterable[MarkRow], *, is_snapshot: bool, snapshot_offset: int) -> market_pb2.MarksBody:
    """The body of a frame; without rows it is a heartbeat."""
    body = market_pb2.MarksBody(snapshot=is_snapshot, snapshot_offset=snapshot_offset)
    for row in rows:
        body.instrument.append(row.instrument)
        body.mark_price.append(row.mark.mark_price)
        body.index_price.append(row.mark.index_price)
        body.confidence.append(row.mark.confidence)
        body.slow_price.append(row.slow_price)
        body.validity += bytes([row.mark.validity])
    return body


def _rows_of(body: market_pb2.MarksBody) -> list[MarkRow]:
    return [
        MarkRow(
            InstrumentId(instrument),
            Mark(body.mark_price[at], body.index_price[at], body.confidence[at], ValidityClass(body.validity[at])),
            body.slow_price[at],
        )
        for at, instrument in enumerate(body.instrument)
    ]
