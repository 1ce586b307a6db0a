"""Reads settings, builds adapters, hands them to the process manager, runs."""

from __future__ import annotations

import secrets
import sys
import time

from libs.common.chain import ChainFollower
from libs.common.codec import DeadLetters
from libs.common.commands import CommandSender
from libs.common.service import ServiceContext, main
from libs.common.topics import JOURNAL, LIQUIDITY, MARGIN, MARKS
from services.liquidation_execution.adapters.decisions import DecisionSender, PlanPublisher
from services.liquidation_execution.adapters.feeds import MARGIN_RECORDS_BACK, Feeds, follow_chain, follow_records
from services.liquidation_execution.adapters.metrics import EpisodeLatency, Meter
from services.liquidation_execution.adapters.risk import RiskClient
from services.liquidation_execution.adapters.tracing import EpisodeTraces
from services.liquidation_execution.app.checks import CHECKED, PlanChecks
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.process import Process
from services.liquidation_execution.domain.catalogue import catalogue_of
from services.liquidation_execution.settings import Settings

NAME = "liquidation_execution"


async def build(context: ServiceContext[Settings]) -> None:
    """Sets the service up; it runs until the context is asked to stop."""
    settings, parameters = context.settings, context.parameters
    bootstrap, client_id = settings.kafka_bootstrap, f"{NAME}-{settings.instance}"
    session, meter = secrets.token_bytes(16), Meter(context.metrics)
    sender = CommandSender(bootstrap=bootstrap, client_id=client_id, principal_id=NAME, session=session)
    traces = EpisodeTraces(context.tracer)
    decisions = DecisionSender(sender, session=session, traces=traces)
    plans = PlanPublisher(
        bootstrap=bootstrap, client_id=f"{client_id}-plans", look=PlanChecks(context.watch.broke).look
    )
    context.watch.expects(MARGIN.name, LIQUIDITY.name)
    dead = DeadLetters(bootstrap=bootstrap, client_id=f"{client_id}-dead", service=NAME, on_put=context.watch.put_aside)
    risk = RiskClient(settings.risk_target, principal_id=NAME, traces=traces)
    context.on_stop(risk.close, "risk")
    for part, name in ((sender, "commands"), (plans, "plans"), (dead, "dead letters")):
        await part.start()
        context.on_stop(part.stop, name)
    live = Live(
        catalogue_of(parameters),
        session=session,
        monotonic=time.monotonic,
        meter=meter,
        partitions=range(parameters.partitions),
    )
    context.watch.book(*live.books.values())
    context.watch.checks(*CHECKED)
    process = Process(
        live,
        risk=risk,
        decisions=decisions,
        plans=plans,
        meter=meter,
        monotonic=time.monotonic,
        is_ready=lambda: context.health.ready,
    )
    _follow(context, Feeds(live, process, EpisodeLatency(context.metrics), traces), dead, client_id)
    context.spawn(risk.watch(context.health.condition("risk"), context.stopping), "risk")
    context.spawn(decisions.run(context.stopping), "commands")
    context.spawn(plans.run(context.stopping), "plans")
    context.spawn(process.run(context.stopping), "process")


def _follow(context: ServiceContext[Settings], feeds: Feeds, dead: DeadLetters, client_id: str) -> None:
    bootstrap, stopping = context.settings.kafka_bootstrap, context.stopping
    for partition in range(context.parameters.partitions):
        name = f"journal {partition}"
        follower = ChainFollower(
            bootstrap=bootstrap, topic=JOURNAL, partition=partition, client_id=f"{client_id}-journal-{partition}"
        )
        context.watch.log(follower.reading)
        caught_up = context.health.condition(name).set
        context.spawn(follow_chain(follower, feeds.journal(partition), caught_up, stopping), name)
    marks = ChainFollower(
        bootstrap=bootstrap, topic=MARKS, partition=0, client_id=f"{client_id}-marks", from_last_claim=True
    )
    context.watch.log(marks.reading)
    context.spawn(follow_chain(marks, feeds.marks, context.health.condition("marks").set, stopping), "marks")
    for topic, take, back, partitions in (
        (MARGIN, feeds.margin, MARGIN_RECORDS_BACK, range(context.parameters.partitions)),
        (LIQUIDITY, feeds.liquidity, None, range(1)),
    ):
        context.spawn(
            follow_records(
                bootstrap=bootstrap,
                client_id=f"{client_id}-{topic.name}",
                topic=topic,
                partitions=partitions,
                back=back,
                take=take,
                dead=dead,
                condition=context.health.condition(topic.name),
                stopping=stopping,
                watch=context.watch,
            ),
            topic.name,
        )


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
