"""Follows the replay: its run clock and reference prices move the venue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from ballast.types.v1 import market_pb2
from examples.venue.engine import VenueEngine
from examples.venue.observe import Conditions, Metrics
from examples.venue.options import Smile, Surface
from examples.venue.retry import Backoff

_LOG = logging.getLogger("venue.replay")


class ReplayWatcher:
    """Watches as long as it runs; when the stream ends the books stay as they are and it connects again."""

    def __init__(
        self,
        *,
        name: str,
        engine: VenueEngine,
        channel: grpc.aio.Channel,
        backoff: Backoff,
        conditions: Conditions,
        metrics: Metrics,
        on_move: Callable[[], None],
    ) -> None:
        self._name = name
        self._engine = engine
        self._stub = replay_pb2_grpc.ReplayServiceStub(channel)
        self._backoff = backoff
        self._conditions = conditions
        self._metrics = metrics
        self._on_move = on_move
        self._has_ended = False
        self._is_waiting = False  # told that the replay is not there

    async def run(self) -> None:
        """Never returns; cancel it to stop."""
        while True:
            try:
                await self._watch()
                reason = "the server ended the stream"
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            if self._conditions.replay_watched:
                _LOG.warning("replay stream lost", extra={"fields": {"reason": reason}})
            elif not self._is_waiting:
                _LOG.info("waiting for the replay", extra={"fields": {"reason": reason}})
            self._conditions.replay_watched, self._is_waiting = False, True
            await asyncio.sleep(self._backoff.next_s())

    async def _watch(self) -> None:
        call = self._stub.Watch(replay_pb2.WatchRequest(venue=self._name), wait_for_ready=False)
        try:
            async for response in call:
                self._take(response)
        finally:
            call.cancel()

    def _take(self, response: replay_pb2.WatchResponse) -> None:
        if not self._conditions.replay_watched:
            self._conditions.replay_watched, self._is_waiting = True, False
            self._backoff.reset()
            _LOG.info("replay watched", extra={"fields": {"run_time_ns": response.run_time_ns}})
        # A response for all venues names them; only our own prices count.
        prices = {each.instrument: each.price for each in response.prices if each.venue in ("", self._name)}
        surfaces = {each.underlying: _surface(each) for each in response.surfaces}
        faults = self._engine.move(run_time_ns=response.run_time_ns, prices=prices, surfaces=surfaces)
        self._metrics.moves.inc()
        for fault in faults:
            self._metrics.bad_prices.inc()
            _LOG.warning("reference price not taken", extra={"fields": {"reason": fault}})
        if response.ended and not self._has_ended:
            _LOG.info("replay ended", extra={"fields": {"run_time_ns": response.run_time_ns}})
        self._has_ended = response.ended
        self._on_move()


def _surface(message: market_pb2.VolatilitySurface) -> Surface:
    smiles = {one.expiry_ns: Smile(one.a, one.b, one.rho, one.m, one.sigma) for one in message.smiles}
    return Surface(message.made_at_ns, smiles)
