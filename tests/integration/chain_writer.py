"""A writer process of test_chain_kill: numbered commands in, frames of numbers out; status 3 when ownership is lost.

A frame's body is the sum of all numbers before it, then the numbers that it takes: the state and what changed it.
"""

import argparse
import asyncio
import random
import struct
import sys
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.chain import AcceptedFrame, ChainWriter
from libs.common.errors import LostOwnership, invariant
from libs.common.topics import JOURNAL, Topic

INPUT_TOPIC_ID = b"numbered command"
LOST = 3
_PIECE_MAX = 7


def chained(name: str) -> Topic:
    """A chained topic of one partition."""
    return replace(JOURNAL, name=name, partitions=1)


def encode(total: int, numbers: Sequence[int]) -> bytes:
    """A frame's body."""
    return struct.pack(f"<Q{len(numbers)}I", total, *numbers)


class Fold:
    """The state: how many numbers were taken, and their sum; refuses one that is missing, doubled or out of order."""

    def __init__(self) -> None:
        self.taken = 0
        self.total = 0

    def take(self, numbers: Sequence[int]) -> None:
        """Applies numbers. Raises InvariantBroken."""
        expected = range(self.taken, self.taken + len(numbers))
        invariant(list(numbers) == list(expected), "I8", f"expected {expected}, was {list(numbers)}")
        self.taken += len(numbers)
        self.total += sum(numbers)

    def apply(self, frame: AcceptedFrame) -> None:
        """Applies an accepted frame. Raises InvariantBroken."""
        total, *numbers = struct.unpack(f"<Q{(len(frame.body) - 8) // 4}I", frame.body)
        invariant(total == self.total, "I8", f"expected a sum of {self.total} before {frame.sequence}, was {total}")
        self.take(numbers)


async def _append_all(writer: ChainWriter, commands: AIOKafkaConsumer, fold: Fold, rng: random.Random) -> None:
    offset, index = writer.input_position
    partition = next(iter(commands.assignment()))
    # The last record may have been taken in part.
    commands.seek(partition, max(offset, 0))
    while True:
        batches = await commands.getmany(partition, timeout_ms=100, max_records=50)
        for record in batches.get(partition, ()):
            numbers = [number for (number,) in struct.iter_unpack("<I", record.value)]
            first = index + 1 if record.offset == offset else 0
            while first < len(numbers):
                piece = numbers[first : first + rng.randint(1, _PIECE_MAX)]
                body = encode(fold.total, piece)
                fold.take(piece)
                first += len(piece)
                await writer.append(
                    body,
                    input_offset=record.offset,
                    input_index=first - 1,
                    run_time_ns=fold.taken,
                    control_sequence=0,
                    headers={},
                )


async def _own(arguments: argparse.Namespace) -> None:
    rng = random.Random(arguments.owner)
    fold = Fold()
    writer = ChainWriter(
        bootstrap=arguments.bootstrap,
        topic=chained(arguments.journal),
        partition=0,
        owner=bytes.fromhex(arguments.owner),
        input_topic_id=INPUT_TOPIC_ID,
        client_id=f"chain-writer-{arguments.owner[:6]}",
        on_accepted=None,
        jitter=rng,
    )
    async with AIOKafkaConsumer(
        bootstrap_servers=arguments.bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
    ) as commands:
        commands.assign([TopicPartition(arguments.commands, 0)])
        commands.seek(TopicPartition(arguments.commands, 0), 0)
        await writer.take_over(fold.apply)
        appending = asyncio.create_task(_append_all(writer, commands, fold, rng))
        lost = asyncio.create_task(writer.wait_lost())
        try:
            await asyncio.wait({appending, lost}, return_when=asyncio.FIRST_COMPLETED)
            if appending.done():
                await appending
            raise await lost
        finally:
            appending.cancel()
            lost.cancel()
            await writer.close()


def main() -> int:
    """Exit status 3 when another owns the log now."""
    parser = argparse.ArgumentParser()
    for name in ("--bootstrap", "--journal", "--commands", "--owner"):
        parser.add_argument(name, required=True)
    try:
        asyncio.run(_own(parser.parse_args()))
    except LostOwnership as lost:
        print(lost, flush=True)
        return LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
