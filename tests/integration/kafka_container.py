"""One Kafka node in a container, set as the private broker is, through testcontainers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from docker.errors import APIError, DockerException, NotFound
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tools.broker import BrokerFault
from tools.broker.config import LOOPBACK, SERVER_JVM, server_properties
from tools.broker.process import answers_metadata, free_ports, new_cluster_id

# Places in the container, as apache/kafka's image has them.
_HOME = PurePosixPath("/", "opt", "kafka")
_PROPERTIES = PurePosixPath("/etc/kafka/ballast.properties")
_DATA = PurePosixPath("/var/lib/kafka/data")
_LOGS = PurePosixPath("/var/lib/kafka/logs")
_STARTS_MAX = 3
_ANSWER_SECONDS_MAX = 10
_READY_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.2
# testcontainers' Ryuk removes what a killed run leaves. Where Ryuk is off, the node at least ends by itself.
_LIFE_SECONDS_MAX = 3600
_SCRIPT = f"""
{_HOME}/bin/kafka-storage.sh format -t "$CLUSTER_ID" -c {_PROPERTIES}
exec timeout {_LIFE_SECONDS_MAX} {_HOME}/bin/kafka-server-start.sh {_PROPERTIES}
"""


def docker_answers() -> bool:
    """A Docker daemon answers where testcontainers looks for it."""
    try:
        client = DockerClient(timeout=_ANSWER_SECONDS_MAX).client
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, OSError):
        return False


@contextmanager
def running_container(image: str, *, network: str) -> Iterator[str]:
    """Bootstrap address of a fresh, empty Kafka in a container that lives as long as the block.

    Args:
        image: laid out as apache/kafka's; pulled when it is not there.
        network: the container's network mode, "" for the daemon's own.

    Raises: BrokerFault.
    """
    container, bootstrap = _started(image, network)
    try:
        yield bootstrap
    finally:
        container.stop()


def _started(image: str, network: str) -> tuple[DockerContainer, str]:
    words = ""
    for _ in range(_STARTS_MAX):
        # A port that was free may be taken by another before the container has it.
        container, bootstrap = _prepared(image, network)
        try:
            container.start()
            if _becomes_ready(container, bootstrap):
                return container, bootstrap
            words = _last_words(container)
        except NotFound as error:
            container.stop()
            raise BrokerFault(f"the image {image} is not there and cannot be pulled: {error.explanation}") from error
        except APIError as error:
            words = str(error.explanation)
        except BaseException:
            container.stop()
            raise
        container.stop()
    raise BrokerFault(f"{image} did not start in {_STARTS_MAX} attempts: {words}")


def _prepared(image: str, network: str) -> tuple[DockerContainer, str]:
    broker_port, controller_port = free_ports(2)
    container = DockerContainer(image)
    host = container.get_docker_client().host()
    # An address, not a name that may stand for ::1 first.
    host = LOOPBACK if host == "localhost" else host
    properties = server_properties(
        broker_port=broker_port,
        controller_port=controller_port,
        data=_DATA,
        listen=LOOPBACK if network == "host" else "0.0.0.0",
        advertised=host,
    )
    if network:
        container.with_kwargs(network_mode=network)
    # The port is the same inside and outside, so that one listener serves.
    if network != "host" and host == LOOPBACK:
        # Published to this machine alone; the annotation is narrower than what Docker's client takes.
        container.ports[f"{broker_port}/tcp"] = (LOOPBACK, broker_port)  # type: ignore[assignment]
    elif network != "host":
        container.with_bind_ports(broker_port, broker_port)
    container.with_copy_into_container(properties.encode(), str(_PROPERTIES))
    container.with_envs(CLUSTER_ID=new_cluster_id(), KAFKA_HEAP_OPTS=" ".join(SERVER_JVM), LOG_DIR=str(_LOGS))
    container.with_command(["sh", "-ec", _SCRIPT])
    return container, f"{host}:{broker_port}"


def _becomes_ready(container: DockerContainer, bootstrap: str) -> bool:
    wrapped = container.get_wrapped_container()
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if answers_metadata(bootstrap):
            return True
        wrapped.reload()
        if wrapped.status in ("exited", "dead", "stopped"):
            return False
        time.sleep(_POLL_SECONDS)
    raise BrokerFault(
        f"Kafka in a container was not ready at {bootstrap} within {_READY_SECONDS_MAX:.0f} s: {_last_words(container)}"
    )


def _last_words(container: DockerContainer) -> str:
    said = b"".join(container.get_logs()).decode(errors="replace").split("\n")
    return next((line for line in reversed(said) if line.strip()), "it said nothing")
