"""The runner counts what agreed, and fails on what it should, on cases written here."""

import json
from pathlib import Path
from typing import Any

import pytest

from libs.common.errors import ConfigurationError
from tools.conformance.__main__ import main
from tools.conformance.comparison import EXACT, REFUSED, Figure, Tolerance, Unsupported, compared, tolerance_of
from tools.conformance.families import FAMILIES, LATER
from tools.conformance.runner import run_folder

_BLACK = {"seconds": 604_800, "vol": 1.0, "forward": 1500.0, "strike": 1500.0, "discount": 1.0}
_GOOD = {"test": "at the money", "inputs": _BLACK, "expected": {"call": 82.80508066863456}}


def _write(folder: Path, family: str, cases: list[Any], **more: Any) -> Path:
    content = {"family": family, "tolerance": {"absolute": 1e-12}, "cases": cases, **more}
    (folder / f"{family}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_cases_that_agree_pass(tmp_path: Path) -> None:
    (tally,) = run_folder(_write(tmp_path, "options_black76_derive", [_GOOD])).tallies
    assert (tally.passed, tally.failed, tally.skipped) == (1, 0, 0)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ({**_GOOD, "expected": {"call": 82.9}}, "call: expected 82.9, was 82.805"),
        ({**_GOOD, "inputs": {**_BLACK, "vol": -1.0}}, "ValueError: expected a finite vol >= 0"),
        ({**_GOOD, "inputs": {"seconds": 1, "forward": 1.0}}, "KeyError"),
        ({"test": "no inputs", "expected": {}}, "KeyError"),
        ({**_GOOD, "expected": {}}, "compares nothing"),
        ([1, 2], "TypeError"),
        (None, "TypeError"),
    ],
)
def test_a_case_that_does_not_agree_fails_and_the_run_goes_on(tmp_path: Path, case: Any, says: str) -> None:
    outcome = run_folder(_write(tmp_path, "options_black76_derive", [case, _GOOD]))
    (tally,) = outcome.tallies
    assert (tally.passed, tally.failed) == (1, 1)
    assert says in tally.why[0]
    assert not outcome.is_ok(strict=False)


def test_a_refusal_agrees_with_an_expected_error_and_with_nothing_else(tmp_path: Path) -> None:
    refused, taken = {**_BLACK, "vol": -1.0}, _BLACK
    cases = [{"inputs": raw, "expected": "error: no volatility"} for raw in (refused, taken)]
    (tally,) = run_folder(_write(tmp_path, "options_black76_derive", cases)).tallies
    assert (tally.passed, tally.failed) == (1, 1)


def test_what_is_not_known_is_skipped_and_fails_under_strict(tmp_path: Path) -> None:
    _write(tmp_path, "options_black76_derive", [_GOOD, {**_GOOD, "expected": {"charm": 1.0}}])
    _write(tmp_path, "liquidation_drift", [{}, {}])
    _write(tmp_path, "astrology", [{}])
    outcome = run_folder(tmp_path)
    assert {one.family: one.skipped for one in outcome.tallies} == {
        "options_black76_derive": 1,
        "liquidation_drift": 2,
        "astrology": 1,
    }
    assert outcome.is_ok(strict=False)
    assert not outcome.is_ok(strict=True)


@pytest.mark.parametrize("text", ["{", '{"cases": 3}', "[]", "\xff"])
def test_a_file_that_is_no_vectors_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_bytes(text.encode("latin-1"))
    assert not run_folder(tmp_path).is_ok(strict=False)


def test_the_name_of_the_file_stands_for_a_missing_family(tmp_path: Path) -> None:
    (tmp_path / "options_black76_derive.json").write_text(json.dumps({"cases": [_GOOD]}), encoding="utf-8")
    assert run_folder(tmp_path).tallies[0].passed == 1


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigurationError, match=r"^VECTORS: expected"):
            run_folder(folder)


def test_the_command_writes_its_report_and_its_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vectors"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([str(folder)]) == 2
    _write(folder, "options_black76_derive", [_GOOD])
    _write(folder, "liquidation_drift", [{}])
    assert main([str(folder)]) == 0
    assert main([str(folder), "--strict"]) == 1
    report = json.loads((tmp_path / ".run/conformance/report.json").read_text(encoding="utf-8"))
    assert report["ok"] is False
    assert report["command"] == "make conformance VECTORS=vectors STRICT=1"
    assert {"name": "options_black76_derive_passed", "value": 1, "unit": "cases"} in report["measures"]
    assert "liquidation_drift" in capsys.readouterr().out


def test_tolerances() -> None:
    tight = tolerance_of({"relative": 1e-8, "absolute_when_abs_value_below_1e-10": 1e-8})
    assert tight.admits(1.0 + 9e-9, 1.0)
    assert not tight.admits(1.0 + 2e-8, 1.0)
    assert tight.admits(5e-9, -3.6e-12)
    assert not tight.admits(float("nan"), float("nan"))
    assert tolerance_of(1e-4) == Tolerance(absolute=1e-4)
    assert tolerance_of({"per_case": True}) == EXACT


@pytest.mark.parametrize(
    ("got", "expected", "agrees"),
    [
        (3, 3, True),
        (3, 3.0, True),
        (True, 1, False),
        (True, True, True),
        (10**30, str(10**30), True),
        (10**30, str(10**30 + 1), False),
        ([1, 2], [1, 2], True),
        ([1], [1, 2], False),
        (REFUSED, "error: would leave dust", True),
        (1, "error: would leave dust", False),
        (None, 0, False),
    ],
)
def test_figures_agree(got: Any, expected: Any, agrees: bool) -> None:
    assert Figure("x", got, expected).agrees is agrees


def test_an_expected_figure_that_is_not_computed_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="charm"):
        compared({"call": 1.0, "charm": 2.0}, {"call": 1.0}, EXACT)


def test_no_family_is_both_owned_and_later() -> None:
    assert not set(FAMILIES) & set(LATER)
