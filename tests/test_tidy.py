"""House rules that no other tool holds, over the files that git tracks."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from libs.common.topics import TOPICS

_REPOSITORY = Path(__file__).resolve().parents[1]
_FUNCTION_LINES_MAX = 60
_FILE_LINES_MAX = 400
_LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock")
_VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "misc"}
# Words are put together here so that this file does not break its own rules.
_UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
_REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(name) + r"\." + re.escape(domain)
        for name, domain in [
            ("pypi", "org"),
            ("files.python" + "hosted", "org"),
            ("repo.maven", "apache.org"),
            ("repo1.maven", "org"),
            ("registry.npmjs", "org"),
            ("proxy.golang", "org"),
            ("crates", "io"),
            ("docker", "io"),
            ("ghcr", "io"),
            ("quay", "io"),
            ("gcr", "io"),
        ]
    )
)
_MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:work|tmp|root|home|Users|mnt|opt)/")
# What a pure domain may import from us: plain values and the generated enums (docs/architecture.md, decisions).
_PURE_COMMON = (
    "units", "ids", "errors", "parameters", "option_parameters", "default_parameters", "validity", "accounts", "book",
    "fingerprint", "lifecycle", "deleveraging",
)  # fmt: skip
_PURE_LIBS = (*(f"libs.common.{each}" for each in _PURE_COMMON), "libs.options")
_PURE_GENERATED = "ballast.types.v1"
# The ledger speaks the wire's own messages: commands in, effects out (docs/architecture.md, decisions).
_PURE_MESSAGES = {"collateral_management": "ballast.events.v1"}
# The standard library that a pure domain may use: no clock, no input or output, no randomness, no threads.
_PURE_STDLIB = {
    "__future__", "abc", "bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions", "functools",
    "hashlib", "heapq", "itertools", "math", "operator", "statistics", "string", "struct", "types", "typing",
}  # fmt: skip
_PURE_THIRD_PARTY = {"risk_evaluation": {"llvmlite", "numpy", "numba"}}
# Domains whose integers are money.
_MONEY_DOMAINS = ("services/collateral_management/domain/", "services/interest_accrual/domain/")


@cache
def _tracked() -> tuple[str, ...]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("house rules are about tracked files, and this is no git checkout")
    return tuple(name for name in listing.stdout.split("\0") if name and (_REPOSITORY / name).is_file())


@cache
def _text(name: str) -> str:
    return (_REPOSITORY / name).read_text(encoding="utf-8", errors="replace")


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_text(name), name)


def _python() -> Iterator[str]:
    return (name for name in _tracked() if name.endswith(".py"))


def _written() -> Iterator[str]:
    # What people write and read: recorded prices, images and resolved locks are none of it.
    for name in _tracked():
        if not name.endswith((".lock", ".binpb", ".csv", ".gz", ".png", ".svg", ".json")):
            yield name


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(name: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line, and what may be meant: `from a import b` may import module a or module a.b."""
    package = _module(name).split(".")
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, (alias.name,)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + name.endswith("__init__.py")] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, (source, f"{source}.{alias.name}")) for alias in node.names)


def _check(broken: list[str]) -> None:
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)


def test_functions_are_short() -> None:
    _check(
        [
            f"{name}:{node.lineno} {node.name} has {lines} lines, at most {_FUNCTION_LINES_MAX}"
            for name in _python()
            for node in ast.walk(_tree(name))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > _FUNCTION_LINES_MAX
        ]
    )


def test_files_are_short() -> None:
    _check(
        [
            f"{name} has {lines} lines, at most {_FILE_LINES_MAX}"
            for name in _written()
            if (lines := _text(name).count("\n")) > _FILE_LINES_MAX
        ]
    )


