"""Runs every case of a folder of vector files and counts what agreed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libs.common.errors import BallastError, ConfigurationError
from tools.conformance.comparison import Figure, Json, Unsupported, is_refusal
from tools.conformance.families import FAMILIES, LATER, Adapter

FILE_BYTES_MAX = 64 * 1024 * 1024
CASES_MAX = 100_000
_SHOWN_MAX = 20


@dataclass(slots=True)
class Tally:
    """What became of one family's cases; `why` names the first failures and skips."""

    family: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    why: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keeps a reason, up to a bound."""
        if len(self.why) < _SHOWN_MAX:
            self.why.append(text)

    @property
    def state(self) -> str:
        """One word for the whole family."""
        return "FAILED" if self.failed else ("skipped" if self.skipped else "passed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """All families, in order of name."""

    tallies: tuple[Tally, ...]

    def is_ok(self, *, strict: bool) -> bool:
        """No case failed, and under `strict` none was skipped; nothing to run is not ok either."""
        failed = any(one.failed for one in self.tallies)
        skipped = any(one.skipped for one in self.tallies)
        return bool(self.tallies) and not failed and not (strict and skipped)


def run_folder(folder: Path, adapters: Mapping[str, Adapter] = FAMILIES) -> Outcome:
    """Counts of every *.json of a folder.

    Raises: ConfigurationError when there is no such folder or no file in it.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"VECTORS: expected a folder, was {str(folder)!r}")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ConfigurationError(f"VECTORS: expected *.json files, found none in {str(folder)!r}")
    tallies: dict[str, Tally] = {}
    for path in paths:
        _run_file(path, adapters, tallies)
    return Outcome(tuple(tallies[name] for name in sorted(tallies)))


def _run_file(path: Path, adapters: Mapping[str, Adapter], tallies: dict[str, Tally]) -> None:
    def tally(family: str) -> Tally:
        return tallies.setdefault(family, Tally(family))

    if path.stat().st_size > FILE_BYTES_MAX:
        one = tally(path.stem)
        one.failed += 1
        one.note(f"{path.name}: expected at most {FILE_BYTES_MAX} bytes, was {path.stat().st_size}")
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as broken:
        one = tally(path.stem)
        one.failed += 1
        one.note(f"{path.name}: no JSON: {broken}")
        return
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        one = tally(path.stem)
        one.failed += 1
        one.note(f"{path.name}: expected an object with a list of cases")
        return
    family = str(content.get("family", path.stem))
    # The file's own name is its family too, where the two differ.
    family = family if family in adapters or path.stem not in adapters else path.stem
    one, cases = tally(family), content["cases"]
    adapter = adapters.get(family)
    if adapter is None:
        one.skipped += len(cases)
        one.note(f"not owned yet: {LATER[family]}" if family in LATER else "unknown family")
        return
    for at, case in enumerate(cases[:CASES_MAX]):
        _run_case(adapter, case, content, f"{path.name}[{at}]", one)
    if len(cases) > CASES_MAX:
        one.failed += 1
        one.note(f"{path.name}: expected at most {CASES_MAX} cases, was {len(cases)}")


def _run_case(adapter: Adapter, case: Any, content: Json, place: str, tally: Tally) -> None:
    title = f"{place} {case.get('test', '')}" if isinstance(case, dict) else place
    try:
        figures = adapter(case, content)
        wrong = [one for one in figures if not one.agrees]
        said = "; ".join(_says(one) for one in wrong[:4])
    except Unsupported as unknown:
        tally.skipped += 1
        tally.note(f"{title}: skipped: {unknown}")
        return
    except (ArithmeticError, AttributeError, BallastError, LookupError, RecursionError, TypeError, ValueError) as fault:
        if isinstance(fault, BallastError | ValueError) and isinstance(case, dict) and is_refusal(case.get("expected")):
            tally.passed += 1
            return
        # A case that our model cannot take is a failed case, not the end of the run.
        tally.failed += 1
        tally.note(f"{title}: {type(fault).__name__}: {fault}")
        return
    if wrong or not figures:
        tally.failed += 1
        tally.note(f"{title}: " + (said or "compares nothing"))
    else:
        tally.passed += 1


def _says(one: Figure) -> str:
    if isinstance(one.got, list) and isinstance(one.expected, list):
        return next(_differences(one), f"{one.name}: expected {len(one.expected)} entries, was {len(one.got)}")
    return f"{one.name}: expected {one.expected!r}, was {one.got!r}"


def _differences(one: Figure) -> Iterator[str]:
    for at, (got, expected) in enumerate(zip(one.got, one.expected, strict=False)):
        part = Figure(f"{one.name}[{at}]", got, expected, one.tolerance)
        if not part.agrees:
            yield f"{part.name}: expected {expected!r}, was {got!r}"
