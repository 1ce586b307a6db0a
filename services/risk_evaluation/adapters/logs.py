"""Reads marks and control, which every worker needs whole, without a group."""

from __future__ import annotations

import asyncio
import time

from libs.common.chain import ChainFollower
from libs.common.service import Condition
from libs.common.topics import CONTROL, MARKS
from libs.common.watch import Watch
from services.risk_evaluation.app.risk import Risk

SILENT_AFTER_SECONDS = 1.0
_POLL_SECONDS = 0.2


async def follow_marks(
    *, risk: Risk, bootstrap: str, client_id: str, caught_up: Condition, stopping: asyncio.Event, watch: Watch
) -> None:
    """Hands marks frames on until asked to stop; says so when none came for a second of wall time.

    History is only folded: what was decided on it was decided then.
    """
    follower = ChainFollower(bootstrap=bootstrap, topic=MARKS, partition=0, client_id=client_id, from_last_claim=True)
    watch.log(follower.reading)
    await follower.start()
    heard = time.monotonic()
    try:
        while not stopping.is_set():
            is_history = not follower.caught_up
            frames = await follower.poll(timeout_s=_POLL_SECONDS)
            received_wall_ns = time.time_ns()
            for frame in frames:
                risk.take_marks(frame, received_wall_ns=received_wall_ns, is_history=is_history)
                heard = time.monotonic()
            if follower.caught_up and not caught_up.ok:
                risk.marks_caught_up()
                caught_up.set(True)
            if time.monotonic() - heard > SILENT_AFTER_SECONDS:
                risk.marks_silent()
    finally:
        await follower.stop()


async def follow_control(
    *, risk: Risk, bootstrap: str, client_id: str, in_force: Condition, stopping: asyncio.Event, watch: Watch
) -> None:
    """Hands control frames on until asked to stop."""
    follower = ChainFollower(bootstrap=bootstrap, topic=CONTROL, partition=0, client_id=client_id)
    watch.log(follower.reading)
    await follower.start()
    try:
        while not stopping.is_set():
            for frame in await follower.poll(timeout_s=_POLL_SECONDS):
                risk.take_control(frame)
            is_ours = risk.parameters_in_force
            was = risk.control.active_hash.hex()[:16] or "none"
            in_force.set(is_ours, "" if is_ours else f"expected the loaded parameters in force, was {was}")
    finally:
        await follower.stop()
