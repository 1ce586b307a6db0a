"""Displayed depth on its way out: the latest of each book, and only when its levels changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ballast.events.v1 import market_pb2
from libs.common.parameters import Parameters
from services.venue_gateway.app.ports import LiquidityLog
from services.venue_gateway.app.venue_words import same_depth


def again_after_ns(parameters: Parameters) -> int:
    """Half the age at which depth does not count any more."""
    return parameters.prices.max_age_ns // 2


class DisplayedBooks:
    """Books by (venue, instrument); a newer one replaces one that has not gone out yet.

    Args:
        published: told the venue id of each book that went out.
        again_after_ns: run time after which a book goes out although its levels are the same. Nobody counts on depth
            that is older than the guard's limit, so without this a quiet market would have none.
    """

    def __init__(self, published: Callable[[int], None], *, again_after_ns: int) -> None:
        self._published = published
        self._again_after_ns = again_after_ns
        self._last: dict[tuple[int, int], market_pb2.Liquidity] = {}
        self._waiting: dict[tuple[int, int], market_pb2.Liquidity] = {}
        self._changed = asyncio.Event()

    def show(self, book: market_pb2.Liquidity) -> None:
        """Takes a book as it is now; one that is older than what is known is dropped."""
        key = (book.venue, book.instrument)
        known = self._waiting.get(key) or self._last.get(key)
        if known is not None and (book.sequence <= known.sequence or self._says_nothing_new(known, book)):
            return
        self._waiting[key] = book
        self._changed.set()

    def _says_nothing_new(self, known: market_pb2.Liquidity, book: market_pb2.Liquidity) -> bool:
        return same_depth(known, book) and book.run_time_ns - known.run_time_ns < self._again_after_ns

    def forget(self, venue: int) -> None:
        """A new session of a venue: its numbers may begin again."""
        for table in (self._last, self._waiting):
            for key in [key for key in table if key[0] == venue]:
                del table[key]

    async def publish(self, log: LiquidityLog) -> None:
        """Publishes what changed, for ever; while a publication is under way the next one gathers."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            books, self._waiting = list(self._waiting.values()), {}
            for book in books:
                self._last[book.venue, book.instrument] = book
            await log.publish(books)
            for book in books:
                self._published(book.venue)
