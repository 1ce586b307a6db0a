"""Rules, dashboards, runbooks and the operator's objects belong together; each alert has a unit test of promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.needs import without_prometheus
from tools.monitoring.dashboards import DASHBOARDS
from tools.monitoring.objects import generated

REPOSITORY = Path(__file__).resolve().parents[1]
MONITORING = REPOSITORY / "deploy" / "k8s" / "monitoring"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RULE_FILES = sorted((MONITORING / "rules").glob("*.yaml"))
EXPRESSIONS = [query for board in DASHBOARDS for panel in board.panels for query, _ in panel.queries]
_RUNBOOK_PARTS = ("## Means", "## Look", "## Type", "## Then")


@cache
def rules() -> list[dict[str, Any]]:
    return [
        rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool() -> str:
    """Path of promtool; without it the test ends."""
    return shutil.which("promtool") or without_prometheus()


def test_generated_files_are_those_that_the_rules_and_specifications_give() -> None:
    for name, text in generated(MONITORING / "rules").items():
        assert (MONITORING / name).read_text(encoding="utf-8") == text, f"{name}: run make monitoring"


def test_the_operators_rules_are_the_rules() -> None:
    for path in RULE_FILES:
        made = yaml.safe_load((MONITORING / f"prometheusrule-{path.stem}.yaml").read_text())
        assert made["spec"] == yaml.safe_load(path.read_text())


def test_the_kustomization_lists_every_generated_file() -> None:
    listed = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())
    files = listed["resources"] + listed["configMapGenerator"][0]["files"]
    assert sorted(files) == sorted(generated(MONITORING / "rules"))


@pytest.mark.parametrize("expression", [rule["expr"] for rule in rules()] + EXPRESSIONS)
def test_expressions_parse(expression: str) -> None:
    promql_parser.parse(expression)


def test_every_alert_names_its_runbook_and_says_how_urgent_it_is() -> None:
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_every_runbook_belongs_to_an_alert_and_says_what_to_look_at_and_type() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == alerts().keys() | {"README"}
    for name in alerts():
        text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        assert [part for part in _RUNBOOK_PARTS if f"\n{part}\n" not in text] == [], name
        assert re.search(r"^    \S", text.partition("## Type")[2], re.MULTILINE), f"{name}: no command to type"


def test_every_invariant_has_its_alert() -> None:
    page = (REPOSITORY / "docs" / "invariants.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    for section in sections:
        number, named = section.split()[0], re.findall(r"`(Ballast\w+)`", section)
        assert named, number
        for name in named:
            assert f'invariant="{number}"' in alerts()[name]["expr"], name


def test_dashboards_ask_only_for_metrics_that_the_table_has() -> None:
    table = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(ballast_\w+)`", table, re.MULTILINE))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = [rule["expr"] for rule in rules()] + EXPRESSIONS
    for expression in asked:
        for name in re.findall(r"\bballast[_:][\w:]+", expression):
            plain = re.sub(r"_(bucket|count|sum)$", "", name)
            assert name in known | recorded or plain in known, f"{name} in {expression}"


def _cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((MONITORING / "tests" / "cases.yaml").read_text())
    return found


def test_every_alert_has_a_case() -> None:
    assert {case["alert"] for case in _cases()} == alerts().keys()


def _every(case: dict[str, Any]) -> str:
    return str(case.get("every", "1m"))


def _unit_test(case: dict[str, Any]) -> dict[str, Any]:
    rule = alerts()[case["alert"]]
    raised = {"exp_labels": {**rule["labels"], **case["labels"]}, "exp_annotations": rule["annotations"]}
    return {
        "name": case["alert"],
        "interval": _every(case),
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "alert_rule_test": [
            {"eval_time": case["quiet"], "alertname": case["alert"], "exp_alerts": []},
            {"eval_time": case["at"], "alertname": case["alert"], "exp_alerts": [raised]},
        ],
    }


@pytest.mark.parametrize("every", sorted({_every(case) for case in _cases()}))
def test_alerts_are_raised_and_are_silent_when_they_should_be(every: str, tmp_path: Path) -> None:
    tool = promtool()
    cases = [case for case in _cases() if _every(case) == every]
    needed = ["recorded"] + [path.stem for path in RULE_FILES if any(one["alert"] in path.read_text() for one in cases)]
    tests = {
        "rule_files": [str(path) for path in RULE_FILES if path.stem in needed],
        "evaluation_interval": every,
        "tests": [_unit_test(case) for case in cases],
    }
    (tmp_path / "tests.json").write_text(json.dumps(tests))  # which is YAML as well
    done = subprocess.run(
        [tool, "test", "rules", str(tmp_path / "tests.json")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", *map(str, RULE_FILES)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
