"""From a mark to the margins of every partition and to the episodes it opens, beside bare hops of the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.pipeline.market import Bare, Market, Reader
from bench.pipeline.processes import Program
from libs.common.config import LoadedParameters
from libs.common.topics import COMMANDS, MARGIN
from tools.report import Measure

MARKS_A_SECOND = 20
WARM_SECONDS = 4.0
FIRST_SECONDS_MAX = 120.0
OVER_BARE_MS, AIM_MS = 10.0, 5.0
MARK_BYTES, MARGIN_BYTES = 700, 20_000  # until the first frames tell


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, sorted: of all margin frames, of the last partition's of each mark, of openings, of bare hops.

    received, made: until the worker had the mark, and from there until the frame was with the producer.
    """

    margins: list[float]
    last: list[float]
    openings: list[float]
    received: list[float]
    made: list[float]
    bare: list[float]
    bare_last: list[float]


async def until_all(market: Market, reader: Reader, *, partitions: int) -> None:
    """Marks until every partition has margins. Raises TimeoutError."""
    async with asyncio.timeout(FIRST_SECONDS_MAX):
        while len({frame.partition for _, frame, _ in reader.margins}) < partitions:
            await market.mark(0.0)
            await asyncio.sleep(1.0 / MARKS_A_SECOND)


async def drive(market: Market, bare: Bare, reader: Reader, *, seconds: float, partitions: int) -> float:
    """Marks at 20 a second with bare records between them; returns when it began to count."""
    await until_all(market, reader, partitions=partitions)
    began = time.perf_counter()
    frames = int((WARM_SECONDS + seconds) * MARKS_A_SECOND)
    for number in range(frames):
        due = began + number / MARKS_A_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await market.mark(number / frames)
        await asyncio.sleep(max(0.0, due + 0.5 / MARKS_A_SECOND - time.perf_counter()))
        sizes = [size for _, frame, size in reader.margins[-8 * partitions :] if not frame.full]
        usual = sorted(sizes)[len(sizes) // 2] if sizes else MARGIN_BYTES
        await bare.send(size=MARK_BYTES, answers=[usual] * partitions)
    await asyncio.sleep(1.0)
    return began + WARM_SECONDS


def latencies(market: Market, bare: Bare, reader: Reader, *, since: float, partitions: int) -> Latencies:
    """What was seen of marks sent since then."""
    first: dict[tuple[int, int], float] = {}
    for came, frame, _ in reader.margins:
        first.setdefault((frame.mark_sequence, frame.partition), came)
    margins, last, openings = [], [], []
    for sequence, sent in market.sent.items():
        arrived = [first[sequence, one] for one in range(partitions) if (sequence, one) in first]
        if sent >= since and len(arrived) == partitions:
            margins += [(one - sent) * 1e3 for one in arrived]
            last.append((max(arrived) - sent) * 1e3)
    for moment, opened in reader.openings:
        sent = market.sent.get(opened.citation.mark_sequence, 0.0)
        if sent >= since:
            openings.append((moment - sent) * 1e3)
    answered: dict[int, list[float]] = {}
    for moment, number in reader.bare:
        if bare.sent[number] >= since:
            answered.setdefault(number, []).append((moment - bare.sent[number]) * 1e3)
    every = sorted(one for found in answered.values() for one in found)
    stages = [
        ((had - market.sent[sequence]) * 1e3, (made - had) * 1e3)
        for (sequence, _), (had, made) in reader.stages.items()
        if market.sent.get(sequence, 0.0) >= since
    ]
    return Latencies(
        sorted(margins),
        sorted(last),
        sorted(openings),
        sorted(one for one, _ in stages),
        sorted(one for _, one in stages),
        every,
        sorted(max(found) for found in answered.values()),
    )


def at(values: Sequence[float], share: float) -> float:
    """A quantile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def measures(found: Latencies) -> list[Measure]:
    """Percentiles, and how far margins are behind bare hops."""
    rows = [
        _row(f"{name}_{label}", values, share)
        for name, values in (
            ("bare_two_hops", found.bare),
            ("mark_to_margin", found.margins),
            ("bare_two_hops_last_of_four", found.bare_last),
            ("mark_to_margin_last_partition", found.last),
            ("mark_to_open_episode", found.openings),
            ("mark_received_by_the_worker", found.received),
            ("received_to_margin_with_the_producer", found.made),
        )
        for label, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    ]
    for name, values, base in (
        ("margin_over_bare_p99", found.margins, found.bare),
        ("open_episode_over_bare_p99", found.openings, found.bare),
    ):
        over = at(values, 0.99) - at(base, 0.99)
        rows.append(
            Measure(name, round(over, 2), "ms", goal=f"<= {OVER_BARE_MS:g} (aim {AIM_MS:g})", met=over <= OVER_BARE_MS)
        )
    return rows


def _row(name: str, values: Sequence[float], share: float) -> Measure:
    least, most = (round(values[0], 2), round(values[-1], 2)) if values else (None, None)
    return Measure(name, round(at(values, share), 2), "ms", rounds=len(values), min=least, max=most)


async def run(
    bootstrap: str,
    loaded: LoadedParameters,
    market: Market,
    programs: Mapping[str, Program],
    *,
    topics: tuple[str, str],
    seconds: float,
) -> tuple[list[Measure], list[Measure]]:
    """Latencies, and what each process used meanwhile."""
    partitions = loaded.parameters.partitions
    bare = Bare(bootstrap, topics[0])
    reader = Reader(bootstrap, (MARGIN.name, COMMANDS.name, topics[1]), partitions=partitions)
    await bare.start()
    await reader.start()
    used, began = {name: one.cpu_seconds for name, one in programs.items()}, time.perf_counter()
    waited = programs["worker"].waited_seconds
    try:
        since = await drive(market, bare, reader, seconds=seconds, partitions=partitions)
        passed = time.perf_counter() - began
        waited = (programs["worker"].waited_seconds - waited) / passed
        shares = {name: (one.cpu_seconds - used[name]) / passed for name, one in programs.items()}
    finally:
        await reader.stop()
        await bare.stop()
    found = latencies(market, bare, reader, since=since, partitions=partitions)
    rows = [len(frame.account) for _, frame, _ in reader.margins]
    rest = [
        *(Measure(f"{name}_cpu", round(100.0 * share, 1), "% of a core") for name, share in shares.items()),
        Measure("worker_waits_for_a_core", round(100.0 * waited, 1), "% of the time"),
        Measure(
            "margin_rows", round(sum(rows) / max(1, len(rows)), 1), "rows a frame", rounds=len(rows), max=max(rows)
        ),
        Measure("openings", len(found.openings), "episodes"),
    ]
    return measures(found), rest
