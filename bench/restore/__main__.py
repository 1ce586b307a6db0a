"""What checkpoints cost, what a restart from them takes in time and memory, how fast another instance takes over.

`python -m bench.restore [--accounts N] [--quick]`: a private broker, accounts of five lines over four partitions, the
ledger as it is deployed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

import grpc

from ballast.api.v1 import ledger_pb2, ledger_pb2_grpc
from bench.pipeline.processes import Ended, Program, service
from bench.restore.town import LINES_AN_ACCOUNT, Town, Written
from libs.common import rpc
from libs.common.config import load_parameters
from services.collateral_management.adapters.identity import input_identity
from tools.broker import BrokerFault, kafka_for
from tools.report import Measure, Run
from tools.topics import create_topics, delete_topics

_TARGET = "bench-restore"
_DIRECTORY = Path(".run") / _TARGET
_SMALL = 1_000  # accounts of a partition when a take-over is measured
_CHANGED = (100, 1_000, 10_000, 50_000)
_READY_SECONDS_MAX = 180.0
_GIB = 2**30


def _ledger(bootstrap: str, *, instance: int) -> tuple[Program, str]:
    return service("collateral_management", bootstrap, _DIRECTORY / f"ledger-{instance}.log", instance=instance)


async def _owned(target: str) -> dict[int, ledger_pb2.PartitionStatus]:
    async with rpc.channel(target) as channel:
        try:
            stub = ledger_pb2_grpc.LedgerServiceStub(channel)
            answer = await stub.GetPartitions(ledger_pb2.GetPartitionsRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return {}
    return {one.partition: one for one in answer.partitions}


async def _until_owned(target: str, count: int) -> float:
    """Seconds until the instance owns so many partitions."""
    began = time.monotonic()
    while len(await _owned(target)) < count:
        if time.monotonic() - began > _READY_SECONDS_MAX:
            raise Ended(f"the ledger at {target} does not come to own {count} partitions; see {_DIRECTORY}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def _fill(
    bootstrap: str, *, partitions: int, accounts: int, growth: bool
) -> tuple[dict[int, bytes], list[tuple[str, Written]]]:
    """Fingerprints by partition, and what its checkpoints took."""
    await create_topics(bootstrap, home_partitions=partitions)
    identity, prints, spent = await input_identity(bootstrap), {}, []
    for partition in range(partitions):
        town = Town(bootstrap, partition, accounts=accounts, identity=identity)
        await town.journal()
        spent.append(("complete", await town.complete()))
        if growth and partition == 0:
            for changed in (one for one in _CHANGED if one <= accounts):
                await town.journal()
                spent.append((f"{changed} changed", await town.changed(changed)))
        prints[partition] = town.state.fingerprint
        await town.close()
    return prints, spent


async def _takeovers(bootstrap: str, partitions: int) -> list[Measure]:
    """How long an instance takes to own what another one had that dies, and one that stands still."""
    await _fill(bootstrap, partitions=partitions, accounts=_SMALL, growth=False)
    measures = []
    for number, (word, deed) in enumerate((("dead", signal.SIGKILL), ("stopped", signal.SIGSTOP))):
        (first, first_at), (second, second_at) = (_ledger(bootstrap, instance=10 * number + each) for each in range(2))
        try:
            await first.start()
            await first.ready(_READY_SECONDS_MAX)
            await second.start()
            await second.ready(_READY_SECONDS_MAX)
            await asyncio.gather(_until_owned(first_at, partitions // 2), _until_owned(second_at, partitions // 2))
            if first.child is None:
                raise Ended("the first ledger is gone")
            first.child.send_signal(deed)
            seconds = await _until_owned(second_at, partitions)
            measures.append(Measure(f"takeover_from_{word}_instance", round(seconds, 2), "s", "< 10", met=seconds < 10))
        finally:
            await first.stop(signal.SIGKILL)
            await second.stop()
    await delete_topics(bootstrap)
    return measures


async def _restart(bootstrap: str, partitions: int, accounts: int) -> tuple[list[Measure], bool]:
    """Memory and time of one process that owns everything; whether it stands where the checkpoints do."""
    prints, spent = await _fill(bootstrap, partitions=partitions, accounts=accounts // partitions, growth=True)
    complete = [one for word, one in spent if word == "complete"]
    measures = [
        Measure(f"checkpoint_{word.replace(' ', '_')}", round(1e6 * one.cpu_s / one.items, 1), "us CPU an item")
        for word, one in (spent[0], *(each for each in spent if each[0] != "complete"))
    ]
    wall_s, items = sum(one.wall_s for one in complete), sum(one.items for one in complete)
    measures.append(Measure("complete_checkpoint_items_a_second", round(items / wall_s), "items/s, unpaced"))
    ledger, target = _ledger(bootstrap, instance=90)
    try:
        began = time.monotonic()
        await ledger.start()
        await _until_owned(target, partitions)
        seconds = time.monotonic() - began
        owned = await _owned(target)
        ok = {one: status.fingerprint for one, status in owned.items()} == prints
        peak, now = ledger.memory_bytes("VmHWM") / _GIB, ledger.memory_bytes("VmRSS") / _GIB
        measures += [
            Measure("restored_accounts", sum(one.accounts for one in owned.values()), "accounts of five lines"),
            Measure("restart_to_ready", round(seconds, 1), "s", "<= 30", met=seconds <= 30),
            Measure("restart_cpu", round(ledger.cpu_seconds, 1), "s CPU"),
            Measure("restart_waited_for_a_core", round(ledger.waited_seconds, 1), "s"),
            Measure("memory_peak", round(peak, 2), "GiB", "<= 1.5", met=peak <= 1.5),
            Measure("memory_now", round(now, 2), "GiB"),
        ]
    finally:
        await ledger.stop()
    return measures, ok


async def _all(bootstrap: str, arguments: argparse.Namespace) -> tuple[list[Measure], bool]:
    partitions = load_parameters(Path("config")).parameters.partitions
    measures = [] if arguments.quick else await _takeovers(bootstrap, partitions)
    _tell(measures)
    restart, ok = await _restart(bootstrap, partitions, arguments.accounts)
    _tell(restart)
    await delete_topics(bootstrap)
    return [*measures, *restart], ok


def _tell(measures: list[Measure]) -> None:
    for each in measures:
        met = {True: "met", False: "MISSED", None: ""}[each.met]
        print(f"{each.name:<40} {each.value!s:>12} {each.unit:<24} {each.goal or '':<10} {met}", flush=True)


def main() -> int:
    """Exit status: 0 when measured, 1 when a restored state is not the one that was saved, 2 without a broker."""
    parser = argparse.ArgumentParser(prog="make bench-restore ARGS=...", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000, help="over all partitions")
    parser.add_argument("--quick", action="store_true", help="20,000 accounts, no take-overs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.accounts = 20_000
    run = Run(_TARGET, command=f"make {_TARGET}", seed=0)
    try:
        with kafka_for(_DIRECTORY / "broker") as bootstrap:
            measures, ok = asyncio.run(_all(bootstrap, arguments))
    except BrokerFault as fault:
        print(f"kafka: {fault}", file=sys.stderr)
        return 2
    except (Ended, TimeoutError) as error:
        print(f"{_TARGET}: {error!r}", file=sys.stderr)
        run.finish(ok=False, measures=[]).write()
        return 1
    report = run.finish(ok=ok, measures=measures, details={"lines_an_account": LINES_AN_ACCOUNT})
    print(f"report: {report.write()}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
