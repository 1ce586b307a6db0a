"""What an image installs: the lock's own entries, everything its service needs, nothing of the others."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.demo.processes import SERVICES
from tools.images.pins import UnknownExtra, pins

HEAVY = {"faust-streaming", "llvmlite", "numba", "numpy", "rocksdict"}
OF_SERVICE = {"risk_evaluation": HEAVY, "price_ingestion": {"numpy"}}  # smiles are checked over arrays


def text_of(repository: Path, extras: list[str], *, own_only: bool = False) -> str:
    lock, project = (repository / "requirements.lock").read_text(), (repository / "pyproject.toml").read_text()
    return pins(lock, project, extras, own_only=own_only)


def names_of(text: str) -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE)}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_everything_that_its_packages_need(repository: Path, service: str) -> None:
    names = names_of(text_of(repository, [service]))
    missing = []
    for name in names:
        try:
            needs = [Requirement(need) for need in requires(name) or []]
        except PackageNotFoundError:
            continue  # for another platform or version of Python
        for need in needs:
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and canonicalize_name(
                need.name
            ) not in names:
                missing.append(f"{name} needs {need}")
    assert not missing


@pytest.mark.parametrize("service", SERVICES)
def test_heavy_packages_are_in_the_images_that_need_them(repository: Path, service: str) -> None:
    assert names_of(text_of(repository, [service])) & HEAVY == OF_SERVICE.get(service, set())


def test_every_entry_is_the_locks_own_with_its_hashes(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text()
    for entry in re.split(r"^(?=[a-z0-9])", text_of(repository, list(SERVICES)), flags=re.MULTILINE)[1:]:
        assert entry in lock
        assert "--hash=sha256:" in entry


def test_a_package_pinned_twice_by_version_of_python_keeps_both() -> None:
    lock = "\n".join(
        f"{name} \\\n    --hash=sha256:{'0' * 64}\n    # via\n    #   ballast (pyproject.toml)"
        for name in ("thing==1 ; python_full_version < '3.12'", "thing==2 ; python_full_version >= '3.12'")
    )
    project = '[project]\ndependencies = ["thing"]\n[project.optional-dependencies]\nextra = []\n'
    assert pins(lock, project, ["extra"]).count("thing==") == 2


def test_the_build_tools_come_alone(repository: Path) -> None:
    names = names_of(text_of(repository, ["build"], own_only=True))
    assert "grpcio-tools" in names
    assert "aiokafka" not in names


@pytest.mark.parametrize(
    ("extra", "project", "message"),
    [
        ("nonsense", "known = []", "expected extras among known, was nonsense"),
        ("known", 'known = ["absent>=1"]', "expected absent in the lock; run make locks"),
    ],
)
def test_an_unknown_extra_and_a_stale_lock_are_named(extra: str, project: str, message: str) -> None:
    with pytest.raises(UnknownExtra, match=message):
        pins("", f"[project]\ndependencies = []\n[project.optional-dependencies]\n{project}\n", [extra])
