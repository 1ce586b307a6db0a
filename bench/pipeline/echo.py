"""The bare second hop, as a process of its own: each record read is answered by records of the sizes that it names.

`python -m bench.pipeline.echo BOOTSTRAP IN OUT`: prints `ready`, then goes on until its input ends. No chain, no group.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiokafka import TopicPartition

from libs.common.chain.kafka import new_consumer
from libs.common.codec import Publisher


async def echo(bootstrap: str, source: str, target: str) -> None:
    """Answers until the input ends."""
    consumer = new_consumer(bootstrap=bootstrap, client_id="bare-consumer")
    publisher = Publisher(bootstrap=bootstrap, client_id="bare-producer")
    await publisher.start()
    await consumer.start()
    place = TopicPartition(source, 0)
    consumer.assign([place])
    await consumer.seek_to_beginning()
    print("ready", flush=True)
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not closed.done():
        for record in (await consumer.getmany(place, timeout_ms=200)).get(place, ()):
            number, *sizes = (int(each) for each in record.value.split(b" ", 5)[:5])
            for partition, size in enumerate(sizes):
                await publisher.enqueue(target, (b"%d " % number).ljust(size), partition=partition)
    await consumer.stop()
    await publisher.stop()


if __name__ == "__main__":
    uvloop.run(echo(*sys.argv[1:4]))
