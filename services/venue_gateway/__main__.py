"""Runs the gateway: python -m services.venue_gateway."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

from ballast.api.v1 import client_pb2_grpc, custody_pb2_grpc, venue_pb2_grpc
from libs.common import rpc
from libs.common.commands import CommandSender
from libs.common.garbage import Garbage
from libs.common.service import ServiceContext, main
from services.venue_gateway.adapters.client_service import ClientService
from services.venue_gateway.adapters.custody_service import CustodyService
from services.venue_gateway.adapters.journal import JournalReader
from services.venue_gateway.adapters.run_clock import RunClock
from services.venue_gateway.adapters.topics import FaultyOnce, LiquidityTopic
from services.venue_gateway.adapters.tracing import OrderTraces
from services.venue_gateway.adapters.venue_service import VenueService
from services.venue_gateway.app.answers import Answers
from services.venue_gateway.app.books import DisplayedBooks, again_after_ns
from services.venue_gateway.app.clients import ClientMetrics, Clients
from services.venue_gateway.app.ledger_view import LedgerView
from services.venue_gateway.app.venue_metrics import GatewayMetrics
from services.venue_gateway.app.venues import Venues
from services.venue_gateway.domain.directory import Directory
from services.venue_gateway.settings import GatewaySettings

NAME = "venue_gateway"
SERVER_GRACE_SECONDS = 1.0

_LOG = logging.getLogger("ballast.venue_gateway")


async def build(context: ServiceContext[GatewaySettings]) -> None:
    """Sets the gateway up."""
    settings = context.settings
    caught_up = context.health.condition("journal caught up")
    producing = context.health.condition("producer")
    client_id = f"ballast-{NAME}-{settings.instance}"
    directory, answers = Directory(context.parameters), Answers()
    traces = OrderTraces(context.tracer)
    view = LedgerView(partitions=context.parameters.partitions, answers=answers)
    reader = JournalReader(
        bootstrap=settings.kafka_bootstrap, client_id=client_id, view=view, caught_up=caught_up, traces=traces
    )
    sender = CommandSender(
        bootstrap=settings.kafka_bootstrap, client_id=client_id, principal_id=NAME, session=os.urandom(16)
    )
    liquidity = LiquidityTopic(bootstrap=settings.kafka_bootstrap, client_id=f"{client_id}-books")
    view.run_time_ns = context.parameters.genesis_ns
    marks_read = context.health.condition("marks read")
    clock = RunClock(bootstrap=settings.kafka_bootstrap, client_id=f"{client_id}-marks", view=view, read=marks_read)
    context.watch.log(clock.reading, *reader.readings)
    context.watch.book(*view.books)
    for one, name in ((sender, "commands"), (liquidity, "liquidity"), (reader, "journal"), (clock, "marks")):
        context.on_stop(one.stop, name)
        await one.start()
    producing.set(True)
    commands = FaultyOnce(sender, partial(context.fail, where="commands"), traces)
    metrics = GatewayMetrics(context.metrics)
    books = DisplayedBooks(
        lambda venue: metrics.books.labels(directory.venue_by_id[venue].name).inc(),
        again_after_ns=again_after_ns(context.parameters),
    )
    clients = Clients(
        directory=directory, view=view, answers=answers, commands=commands, metrics=ClientMetrics(context.metrics)
    )
    venues = Venues(
        directory=directory,
        view=view,
        clients=clients,
        books=books,
        metrics=metrics,
        session=os.urandom(16),
        ready=lambda: context.health.ready,
        principal_id=NAME,
    )
    for partition in range(context.parameters.partitions):
        context.spawn(reader.follow(partition), f"journal-{partition}")
    context.spawn(books.publish(liquidity), "books")
    context.spawn(clock.follow(), "marks")
    garbage = Garbage()
    garbage.begin()
    context.spawn(garbage.run(context.stopping), "garbage")
    edge = ClientService(
        clients=clients, directory=directory, view=view, tail=reader, ready=lambda: context.health.ready
    )
    await _open(context, edge, VenueService(venues=venues, commands=commands, traces=traces))


async def _open(context: ServiceContext[GatewaySettings], edge: ClientService, venues: VenueService) -> None:
    settings, server = context.settings, rpc.server(receive_bytes_max=rpc.STREAM_BYTES_MAX)
    client_pb2_grpc.add_ClientServiceServicer_to_server(edge, server)
    custody_pb2_grpc.add_CustodyServiceServicer_to_server(CustodyService(edge), server)
    venue_pb2_grpc.add_VenueServiceServicer_to_server(venues, server)
    port = rpc.bind(server, host=settings.grpc_host, port=settings.grpc_port)
    context.on_stop(partial(server.stop, SERVER_GRACE_SECONDS), "grpc")
    await server.start()
    _LOG.info("edge open", extra={"grpc_port": port})


if __name__ == "__main__":
    sys.exit(main(NAME, GatewaySettings, build))
