"""How the chained log uses aiokafka: every option explicit, nothing left to a default."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from libs.common.topics import BATCH_BYTES_MAX, FRAME_BYTES_MAX

# The broker answers an open fetch as soon as a record is there, so a long wait adds no latency; a wait of 10 ms cost
# 2 % of a core for each idle follower and as much again in the broker, one of 250 ms 0.3 % (bench/chain.py).
FETCH_WAIT_MS = 250
_FETCH_BYTES_MAX = 2 * FRAME_BYTES_MAX
_REQUEST_MS = 5_000
_RETRY_BACKOFF_MS = 50
_METADATA_AGE_MS = 60_000
_IDLE_MS = 540_000
_ANSWER_SECONDS_MAX = 0.5


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no type for it
    """A consumer whose `stop` always closes it and never raises what the library cancels inside it.

    A fetch that has failed rests before the next one; `stop` cancels that rest and, as it waits for it, is cancelled
    too: its caller would end as if somebody had cancelled it, with connections left open.
    """

    async def stop(self) -> None:
        """Returns when every connection is closed."""
        work = asyncio.create_task(super().stop())
        await asyncio.wait([work])
        if work.cancelled():
            await self._client.close()
        elif (error := work.exception()) is not None:
            raise error


def new_consumer(*, bootstrap: str, client_id: str) -> Consumer:
    """A consumer without a group that never chooses its position by itself.

    Ask for offsets before `assign`, or with another consumer: a broker answers a connection's requests in turn, and the
    open fetch may stay for FETCH_WAIT_MS.
    """
    return Consumer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted",
        fetch_min_bytes=1,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        fetch_max_bytes=_FETCH_BYTES_MAX,
        max_partition_fetch_bytes=FRAME_BYTES_MAX,
        check_crcs=True,
        request_timeout_ms=_REQUEST_MS,
        retry_backoff_ms=_RETRY_BACKOFF_MS,
        metadata_max_age_ms=_METADATA_AGE_MS,
        connections_max_idle_ms=_IDLE_MS,
    )


def new_producer(*, bootstrap: str, client_id: str, linger_ms: int = 0) -> AIOKafkaProducer:
    """An idempotent producer: in order, acknowledged by all replicas in sync; nothing is held back unless told."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        compression_type=None,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=FRAME_BYTES_MAX,
        request_timeout_ms=_REQUEST_MS,
        retry_backoff_ms=_RETRY_BACKOFF_MS,
        metadata_max_age_ms=_METADATA_AGE_MS,
        connections_max_idle_ms=_IDLE_MS,
    )


async def abandon(producer: AIOKafkaProducer) -> None:
    """Drops a producer with all that it has not sent yet.

    `stop()` flushes first, and an idempotent producer retries for ever: with the broker away it would never return.
    """
    producer._closed = True
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            # Waits for the answer to the request under way.
            await producer._sender.close()
    await producer.client.close()
