"""Runs collateral_management: the ledger."""

from __future__ import annotations

import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import Callable
from functools import partial

from ballast.api.v1 import ledger_pb2_grpc
from libs.common.chain import AcceptedFrame, ChainWriter
from libs.common.codec import DeadLetters
from libs.common.commands import CommandSender
from libs.common.garbage import Garbage
from libs.common.rpc import bind, server
from libs.common.service import ServiceContext, main
from libs.common.topics import COMMANDS, JOURNAL
from services.collateral_management.adapters.assignment import GroupAssignment
from services.collateral_management.adapters.checkpoints import KafkaCheckpoints
from services.collateral_management.adapters.clock import MarksClock
from services.collateral_management.adapters.commands import KafkaCommands
from services.collateral_management.adapters.control import KafkaControl
from services.collateral_management.adapters.identity import input_identity
from services.collateral_management.adapters.meters import MoneyMeters
from services.collateral_management.adapters.notary import NotaryTopic, signer_of
from services.collateral_management.adapters.reads import LedgerReads
from services.collateral_management.app.audit import CHECKED, Audit
from services.collateral_management.app.checkpointer import Pace, checkpoint_gauges
from services.collateral_management.app.checkpoints import Checkpoints
from services.collateral_management.app.failpoints import Failpoint, Failpoints
from services.collateral_management.app.notary import Notary
from services.collateral_management.app.owner import AcceptedBooks, PartitionOwner, gauges
from services.collateral_management.app.ownership import Ownership
from services.collateral_management.app.restore import Restorer
from services.collateral_management.app.supervisor import Supervisor
from services.collateral_management.settings import Settings

NAME = "collateral_management"
DEEDS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


async def build(context: ServiceContext[Settings]) -> None:
    """Joins the group, and owns what it suggests."""
    settings, parameters = context.settings, context.parameters
    bootstrap, client_id = settings.kafka_bootstrap, f"{NAME}-{settings.instance}"
    identity = await input_identity(bootstrap)
    context.watch.expects(COMMANDS.name)
    dead_letters = await _dead_letters(context, client_id)
    clock = MarksClock(bootstrap=bootstrap, client_id=f"{client_id}-marks", genesis_ns=parameters.genesis_ns)
    control = KafkaControl(
        bootstrap=bootstrap, client_id=f"{client_id}-control", on_undeclared=partial(context.watch.broke, "I12")
    )
    context.watch.log(clock.reading, control.reading)
    context.watch.checks(*CHECKED, "I12")
    books, shown = AcceptedBooks(context.watch), gauges(context.metrics)
    meters = MoneyMeters(context.metrics, context.watch, parameters=parameters, books=books.books)
    context.spawn(clock.run(context.stopping, context.health.condition("marks read")), "marks")
    context.spawn(control.run(context.stopping), "control")
    notary = await _notary(context, client_id)
    failpoints = _failpoints(settings.failpoints)
    garbage = _garbage(context)
    sender = await _movements(context, client_id)
    new_checkpoints = _checkpoints(context, identity, failpoints)

    def new_owner(partition: int) -> PartitionOwner:
        garbage.all_soon()  # an owner before this one has ended, or this one is about to restore very much
        source = KafkaCommands(
            bootstrap=bootstrap,
            client_id=f"{client_id}-p{partition}-commands",
            partition=partition,
            dead_letters=dead_letters,
            is_traced=context.tracer.on,
        )
        context.watch.log(source.reading)
        return PartitionOwner(
            partition,
            parameters=parameters,
            new_journal=partial(_journal, context, partition, identity, notary, failpoints),
            source=source,
            clock=clock,
            control=control,
            books=books,
            shown=shown,
            tracer=context.tracer,
            audit=Audit(partition, partitions=parameters.partitions, found=meters.broke, paid=meters.paid),
            commands=sender,
            checkpoints=new_checkpoints(partition),
        )

    await _own(
        context,
        Supervisor(
            new_owner=new_owner,
            health=context.health,
            on_broken=context.watch.broke,
            on_bug=lambda error: context.fail(error, where="partitions"),
            jitter=random.SystemRandom(),
        ),
        control,
    )
    await _answer_questions(context, books)


def _garbage(context: ServiceContext[Settings]) -> Garbage:
    garbage = Garbage()
    garbage.begin()
    context.spawn(garbage.run(context.stopping), "garbage")
    return garbage


