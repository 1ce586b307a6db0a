"""KafkaTopic objects of libs/common/topics.py; copies and in-sync minimum are the overlays' matter."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from libs.common.config import load_parameters
from libs.common.topics import DEAD_TOPICS, TOPICS, Topic
from tools.manifests.render import DEPLOY, REPOSITORY, Object

_HOME = DEPLOY / "components" / "kafka"
_FILES = {"topics.yaml": TOPICS, "dead-topics.yaml": DEAD_TOPICS}
_LABELS = {"app.kubernetes.io/component": "kafka", "strimzi.io/cluster": "ballast"}
_HEAD = "# Written by `make manifests` from libs/common/topics.py and config/: not to be edited.\n"


def _object(topic: Topic, home_partitions: int) -> Object:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name, "namespace": "ballast-kafka", "labels": dict(_LABELS)},
        "spec": {"partitions": topic.partitions or home_partitions, "config": topic.config()},
    }


def topic_files(config: Path = REPOSITORY / "config") -> dict[Path, str]:
    """Text of each file, with the number of home partitions of the parameters."""
    partitions = load_parameters(config).parameters.partitions
    return {_HOME / name: _text(topics, partitions) for name, topics in _FILES.items()}


def _text(topics: Sequence[Topic], partitions: int) -> str:
    objects = [_object(topic, partitions) for topic in topics]
    return _HEAD + "---\n".join(yaml.safe_dump(one, sort_keys=False, width=120) for one in objects)
