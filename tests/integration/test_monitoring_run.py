"""A short real run as operators see it: the table of metrics is true, and every dashboard and rule finds something."""

from __future__ import annotations

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.otlp_sink import Sink, otlp_sink
from tests.integration.short_run import REPOSITORY, Prometheus, ShortRun, short_run
from tests.needs import without_prometheus
from tools.demo.processes import SERVICES
from tools.monitoring.dashboards import DASHBOARDS

_SERIES_MAX = 1_500
# The run is a good one: nothing was lost, refused or given up, so these families stay without a sample.
_MAY_BE_EMPTY = {"ballast_liquidation_refused_total", "ballast_price_dropped_quotes_total"}


@dataclass(slots=True)
class Family:
    """One metric as a process shows it, or as the table has it."""

    kind: str
    labels: set[str]
    description: str
    processes: set[str] = field(default_factory=set)
    has_samples: bool = False


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with otlp_sink() as found:
        yield found


@pytest.fixture(scope="module")
def run(fresh_kafka: str, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShortRun]:
    traced = {"BALLAST_TRACE_TARGET": sink.target}
    found = asyncio.run(short_run(fresh_kafka, tmp_path_factory.mktemp("run"), extra=traced))
    try:
        yield found
    finally:
        if found.prometheus is not None:
            found.prometheus.stop()


def _prometheus(run: ShortRun) -> Prometheus:
    return run.prometheus or without_prometheus()


def _shown(run: ShortRun) -> tuple[dict[str, Family], dict[str, set[str]]]:
    """Families by name, and values by label."""
    families: dict[str, Family] = {}
    values: defaultdict[str, set[str]] = defaultdict(set)
    for service, text in run.metrics.items():
        for one in text_string_to_metric_families(text):
            if not one.name.startswith("ballast_"):
                continue
            name = f"{one.name}_total" if one.type == "counter" else one.name
            family = families.setdefault(name, Family(one.type, set(), one.documentation))
            assert (family.kind, family.description) == (one.type, one.documentation), f"{name} differs in {service}"
            family.processes.add(service)
            for sample in one.samples:
                family.has_samples = True
                family.labels |= sample.labels.keys() - {"le"}
                for label, value in sample.labels.items():
                    values[label].add(value)
    values.pop("le", None)
    return families, values


def _rows(page: str, heading: str) -> list[list[str]]:
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def _table() -> dict[str, Family]:
    page = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    found = {}
    for name, kind, labels, processes, description in _rows(page, "The table"):
        of = set(SERVICES) if processes == "all" else set(processes.split(", "))
        found[name] = Family(kind, set() if labels == "–" else set(labels.split(", ")), description, of)
    return found


def test_the_run_was_a_real_one(run: ShortRun) -> None:
    assert run.episodes > 0
    assert not [line for line in run.log_lines if line["level"] == "critical"]


def test_the_table_of_metrics_is_what_the_services_show(run: ShortRun) -> None:
    shown, _ = _shown(run)
    table = _table()
    assert shown.keys() == table.keys()
    for name, family in shown.items():
        told = table[name]
        assert (family.kind, family.description) == (told.kind, told.description), name
        assert family.processes == told.processes, name
        assert family.has_samples or name in _MAY_BE_EMPTY, name
        assert family.labels == told.labels or not family.has_samples, name


def test_labels_have_few_values_and_name_no_account(run: ShortRun) -> None:
    _, values = _shown(run)
    page = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    bounds = {row[0]: int(row[1]) for row in _rows(page, "Labels")}
    for label, found in values.items():
        assert len(found) <= bounds[label], f"{label}: {sorted(found)}"
        assert not [one for one in found if re.fullmatch(r"\d{5,}|desk-\d+|lender-\d+", one)], label
    for service, text in run.metrics.items():
        series = sum(1 for line in text.splitlines() if line.startswith("ballast_"))
        assert series <= _SERIES_MAX, f"{service} shows {series} series"


