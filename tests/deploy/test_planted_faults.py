"""A wrong manifest is caught: each row plants one fault in the rendered production overlay and names the complaint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.manifests.__main__ import broken
from tools.manifests.flows import BadTable, disagreements, flows
from tools.manifests.render import CannotRender, Object, named, render

Overlays = Callable[[str], list[Object]]

ABSENT = object()
LEDGER, GATEWAY = "StatefulSet collateral-management", "Deployment venue-gateway"
POD, CONTAINER = "spec/template/spec", "spec/template/spec/containers/0"
KAFKA, TOPIC, RULE = "Kafka ballast", "KafkaTopic ledger.journal.v1", "NetworkPolicy"
NAME = "app.kubernetes.io~1name"
ANYWHERE: list[Any] = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]

# Object, path in it, value planted there (ABSENT: removed), words of the complaint.
FAULTS: list[tuple[str, str, Any, str]] = [
    (LEDGER, f"{CONTAINER}/livenessProb", {}, "'livenessProb' was unexpected"),
    (LEDGER, "spec/replicas", "three", "'three' is not of type"),
    (LEDGER, "kind", "StatefulSets", "expected a kind with a schema"),
    (LEDGER, f"{POD}/securityContext/runAsNonRoot", False, "unprivileged: StatefulSet collateral-management"),
    (LEDGER, f"{POD}/securityContext/runAsUser", 0, "expected runAsNonRoot and user 10001"),
    (LEDGER, f"{POD}/securityContext/seccompProfile", ABSENT, "expected seccomp RuntimeDefault"),
    (LEDGER, f"{POD}/hostNetwork", True, "expected nothing of the host"),
    (LEDGER, f"{POD}/volumes/1", {"name": "scratch", "hostPath": {"path": "/"}}, "expected no hostPath"),
    (LEDGER, f"{CONTAINER}/securityContext/allowPrivilegeEscalation", ABSENT, "no way to more privileges"),
    (LEDGER, f"{CONTAINER}/securityContext/capabilities/add", ["NET_RAW"], "every capability dropped and none added"),
    (LEDGER, f"{CONTAINER}/securityContext/readOnlyRootFilesystem", False, "read-only: StatefulSet"),
    (LEDGER, f"{CONTAINER}/resources/limits/memory", ABSENT, "bounded: StatefulSet collateral-management"),
    (LEDGER, f"{CONTAINER}/resources/requests", ABSENT, "expected requests of cpu and memory"),
    (LEDGER, f"{POD}/volumes/1/emptyDir", {}, "expected a sizeLimit of volume scratch"),
    (LEDGER, f"{CONTAINER}/readinessProbe", ABSENT, "expected readinessProbe of /readyz"),
    (LEDGER, f"{CONTAINER}/livenessProbe/httpGet/path", "/readyz", "expected livenessProbe of /healthz"),
    (LEDGER, f"{CONTAINER}/image", "ballast/collateral-management:latest", "expected an image with a tag but latest"),
    (LEDGER, f"{CONTAINER}/image", "ballast/collateral-management", "pinned: StatefulSet"),
    (LEDGER, f"{POD}/automountServiceAccountToken", True, "expected no token mounted"),
    (LEDGER, f"{POD}/enableServiceLinks", ABSENT, "expected enableServiceLinks false"),
    (LEDGER, f"{POD}/serviceAccountName", ABSENT, "expected a ServiceAccount of its own, was default"),
    (LEDGER, f"{POD}/terminationGracePeriodSeconds", 10, "expected 60 s to stop in"),
    (LEDGER, f"{POD}/topologySpreadConstraints", ABSENT, "expected its pods spread over zones and nodes"),
    (LEDGER, f"spec/template/metadata/labels/{NAME}", "other", "expected its selector to match its pods"),
    (LEDGER, "spec/serviceName", "other", "expected a Service other"),
    ("Service venue-gateway", f"spec/selector/{NAME}", "gateway", "expected its selector to match pods"),
    ("PodDisruptionBudget venue-gateway", "spec/maxUnavailable", 0, "expected one PodDisruptionBudget with max"),
    ("PodDisruptionBudget venue-gateway", "", ABSENT, "disruptable: Deployment venue-gateway"),
    ("Namespace ballast", "metadata/labels", {}, "enforces Pod Security restricted"),
    (KAFKA, "spec/kafka/config/unclean.leader.election.enable", True, "unclean.leader.election.enable=False"),
    (KAFKA, "spec/kafka/config/min.insync.replicas", 1, "expected min.insync.replicas=2 with 3 brokers, was 1"),
    (KAFKA, "spec/kafka/listeners/0/networkPolicyPeers", ABSENT, "listener plain: expected it open to ours alone"),
    (KAFKA, "spec/kafka/listners", [], "'listners' was unexpected"),
    (TOPIC, "spec/replicas", 1, "expected 3 copies, 2 in sync, was (1, '2')"),
    (TOPIC, "spec/partitions", -3, "-3 is less than the minimum of 1"),
    (TOPIC, "metadata/labels", ABSENT, "'labels' is a required property"),
    (TOPIC, "spec/config/unclean.leader.election.enable", "true", "expected no unclean leader election"),
    (f"{RULE} default-deny", "", ABSENT, "expected a NetworkPolicy default-deny"),
    (f"{RULE} default-deny", "spec/policyTypes", ["Ingress"], "expected it to refuse everything"),
    (f"{RULE} what-if-to", "", ABSENT, "liquidation-execution to risk-evaluation:50051 is closed, against the table"),
    (f"{RULE} what-if-from", "", ABSENT, "expected a NetworkPolicy what-if-from"),
    (f"{RULE} edge-to", "spec/ingress/0/from", ANYWHERE, "a stranger to venue-gateway:50051 is open"),
    (f"{RULE} edge-to", "spec/ingress/0/ports", ABSENT, "clients to venue-gateway:8080 is open, against the table"),
    (f"{RULE} metrics-to", "spec/ingress/0/from", ANYWHERE, "a stranger to risk-evaluation:8080 is open"),
    (f"{RULE} kafka-from", "spec/egress/0/to/0/podSelector/matchLabels", {"a": "b"}, "Kafka:9092 is closed"),
    (f"{RULE} replay-to", "metadata/labels/ballast~1flow", "edge", "expected the label ballast/flow: replay"),
    (f"{RULE} replay-to", "metadata/name", "play-to", "NetworkPolicy play-to: expected a flow of the table"),
]  # fmt: skip


def plant(objects: list[Object], where: str, path: str, value: Any) -> None:
    kind, _, name = where.partition(" ")
    at: Any = named(objects, kind, name)
    if not path:
        objects.remove(at)
        return
    *parents, last = [part.replace("~1", "/") for part in path.split("/")]
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if isinstance(at, list):
        at[int(last)] = value
    elif value is ABSENT:
        del at[last]
    else:
        at[last] = value


@pytest.mark.parametrize(("where", "path", "value", "complaint"), FAULTS)
def test_a_planted_fault_is_named(overlays: Overlays, where: str, path: str, value: Any, complaint: str) -> None:
    objects = overlays("prod")
    plant(objects, where, path, value)
    found = broken(objects)
    assert [words for words in found if complaint in words], "\n".join(found) or "no complaint"


def test_a_flow_without_policies_and_an_unknown_end_are_named(overlays: Overlays, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    row = "| `reads` | `venue_gateway` | `{target}` | {port} | balances |"
    page.write_text("# A\n\n## Flows\n\n" + row.format(target="collateral_management", port=50051) + "\n\n## Next\n")
    found = disagreements(overlays("prod"), flows(page))
    assert "expected a NetworkPolicy reads-from" in found
    assert "expected a NetworkPolicy reads-to" in found
    assert "venue-gateway to collateral-management:50051 is closed, against the table" in found
    page.write_text("\n## Flows\n" + row.format(target="ledger", port=50051))
    with pytest.raises(BadTable, match=r"reads: expected a service or one of .*, was ledger"):
        disagreements(overlays("prod"), flows(page))
    page.write_text("\n## Flows\n" + row.format(target="collateral_management", port="many"))
    with pytest.raises(BadTable, match="reads: expected a port, was many"):
        flows(page)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("resources: [absent.yaml]\n", "absent.yaml"), ("resourcs: []\n", "resourcs"), ("resources: {\n", "yaml")],
)
def test_an_overlay_that_cannot_be_rendered_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(text)
    with pytest.raises(CannotRender, match=complaint):
        render(tmp_path)
