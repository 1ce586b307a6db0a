"""Creates the declared topics on a cluster, and deletes them again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from libs.common.topics import DEAD_TOPICS, TOPICS, Topic

LOCAL_HOME_PARTITIONS = 4
_REQUEST_MS = 30_000
_SETTLE_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05
_ALL = (*TOPICS, *DEAD_TOPICS)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="ballast-topics", request_timeout_ms=_REQUEST_MS
    )
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def _settle(client: AIOKafkaAdminClient, settled: Callable[[Mapping[str, int]], bool]) -> None:
    # The controller answers before the broker has applied what it decided.
    deadline = time.monotonic() + _SETTLE_SECONDS_MAX
    while True:
        described = await client.describe_topics()
        led = {each["topic"]: sum(partition["leader"] >= 0 for partition in each["partitions"]) for each in described}
        if settled(led):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected the topics to settle within {_SETTLE_SECONDS_MAX:.0f} s, was {led}")
        await asyncio.sleep(_POLL_SECONDS)


async def create_topics(
    bootstrap: str,
    topics: Sequence[Topic] = _ALL,
    *,
    home_partitions: int = LOCAL_HOME_PARTITIONS,
    replicas: int = 1,
) -> None:
    """Returns when every topic exists with a leader for each partition; one that exists already is left as it is.

    Raises: KafkaError when the cluster refuses a topic, TimeoutError when leaders are not elected in time.
    """
    wanted = {topic.name: topic.partitions or home_partitions for topic in topics}
    requests = [NewTopic(topic.name, wanted[topic.name], replicas, topic_configs=topic.config()) for topic in topics]
    async with _admin(bootstrap) as client:
        answer = await client.create_topics(requests, timeout_ms=_REQUEST_MS)
        for name, code, *reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(f"topic {name}: {reason[0] if reason else 'refused'}")
        await _settle(client, lambda found: all(found.get(name, 0) >= count for name, count in wanted.items()))


async def existing_topics(bootstrap: str) -> set[str]:
    """Names of the declared topics that the cluster has."""
    async with _admin(bootstrap) as client:
        return set(await client.list_topics()) & {topic.name for topic in _ALL}


async def delete_topics(bootstrap: str) -> None:
    """Returns when the cluster has none of the declared topics any more; their records are lost."""
    names = await existing_topics(bootstrap)
    async with _admin(bootstrap) as client:
        if names:
            answer = await client.delete_topics(sorted(names), timeout_ms=_REQUEST_MS)
            for name, code, *_ in answer.topic_error_codes:
                if code != 0:
                    raise for_code(code)(f"topic {name} could not be deleted")
        await _settle(client, lambda found: not names & found.keys())
