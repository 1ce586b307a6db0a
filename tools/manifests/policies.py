"""House policies over rendered objects: each a function that names what breaks it."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tools.manifests.render import POD_OWNERS, Object, containers, label_of, of_kind

USER = 10_001
NAME = "app.kubernetes.io/name"
_PINNED = re.compile(r".+(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})$")

Broken = Iterator[str]


def violations(objects: list[Object]) -> list[str]:
    """What breaks a policy, each with the object and the policy's name."""
    return [f"{policy}: {words}" for policy, check in POLICIES.items() for words in check(objects)]


def _pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    for owner in of_kind(objects, *POD_OWNERS):
        yield label_of(owner), owner["spec"]["template"]["spec"]


def _containers(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    for owner in of_kind(objects, *POD_OWNERS):
        for container in containers(owner):
            yield f"{label_of(owner)}, container {container['name']}", container


def _unprivileged(objects: list[Object]) -> Broken:
    for label, pod in _pods(objects):
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or security.get("runAsUser") != USER:
            yield f"{label}: expected runAsNonRoot and user {USER}, was {security}"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{label}: expected seccomp RuntimeDefault"
        if shared := [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]:
            yield f"{label}: expected nothing of the host, was {shared}"
        if mounts := [each["name"] for each in pod.get("volumes", []) if "hostPath" in each]:
            yield f"{label}: expected no hostPath, was {mounts}"
    for label, container in _containers(objects):
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"{label}: expected no way to more privileges"
        if security.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{label}: expected every capability dropped and none added, was {security.get('capabilities')}"
        if {"runAsUser", "runAsNonRoot", "seccompProfile"} & security.keys():
            yield f"{label}: expected user and seccomp to be the pod's matter"


def _read_only(objects: list[Object]) -> Broken:
    for label, container in _containers(objects):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{label}: expected readOnlyRootFilesystem"


def _bounded(objects: list[Object]) -> Broken:
    for label, container in _containers(objects):
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            if missing := {"cpu", "memory"} - resources.get(part, {}).keys():
                yield f"{label}: expected {part} of {' and '.join(sorted(missing))}"
    for label, pod in _pods(objects):
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{label}: expected a sizeLimit of volume {volume['name']}"


def _probed(objects: list[Object]) -> Broken:
    wanted = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for label, container in _containers(objects):
        for probe, path in wanted.items():
            found = container.get(probe, {}).get("httpGet", {})
            if (found.get("path"), found.get("port")) != (path, "http"):
                yield f"{label}: expected {probe} of {path} on port http, was {found}"


def _tokenless(objects: list[Object]) -> Broken:
    accounts = {one["metadata"]["name"]: one for one in of_kind(objects, "ServiceAccount")}
    for label, pod in _pods(objects):
        account = accounts.get(pod.get("serviceAccountName", "default"))
        if account is None:
            yield f"{label}: expected a ServiceAccount of its own, was {pod.get('serviceAccountName', 'default')}"
        elif account.get("automountServiceAccountToken") is not False or pod.get("automountServiceAccountToken"):
            yield f"{label}: expected no token mounted"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{label}: expected automountServiceAccountToken false"
        if pod.get("enableServiceLinks") is not False:
            yield f"{label}: expected enableServiceLinks false: a Service named ballast-... would be an unknown setting"


def _pinned(objects: list[Object]) -> Broken:
    for label, container in _containers(objects):
        if not _PINNED.match(container.get("image", "")):
            yield f"{label}: expected an image with a tag but latest, or a digest, was {container.get('image')}"


def _selected(objects: list[Object]) -> Broken:
    templates = [(one, one["spec"]["template"]["metadata"].get("labels", {})) for one in of_kind(objects, *POD_OWNERS)]
    for owner, labels in templates:
        if not _matches(owner["spec"]["selector"]["matchLabels"], labels):
            yield f"{label_of(owner)}: expected its selector to match its pods"
        if owner["kind"] == "StatefulSet" and owner["spec"]["serviceName"] not in _names(objects, "Service"):
            yield f"{label_of(owner)}: expected a Service {owner['spec']['serviceName']}"
    for one in of_kind(objects, "Service", "PodDisruptionBudget"):
        selector = one["spec"].get("selector", {})
        if not any(_matches(selector.get("matchLabels", selector), labels) for _, labels in templates):
            yield f"{label_of(one)}: expected its selector to match pods"


def _disruptable(objects: list[Object]) -> Broken:
    budgets = [one["spec"] for one in of_kind(objects, "PodDisruptionBudget")]
    for owner in of_kind(objects, *POD_OWNERS):
        labels = owner["spec"]["template"]["metadata"]["labels"]
        own = [spec for spec in budgets if _matches(spec["selector"]["matchLabels"], labels)]
        # A floor on one replica would stop every node from being drained.
        if len(own) != 1 or own[0].get("maxUnavailable") != 1:
            yield f"{label_of(owner)}: expected one PodDisruptionBudget with maxUnavailable 1, was {own}"
        pod = owner["spec"]["template"]["spec"]
        keys = {each["topologyKey"] for each in pod.get("topologySpreadConstraints", [])}
        if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{label_of(owner)}: expected its pods spread over zones and nodes, was {sorted(keys)}"
        for each in pod.get("topologySpreadConstraints", []):
            if not _matches(each["labelSelector"]["matchLabels"], labels):
                yield f"{label_of(owner)}: expected its spread to count its own pods"
        if pod.get("terminationGracePeriodSeconds", 30) < 60:
            yield f"{label_of(owner)}: expected 60 s to stop in"


def _restricted(objects: list[Object]) -> Broken:
    namespaces = {one["metadata"]["name"]: one["metadata"].get("labels", {}) for one in of_kind(objects, "Namespace")}
    for owner in of_kind(objects, *POD_OWNERS):
        labels = namespaces.get(owner["metadata"].get("namespace", "default"), {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{label_of(owner)}: expected a namespace that enforces Pod Security restricted"
    for one in of_kind(objects, "Secret"):
        yield f"{label_of(one)}: expected no Secret in a manifest"


def _durable(objects: list[Object]) -> Broken:
    for kafka in of_kind(objects, "Kafka"):
        config = kafka["spec"]["kafka"]["config"]
        brokers = sum(one["spec"]["replicas"] for one in of_kind(objects, "KafkaNodePool") if _is_broker(one))
        copies, in_sync = (3, 2) if brokers >= 3 else (1, 1)
        wanted: dict[str, Any] = {
            "unclean.leader.election.enable": False,
            "auto.create.topics.enable": False,
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
        }
        for key, value in wanted.items():
            if config.get(key) != value:
                yield f"{label_of(kafka)}: expected {key}={value} with {brokers} brokers, was {config.get(key)}"
        for topic in of_kind(objects, "KafkaTopic"):
            spec = topic["spec"]
            found = (spec.get("replicas"), str(spec["config"].get("min.insync.replicas")))
            if found != (copies, str(in_sync)):
                yield f"{label_of(topic)}: expected {copies} copies, {in_sync} in sync, was {found}"
            if spec["config"].get("unclean.leader.election.enable") not in (False, "false"):
                yield f"{label_of(topic)}: expected no unclean leader election"


def _is_broker(pool: Object) -> bool:
    return "broker" in pool["spec"]["roles"]


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _names(objects: Iterable[Object], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(objects, kind)}


POLICIES: dict[str, Callable[[list[Object]], Broken]] = {
    "unprivileged": _unprivileged,
    "read-only": _read_only,
    "bounded": _bounded,
    "probed": _probed,
    "tokenless": _tokenless,
    "pinned": _pinned,
    "selected": _selected,
    "disruptable": _disruptable,
    "restricted": _restricted,
    "durable": _durable,
}
