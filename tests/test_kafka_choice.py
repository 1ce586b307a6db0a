"""Which Kafka the integration tests choose: every branch, without Docker."""

import pytest

from tests.integration.kafka_choice import IMAGE, InContainer, chosen_container
from tools.broker import BrokerFault, ToolMissing

_GIVEN = {"BALLAST_KAFKA_BOOTSTRAP": "127.0.0.1:9092"}
_CONTAINER = {"BALLAST_TEST_KAFKA": "container"}


def _never_asked() -> bool:
    raise AssertionError("no daemon is asked for where no container is wanted")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"BALLAST_TEST_KAFKA": ""},
        {"BALLAST_TEST_KAFKA": "private"},
        {"BALLAST_TEST_KAFKA_IMAGE": "another/kafka:4.2.0"},
        _GIVEN,
        {**_GIVEN, "BALLAST_TEST_KAFKA": "private"},
        {**_GIVEN, **_CONTAINER},
    ],
)
def test_no_container_unless_asked_for_and_none_beside_a_given_cluster(environment: dict[str, str]) -> None:
    assert chosen_container(environment, docker_answers=_never_asked) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, InContainer(image=IMAGE, network="")),
        ({"BALLAST_KAFKA_BOOTSTRAP": " "}, InContainer(image=IMAGE, network="")),
        ({"BALLAST_TEST_KAFKA_IMAGE": "kafka:own"}, InContainer(image="kafka:own", network="")),
        ({"BALLAST_TEST_KAFKA_NETWORK": "host"}, InContainer(image=IMAGE, network="host")),
    ],
)
def test_a_container_when_asked_for_and_a_daemon_answers(more: dict[str, str], expected: InContainer) -> None:
    assert chosen_container({**_CONTAINER, **more}, docker_answers=lambda: True) == expected


def test_a_container_without_a_daemon_is_refused_in_one_line() -> None:
    with pytest.raises(ToolMissing, match="BALLAST_TEST_KAFKA=container needs a Docker daemon") as refusal:
        chosen_container(_CONTAINER, docker_answers=lambda: False)
    assert "\n" not in str(refusal.value)


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(BrokerFault, match="expected private or container, was docker"):
        chosen_container({"BALLAST_TEST_KAFKA": "docker"}, docker_answers=_never_asked)
