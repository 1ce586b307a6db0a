"""The overlays as they are: what they promise, what their pods are told, and what is generated from the code."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.common.config import load_parameters
from libs.common.service import ServiceSettings, read_settings
from libs.common.topics import DEAD_TOPICS, TOPICS
from tools.demo.processes import SERVICES
from tools.manifests.__main__ import broken
from tools.manifests.render import DEPLOY, OVERLAYS, POD_OWNERS, Object, containers, label_of, named, of_kind, render
from tools.manifests.topics import topic_files

Overlays = Callable[[str], list[Object]]

STATEFUL = {"collateral-management", "risk-evaluation", "interest-accrual", "liquidation-execution"}
STATELESS = {"venue-gateway", "price-ingestion"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_fits_schemas_policies_and_flows(overlays: Overlays, name: str) -> None:
    assert broken(overlays(name)) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_service_is_deployed_by_its_kind(overlays: Overlays, name: str) -> None:
    owners = {one["metadata"]["name"]: one["kind"] for one in of_kind(overlays(name), *POD_OWNERS)}
    assert {each for each, kind in owners.items() if kind == "StatefulSet"} == STATEFUL
    assert {each for each, kind in owners.items() if kind == "Deployment"} == STATELESS
    assert {each.replace("-", "_") for each in owners} == set(SERVICES)


def _environment(objects: list[Object], owner: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    (container,) = containers(owner)
    for source in container["envFrom"]:
        found.update(named(objects, "ConfigMap", source["configMapRef"]["name"])["data"])
    for each in container["env"]:
        found[each["name"]] = each["value"] if "value" in each else f"{owner['metadata']['name']}-0"
    return found


def _settings_of(service: str) -> type[ServiceSettings]:
    main = importlib.import_module(f"services.{service}.settings")
    (found,) = (
        each
        for each in vars(main).values()
        if isinstance(each, type) and issubclass(each, ServiceSettings) and each is not ServiceSettings
    )
    return found


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_accepts_what_its_manifest_sets(
    overlays: Overlays, name: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in [key for key in os.environ if key.upper().startswith("BALLAST_")]:
        monkeypatch.delenv(key)
    objects = overlays(name)
    (owner,) = (one for one in of_kind(objects, *POD_OWNERS) if one["metadata"]["name"] == service.replace("_", "-"))
    for key, value in _environment(objects, owner).items():
        monkeypatch.setenv(key, value)
    settings = read_settings(_settings_of(service))
    (container,) = containers(owner)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert settings.http_host == settings.grpc_host == "0.0.0.0"
    assert settings.http_port == ports["http"]
    assert settings.grpc_port == ports.get("grpc", settings.grpc_port)
    assert settings.instance == f"{owner['metadata']['name']}-0"


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_parameters_in_the_cluster_are_those_of_the_repository(
    overlays: Overlays, name: str, repository: Path, tmp_path: Path
) -> None:
    objects = overlays(name)
    (found,) = (one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"].startswith("parameters-"))
    for file, text in found["data"].items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert load_parameters(tmp_path).hash == load_parameters(repository / "config").hash
    for owner in of_kind(objects, *POD_OWNERS):
        volumes = {each["name"]: each for each in owner["spec"]["template"]["spec"]["volumes"]}
        assert volumes["parameters"]["configMap"]["name"] == found["metadata"]["name"]


def test_a_component_has_the_ledger_sign_its_heads(tmp_path: Path) -> None:
    deploy = os.path.relpath(DEPLOY, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{deploy}/overlays/dev]\ncomponents: [{deploy}/components/notary]\n"
    )
    objects = render(tmp_path)
    assert broken(objects) == []
    owner = named(objects, "StatefulSet", "collateral-management")
    (container,) = containers(owner)
    paths = {one["mountPath"] for one in container["volumeMounts"]}
    (key_file,) = [one["value"] for one in container["env"] if one["name"] == "BALLAST_NOTARY_KEY_FILE"]
    assert Path(key_file).parent.as_posix() in paths
    assert {one["name"] for one in owner["spec"]["template"]["spec"]["volumes"]} >= {"notary", "parameters"}


def test_the_topics_are_those_of_the_code() -> None:
    found: dict[str, Any] = {}
    for path, text in topic_files().items():
        assert path.read_text(encoding="utf-8") == text, "stale: make manifests"
        found |= {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all(text)}
    assert set(found) == {topic.name for topic in (*TOPICS, *DEAD_TOPICS)}
    for topic in TOPICS:
        assert found[topic.name]["config"] == topic.config()


@pytest.mark.parametrize(("name", "brokers", "copies", "in_sync"), [("dev", 1, 1, 1), ("prod", 3, 3, 2)])
def test_brokers_copies_and_in_sync_minimum(
    overlays: Overlays, name: str, brokers: int, copies: int, in_sync: int
) -> None:
    objects = overlays(name)
    pools = [one["spec"] for one in of_kind(objects, "KafkaNodePool") if "broker" in one["spec"]["roles"]]
    assert sum(pool["replicas"] for pool in pools) == brokers
    for topic in of_kind(objects, "KafkaTopic"):
        config = topic["spec"]["config"]
        assert (topic["spec"]["replicas"], int(config["min.insync.replicas"])) == (copies, in_sync)
        assert config["unclean.leader.election.enable"] == "false"


def test_production_spreads_brokers_and_ledger_over_zones(overlays: Overlays) -> None:
    objects = overlays("prod")
    zone = {"topologyKey": "topology.kubernetes.io/zone"}
    assert named(objects, "Kafka", "ballast")["spec"]["kafka"]["rack"] == zone
    pods = [one["spec"]["template"]["pod"] for one in of_kind(objects, "KafkaNodePool")]
    ledger = named(objects, "StatefulSet", "collateral-management")["spec"]
    assert ledger["replicas"] == 3
    for pod in [*pods, ledger["template"]["spec"]]:
        first = pod["topologySpreadConstraints"][0]
        assert (first["topologyKey"], first["whenUnsatisfiable"]) == (zone["topologyKey"], "DoNotSchedule")


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_steps_of_the_guide_reach_every_object_once(overlays: Overlays, name: str) -> None:
    for one in overlays(name):
        labels = one["metadata"].get("labels", {})
        is_common = labels.get("app.kubernetes.io/part-of") == "ballast" and "app.kubernetes.io/name" not in labels
        is_kafka = labels.get("app.kubernetes.io/component") == "kafka"
        is_service = labels.get("app.kubernetes.io/name", "").replace("-", "_") in SERVICES
        assert is_common + is_kafka + is_service == 1, label_of(one)


def test_the_base_alone_renders_without_a_kafka() -> None:
    kinds = {one["kind"] for one in render(DEPLOY / "base")}
    assert not kinds & {"Kafka", "KafkaTopic", "KafkaNodePool"}
