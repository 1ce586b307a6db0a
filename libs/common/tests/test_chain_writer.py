"""Letting go of a log: what the Kafka client cancels inside itself stays inside."""

from __future__ import annotations

import asyncio

import pytest

from libs.common.chain.writer import _ended


async def test_a_client_that_cancels_its_own_tasks_does_not_cancel_the_caller() -> None:
    async def closing() -> None:
        reader = asyncio.create_task(asyncio.sleep(60))
        reader.cancel()
        await reader

    await _ended(asyncio.create_task(closing()))


async def test_a_bug_while_letting_go_is_told() -> None:
    async def closing() -> None:
        raise LookupError("no such connection")

    with pytest.raises(LookupError, match="no such connection"):
        await _ended(asyncio.create_task(closing()))
