"""Times the chained log: append to accepted at a fixed rate, unpaced appends, and what an idle follower costs.

`python -m bench.chain [--seconds N] [--rate N]`: on the cluster of BALLAST_KAFKA_BOOTSTRAP or a private broker.
"""

import argparse
import asyncio
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop

from libs.common.chain import AcceptedFrame, ChainFollower, ChainWriter, kafka
from libs.common.topics import JOURNAL, Topic
from tools.broker import BrokerFault, kafka_for
from tools.report import Measure, Run
from tools.topics import create_topics

_TARGET = "bench-chain"
_BODY = os.urandom(2_000)
_ROUNDS = 3
_SHORT_WAIT_MS = 10
_LATENCY_GOAL_MS = 9.0  # p99 of command sent to accepted, docs/architecture.md


async def _topic(bootstrap: str) -> Topic:
    topic = replace(JOURNAL, name=f"bench.chain.{os.getpid()}.{time.time_ns()}", partitions=1)
    await create_topics(bootstrap, [topic])
    return topic


async def _append(writer: ChainWriter, number: int) -> asyncio.Future[AcceptedFrame]:
    return await writer.append(
        _BODY, input_offset=number, input_index=0, run_time_ns=number, control_sequence=0, headers={}
    )


async def _owner(bootstrap: str) -> ChainWriter:
    writer = ChainWriter(
        bootstrap=bootstrap,
        topic=await _topic(bootstrap),
        partition=0,
        owner=os.urandom(16),
        input_topic_id=b"",
        client_id="bench-chain",
        on_accepted=None,
    )
    await writer.take_over(lambda frame: None)
    return writer


def _note(taken: list[float], due: float, _: asyncio.Future[AcceptedFrame]) -> None:
    taken.append((time.perf_counter() - due) * 1_000)


async def _latencies_ms(bootstrap: str, *, rate: float, seconds: float) -> list[float]:
    """From the moment a frame was due to its acceptance, sorted: an open loop, so that a stall counts in full."""
    writer, taken = await _owner(bootstrap), list[float]()
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        frame = await _append(writer, number)
        frame.add_done_callback(partial(_note, taken, due))
    await writer.drain()
    await asyncio.sleep(0.1)
    await writer.close()
    return sorted(taken)


async def _frames_per_second(bootstrap: str, *, seconds: float) -> float:
    writer, begun, number = await _owner(bootstrap), time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        await _append(writer, number)
        number += 1
    await writer.drain()
    taken = time.perf_counter() - begun
    await writer.close()
    return number / taken


async def _idle_percent(bootstrap: str, *, wait_ms: int, seconds: float) -> float:
    usual, kafka.FETCH_WAIT_MS = kafka.FETCH_WAIT_MS, wait_ms
    follower = ChainFollower(bootstrap=bootstrap, topic=await _topic(bootstrap), partition=0, client_id="bench-idle")
    try:
        await follower.start()
    finally:
        kafka.FETCH_WAIT_MS = usual
    begun, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < seconds:
        await follower.poll(timeout_s=0.25)
    percent = 100 * (time.process_time() - used) / (time.perf_counter() - begun)
    await follower.stop()
    return percent


def _measure(name: str, unit: str, values: list[float], *, below: float | None = None) -> Measure:
    middle = sorted(values)[len(values) // 2]
    return Measure(
        name=name,
        value=round(middle, 2),
        unit=unit,
        goal=None if below is None else f"<= {below}",
        met=None if below is None else middle <= below,
        rounds=len(values),
        min=round(min(values), 2),
        max=round(max(values), 2),
    )


async def _bench(bootstrap: str, *, rate: float, seconds: float) -> list[Measure]:
    # The first frames of a fresh broker run in cold code.
    await _latencies_ms(bootstrap, rate=rate, seconds=min(seconds, 2.0))
    p50, p99, longest, fastest, short, usual = (list[float]() for _ in range(6))
    for _ in range(_ROUNDS):
        latencies = await _latencies_ms(bootstrap, rate=rate, seconds=seconds)
        p50.append(latencies[len(latencies) // 2])
        p99.append(latencies[len(latencies) * 99 // 100])
        longest.append(latencies[-1])
        fastest.append(await _frames_per_second(bootstrap, seconds=seconds))
        short.append(await _idle_percent(bootstrap, wait_ms=_SHORT_WAIT_MS, seconds=seconds))
        usual.append(await _idle_percent(bootstrap, wait_ms=kafka.FETCH_WAIT_MS, seconds=seconds))
    return [
        _measure(f"accepted_at_{rate:.0f}_frames_a_second_p50", "ms", p50),
        _measure(f"accepted_at_{rate:.0f}_frames_a_second_p99", "ms", p99, below=_LATENCY_GOAL_MS),
        _measure(f"accepted_at_{rate:.0f}_frames_a_second_max", "ms", longest),
        _measure("frames_unpaced", "frames/s", fastest),
        _measure(f"idle_follower_waiting_{_SHORT_WAIT_MS}_ms", "% of a core", short),
        _measure(f"idle_follower_waiting_{kafka.FETCH_WAIT_MS}_ms", "% of a core", usual),
    ]


def main() -> int:
    """Exit status: 0 when measured, 2 without a broker."""
    parser = argparse.ArgumentParser(prog="python -m bench.chain", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of each measure (default 5)")
    parser.add_argument("--rate", type=float, default=500.0, help="frames a second (default 500)")
    arguments = parser.parse_args()
    run = Run(_TARGET, command=" ".join(["python -m bench.chain", *sys.argv[1:]]), seed=0)
    try:
        with kafka_for(Path(".run") / _TARGET / "broker") as bootstrap:
            measures = uvloop.run(_bench(bootstrap, rate=arguments.rate, seconds=arguments.seconds))
    except BrokerFault as fault:
        print(f"kafka: {fault}", file=sys.stderr)
        return 2
    for each in measures:
        print(f"{each.name:<44} {each.value:>10} {each.unit:<12} {each.min} … {each.max} {each.goal or ''}")
    print(run.finish(ok=True, measures=measures).write())
    return 0


if __name__ == "__main__":
    sys.exit(main())
