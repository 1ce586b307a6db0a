"""The topic of quotes as received, one record a frame of marks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ballast.events.v1 import market_pb2
from libs.common.codec import Publisher
from libs.common.errors import Fault
from libs.common.topics import QUOTES
from libs.common.units import UnixNs
from services.price_ingestion.domain.marks import Priced

_LOG = logging.getLogger("ballast.price_ingestion.quotes")


class KafkaQuotesLog:
    """Implements QuotesLog. Quotes explain marks and decide nothing, so a lost one is logged and not waited for."""

    def __init__(self, started: Publisher) -> None:
        self._publisher = started

    @classmethod
    async def connect(cls, *, bootstrap: str, client_id: str) -> KafkaQuotesLog:
        """The log, once the broker is reached. Raises Fault when it is not."""
        publisher = Publisher(bootstrap=bootstrap, client_id=client_id, linger_ms=5)
        await publisher.start()
        return cls(publisher)

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def send(self, priced: Priced, *, run_time_ns: UnixNs, mark_sequence: int) -> None:
        """Hands the quotes of a frame to the broker, without waiting for it."""
        frame = market_pb2.QuotesFrame(
            run_time_ns=run_time_ns,
            mark_sequence=mark_sequence,
            source=[quote.source for _, quote in priced.used],
            instrument=[instrument for instrument, _ in priced.used],
            price=[quote.price for _, quote in priced.used],
            source_time_ns=[quote.source_time_ns for _, quote in priced.used],
        )
        try:
            sent = await self._publisher.enqueue(QUOTES.name, frame.SerializeToString())
        except Fault as error:
            _LOG.warning("quotes not sent", extra={"mark_sequence": mark_sequence, "error": str(error)})
        else:
            sent.add_done_callback(_log_failure)


def _log_failure(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        _LOG.warning("quotes not sent", extra={"error": str(error)})
