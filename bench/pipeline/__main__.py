"""The whole way from a mark to margins and episodes, over a real broker: latency, a rolling restart, a large restart.

`python -m bench.pipeline`: 100,000 accounts, marks at 20 frames a second, 2,000 ledger commands a second. The ledger is
played (bench/pipeline/house.py); risk's workers are processes as they are deployed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

from bench.pipeline import latency, restarts
from bench.pipeline.market import Market
from bench.pipeline.processes import Ended, Program, worker
from bench.pipeline.town import start_marks
from libs.common.config import load_parameters
from libs.common.topics import MARGIN
from tools.broker import BrokerFault, kafka_for
from tools.report import Measure, Run
from tools.topics import create_topics, delete_topics

_TARGET = "bench-pipeline"
_DIRECTORY = Path(".run") / _TARGET
OPENING_SECONDS_MAX = 600.0
READY_SECONDS_MAX = 120.0


def tell(measures: Sequence[Measure]) -> None:
    """Prints measures as they come."""
    for each in measures:
        spread = f"{each.min} … {each.max}" if each.min is not None else ""
        met = {True: "met", False: "MISSED", None: ""}[each.met]
        print(f"{each.name:<40} {each.value!s:>12} {each.unit:<14} {each.goal or '':<18} {met:<7} {spread}", flush=True)


async def _live(bootstrap: str, arguments: argparse.Namespace) -> list[Measure]:
    """Latency under load, then the rolling restart of two workers."""
    loaded = load_parameters(Path("config"))
    token = secrets.token_hex(4)
    topics = f"bench.bare.in.{token}", f"bench.bare.out.{token}"
    await create_topics(bootstrap)
    await create_topics(bootstrap, [replace(MARGIN, name=name) for name in topics])
    fragile = int((arguments.seconds + latency.WARM_SECONDS) * latency.MARKS_A_SECOND)
    play = (bootstrap, str(arguments.accounts), str(arguments.commands), str(fragile))
    house = Program("bench.pipeline.house", play, {}, _DIRECTORY / "house.log")
    echo = Program("bench.pipeline.echo", (bootstrap, *topics), {}, _DIRECTORY / "echo.log")
    workers = [worker(bootstrap, _DIRECTORY, instance=number) for number in range(2)]
    programs = [house, echo, *workers]
    market = Market(bootstrap, marks=start_marks(loaded.parameters), run_time_ns=loaded.parameters.genesis_ns)
    try:
        await house.start()
        print(f"house: {await house.line(OPENING_SECONDS_MAX)}", flush=True)
        await echo.start()
        await echo.line(READY_SECONDS_MAX)
        async with market:
            await market.activate(loaded.hash)
            await market.mark(0.0)
            await workers[0].start()
            print(f"worker ready in {await workers[0].ready(READY_SECONDS_MAX):.1f} s", flush=True)
            running = {"worker": workers[0], "house": house, "echo": echo}
            found, rest = await latency.run(
                bootstrap, loaded, market, running, topics=topics, seconds=arguments.seconds
            )
            rest.append(restarts.memory("worker_memory", workers[0], accounts=arguments.accounts))
            tell(found + rest)
            rolled = [] if arguments.quick else await restarts.rolling(bootstrap, loaded, market, workers)
            tell(rolled)
            return [*found, *rest, *rolled]
    finally:
        for program in programs:
            await program.stop()


async def _bench(bootstrap: str, arguments: argparse.Namespace) -> list[Measure]:
    found = await _live(bootstrap, arguments)
    if not arguments.quick:
        await delete_topics(bootstrap)
        large = await restarts.large(bootstrap, _DIRECTORY, accounts=arguments.restart_accounts)
        tell(large)
        found += large
    return found


def main() -> int:
    """Exit status: 0 when measured, 1 when something broke, 2 without a broker."""
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--commands", type=int, default=2_000, help="ledger commands a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of counted marks")
    parser.add_argument("--restart-accounts", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="latency only")
    arguments = parser.parse_args()
    run = Run(_TARGET, command="make bench-pipeline", seed=7)
    try:
        with kafka_for(_DIRECTORY / "broker") as bootstrap:
            measures = uvloop.run(_bench(bootstrap, arguments))
    except BrokerFault as fault:
        print(f"kafka: {fault}", file=sys.stderr)
        return 2
    except (Ended, TimeoutError) as error:
        print(f"bench-pipeline: {error!r}", file=sys.stderr)
        run.finish(ok=False, measures=[]).write()
        return 1
    report = run.finish(ok=True, measures=measures)
    print(f"{report.write()}  {report.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
