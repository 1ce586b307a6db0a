"""Waiting for something that nobody announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_EVERY_SECONDS = 0.03


async def holds_within(seconds: float, holds: Callable[[], bool]) -> bool:
    """True as soon as it holds; False when it did not in that time."""
    deadline = time.monotonic() + seconds
    while True:
        if holds():
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_EVERY_SECONDS)
