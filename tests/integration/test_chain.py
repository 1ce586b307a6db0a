"""The writer of a chained log on a real broker: take-over, window, re-claim, and every way to lose ownership."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from ballast.events.v1 import chain_pb2
from libs.common.chain import BODY_BYTES_MAX, AcceptedFrame, ChainBroken, ChainFollower, ChainWriter, FrameTooLarge
from libs.common.errors import ConfigurationError, LostOwnership
from libs.common.topics import Topic
from tests.integration.chain_writer import chained
from tools.broker import Broker
from tools.topics import create_topics

_TOPIC_ID = b"T" * 16
_SECONDS_MAX = 10.0
_CLOSE_SECONDS_MAX = 4.0


@pytest.fixture
async def log(kafka_bootstrap: str, request: pytest.FixtureRequest) -> Topic:
    """A chained topic of this test alone."""
    topic = chained(f"{request.node.name.replace('[', '.').rstrip(']')}.{os.getpid()}"[-200:])
    await create_topics(kafka_bootstrap, [topic])
    return topic


@asynccontextmanager
async def _owner(
    bootstrap: str,
    topic: Topic,
    *,
    fold: Callable[[AcceptedFrame], None] = lambda frame: None,
    on_accepted: Callable[[AcceptedFrame], None] | None = None,
    input_topic_id: bytes = _TOPIC_ID,
    acceptance_timeout_s: float = 5.0,
) -> AsyncIterator[ChainWriter]:
    writer = ChainWriter(
        bootstrap=bootstrap,
        topic=topic,
        partition=0,
        owner=os.urandom(16),
        input_topic_id=input_topic_id,
        client_id="test-chain",
        on_accepted=on_accepted,
        acceptance_timeout_s=acceptance_timeout_s,
        jitter=random.Random(1),
    )
    try:
        await writer.take_over(fold)
        yield writer
    finally:
        await writer.close()


async def _append(writer: ChainWriter, number: int, body: bytes = b"") -> asyncio.Future[AcceptedFrame]:
    return await writer.append(
        body, input_offset=number, input_index=0, run_time_ns=number, control_sequence=2, headers={"trace": b"t"}
    )


async def _lost(writer: ChainWriter) -> LostOwnership:
    async with asyncio.timeout(_SECONDS_MAX):
        return await writer.wait_lost()


async def _raw(bootstrap: str, topic: Topic, record: chain_pb2.ChainRecord) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic.name, record.SerializeToString(), partition=0)


async def test_frames_are_done_in_order_and_the_next_owner_goes_on_where_they_end(
    kafka_bootstrap: str, log: Topic
) -> None:
    done: list[int] = []
    async with _owner(kafka_bootstrap, log, on_accepted=lambda frame: done.append(frame.sequence)) as writer:
        assert (writer.input_position, writer.next_sequence, writer.epoch) == ((-1, 0), 1, 1)
        frames = [await _append(writer, number) for number in range(40)]
        await writer.drain()
        assert [frame.result().sequence for frame in frames] == done == list(range(1, 41))
        assert frames[7].result().headers == {"trace": b"t"}
    folded: list[AcceptedFrame] = []
    async with _owner(kafka_bootstrap, log, fold=folded.append) as writer:
        assert [frame.sequence for frame in folded] == done
        assert (writer.input_position, writer.next_sequence, writer.epoch) == ((39, 0), 41, 2)
        # A clock that stands behind the last frame's does not turn the log back.
        late = await (
            await writer.append(b"", input_offset=39, input_index=1, run_time_ns=0, control_sequence=2, headers={})
        )
        assert (late.run_time_ns, late.sequence) == (39, 41)


async def test_no_more_than_the_window_is_in_flight(kafka_bootstrap: str, log: Topic) -> None:
    most = 0
    async with _owner(kafka_bootstrap, log) as writer:
        frames: list[asyncio.Future[AcceptedFrame]] = []
        for number in range(50):
            frames.append(await _append(writer, number))
            most = max(most, sum(not frame.done() for frame in frames))
        await writer.drain()
    assert most == 4


async def test_a_frame_at_the_bound_passes_and_one_above_it_is_refused(kafka_bootstrap: str, log: Topic) -> None:
    async with _owner(kafka_bootstrap, log) as writer:
        with pytest.raises(FrameTooLarge):
            await _append(writer, 0, bytes(BODY_BYTES_MAX + 1))
        largest = await (await _append(writer, 0, os.urandom(BODY_BYTES_MAX)))
        assert (largest.sequence, (await (await _append(writer, 1))).sequence) == (1, 2)


async def test_a_reclaim_keeps_the_log_and_a_late_reader_begins_there(kafka_bootstrap: str, log: Topic) -> None:
    async with _owner(kafka_bootstrap, log) as writer:
        for number in range(10):
            await _append(writer, number)
        await writer.reclaim(os.urandom(16))
        assert (writer.epoch, writer.next_sequence) == (2, 11)
        await (await _append(writer, 10, b"snapshot"))
    reader = ChainFollower(bootstrap=kafka_bootstrap, topic=log, partition=0, client_id="late", from_last_claim=True)
    await reader.start()
    frames: list[AcceptedFrame] = []
    while not reader.caught_up:
        frames += await reader.poll(timeout_s=1.0)
    await reader.stop()
    assert [(frame.sequence, frame.body) for frame in frames] == [(11, b"snapshot")]


async def test_another_owner_ends_ownership_of_all_that_is_pending_or_appended(
    kafka_bootstrap: str, log: Topic
) -> None:
    async with _owner(kafka_bootstrap, log) as first, _owner(kafka_bootstrap, log) as second:
        assert "epoch 2 claimed" in str(await _lost(first))
        with pytest.raises(LostOwnership):
            await _append(first, 0)
        with pytest.raises(LostOwnership):
            await first.drain()
        assert (await (await _append(second, 0))).sequence == 1


async def test_writers_that_race_leave_one_owner(kafka_bootstrap: str, log: Topic) -> None:
    async def run(seconds: float) -> bool:
        try:
            async with _owner(kafka_bootstrap, log) as writer, asyncio.timeout(seconds):
                await writer.wait_lost()
        except TimeoutError:
            return True
        return False

    owners = await asyncio.gather(*(run(4.0) for _ in range(4)))
    assert owners.count(True) == 1


async def test_a_log_fed_by_another_topic_is_refused(kafka_bootstrap: str, log: Topic) -> None:
    async with _owner(kafka_bootstrap, log):
        pass
    with pytest.raises(ConfigurationError, match="was fed by topic 5454"):
        async with _owner(kafka_bootstrap, log, input_topic_id=b"other"):
            pass


async def test_a_forged_frame_stops_writer_and_reader_loudly(kafka_bootstrap: str, log: Topic) -> None:
    async with _owner(kafka_bootstrap, log) as writer:
        frame = (await (await _append(writer, 0))).frame
        forged = chain_pb2.Frame(
            epoch=frame.epoch, owner=frame.owner, sequence=frame.sequence + 1, previous_hash=b"h" * 32
        )
        await _raw(kafka_bootstrap, log, chain_pb2.ChainRecord(frame=forged))
        with pytest.raises(ChainBroken, match="expected previous hash"):
            await _lost(writer)
    with pytest.raises(ChainBroken, match="expected previous hash"):
        async with _owner(kafka_bootstrap, log):
            pass


async def test_a_copy_of_an_owners_frame_is_noise_to_it(kafka_bootstrap: str, log: Topic) -> None:
    async with _owner(kafka_bootstrap, log) as writer:
        frame = (await (await _append(writer, 0))).frame
        await _raw(kafka_bootstrap, log, chain_pb2.ChainRecord(frame=frame))
        assert (await (await _append(writer, 1))).sequence == 2
        assert writer.rule.rejected == {"duplicate": 1}


async def test_a_broker_that_stands_still_ends_ownership_and_the_writer_can_be_closed(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        topic = chained("standstill")
        await create_topics(broker.bootstrap, [topic])
        async with _owner(broker.bootstrap, topic, acceptance_timeout_s=1.0) as writer:
            await (await _append(writer, 0))
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                pending = await _append(writer, 1)
                assert "no frame accepted for 1.0 s" in str(await _lost(writer))
                with pytest.raises(LostOwnership):
                    await pending
                await asyncio.wait_for(writer.close(), _CLOSE_SECONDS_MAX)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        # What was sent before is part of the log all the same: the next owner folds it.
        folded: list[AcceptedFrame] = []
        async with _owner(broker.bootstrap, topic, fold=folded.append) as writer:
            assert [frame.sequence for frame in folded] == [1, 2]
            assert writer.input_position == (1, 0)


async def test_readers_can_be_stopped_while_the_broker_is_away(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        topic = chained("away")
        await create_topics(broker.bootstrap, [topic])
        readers = [
            ChainFollower(bootstrap=broker.bootstrap, topic=topic, partition=0, client_id=f"reader-{number}")
            for number in range(8)
        ]
        for reader in readers:
            await reader.start()
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        for number, reader in enumerate(readers):  # a fetch that failed rests 50 ms: some are stopped in their rest
            await asyncio.sleep(0.02 + 0.01 * number)
            await asyncio.wait_for(reader.stop(), _CLOSE_SECONDS_MAX)
