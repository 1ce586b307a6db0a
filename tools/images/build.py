"""Builds the image of each service and the base image that stands in where no image registry is reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tools.images.engine import DIRECTORY, Engine, ImageFault
from tools.report import Measure

LOCAL_BASE = "localhost/ballast/python:bookworm"
SIZE_GOALS_MB = {"risk_evaluation": 400}
SIZE_GOAL_MB = 200

_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_UNREAD = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_MB = 1_000_000


def image_name(service: str, *, prefix: str, tag: str) -> str:
    """Reference of a service's image, such as localhost/ballast/risk-evaluation:dev."""
    return f"{prefix}/{service.replace('_', '-')}:{tag}"


def build_base(engine: Engine) -> str:
    """Name of a base image of Debian packages alone: bookworm with its Python 3.11.

    Raises: ImageFault.
    """
    if not shutil.which("mmdebstrap"):
        raise ImageFault("the base image is made by mmdebstrap (Debian, Ubuntu: apt-get install mmdebstrap)")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    archive = DIRECTORY / "rootfs.tar"
    excluded = [f"--dpkgopt=path-exclude={path}" for path in _UNREAD]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}", *excluded]
    if subprocess.run([*command, "bookworm", str(archive)], check=False).returncode != 0:
        raise ImageFault("mmdebstrap could not make the base image; its words are above")
    engine.run("import", str(archive), LOCAL_BASE)
    archive.unlink()
    return LOCAL_BASE


def base_image(engine: Engine, wanted: str | None) -> str:
    """The base to build on: the wanted one, else the local one when it was made, else the Dockerfile's."""
    if wanted:
        return wanted
    if engine.has(LOCAL_BASE):
        return LOCAL_BASE
    for line in Path("Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("ARG BASE_IMAGE="):
            return line.partition("=")[2]
    raise ImageFault("Dockerfile: expected a line ARG BASE_IMAGE=...")


def build(engine: Engine, service: str, *, base: str, name: str) -> list[Measure]:
    """Figures of the image that was built. Raises ImageFault."""
    if not engine.has(base):
        try:
            engine.run("pull", base)
        except ImageFault as fault:
            raise ImageFault(f"{fault}\nwhere no image registry is reached, make one: make base-image") from fault
    began = time.monotonic()
    arguments = ["--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"SERVICE={service}", "--tag", name]
    engine.run("build", "--quiet", *_certificates(), *arguments, ".")
    seconds = time.monotonic() - began
    added = (engine.inspect(name)["Size"] - engine.inspect(base)["Size"]) / _MB
    goal = SIZE_GOALS_MB.get(service, SIZE_GOAL_MB)
    return [
        Measure(f"{service} above the base", round(added, 1), "MB", goal=f"<= {goal}", met=added <= goal),
        Measure(f"{service} built in", round(seconds, 1), "s"),
    ]


def _certificates() -> list[str]:
    # A network that ends TLS itself has its own certificates; pip in the build must trust what pip here trusts.
    for variable in ("PIP_CERT", "SSL_CERT_FILE"):
        path = os.environ.get(variable, "")
        if path and Path(path).is_file():
            return ["--secret", f"id=ca,src={path}"]
    return []
