"""Runs the ledger against its goals, beside a bare chain and Kafka transactions that write the same bytes.

`python -m bench.ledger [--quick]`: interleaved rounds, medians, on the cluster of BALLAST_KAFKA_BOOTSTRAP (its topics
empty) or on a private broker. The report goes to .run/bench-ledger/report.json. About four minutes.
"""

from __future__ import annotations

import argparse
import sys

import uvloop

from bench.ledger import edge, owner, peers
from bench.ledger.figures import Figures
from bench.ledger.town import Town, heartbeat
from bench.ledger.workload import records
from libs.common.garbage import Garbage
from tools.broker import BrokerFault, kafka_for
from tools.report import RUN_DIRECTORY, Run
from tools.topics import create_topics

_TARGET = "bench-ledger"
SINGLE, BATCHED = 64, 4_000  # commands a record, or a request of a stream
MODES = {"single": SINGLE, "batched": BATCHED}
PACED = 2_000  # commands a second
_WINDOW = 8_192  # commands of a stream without outcome


async def _round(town: Town, figures: Figures, *, commands: int) -> None:
    first = town.clients[0]
    for mode, size in MODES.items():
        sent = records(first.commands(commands), size=size)
        taken = await owner.drive(town, {0: sent}, commands=commands)
        figures.take(f"owner_{mode}", taken)
        frames = list(town.tails[0].frames)
        for peer in ("chain", "transactions"):
            figures.take(f"{peer}_{mode}", await peers.run(town, peer, sent, frames, commands=commands))
        streams = {first.name: first.requests(commands, frame=size)}
        taken = await edge.drive(town, streams, frame=size, commands=commands, window=_WINDOW)
        figures.take(f"stream_{mode}", taken)
    await _four(town, figures, commands=commands)
    await _paced(town, figures, commands=2 * PACED)


async def _four(town: Town, figures: Figures, *, commands: int, name: str = "") -> None:
    share = commands // len(town.clients)
    for mode, size in MODES.items():
        sent = {one.partition: records(one.commands(share), size=size) for one in town.clients}
        figures.take(f"owner_{mode}_4_partitions{name}", await owner.drive(town, sent, commands=commands))
    if not name:
        for mode, size in MODES.items():
            size = min(size, share)
            streams = {one.name: one.requests(share, frame=size) for one in town.clients}
            taken = await edge.drive(town, streams, frame=size, commands=commands, window=_WINDOW)
            figures.take(f"stream_{mode}_4_partitions", taken)


async def _paced(town: Town, figures: Figures, *, commands: int) -> None:
    first = town.clients[0]
    sent = records(first.commands(commands), size=2)
    figures.take("owner_paced", await owner.drive(town, {0: sent}, commands=commands, pace_s=2 / PACED))
    share = commands // len(town.clients)
    streams = {one.name: one.requests(share, frame=1) for one in town.clients}
    pace_s = len(town.clients) / PACED
    taken = await edge.drive(town, streams, frame=1, commands=commands, window=_WINDOW, pace_s=pace_s)
    figures.take("stream_paced", taken)


async def _bench(bootstrap: str, *, rounds: int, commands: int) -> Figures:
    await create_topics(bootstrap)
    Garbage().begin()  # the clients' pauses are none of the ledger's
    town, figures = Town(bootstrap, RUN_DIRECTORY / _TARGET), Figures()
    async with heartbeat(bootstrap), town.followed():
        try:
            for service in ("collateral_management", "venue_gateway"):
                town.start(service, instance="0")
            await town.ready()
            await town.open_accounts()
            await _round(town, Figures(), commands=commands)  # everything is warm then
            for _ in range(rounds):
                await _round(town, figures, commands=commands)
            town.start("collateral_management", instance="1")
            await town.ready()
            await town.shared(by=2)
            for _ in range(rounds):
                await _four(town, figures, commands=commands, name="_2_instances")
        finally:
            town.stop()
    return figures


def main() -> int:
    """Exit status: 0 when measured, 1 when a command was refused or a process ended, 2 without a broker."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of fewer commands")
    arguments = parser.parse_args()
    rounds, commands = (1, 8_000) if arguments.quick else (3, 24_000)
    run = Run(_TARGET, command="make bench-ledger", seed=0)
    try:
        with kafka_for(RUN_DIRECTORY / _TARGET / "broker") as bootstrap:
            figures = uvloop.run(_bench(bootstrap, rounds=rounds, commands=commands))
    except BrokerFault as fault:
        print(f"kafka: {fault}", file=sys.stderr)
        return 2
    measures = figures.measures()
    for each in measures:
        print(f"{each.name:<46} {each.value:>10} {each.unit:<12} {each.min} … {each.max}  {each.goal or ''}")
    report = run.finish(ok=True, measures=measures, details=figures.details())
    print(f"{report.write()}  {report.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