def _matches(pattern: re.Pattern[str], names: Iterator[str]) -> list[str]:
    return [
        f"{name}:{number} {line.strip()[:120]}"
        for name in names
        for number, line in enumerate(_text(name).splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_later() -> None:
    _check(_matches(_UNFINISHED, _written()))


def test_no_registry_host_is_named() -> None:
    _check(_matches(_REGISTRY_HOSTS, iter(_tracked())))


def test_no_path_of_one_machine_is_named() -> None:
    _check(_matches(_MACHINE_PATHS, iter(_tracked())))


def test_modules_are_named_after_a_thing() -> None:
    _check([name for name in _python() if _VAGUE_NAMES & set(Path(name).with_suffix("").parts)])


def test_money_is_divided_only_by_the_functions_that_name_their_rounding() -> None:
    _check(
        [
            f"{name}:{node.lineno} divides bare; use a function of libs/common/units.py"
            for name in _python()
            if name.startswith(_MONEY_DOMAINS)
            for node in ast.walk(_tree(name))
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div | ast.FloorDiv)
        ]
    )


def test_topic_names_exist_once() -> None:
    names = {topic.name for topic in TOPICS}
    _check(
        [
            f"{name}:{node.lineno} names the topic {node.value}"
            for name in _python()
            if name != "libs/common/topics.py" and not name.endswith("test_topics.py")
            for node in ast.walk(_tree(name))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.removesuffix(".dead") in names
        ]
    )


def test_no_fault_is_swallowed() -> None:
    _check(
        [
            f"{name}:{node.lineno} catches everything"
            for name in _python()
            if not name.endswith("__main__.py")
            for node in ast.walk(_tree(name))
            if isinstance(node, ast.ExceptHandler) and _is_blind(node)
        ]
    )


def _is_blind(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {each.id if isinstance(each, ast.Name) else "" for each in caught} if handler.type else {"BaseException"}
    # Cleaning up and raising again is no swallowing.
    last = handler.body[-1]
    passes_on = isinstance(last, ast.Raise) and last.exc is None
    return "Exception" in names or ("BaseException" in names and not passes_on)


def test_shared_modules_are_shared() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    # A module that was split into a package is shared as that package.
    shared = {
        ".".join(_module(name).split(".")[:3])
        for name in _python()
        if name.startswith("libs/common/") and "/tests/" not in name and not name.endswith("__init__.py")
    }
    for name in _python():
        if "/tests/" in name or name.startswith("tests/"):
            continue
        # A service or a tool counts once, however many of its files import the module.
        parts = _module(name).split(".")
        unit = ".".join(parts[:3] if parts[0] == "libs" else parts[:2])
        for _, names in _imports(name):
            for imported in shared.intersection(names) - {unit}:
                importers[imported].add(unit)
    _check(
        [f"{each} has importers {sorted(importers[each])}, at least two" for each in shared if len(importers[each]) < 2]
    )


def _is_pure(imported: str, service: str) -> bool:
    homes = (*_PURE_LIBS, _PURE_GENERATED, _PURE_MESSAGES.get(service, _PURE_GENERATED), f"services.{service}.domain")
    third_party = _PURE_THIRD_PARTY.get(service, {"numpy"})
    return imported.partition(".")[0] in _PURE_STDLIB | third_party or any(
        f"{imported}.".startswith(f"{home}.") for home in homes
    )


def test_domains_import_only_what_is_pure() -> None:
    _check(
        [
            f"{name}:{line} imports {' or '.join(names)}"
            for name in _python()
            if (match := re.match(r"services/(\w+)/domain/", name))
            for line, names in _imports(name)
            # `from package import module` names either; one of them must be pure.
            if not any(_is_pure(each, match[1]) for each in names)
        ]
    )


def test_examples_know_only_the_wire() -> None:
    ours = {"libs", "services", "tests", "tools"}
    allowed = {"ballast", "examples", "google", "grpc", "hypothesis", "prometheus_client", "pytest"} | set(
        sys.stdlib_module_names
    )
    _check(
        [
            f"{name}:{line} imports {imported}"
            for name in _python()
            if name.startswith("examples/")
            for line, (imported, *_) in _imports(name)
            if imported.partition(".")[0] not in allowed - ours
        ]
    )


@pytest.mark.parametrize("lock", _LOCKS)
def test_locks_pin_by_hash_and_name_no_address(lock: str) -> None:
    text = (_REPOSITORY / lock).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=\S)", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    unpinned = [entry.splitlines()[0] for entry in entries if entry.strip() and "--hash=sha256:" not in entry]
    assert not unpinned
    assert all(re.match(r"[a-z0-9._-]+==\S+", entry) for entry in entries if entry.strip())


def test_the_locks_agree() -> None:
    pins = [
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (_REPOSITORY / lock).read_text(), re.MULTILINE)) for lock in _LOCKS
    ]
    runtime, development, bench = pins
    assert {name: development.get(name) for name in runtime} == runtime
    assert {name: runtime.get(name, pin) for name, pin in bench.items()} == bench
