"""Decides which Kafka the integration tests run on, and says so in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.broker import BrokerFault, ToolMissing, kafka_for
from tools.broker.choose import BOOTSTRAP_VARIABLE

KAFKA_VARIABLE = "BALLAST_TEST_KAFKA"
IMAGE_VARIABLE = "BALLAST_TEST_KAFKA_IMAGE"
NETWORK_VARIABLE = "BALLAST_TEST_KAFKA_NETWORK"
IMAGE = "apache/kafka:4.1.1"


@dataclass(frozen=True, slots=True)
class InContainer:
    """A fresh Kafka in a container.

    Args:
        image: laid out as apache/kafka's.
        network: the container's network mode, "" for the daemon's own; "host" shares this machine's ports.
    """

    image: str
    network: str


def chosen_container(environment: Mapping[str, str], *, docker_answers: Callable[[], bool]) -> InContainer | None:
    """The container to start, or None for the given cluster or a private broker, as `kafka_for` decides.

    Args:
        docker_answers: asked only when a container is wanted.

    Raises: ToolMissing when a container is wanted and no Docker daemon answers; BrokerFault on an unknown wish.
    """
    wish = environment.get(KAFKA_VARIABLE, "").strip()
    if wish not in ("", "private", "container"):
        raise BrokerFault(f"{KAFKA_VARIABLE}: expected private or container, was {wish}")
    # A given cluster is used whatever else is wished.
    if wish != "container" or environment.get(BOOTSTRAP_VARIABLE, "").strip():
        return None
    if not docker_answers():
        raise ToolMissing(
            f"{KAFKA_VARIABLE}=container needs a Docker daemon and none answers; "
            f"start one, set DOCKER_HOST, or unset {KAFKA_VARIABLE} for a private broker"
        )
    return InContainer(
        image=environment.get(IMAGE_VARIABLE, "").strip() or IMAGE,
        network=environment.get(NETWORK_VARIABLE, "").strip(),
    )


@contextmanager
def kafka_for_tests(directory: Path, *, say: Callable[[str], None]) -> Iterator[str]:
    """Bootstrap address of the cluster given, of a Kafka in a container when asked for, else of a private broker.

    Args:
        directory: where a private broker keeps its data and logs.
        say: takes the one line that tells which was chosen.

    Raises: ToolMissing, BrokerFault.
    """
    wanted = chosen_container(os.environ, docker_answers=_docker_answers)
    if wanted is None:
        with kafka_for(directory, say=say) as bootstrap:
            yield bootstrap
        return
    # Loaded only when asked for: testcontainers reads its settings and looks for a daemon on import.
    from tests.integration.kafka_container import running_container

    with running_container(wanted.image, network=wanted.network) as bootstrap:
        say(f"kafka: started {wanted.image} in a container on {bootstrap}")
        yield bootstrap


def _docker_answers() -> bool:
    from tests.integration.kafka_container import docker_answers

    return docker_answers()
