"""Compares who may reach whom, by evaluating the NetworkPolicies, with the table of flows on the architecture page."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tools.manifests.render import POD_OWNERS, REPOSITORY, Object, label_of, of_kind

PAGE = REPOSITORY / "docs" / "architecture.md"
FLOW = "ballast/flow"
_NAMESPACE = "kubernetes.io/metadata.name"
_OURS = {_NAMESPACE: "ballast"}
_EVERY, _OTHER = "every service", "every other service"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow as policies see it."""

    name: str
    namespace: dict[str, str]
    labels: dict[str, str]
    is_ours: bool = False


# Who is not ours, by the table's words.
OUTSIDE = {
    "the cluster's DNS": End("DNS", {_NAMESPACE: "kube-system"}, {"k8s-app": "kube-dns"}),
    "Kafka": End("Kafka", {_NAMESPACE: "ballast-kafka"}, {"strimzi.io/cluster": "ballast"}),
    "Prometheus": End("Prometheus", {_NAMESPACE: "monitoring"}, {"app.kubernetes.io/name": "prometheus"}),
    "the trace collector": End(
        "the collector", {_NAMESPACE: "monitoring"}, {"app.kubernetes.io/name": "opentelemetry-collector"}
    ),
    "clients and venues": End("clients", {"ballast/edge": "allowed"}, {}),
    "venues": End("venues", {"ballast/venues": "allowed"}, {}),
    "": End("a stranger", {_NAMESPACE: "default"}, {}),
}


@dataclass(frozen=True, slots=True)
class Flow:
    """A row of the table; words are names of services, `every service`, or of OUTSIDE."""

    name: str
    source: str
    target: str
    port: int


class BadTable(ValueError):
    """The table of flows cannot be read; the message names the row."""


def flows(page: Path = PAGE) -> list[Flow]:
    """The rows of the table below the heading "Flows". Raises BadTable."""
    section = page.read_text(encoding="utf-8").partition("\n## Flows\n")[2].partition("\n## ")[0]
    rows = [[cell.strip().replace("`", "") for cell in line.strip("| ").split("|")] for line in section.splitlines()]
    found = []
    for row in rows:
        if len(row) == 5 and row[0] != "flow" and not set(row[0]) <= set("-:"):
            name, source, target, port, _ = row
            if not port.isdigit():
                raise BadTable(f"{name}: expected a port, was {port}")
            found.append(Flow(name, source, target, int(port)))
    return found


def disagreements(objects: list[Object], wanted: list[Flow]) -> list[str]:
    """Where the policies allow what the table does not, or the other way round; flows without their policies."""
    pods = {
        one["metadata"]["name"]: End(
            one["metadata"]["name"], _OURS, one["spec"]["template"]["metadata"]["labels"], is_ours=True
        )
        for one in of_kind(objects, *POD_OWNERS)
    }
    rules = of_kind(objects, "NetworkPolicy")
    pairs = [(flow, *pair) for flow in wanted for pair in _pairs(flow, pods)]
    broken = list(_unnamed(rules, pairs))
    ends = [*pods.values(), *OUTSIDE.values()]
    expected = {(source.name, target.name, flow.port) for flow, source, target in pairs}
    for source, target in product(ends, ends):
        for port in sorted({flow.port for flow in wanted} | {1}) if source.is_ours or target.is_ours else ():
            is_open = (not source.is_ours or _allows(rules, "egress", source, target, port)) and (
                not target.is_ours or _allows(rules, "ingress", target, source, port)
            )
            if is_open != ((source.name, target.name, port) in expected):
                verb = "is open" if is_open else "is closed"
                broken.append(f"{source.name} to {target.name}:{port} {verb}, against the table")
    return broken + list(_kafka_end(objects))


def _pairs(flow: Flow, pods: dict[str, End]) -> Iterator[tuple[End, End]]:
    for source in _ends(flow, flow.source, pods, ""):
        for target in _ends(flow, flow.target, pods, source.name):
            yield source, target


def _ends(flow: Flow, words: str, pods: dict[str, End], other: str) -> list[End]:
    if words in (_EVERY, _OTHER):
        return [end for end in pods.values() if words == _EVERY or end.name != other]
    if words and words in OUTSIDE:
        return [OUTSIDE[words]]
    name = words.replace("_", "-")
    if name not in pods:
        raise BadTable(f"{flow.name}: expected a service or one of {', '.join(filter(None, OUTSIDE))}, was {words}")
    return [pods[name]]


def _unnamed(rules: list[Object], pairs: Iterable[tuple[Flow, End, End]]) -> Iterator[str]:
    """A flow has exactly one policy at each of its ends that is ours, and every policy its flow."""
    wanted = {f"{flow.name}-from" for flow, source, _ in pairs if source.is_ours}
    wanted |= {f"{flow.name}-to" for flow, _, target in pairs if target.is_ours}
    found = [one["metadata"]["name"] for one in rules]
    for name in sorted(wanted - set(found)):
        yield f"expected a NetworkPolicy {name}"
    for one in rules:
        name = one["metadata"]["name"]
        if name == "default-deny":
            if one["spec"] != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
                yield f"{label_of(one)}: expected it to refuse everything to and from every pod"
        elif name not in wanted:
            yield f"{label_of(one)}: expected a flow of the table"
        elif one["metadata"].get("labels", {}).get(FLOW) != name.rpartition("-")[0]:
            yield f"{label_of(one)}: expected the label {FLOW}: {name.rpartition('-')[0]}"
    if "default-deny" not in found:
        yield "expected a NetworkPolicy default-deny"


def _allows(rules: list[Object], direction: str, end: End, peer: End, port: int) -> bool:
    """As Kubernetes does it: a pod that no policy of this direction selects is open; else one rule must match."""
    chosen = [
        one["spec"]
        for one in rules
        if direction.capitalize() in one["spec"].get("policyTypes", ["Ingress"])
        and _selects(one["spec"].get("podSelector", {}), end.labels)
    ]
    if not chosen:
        return True
    side = "to" if direction == "egress" else "from"
    for spec in chosen:
        for rule in spec.get(direction) or []:
            ports = rule.get("ports")
            peers = rule.get(side)
            if (not ports or any(each.get("port", port) == port for each in ports)) and (
                not peers or any(_is_peer(each, peer) for each in peers)
            ):
                return True
    return False


def _is_peer(selector: dict[str, Any], peer: End) -> bool:
    if "ipBlock" in selector:
        return True  # reaches further than any end that is known here
    in_namespace = (
        _selects(selector["namespaceSelector"], peer.namespace)
        if "namespaceSelector" in selector
        else peer.namespace == _OURS
    )
    return in_namespace and _selects(selector.get("podSelector", {}), peer.labels)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for each in selector.get("matchExpressions") or []:
        if each["operator"] != "In":
            raise BadTable(f"expected operator In, was {each['operator']}: not evaluated here")
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True


def _kafka_end(objects: list[Object]) -> Iterator[str]:
    # Strimzi makes the policy of this end from what the listener says.
    ours = {
        "namespaceSelector": {"matchLabels": _OURS},
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "ballast"}},
    }
    for one in of_kind(objects, "Kafka"):
        for listener in one["spec"]["kafka"]["listeners"]:
            if listener.get("networkPolicyPeers") != [ours]:
                yield f"{label_of(one)}, listener {listener['name']}: expected it open to ours alone"
