"""Restarts: two workers one after the other, and one with a very large book."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bench.pipeline.market import Market, Reader
from bench.pipeline.processes import Program, worker
from bench.pipeline.town import start_marks
from libs.common.config import LoadedParameters, load_parameters
from libs.common.topics import MARGIN
from tools.report import Measure
from tools.topics import create_topics

GAP_SECONDS_MAX, LARGE_SECONDS_MAX = 5.0, 30.0
MARK_SECONDS = 0.05
READY_SECONDS_MAX = 300.0
OPENING_SECONDS_MAX = 900.0
SETTLE_SECONDS = 5.0


def memory(name: str, program: Program, *, accounts: int) -> Measure:
    """Memory of a whole process, by account."""
    return Measure(
        name, round(program.memory_bytes("VmRSS") / accounts), "bytes an account",
        max=round(program.memory_bytes("VmHWM") / accounts),
    )  # fmt: skip


async def _beat(market: Market) -> None:
    while True:
        await market.mark(0.5)
        await asyncio.sleep(MARK_SECONDS)


async def rolling(
    bootstrap: str, loaded: LoadedParameters, market: Market, workers: Sequence[Program]
) -> list[Measure]:
    """A second worker joins; then each is stopped and started again, as a rolling update does."""
    partitions = loaded.parameters.partitions
    reader = Reader(bootstrap, (MARGIN.name,), partitions=partitions)
    beating = asyncio.create_task(_beat(market))
    await reader.start()
    try:
        await workers[1].start()
        await workers[1].ready(READY_SECONDS_MAX)
        await asyncio.sleep(SETTLE_SECONDS)
        joined = _longest(reader, partitions)
        reader.margins.clear()
        for program in workers:
            await program.stop(signal.SIGTERM)
            await program.start()
            await program.ready(READY_SECONDS_MAX)
            await asyncio.sleep(SETTLE_SECONDS)
        longest = _longest(reader, partitions)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await reader.stop()
    return [
        _gap("partition_without_margins_when_a_worker_joins", joined),
        _gap("partition_without_margins_in_a_rolling_restart", longest),
    ]


def _gap(name: str, seconds: Sequence[float]) -> Measure:
    return Measure(
        name, round(max(seconds), 2), "s", goal=f"<= {GAP_SECONDS_MAX:g}", met=max(seconds) <= GAP_SECONDS_MAX,
        rounds=len(seconds), min=round(min(seconds), 2), max=round(max(seconds), 2),
    )  # fmt: skip


def _longest(reader: Reader, partitions: int) -> list[float]:
    """Of each partition, the longest time between two margin frames."""
    found = []
    for partition in range(partitions):
        came = [moment for moment, frame, _ in reader.margins if frame.partition == partition]
        found.append(max((b - a for a, b in pairwise(came)), default=float("inf")))
    return found


async def large(bootstrap: str, directory: Path, *, accounts: int) -> list[Measure]:
    """A worker that starts on the journal of a very large book: until every partition has its first margins."""
    loaded = load_parameters(Path("config"))
    partitions = loaded.parameters.partitions
    await create_topics(bootstrap)
    house = Program("bench.pipeline.house", (bootstrap, str(accounts), "0", "0"), {}, directory / "house-large.log")
    await house.start()
    said = (await house.line(OPENING_SECONDS_MAX)).split()
    await house.stop()
    one = worker(bootstrap, directory, instance=7)
    market = Market(bootstrap, marks=start_marks(loaded.parameters), run_time_ns=loaded.parameters.genesis_ns)
    reader = Reader(bootstrap, (MARGIN.name,), partitions=partitions)
    await reader.start()
    try:
        async with market:
            await market.activate(loaded.hash)
            beating = asyncio.create_task(_beat(market))
            began = time.perf_counter()
            await one.start()
            ready = await one.ready(READY_SECONDS_MAX)
            await reader.until_all(partitions)
            first = {frame.partition: came for came, frame, _ in reversed(reader.margins)}
            seconds = max(first.values()) - began
            used = one.cpu_seconds
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            return [
                Measure(
                    "restart_with_a_large_book",
                    round(seconds, 1),
                    "s",
                    goal=f"<= {LARGE_SECONDS_MAX:g}",
                    met=seconds <= LARGE_SECONDS_MAX,
                ),
                Measure("restart_ready", round(ready, 1), "s"),
                Measure("restart_cpu", round(used, 1), "s"),
                Measure("restart_journal", round(int(said[2]) / 1e6), "MB"),
                memory("restart_memory", one, accounts=accounts),
            ]
    finally:
        await one.stop()
        await reader.stop()
