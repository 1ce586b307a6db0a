"""The private broker: it carries a frame at its limit, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from libs.common.topics import BATCH_BYTES_MAX, DEAD_TOPICS, FRAME_BYTES_MAX, JOURNAL, TOPICS
from tools.broker import Broker, BrokerFault
from tools.lifeline import lifeline
from tools.topics import create_topics, delete_topics, existing_topics

_FRAME_BYTES = 6 * 1024 * 1024
_DECLARED = {topic.name for topic in (*TOPICS, *DEAD_TOPICS)}


async def test_a_large_frame_passes_through_the_declared_topics_unchanged(fresh_kafka: str) -> None:
    assert await existing_topics(fresh_kafka) == _DECLARED
    frame = os.urandom(_FRAME_BYTES)
    async with AIOKafkaProducer(
        bootstrap_servers=fresh_kafka,
        enable_idempotence=True,
        acks="all",
        max_request_size=FRAME_BYTES_MAX,
        max_batch_size=BATCH_BYTES_MAX,
    ) as producer:
        sent = await producer.send_and_wait(JOURNAL.name, frame, partition=3, timestamp_ms=1_513_900_800_000)
    async with AIOKafkaConsumer(
        bootstrap_servers=fresh_kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FRAME_BYTES_MAX,
    ) as consumer:
        partition = TopicPartition(JOURNAL.name, 3)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        record = await consumer.getone()
    assert record.value == frame
    # The broker stamps the record: a producer's time of 2017 would meet retention at once.
    assert record.timestamp > (time.time() - 3600) * 1000


async def test_deleted_topics_can_be_created_again_and_are_empty(fresh_kafka: str) -> None:
    await delete_topics(fresh_kafka)
    assert await existing_topics(fresh_kafka) == set()
    await create_topics(fresh_kafka)
    await create_topics(fresh_kafka)
    async with AIOKafkaConsumer(bootstrap_servers=fresh_kafka, group_id=None) as consumer:
        partitions = [TopicPartition(JOURNAL.name, number) for number in range(4)]
        assert set((await consumer.end_offsets(partitions)).values()) == {0}


def _run_broker(directory: Path, repository: Path) -> subprocess.Popen[str]:
    command = lifeline(sys.executable, "-m", "tools.broker", "run", "--directory", str(directory))
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_broker_ends_with_its_parent_and_the_next_run_starts_clean(
    number: signal.Signals, tmp_path: Path, repository: Path
) -> None:
    with _run_broker(tmp_path, repository) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("127.0.0.1:")
        (broker,) = _children(parent.pid)
        with pytest.raises(BrokerFault, match="another run is using"):
            Broker(tmp_path).start()
        parent.send_signal(number)
        parent.wait(10)
    deadline = time.monotonic() + 2
    while _is_running(broker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(broker)
    assert not list(tmp_path.rglob("*.pid"))
    if number is signal.SIGKILL:
        with Broker(tmp_path) as again:
            assert again.pid != broker


def test_a_missing_java_is_one_line_and_status_2(repository: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "JAVA_HOME": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-m", "tools.broker", "run"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("kafka: Java 17 or newer is needed")
    assert answer.stderr.count("\n") == 1