def test_every_invariant_is_checked_somewhere_and_holds(run: ShortRun) -> None:
    found = re.findall(r'ballast_invariant_holds_state{invariant="(I\d+)"} (\S+)', "\n".join(run.metrics.values()))
    page = (REPOSITORY / "docs" / "invariants.md").read_text(encoding="utf-8")
    assert {number for number, _ in found} == set(re.findall(r"^## (I\d+) ", page, re.MULTILINE))
    assert {value for _, value in found} == {"1.0"}


def _finds(prometheus: Prometheus, query: str, run: ShortRun) -> bool:
    return any(math.isfinite(float(one["value"][1])) for one in prometheus.query(query, at_s=run.ended_s))


def test_every_panel_of_every_dashboard_shows_something(run: ShortRun) -> None:
    prometheus = _prometheus(run)
    empty = [
        f"{board.name}: {panel.title}: {query}"
        for board in DASHBOARDS
        for panel in board.panels
        for query, _ in panel.queries
        if not _finds(prometheus, query, run)
    ]
    assert empty == []


def test_recorded_figures_exist_and_no_rule_fails(run: ShortRun) -> None:
    prometheus = _prometheus(run)
    rules = prometheus.rules()
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"] == []
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    assert [name for name in sorted(recorded) if not _finds(prometheus, name, run)] == []


def test_a_good_run_raises_no_alert_of_an_invariant(run: ShortRun) -> None:
    prometheus = _prometheus(run)
    firing = prometheus.query('ALERTS{alertstate="firing"}', at_s=run.ended_s)
    names = {one["metric"]["alertname"] for one in firing}
    broken = {name for name in names if f"- alert: {name}" in _invariant_rules()}
    assert broken == set()
    assert not names & {"BallastDeadLetter", "BallastServiceDown", "BallastServiceNotReady", "BallastLedgerAlert"}


def _invariant_rules() -> str:
    path: Path = REPOSITORY / "deploy" / "k8s" / "monitoring" / "rules" / "invariants.yaml"
    return path.read_text(encoding="utf-8")


# What carries an account from a mark to money that moved, newest first, and who says so.
_CHAIN = (
    ("collateral_management", "fill settled"),
    ("venue_gateway", "fill reported"),
    ("venue_gateway", "order sent"),
    ("collateral_management", "order released"),
    ("liquidation_execution", "plan"),
    ("collateral_management", "episode opened"),
    ("risk_evaluation", "margin"),
    ("price_ingestion", "mark"),
)
_ROOTS = {"mark", "mark heartbeat"}


def test_one_trace_leads_from_a_mark_to_the_settled_fill_of_an_episode(run: ShortRun, sink: Sink) -> None:
    whole = 0
    for span in list(sink.spans.values()):
        if span.name != "fill settled":
            continue
        line = sink.ancestors(span)
        assert len({one.trace_id for one in line}) == 1
        names = [(one.service, one.name) for one in line]
        assert line[-1].name in _ROOTS, names
        whole += tuple(names) == _CHAIN
    assert whole > 0, sorted({(one.service, one.name) for one in sink.spans.values()})


def test_an_episode_closes_in_its_trace_and_plans_link_to_the_marks_they_cite(run: ShortRun, sink: Sink) -> None:
    spans = list(sink.spans.values())
    closed = [sink.ancestors(one) for one in spans if one.name == "episode closed"]
    assert closed
    assert all(line[-1].name in _ROOTS and any(one.name == "episode opened" for one in line) for line in closed)
    marks = {one.span_id for one in spans if one.name in _ROOTS}
    assert all(set(one.links) <= marks and one.links for one in spans if one.name == "plan")


def test_questions_to_risk_belong_to_the_trace_of_their_episode(run: ShortRun, sink: Sink) -> None:
    asked = [sink.ancestors(one) for one in sink.spans.values() if one.name == "evaluate"]
    assert asked
    assert all(any(one.name == "episode opened" for one in line) for line in asked)


def test_log_lines_have_ids_of_their_own(run: ShortRun) -> None:
    ids = [line["event_id"] for line in run.log_lines]
    assert len(ids) == len(set(ids)) > 0
