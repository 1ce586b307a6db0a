"""Runs price_ingestion: recorded prices become guarded marks on the chained log, paced by the house itself."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime

from ballast.api.v1 import replay_pb2_grpc
from libs.common import rpc
from libs.common.codec import DeadLetters
from libs.common.errors import ConfigurationError, LostOwnership
from libs.common.parameters import Parameters
from libs.common.service import ServiceContext, main
from libs.common.topics import MARGIN
from libs.common.units import SECOND_NS
from services.price_ingestion.adapters.followers import follow_journal, follow_margins
from services.price_ingestion.adapters.marks_log import OwnedMarksLog, wait_for_silence
from services.price_ingestion.adapters.meters import Meters
from services.price_ingestion.adapters.quotes_log import KafkaQuotesLog
from services.price_ingestion.adapters.readiness import watch_readiness
from services.price_ingestion.adapters.recorded import SHAPE, RecordedPrices
from services.price_ingestion.adapters.recorded_surfaces import RecordedSurfaces
from services.price_ingestion.adapters.replay_api import ReplayApi
from services.price_ingestion.app.replay import Cadence, Replay
from services.price_ingestion.domain.averages import Averages
from services.price_ingestion.domain.marks import MarkBook
from services.price_ingestion.domain.pacing import Pacer
from services.price_ingestion.domain.surfaces import SurfaceBook
from services.price_ingestion.domain.volatility import Profiles
from services.price_ingestion.errors import BadRecording
from services.price_ingestion.settings import Settings

NAME = "price_ingestion"

_LOG = logging.getLogger("ballast.price_ingestion")


async def build(context: ServiceContext[Settings]) -> None:
    """Sets the service up; returns once everything runs."""
    settings, parameters = context.settings, context.parameters
    client_id = f"{NAME}-{settings.instance}"
    prices = _recorded(settings, parameters)
    pacer = _pacer(settings, prices, parameters.partitions)
    api = ReplayApi(prices, venues=[venue.name for venue in parameters.venues])
    quotes = await KafkaQuotesLog.connect(bootstrap=settings.kafka_bootstrap, client_id=f"{client_id}-quotes")
    context.on_stop(quotes.stop, "quotes")
    context.watch.expects(MARGIN.name)
    dead = DeadLetters(
        bootstrap=settings.kafka_bootstrap, client_id=f"{client_id}-dead", service=NAME, on_put=context.watch.put_aside
    )
    await dead.start()
    context.on_stop(dead.stop, "dead letters")
    replay = Replay(
        pacer=pacer,
        new_book=lambda: MarkBook(parameters.instruments, parameters.prices),
        new_profiles=lambda: Profiles(parameters),
        new_surfaces=lambda: SurfaceBook(parameters),
        new_averages=lambda: Averages(parameters),
        source=prices,
        smiles=RecordedSurfaces(prices.path, parameters),
        quotes=quotes,
        screen=api,
        observer=Meters(context.metrics),
        cadence=Cadence(
            heartbeat_ns=settings.heartbeat_ms * 10**6, snapshot_every_frames=settings.snapshot_every_frames
        ),
        wall_ns=time.time_ns,
    )
    server = rpc.server()
    replay_pb2_grpc.add_ReplayServiceServicer_to_server(api, server)
    port = rpc.bind(server, host=settings.grpc_host, port=settings.grpc_port)
    await server.start()
    context.on_stop(lambda: server.stop(grace=0.5), "grpc")
    _LOG.info("replay served", extra={"grpc_port": port, "windows": settings.replay_windows})
    _follow(context, replay, dead, client_id)
    _spawn(context, _own(context, replay, client_id), "marks")


def _recorded(settings: Settings, parameters: Parameters) -> RecordedPrices:
    try:
        return RecordedPrices(settings.data_directory, parameters)
    except BadRecording as error:
        raise BadRecording(f"BALLAST_DATA_DIRECTORY={settings.data_directory}: {error}") from error


def _pacer(settings: Settings, prices: RecordedPrices, partitions: int) -> Pacer:
    venue, asset = SHAPE
    first_ns, last_ns = prices.path.span(venue=venue, asset=asset)
    windows, given = settings.windows(), f"BALLAST_REPLAY_WINDOWS={settings.replay_windows[:80]}"
    if windows[0].start_ns < first_ns:
        earliest = datetime.fromtimestamp(first_ns // SECOND_NS, UTC).isoformat()
        raise ConfigurationError(f"{given}: expected a start at or after {earliest}")
    try:
        return Pacer(
            windows,
            partitions=partitions,
            services=settings.urls(),
            rules=settings.pacing(),
            largest_move=prices.path.largest_move,
            path_end_ns=last_ns,
        )
    except ValueError as error:
        raise ConfigurationError(f"{given}: {error}") from error


def _follow(context: ServiceContext[Settings], replay: Replay, dead: DeadLetters, client_id: str) -> None:
    bootstrap, partitions = context.settings.kafka_bootstrap, context.parameters.partitions
    for partition in range(partitions):
        _spawn(
            context,
            follow_journal(
                bootstrap=bootstrap,
                client_id=f"{client_id}-journal-{partition}",
                partition=partition,
                tell=replay.tell,
                is_caught_up=context.health.condition(f"journal {partition}"),
                watch=context.watch,
            ),
            f"journal {partition}",
        )
    _spawn(
        context,
        follow_margins(
            bootstrap=bootstrap,
            client_id=f"{client_id}-margins",
            partitions=partitions,
            tell=replay.tell,
            dead=dead,
            is_caught_up=context.health.condition("margins"),
            watch=context.watch,
        ),
        "margins",
    )
    _spawn(context, watch_readiness(context.settings.urls(), replay.tell), "readiness")


def _spawn(context: ServiceContext[Settings], work: Coroutine[None, None, None], name: str) -> None:
    context.spawn(_until_stopping(context, work), name)


async def _until_stopping(context: ServiceContext[Settings], work: Coroutine[None, None, None]) -> None:
    # Nothing here has to finish what it began: the log says what counts. So a stop need not wait.
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        working.result()


async def _own(context: ServiceContext[Settings], replay: Replay, client_id: str) -> None:
    bootstrap, owns = context.settings.kafka_bootstrap, context.health.condition("marks")
    while True:
        profiles = Profiles(context.parameters)
        log = OwnedMarksLog(
            bootstrap=bootstrap, client_id=f"{client_id}-marks", tracer=context.tracer, profiles=profiles
        )
        context.watch.log(log.reading)
        try:
            resumed = await log.take_over()
            owns.set(True, "owner")
            await replay.run(log, resumed)
        except LostOwnership as error:
            _LOG.warning("marks lost", extra={"reason": str(error)})
        finally:
            owns.set(False, "not the owner of the marks")
            await log.close()
        await wait_for_silence(bootstrap=bootstrap, client_id=f"{client_id}-standby")


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
