"""Runs risk_evaluation: margins of every account at every mark."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ballast.api.v1 import risk_pb2_grpc
from libs.common import rpc
from libs.common.commands import CommandSender
from libs.common.config import load_parameters
from libs.common.service import ServiceContext, main
from services.risk_evaluation.adapters.faust_app import build_app, end_of
from services.risk_evaluation.adapters.journal import JournalFeed
from services.risk_evaluation.adapters.logs import follow_control, follow_marks
from services.risk_evaluation.adapters.meters import Meters
from services.risk_evaluation.adapters.outlet import KafkaOutlet
from services.risk_evaluation.adapters.service import RiskApi
from services.risk_evaluation.app.contagion import Contagions
from services.risk_evaluation.app.dry_run import DryRuns
from services.risk_evaluation.app.risk import Risk
from services.risk_evaluation.app.shadow import Shadow
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.sweep.live import warm_up
from services.risk_evaluation.settings import Settings

NAME = "risk_evaluation"
SWITCH_SECONDS = 0.0005  # Faust reads in a thread of its own: a mark would wait for it ten times as long

_LOG = logging.getLogger("ballast.risk")


async def build(context: ServiceContext[Settings]) -> None:
    """Sets the worker up; returns once everything runs."""
    settings, health = context.settings, context.health
    bootstrap, client_id = settings.kafka_bootstrap, f"{NAME}-{settings.instance}"
    logging.getLogger("mode").setLevel(logging.WARNING)
    sys.setswitchinterval(SWITCH_SECONDS)
    assigned, marks = health.condition("assigned partitions caught up"), health.condition("marks caught up")
    in_force = health.condition("parameters in force")
    context.watch.checks("I9", "I13")
    session, meters = secrets.token_bytes(16), Meters(context.metrics)
    outlet = await _outlet(context, client_id=client_id, session=session, meters=meters)
    model = build_model(context.parameters)
    await asyncio.to_thread(warm_up, model)
    risk = Risk(
        model=model,
        session=session,
        loaded_hash=context.loaded.hash,
        outlet=outlet,
        readings=meters,
        now_ns=time.monotonic_ns,
        after_marks=_after_marks(context, model, outlet),
        kernel_from=settings.kernel_from_accounts,
    )
    control = follow_control(
        risk=risk,
        bootstrap=bootstrap,
        client_id=f"{client_id}-control",
        in_force=in_force,
        stopping=context.stopping,
        watch=context.watch,
    )
    context.spawn(control, "control")
    read = follow_marks(
        risk=risk,
        bootstrap=bootstrap,
        client_id=f"{client_id}-marks",
        caught_up=marks,
        stopping=context.stopping,
        watch=context.watch,
    )
    context.spawn(read, "marks")
    context.spawn(risk.run(context.stopping), "risk")
    feed = JournalFeed(
        risk=risk,
        bootstrap=bootstrap,
        client_id=client_id,
        spawn=context.spawn,
        caught_up=assigned,
        readings=meters,
        watch=context.watch,
    )
    server = rpc.server()
    risk_pb2_grpc.add_RiskServiceServicer_to_server(
        RiskApi(risk, DryRuns(risk, context.parameters), Contagions(risk), context.tracer), server
    )
    port = rpc.bind(server, host=settings.grpc_host, port=settings.grpc_port)
    await server.start()
    context.on_stop(partial(server.stop, 0.5), "grpc")
    _LOG.info("risk served", extra={"grpc_port": port})
    await _start_app(context, feed)


def _after_marks(context: ServiceContext[Settings], model: Model, outlet: KafkaOutlet) -> Callable[[Risk], None]:
    directory = context.settings.shadow_config_directory
    if directory is None:
        return lambda risk: None
    loaded = load_parameters(directory)
    shadow = Shadow(
        loaded,
        live=model,
        parameters=context.parameters,
        every=context.settings.shadow_every_frames,
        publish=outlet.put_shadow,
        spawn=context.spawn,
    )
    _LOG.info("shadow margins on", extra={"parameters": loaded.hash})
    return shadow.after_marks


async def _outlet(context: ServiceContext[Settings], *, client_id: str, session: bytes, meters: Meters) -> KafkaOutlet:
    bootstrap = context.settings.kafka_bootstrap
    commands = CommandSender(bootstrap=bootstrap, client_id=f"{client_id}-commands", principal_id=NAME, session=session)
    await commands.start()
    context.on_stop(commands.stop, "commands")
    outlet = KafkaOutlet(
        bootstrap=bootstrap,
        client_id=f"{client_id}-margin",
        commands=commands,
        on_published=meters.published,
        on_failed=partial(context.fail, where="outlet"),
        on_broken=context.watch.broke,
        tracer=context.tracer,
    )
    await outlet.start()
    context.on_stop(outlet.stop, "outlet")
    return outlet


async def _start_app(context: ServiceContext[Settings], feed: JournalFeed) -> None:
    directory = tempfile.TemporaryDirectory(prefix=f"{NAME}-", ignore_cleanup_errors=True)

    async def remove_directory() -> None:
        directory.cleanup()

    context.on_stop(remove_directory, "directory")
    app = build_app(
        bootstrap=context.settings.kafka_bootstrap,
        instance=context.settings.instance,
        directory=Path(directory.name),
        take=feed.take,
        on_assigned=feed.on_assigned,
        on_revoked=feed.on_revoked,
        on_failed=partial(context.fail, where="journal agent"),
    )
    feed.end = lambda partition: end_of(app, partition)
    context.on_stop(app.stop, "faust")
    await app.start()


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
