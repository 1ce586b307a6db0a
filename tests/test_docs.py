"""The pages of docs/ name what exists: files, tests, invariants, terms."""

import re
from pathlib import Path

import pytest

_FIRST = [f"I{number}" for number in range(1, 14)]
_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)(?:::(\w+))?`")
_CITED = re.compile(r"\"(I\d+)\"")
_PARTS = ("- Write", "- Read", "- Property", "- Alert")


def _page(repository: Path, name: str) -> str:
    return (repository / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["invariants.md", "glossary.md"])
def test_files_and_tests_that_a_page_names_exist(repository: Path, name: str) -> None:
    missing = []
    for path, test in _FILE.findall(_page(repository, name)):
        file = repository / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not file.is_file() or (test and not re.search(rf"def {test}\(", text)):
            missing.append(f"{path}::{test}" if test else path)
    assert not missing


def test_every_invariant_has_its_checks_named_or_called_missing(repository: Path) -> None:
    sections = re.split(r"^## ", _page(repository, "invariants.md"), flags=re.MULTILINE)[1:]
    numbers = [int(section.split()[0].removeprefix("I")) for section in sections]
    assert numbers == sorted(set(numbers))
    assert {int(one.removeprefix("I")) for one in _FIRST} <= set(numbers)
    for section in sections:
        assert [part for part in _PARTS if f"\n{part}" not in section] == [], section[:40]
        for bullet in re.split(r"\n(?=- )", section)[1:]:
            assert re.search(r"`|missing", bullet, re.IGNORECASE), bullet


def test_code_cites_only_invariants_that_exist(repository: Path) -> None:
    cited = {
        number
        for package in ("libs", "services", "tools")
        for file in (repository / package).rglob("*.py")
        for number in _CITED.findall(file.read_text(encoding="utf-8"))
    }
    known = set(re.findall(r"^## (I\d+) ", _page(repository, "invariants.md"), flags=re.MULTILINE))
    assert {"I1", "I8", "I13"} <= cited <= known


def test_terms_stand_once_each_in_order_with_one_sentence(repository: Path) -> None:
    lines = [line for line in _page(repository, "glossary.md").splitlines() if line.startswith("- **")]
    terms = [line.removeprefix("- **").partition("**")[0] for line in lines]
    assert len(terms) > 60
    assert terms == sorted(set(terms), key=str.casefold)
    meanings = [line.partition("**: ")[2] for line in lines]
    assert [meaning for meaning in meanings if not meaning.endswith(".") or re.search(r"\. [A-Z]", meaning)] == []
