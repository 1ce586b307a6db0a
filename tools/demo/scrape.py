"""Asks a process for /readyz and /metrics and reads latency, lag and memory out of the answers."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tools.demo.view import ServiceRow

ANSWER_SECONDS_MAX = 2.0
ANSWER_BYTES_MAX = 1024 * 1024
_WANTED = ("ballast_", "process_resident_memory_bytes")
# The latency a row shows. A service that is not listed shows its histogram of seconds with the most observations.
LATENCIES = {
    "price_ingestion": "ballast_price_frame_accepted_seconds",
    "collateral_management": "ballast_ledger_frame_accept_seconds",
    "venue_gateway": "ballast_gateway_order_round_trip_seconds",
}
# What waits: records not read yet, commands without outcome, episodes without a plan.
_LAGS = ("_lag_records", "_behind_count", "_waiting_count", "_waiting_episodes_count")
_HELD = "ballast_price_clock_held_seconds_total"


Buckets = dict[float, float]  # upper bound in seconds -> observations at or below it


@dataclass(frozen=True, slots=True)
class Scraped:
    """What a process said.

    Args:
        held_seconds: wall time that the replay clock stood by reason, since its process began.
        buckets: of the latency it shows, since the process began.
    """

    row: ServiceRow
    held_seconds: dict[str, float]
    buckets: Buckets


async def scrape(name: str, url: str, *, since: Buckets | None = None) -> Scraped:
    """What the process at this address says now; one that does not answer is not ready.

    Args:
        since: buckets of an earlier answer; latency is of what was observed after it, if anything was.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            status, ready = await _get(f"{url}/readyz")
            _, metrics = await _get(f"{url}/metrics")
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Scraped(ServiceRow(name=name, is_ready=False, detail="no answer"), {}, {})
    return read_answers(name, status=status, ready=ready, metrics=metrics, since=since)


def read_answers(name: str, *, status: int, ready: str, metrics: str, since: Buckets | None = None) -> Scraped:
    """What the two answers say; figures that are absent stay unknown."""
    samples = _samples(metrics)
    measure, buckets = _histogram(name, samples)
    recent = _recent(buckets, since or {})
    lags = [one.value for one in samples if one.name.endswith(_LAGS)]
    memory = [one.value for one in samples if one.name == "process_resident_memory_bytes"]
    row = ServiceRow(
        name=name,
        is_ready=status == 200,
        detail="" if status == 200 else _why(ready),
        lag=int(max(lags)) if lags else None,
        p50_ms=_quantile_ms(recent, 0.5),
        p99_ms=_quantile_ms(recent, 0.99),
        measure=measure.removeprefix("ballast_").removesuffix("_seconds").partition("_")[2].replace("_", " "),
        memory_mb=memory[0] / 1e6 if memory else None,
    )
    held = {one.labels.get("reason", ""): one.value for one in samples if one.name == _HELD}
    return Scraped(row, held, buckets)


async def _get(url: str) -> tuple[int, str]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        host = f"{parts.hostname}:{parts.port}"
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = bytearray()
        while chunk := await reader.read(64 * 1024):
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise ValueError(f"expected at most {ANSWER_BYTES_MAX} bytes from {url}")
        return int(head[9:12]), body.decode("utf-8", "replace")
    finally:
        writer.close()


def _samples(metrics: str) -> list[Sample]:
    lines = [line for line in metrics.splitlines() if line.startswith(_WANTED)]
    return [sample for family in text_string_to_metric_families("\n".join(lines) + "\n") for sample in family.samples]


def _histogram(name: str, samples: Iterable[Sample]) -> tuple[str, Buckets]:
    found: defaultdict[str, Buckets] = defaultdict(lambda: defaultdict(float))
    for sample in samples:
        if sample.name.endswith("_seconds_bucket"):
            bound = float(sample.labels.get("le", "inf"))
            found[sample.name.removesuffix("_bucket")][bound] += sample.value
    chosen = LATENCIES.get(name, "")
    if chosen not in found and found:
        chosen = max(found, key=lambda one: max(found[one].values()))
    return (chosen, found[chosen]) if chosen in found else ("", {})


def _recent(buckets: Buckets, since: Buckets) -> Buckets:
    """What was observed since then; everything when nothing was, or when the process is another one."""
    recent = {bound: count - since.get(bound, 0.0) for bound, count in buckets.items()}
    is_usable = recent.get(float("inf"), 0.0) > 0 and min(recent.values()) >= 0
    return recent if is_usable else buckets


def _quantile_ms(buckets: Buckets, share: float) -> float | None:
    """By straight lines inside a bucket, as Prometheus does; the last finite bound when it lies beyond."""
    count = buckets.get(float("inf"), 0.0)
    if not count:
        return None
    wanted, below, start = share * count, 0.0, 0.0
    for bound in sorted(buckets):
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return start * 1_000
            inside = buckets[bound] - below
            return (start + (bound - start) * ((wanted - below) / inside if inside else 1.0)) * 1_000
        below, start = buckets[bound], bound
    return start * 1_000


def _why(ready: str) -> str:
    try:
        answer = json.loads(ready)
    except ValueError:
        return ready[:80]
    unmet = answer.get("unmet", []) if isinstance(answer, dict) else []
    words = [
        " ".join(str(part) for part in one.values() if part) if isinstance(one, dict) else str(one) for one in unmet
    ]
    return ", ".join(words)[:80]
