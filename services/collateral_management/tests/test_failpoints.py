"""Failpoints: each acts once, at the time that its plan names."""

from __future__ import annotations

import re

import pytest

from services.collateral_management.app.failpoints import PLAN, Failpoint, Failpoints


@pytest.mark.parametrize(
    ("plan", "is_one"),
    [
        ("", True),
        ("read_back:1:kill", True),
        ("read_back:17:kill,checkpoint:2:stop", True),
        ("read_back:0:kill", False),
        ("read_back:1", False),
        ("read_back:1:sleep", False),
        ("read_back:1:kill,", False),
        ("nowhere:1:kill", False),
    ],
)
def test_a_plan_names_point_time_and_deed(plan: str, is_one: bool) -> None:
    assert bool(re.match(PLAN, plan)) is is_one


def test_a_point_acts_once_at_its_time() -> None:
    done: list[str] = []
    points = Failpoints("read_back:3:kill,checkpoint:1:stop", act=done.append)
    seen = []
    for point in [Failpoint.READ_BACK] * 5 + [Failpoint.HEAD, Failpoint.CHECKPOINT, Failpoint.CHECKPOINT]:
        points.reach(point)
        seen.append(list(done))
    assert seen == [[], [], ["kill"], ["kill"], ["kill"], ["kill"], ["kill", "stop"], ["kill", "stop"]]


def test_no_plan_never_acts() -> None:
    done: list[str] = []
    points = Failpoints(act=done.append)
    for point in Failpoint:
        points.reach(point)
    assert done == []
