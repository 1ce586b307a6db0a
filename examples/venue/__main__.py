"""Runs one example venue: python -m examples.venue --name north --gateway HOST:PORT --replay HOST:PORT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from pathlib import Path
from random import Random

import grpc

from examples.venue.engine import VenueEngine
from examples.venue.listing import Listing, MalformedListing, load_listing
from examples.venue.observe import Conditions, HttpServer, JsonFormatter, Metrics
from examples.venue.replay import ReplayWatcher
from examples.venue.retry import Backoff
from examples.venue.session import GatewaySession
from examples.venue.state import History, MalformedState, StateFile

_LOG = logging.getLogger("venue")
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 1024 * 1024),
    ("grpc.max_send_message_length", 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
]


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when asked to stop, 2 when the arguments or files cannot be used."""
    options = _parse(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    state = StateFile(options.state)
    try:
        listing = load_listing(options.listing or Path(__file__).with_name(f"{options.name}.toml"))
        history = state.open()
    except (MalformedListing, MalformedState, OSError) as error:
        print(f"examples.venue: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_serve(options, listing, state, history))
    finally:
        state.close()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.venue", description=__doc__)
    parser.add_argument("--name", required=True, help="venue name, such as north")
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="where VenueService is")
    parser.add_argument("--replay", required=True, metavar="HOST:PORT", help="where ReplayService is")
    parser.add_argument("--http-port", type=int, default=0, help="for /metrics, /healthz, /readyz (default: any free)")
    parser.add_argument("--seed", type=int, default=1, help="of the sizes of its quotes (default: 1)")
    parser.add_argument("--listing", type=Path, help="TOML file of instruments and depth (default: <name>.toml here)")
    parser.add_argument(
        "--state", type=Path, help="file that lets a restarted venue go on (default: none, memory only)"
    )
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace, listing: Listing, state: StateFile, history: History) -> int:
    engine = VenueEngine(name=options.name, listing=listing, seed=options.seed)
    cancelled = engine.restore(history.reports)
    recorded = engine.outbox.last - cancelled
    conditions = Conditions()
    metrics = Metrics(engine, conditions)
    try:
        http = HttpServer(port=options.http_port, metrics=metrics, conditions=conditions)
    except OSError as error:
        print(f"examples.venue: --http-port {options.http_port}: {error.strerror}", file=sys.stderr)
        return 2
    http.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with (
        grpc.aio.insecure_channel(options.gateway, options=_CHANNEL_OPTIONS) as gateway,
        grpc.aio.insecure_channel(options.replay, options=_CHANNEL_OPTIONS) as replay,
    ):
        session = GatewaySession(
            name=options.name, listing=listing, engine=engine, channel=gateway, state=state,
            session_epoch=history.session_epoch, recorded=recorded,
            # Microseconds since 1970: a restarted venue goes on above what it numbered before.
            first_book=time.time_ns() // 1_000,
            backoff=Backoff(Random()), conditions=conditions, metrics=metrics, wall_ns=time.time_ns,
        )  # fmt: skip
        watcher = ReplayWatcher(
            name=options.name, engine=engine, channel=replay, backoff=Backoff(Random()), conditions=conditions,
            metrics=metrics, on_move=session.wake,
        )  # fmt: skip
        _LOG.info(
            "venue started",
            extra={"fields": {"venue": options.name, "http_port": http.port, "restored_cancelled": cancelled}},
        )
        await _until_stopped(stopping, session, watcher)
    http.stop()
    _LOG.info("venue stopped", extra={"fields": {"venue": options.name, "last_report": engine.outbox.last}})
    return 0


async def _until_stopped(stopping: asyncio.Event, session: GatewaySession, watcher: ReplayWatcher) -> None:
    asked = asyncio.create_task(stopping.wait())
    work = [asyncio.create_task(session.run()), asyncio.create_task(watcher.run())]
    try:
        await asyncio.wait([asked, *work], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (asked, *work):
            task.cancel()
        ends = await asyncio.gather(*work, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


if __name__ == "__main__":
    sys.exit(main())
