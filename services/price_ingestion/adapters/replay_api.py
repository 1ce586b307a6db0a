"""ReplayService: streams the replay to example venues and screens; a slow watcher skips to the newest state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import grpc

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from libs.common.units import UnixNs
from services.price_ingestion.adapters.recorded import RecordedPrices
from services.price_ingestion.adapters.surface_words import surface_message
from services.price_ingestion.domain.surfaces import SurfaceRow

WATCHERS_MAX = 64


class ReplayApi(replay_pb2_grpc.ReplayServiceServicer):
    """Holds the state last shown and hands it to every watcher; also the replay's Screen."""

    def __init__(self, prices: RecordedPrices, *, venues: Collection[str]) -> None:
        self._prices = prices
        self._venues = frozenset(venues)
        self._state: replay_pb2.WatchResponse | None = None
        self._changed = asyncio.Event()
        self._watchers = 0

    def show(
        self,
        *,
        run_time_ns: UnixNs,
        mark_sequence: int,
        held_reason: str,
        has_ended: bool,
        surfaces: Sequence[SurfaceRow],
    ) -> None:
        """Replaces what was shown before and wakes every watcher."""
        self._state = replay_pb2.WatchResponse(
            run_time_ns=run_time_ns,
            mark_sequence=mark_sequence,
            ended=has_ended,
            held_reason=held_reason,
            surfaces=[surface_message(one) for one in surfaces],
            prices=[
                replay_pb2.ReferencePrice(
                    venue=reference.venue,
                    instrument=reference.instrument,
                    price=reference.price,
                    provenance=reference.provenance,
                )
                for reference in self._prices.references(run_time_ns)
            ],
        )
        self._changed.set()
        self._changed = asyncio.Event()

    async def Watch(
        self,
        request: replay_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[replay_pb2.WatchRequest, replay_pb2.WatchResponse],
    ) -> AsyncIterator[replay_pb2.WatchResponse]:
        """The state at once, then after every change."""
        await self._admit(request, context)
        self._watchers += 1
        try:
            seen: replay_pb2.WatchResponse | None = None
            while True:
                changed, state = self._changed, self._state
                if state is not None and state is not seen:
                    seen = state
                    yield _of_venue(state, request.venue)
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1

    async def _admit(self, request: replay_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if request.venue and request.venue not in self._venues:
            known = ", ".join(sorted(self._venues))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"expected a venue of {known}, was {request.venue[:40]!r}")
        if self._watchers >= WATCHERS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"expected at most {WATCHERS_MAX} watchers")


def _of_venue(state: replay_pb2.WatchResponse, venue: str) -> replay_pb2.WatchResponse:
    if not venue:
        return state
    own = replay_pb2.WatchResponse()
    own.CopyFrom(state)
    del own.prices[:]
    own.prices.extend(price for price in state.prices if price.venue == venue)
    return own
