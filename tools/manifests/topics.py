"""KafkaTopic objects of libs/common/topics.py; copies and in-sync minimum are the overlays' matter."""

from pathlib import Path

import yaml

from libs.common.config import load_parameters
from libs.common.topics import DEAD_TOPICS, TOPICS, Topic
from tools.manifests.render import DEPLOY, REPOSITORY, Object

PATH = DEPLOY / "components" / "kafka" / "topics.yaml"
_LABELS = {"app.kubernetes.io/component": "kafka", "strimzi.io/cluster": "ballast"}
_HEAD = "# Written by `make manifests` from libs/common/topics.py and config/: not to be edited.\n"


def topic_objects(*, home_partitions: int) -> list[Object]:
    """One object a topic, dead-letter topics too."""
    return [_object(topic, home_partitions) for topic in (*TOPICS, *DEAD_TOPICS)]


def _object(topic: Topic, home_partitions: int) -> Object:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name, "namespace": "ballast-kafka", "labels": dict(_LABELS)},
        "spec": {"partitions": topic.partitions or home_partitions, "config": topic.config()},
    }


def topics_yaml(config: Path = REPOSITORY / "config") -> str:
    """Text of topics.yaml, with the number of home partitions of the parameters."""
    partitions = load_parameters(config).parameters.partitions
    objects = topic_objects(home_partitions=partitions)
    return _HEAD + "---\n".join(yaml.safe_dump(one, sort_keys=False, width=120) for one in objects)