async def _dead_letters(context: ServiceContext[Settings], client_id: str) -> DeadLetters:
    letters = DeadLetters(
        bootstrap=context.settings.kafka_bootstrap,
        client_id=f"{client_id}-dead",
        service=NAME,
        on_put=context.watch.put_aside,
    )
    await letters.start()
    context.on_stop(letters.stop, "dead letters")
    return letters


async def _movements(context: ServiceContext[Settings], client_id: str) -> CommandSender:
    sender = CommandSender(
        bootstrap=context.settings.kafka_bootstrap,
        client_id=f"{client_id}-transit",
        principal_id=NAME,
        session=secrets.token_bytes(16),
    )
    await sender.start()
    context.on_stop(sender.stop, "movements")
    return sender


def _journal(
    context: ServiceContext[Settings],
    partition: int,
    identity: bytes,
    notary: Notary,
    failpoints: Failpoints,
    on_accepted: Callable[[AcceptedFrame], None],
) -> ChainWriter:
    def accepted(frame: AcceptedFrame) -> None:
        failpoints.reach(Failpoint.READ_BACK)
        on_accepted(frame)
        notary.accepted(partition, frame)

    writer = ChainWriter(
        bootstrap=context.settings.kafka_bootstrap,
        topic=JOURNAL,
        partition=partition,
        owner=secrets.token_bytes(16),
        input_topic_id=identity,
        client_id=f"{NAME}-{context.settings.instance}-p{partition}",
        on_accepted=accepted,
        on_acknowledged=partial(failpoints.reach, Failpoint.ACKNOWLEDGED),
    )
    context.watch.log(writer.reading)
    return writer


def _checkpoints(
    context: ServiceContext[Settings], identity: bytes, failpoints: Failpoints
) -> Callable[[int], Checkpoints]:
    settings, shown = context.settings, checkpoint_gauges(context.metrics)
    restorers: dict[int, Restorer] = {}

    def of(partition: int) -> Checkpoints:
        store = KafkaCheckpoints(
            bootstrap=settings.kafka_bootstrap,
            client_id=f"{NAME}-{settings.instance}-p{partition}-checkpoints",
            partition=partition,
        )
        return Checkpoints(
            partition,
            store=store,
            restorer=restorers.setdefault(partition, Restorer(partition)),
            input_topic_id=identity,
            pace=Pace(settings.checkpoint_every_seconds, settings.checkpoint_items_per_second_max),
            shown=shown,
            failpoints=failpoints,
        )

    return of


def _failpoints(plan: str) -> Failpoints:
    if plan:
        logging.getLogger("ballast.ledger").warning("failpoints set", extra={"plan": plan})
    return Failpoints(plan, act=lambda deed: os.kill(os.getpid(), DEEDS[deed]))


async def _notary(context: ServiceContext[Settings], client_id: str) -> Notary:
    settings = context.settings
    topic = NotaryTopic(
        bootstrap=settings.kafka_bootstrap,
        client_id=f"{client_id}-notary",
        signer=signer_of(settings.notary_key_file, trusted=context.parameters.ledger.notary_keys),
    )
    await topic.start()
    context.on_stop(topic.stop, "heads")
    notary = Notary(
        publish=topic.publish,
        every_s=settings.notary_every_seconds,
        published=context.metrics.counter("ballast_ledger_heads_total", "Heads of the journal published"),
    )
    context.spawn(notary.run(context.stopping), "notary")
    context.on_stop(notary.publish_latest, "last heads")  # once the partitions, registered later, are drained
    return notary


async def _own(context: ServiceContext[Settings], supervisor: Supervisor, control: KafkaControl) -> None:
    context.on_stop(supervisor.stop, "partitions")

    async def put_in_force(partitions: frozenset[int]) -> None:
        if 0 in partitions and control.active_hash != context.loaded.hash:
            await control.declare(context.loaded)
        await control.wait_active(context.loaded.hash)

    ownership = Ownership(supervisor, prepare=put_in_force, assigned=context.health.condition("partitions assigned"))
    assignment = GroupAssignment(
        bootstrap=context.settings.kafka_bootstrap,
        group=NAME,
        instance=context.settings.instance,
        on_change=ownership.suggest,
    )
    context.spawn(ownership.run(context.stopping), "ownership")
    context.spawn(assignment.run(context.stopping), "group")


async def _answer_questions(context: ServiceContext[Settings], books: AcceptedBooks) -> None:
    aio_server = server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerReads(books, context.parameters), aio_server)
    bind(aio_server, host=context.settings.grpc_host, port=context.settings.grpc_port)
    await aio_server.start()
    context.on_stop(lambda: aio_server.stop(1.0), "grpc")


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
