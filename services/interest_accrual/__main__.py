"""Runs interest_accrual: utilisation to rate to index for every pool, funding and settlement for every perpetual."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
import time
from functools import partial

from ballast.events.v1 import journal_pb2, market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.commands import CommandSender
from libs.common.service import ServiceContext, main
from libs.common.topics import JOURNAL, MARKS
from services.interest_accrual.adapters.kafka import Feed, RatesPublisher
from services.interest_accrual.adapters.meters import PoolMeters
from services.interest_accrual.app.accrual import Accrual
from services.interest_accrual.app.view import View
from services.interest_accrual.settings import Settings

NAME = "interest_accrual"
_LOG = logging.getLogger("ballast.interest")
_STEP_SECONDS_MIN = 0.01
_STEP_SECONDS_MAX = 0.5


def _fold_marks(view: View, accepted: AcceptedFrame) -> None:
    frame = accepted.frame
    body = market_pb2.MarksBody.FromString(frame.body)
    view.fold_marks(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)


def _fold_journal(view: View, partition: int, accepted: AcceptedFrame) -> None:
    frame = accepted.frame
    body = journal_pb2.JournalBody.FromString(frame.body)
    for refused in view.fold_journal(partition, sequence=frame.sequence, body=body):
        _LOG.error(
            "tick refused",
            extra={
                "command": refused.command,
                "partition": partition,
                "refusal": refused.refusal,
                "detail": refused.detail,
            },
        )


async def _step(context: ServiceContext[Settings], accrual: Accrual, feeds: list[Feed], changed: asyncio.Event) -> None:
    caught_up = context.health.condition("journal and marks folded")
    sent = context.metrics.counter("ballast_interest_commands_total", "Commands sent to the ledger")
    while not context.stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), _STEP_SECONDS_MAX)
        changed.clear()
        behind = sum(not feed.caught_up for feed in feeds)
        caught_up.set(not behind, f"{behind} logs behind")
        if not behind:
            sent.inc(await accrual.step(now_s=time.monotonic()))
        await asyncio.sleep(_STEP_SECONDS_MIN)


async def build(context: ServiceContext[Settings]) -> None:
    """Sets the service up."""
    bootstrap = context.settings.kafka_bootstrap
    client_id = f"{NAME}-{context.settings.instance}"
    view, changed = View(context.parameters), asyncio.Event()
    sender = CommandSender(bootstrap=bootstrap, client_id=client_id, principal_id=NAME, session=secrets.token_bytes(16))
    rates = RatesPublisher(bootstrap=bootstrap, client_id=client_id)
    await sender.start()
    context.on_stop(sender.stop, "commands")
    await rates.start()
    context.on_stop(rates.stop, "rates")
    feed = partial(Feed, bootstrap=bootstrap, client_id=client_id, changed=changed)
    feeds = [feed(topic=MARKS, partition=0, fold=partial(_fold_marks, view))]
    for partition in range(context.parameters.partitions):
        feeds.append(feed(topic=JOURNAL, partition=partition, fold=partial(_fold_journal, view, partition)))
    context.watch.log(*(each.reading for each in feeds))
    context.watch.show(PoolMeters(view).collect)
    for number, each in enumerate(feeds):
        context.spawn(each.run(context.stopping), f"feed {number}")
    accrual = Accrual(view, commands=sender, rates=rates)
    context.spawn(_step(context, accrual, feeds, changed), "accrual")


if __name__ == "__main__":
    sys.exit(main(NAME, Settings, build))
