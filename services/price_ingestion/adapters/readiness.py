"""Asks the other services whether they are ready, and says so when an answer changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from services.price_ingestion.domain.pacing_words import ServiceReadiness

POLL_SECONDS = 0.5
ANSWER_SECONDS_MAX = 1.0
HEAD_BYTES_MAX = 4_096


async def watch_readiness(urls: Mapping[str, str], tell: Callable[[ServiceReadiness], None]) -> None:
    """Runs until cancelled: one call of `tell` for each change of a service, the first answer counts as one."""
    async with asyncio.TaskGroup() as group:
        for service, url in urls.items():
            group.create_task(_watch(service, url, tell), name=f"readiness {service}")


async def _watch(service: str, url: str, tell: Callable[[ServiceReadiness], None]) -> None:
    before: bool | None = None
    while True:
        now = await is_ready(url)
        if now != before:
            tell(ServiceReadiness(service, now))
            before = now
        await asyncio.sleep(POLL_SECONDS)


async def is_ready(url: str) -> bool:
    """True when the address answers 200 in time; no answer is not ready."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await _status(url) == 200
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False


async def _status(url: str) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=HEAD_BYTES_MAX)
    try:
        target = parts.path or "/"
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode("ascii"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n")
        return int(head[9:12])  # "HTTP/1.0 200 OK"; anything else is no number, so a ValueError
    finally:
        writer.close()
