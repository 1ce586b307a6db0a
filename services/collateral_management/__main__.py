"""Runs collateral_management: the ledger."""

from __future__ import annotations

import hashlib
import random
import secrets
import sys

from aiokafka.admin import AIOKafkaAdminClient

from ballast.api.v1 import ledger_pb2_grpc
from libs.common.chain import ChainWriter
from libs.common.codec import DeadLetters
from libs.common.rpc import bind, server
from libs.common.service import ServiceContext, main
from libs.common.topics import COMMANDS, JOURNAL
from services.collateral_management.adapters.assignment import GroupAssignment
from services.collateral_management.adapters.clock import MarksClock
from services.collateral_management.adapters.commands import KafkaCommands
from services.collateral_management.adapters.control import KafkaControl
from services.collateral_management.adapters.reads import LedgerReads
from services.collateral_management.app.owner import AcceptedBooks, PartitionOwner, gauges
from services.collateral_management.app.supervisor import Supervisor
from services.collateral_management.settings import Settings

NAME = "collateral_management"


async def _input_identity(bootstrap: str) -> bytes:
    """16 bytes that name the cluster's commands topic, as far as aiokafka tells (it speaks no topic ids)."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id=f"{NAME}-identity")
    await admin.start()
    try:
        described = await admin.describe_cluster()
    finally:
        await admin.close()
    return hashlib.sha256(f"{described['cluster_id']}/{COMMANDS.name}".encode()).digest()[:16]


async def build(context: ServiceContext[Settings]) -> None:
    """Joins the group, and owns what it suggests."""
    settings, parameters = context.settings, context.parameters
    bootstrap, client_id = settings.kafka_bootstrap, f"{NAME}-{settings.instance}"
    identity = await _input_identity(bootstrap)
    dead_letters = DeadLetters(bootstrap=bootstrap, client_id=f"{client_id}-dead", service=NAME)
    await dead_letters.start()
    context.on_stop(dead_letters.stop, "dead letters")
    clock = MarksClock(bootstrap=bootstrap, client_id=f"{client_id}-marks", genesis_ns=parameters.genesis_ns)
    control = KafkaControl(bootstrap=bootstrap, client_id=f"{client_id}-control")
    books, shown = AcceptedBooks(), gauges(context.metrics)
    context.spawn(clock.run(context.stopping, context.health.condition("marks read")), "marks")
    context.spawn(control.run(context.stopping), "control")

    def new_owner(partition: int) -> PartitionOwner:
        name = f"{client_id}-p{partition}"
        return PartitionOwner(
            partition,
            parameters=parameters,
            new_journal=lambda on_accepted: ChainWriter(
                bootstrap=bootstrap,
                topic=JOURNAL,
                partition=partition,
                owner=secrets.token_bytes(16),
                input_topic_id=identity,
                client_id=name,
                on_accepted=on_accepted,
            ),
            source=KafkaCommands(
                bootstrap=bootstrap, client_id=f"{name}-commands", partition=partition, dead_letters=dead_letters
            ),
            clock=clock,
            control=control,
            books=books,
            shown=shown,
        )

    supervisor = Supervisor(
        new_owner=new_owner,
        health=context.health,
        on_bug=lambda error: context.fail(error, where="partitions"),
        jitter=random.SystemRandom(),
    )
    context.on_stop(supervisor.stop, "partitions")
    assigned = context.health.condition("partitions assigned")

    async def own(partitions: set[int]) -> None:
        if partitions:  # what is taken away waits for nothing
            if 0 in partitions and control.active_hash != context.loaded.hash:
                await control.declare(context.loaded)
            await control.wait_active(context.loaded.hash)
        await supervisor.assign(partitions)
        assigned.set(True)

    assignment = GroupAssignment(bootstrap=bootstrap, group=NAME, instance=settings.instance, on_change=own)
    context.spawn(assignment.run(context.stopping), "group")
    await _answer_questions(context, books)


async def _answer_questions(context: ServiceContext[Settings], books: AcceptedBooks) -> None:
    aio_server = server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerReads(books), aio_server)
    bind(aio_server, host=context.settings.grpc_host, port=context.settings.grpc_port)
    await aio_server.start()
    context.on_stop(lambda: aio_server.stop(1.0), "grpc")


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
