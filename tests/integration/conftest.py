"""The Kafka of the integration tests: one fixture decides which, and says so."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.kafka_choice import kafka_for_tests
from tools.broker import BrokerFault
from tools.broker.choose import BOOTSTRAP_VARIABLE
from tools.topics import create_topics, delete_topics, existing_topics


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _directory(root: Path, name: str) -> Path:
    # The process id lets two runs of one checkout stand side by side; what dead runs left is removed.
    runs = root / ".run" / "test"
    for old in runs.glob("*-*"):
        if not _is_alive(int(old.name.partition("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    return runs / f"{os.getpid()}-{name}"


@contextmanager
def _kafka(name: str, request: pytest.FixtureRequest) -> Iterator[str]:
    directory = _directory(request.config.rootpath, name)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", file=sys.stderr, flush=True)

    try:
        with kafka_for_tests(directory, say=say) as bootstrap:
            yield bootstrap
    except BrokerFault as fault:
        pytest.exit(f"kafka: {fault}", returncode=2)


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap address of a broker for tests that bring their own topic names."""
    with _kafka("session", request) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="module")
def fresh_kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap address of a cluster whose declared topics exist and are empty, for one module.

    A private broker or container is new for each module, so no consumer group remembers another module's members. On a
    cluster that was given, the topics are deleted afterwards; one that has them beforehand is somebody's, and is
    refused.
    """
    with _kafka(request.module.__name__.rpartition(".")[2], request) as bootstrap:
        found = asyncio.run(existing_topics(bootstrap))
        if found:
            pytest.exit(f"kafka: the cluster of {BOOTSTRAP_VARIABLE} holds {sorted(found)[0]}; use an empty one", 2)
        asyncio.run(create_topics(bootstrap))
        yield bootstrap
        if os.environ.get(BOOTSTRAP_VARIABLE, "").strip():
            asyncio.run(delete_topics(bootstrap))
