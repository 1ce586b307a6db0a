"""Renders overlays with kubectl's kustomize into plain objects."""

import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "k8s"
OVERLAYS = ("dev", "prod")
POD_OWNERS = ("StatefulSet", "Deployment", "DaemonSet", "Job")

Object = dict[str, Any]


class CannotRender(RuntimeError):
    """kustomize refused, with its reason; or kubectl is absent."""


def render(directory: Path) -> list[Object]:
    """The objects that `kubectl apply -k` would send.

    Raises: CannotRender.
    """
    kubectl = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or shutil.which("kubectl")
    if kubectl is None:
        raise CannotRender("kubectl was not found (make k8s-check installs it)")
    done = subprocess.run([kubectl, "kustomize", str(directory)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRender(f"{directory.name}: {done.stderr.strip()}")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def overlay(name: str) -> list[Object]:
    """The objects of an overlay."""
    return render(DEPLOY / "overlays" / name)


def label_of(one: Object) -> str:
    """Kind and name, for messages."""
    return f"{one.get('kind', '?')} {one.get('metadata', {}).get('name', '?')}"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [one for one in objects if one.get("kind") in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The one of this kind and name."""
    return next(one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)


def containers(owner: Object) -> Iterator[Object]:
    """Every container of the pods it makes, init containers too."""
    pod = owner["spec"]["template"]["spec"]
    for group in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(group, [])
