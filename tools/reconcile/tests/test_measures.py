"""The figures of an honest run, and the report they go into."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from tools.reconcile.measures import details, measures
from tools.reconcile.screen import show
from tools.reconcile.tests.story import honest
from tools.reconcile.windows import parse_windows
from tools.report import Measure, Run

DAY = parse_windows("2017-12-19T00:00/2017-12-20T00:00,2018-01-16T00:00/2018-01-17T00:00")


def test_the_figures_are_those_of_the_story() -> None:
    found = measures(honest().reconcile(), DAY)
    values = {(one.name, one.unit): one.value for one in found}
    assert len(values) == len(found)
    expected = {
        ("accounts", "accounts"): 4,
        ("lenders", "accounts"): 1,
        ("mark_frames_valid", "frames"): 4,
        ("mark_frames_degraded", "frames"): 1,
        ("2017-12-19_episodes", "episodes"): 2,
        ("2017-12-19_healthy_again", "episodes"): 1,
        ("2017-12-19_closed_out", "episodes"): 1,
        ("2017-12-19_bankrupt", "episodes"): 1,
        ("2018-01-16_episodes", "episodes"): 0,
        ("client_fills", "fills"): 2,
        ("client_slippage_average", "bp"): 1.0,
        ("client_slippage_worst", "bp"): 1.333,
        ("liquidation_fills", "fills"): 2,
        ("insurance_fund_before", "USD"): "1010",
        ("insurance_fund_after", "USD"): "0",
        ("loss_carried_by_lenders", "USD"): values["bad_debt_borne_by_lenders_write_off", "USD"],
        ("mark_to_episode_p50", "ms"): 4.0,
        ("mark_to_first_order_at_venue_max", "ms"): 11.5,  # notices of a closed gate go to and fro in between
        ("dead_letters", "records"): 0,
    }
    assert {name: values[name] for name in expected} == expected


def test_lenders_and_reserve_get_exactly_what_borrowers_paid() -> None:
    values = {one.name: one.value for one in measures(honest().reconcile(), []) if one.unit == "USD"}
    paid, earned, kept = (
        round(float(values[f"interest_{what}"]) * 1e6)
        for what in ("paid_by_borrowers", "earned_by_lenders", "kept_as_reserve")
    )
    assert paid == earned + kept
    assert (kept + 1) * 10 >= paid  # a tenth; each figure is cut to whole units


def test_the_report_has_the_form_that_every_run_has(tmp_path: Path) -> None:
    result = honest().reconcile()
    run = Run("demo", command="make demo", seed=7)
    report = run.finish(ok=result.ok, measures=measures(result, DAY), details=details(result))
    content = json.loads(report.write(tmp_path).read_text())
    assert {"target", "commit", "started", "seconds", "machine", "seed", "command", "ok", "measures"} <= content.keys()
    assert content["ok"] is True
    assert content["machine"].keys() == {"cpu", "cores", "load"}
    assert {"name": "accounts", "value": 4, "unit": "accounts"} in content["measures"]
    assert content["details"]["invariants"]["I13"] == {"ok": True, "findings": 0}
    assert [row["sum"] for row in content["details"]["sums"]] == ["0", "0", "0", "0"]


def test_a_goal_is_written_beside_its_measure(tmp_path: Path) -> None:
    fast = Measure("sweep", 10.4, "x", goal=">= 10", met=True, rounds=7, min=9.9, max=10.8)
    report = Run("bench-risk", command="make bench-risk", seed=7).finish(ok=True, measures=[fast])
    (written,) = json.loads(report.write(tmp_path).read_text())["measures"]
    assert written == {
        "name": "sweep", "value": 10.4, "unit": "x", "goal": ">= 10", "met": True, "rounds": 7, "min": 9.9, "max": 10.8,
    }  # fmt: skip


def test_the_screen_names_what_broke_and_says_when_nothing_did() -> None:
    story = honest()
    console = Console(width=160, record=True, file=io.StringIO())
    show(story.reconcile(), [], console=console)
    assert "The books balance." in console.export_text()
    story.frames[-1].body.fingerprint = bytes(16)
    show(story.reconcile(), [], console=console)
    text = console.export_text()
    assert "BROKEN: I13" in text
    assert "I13: partition" in text
