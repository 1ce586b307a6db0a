"""What an episode needs next, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.ids import AccountId
from libs.common.units import Usd6
from libs.common.validity import ValidityClass
from services.liquidation_execution.domain.episodes import (
    Close,
    EpisodeView,
    MarginRow,
    Next,
    Outcome,
    Resolve,
    TakeStep,
    Wait,
    WaitReason,
    next_action,
    urgency,
)

STEPS_MAX = 5
VIEW = EpisodeView(
    episode=7, account=AccountId(1), step=2, opened_sequence=10, last_fill_sequence=20, moved_sequence=20,
    live_orders=0, is_in_flight=False, is_deleveraging=False, is_empty=False, has_reducible=True, has_supply=False,
    has_debt=True,
)  # fmt: skip
ROW = MarginRow(20, 5, 1, 0, Usd6(50), Usd6(100), Usd6(80), ValidityClass.VALID)

CASES: list[tuple[dict[str, object], dict[str, object] | None, Next]] = [
    # view,                                   row,                                what next
    ({"is_in_flight": True},                  {},                                 Wait(WaitReason.IN_FLIGHT)),
    ({"is_deleveraging": True},               {},                                 Wait(WaitReason.DELEVERAGING)),
    ({"live_orders": 1},                      {},                                 Wait(WaitReason.ORDERS_ALIVE)),
    ({},                                      None,                               Wait(WaitReason.MARGIN_BEHIND)),
    ({},                                      {"journal_sequence": 19},           Wait(WaitReason.MARGIN_BEHIND)),
    ({"last_fill_sequence": 0, "step": 0},    {"journal_sequence": 9},            Wait(WaitReason.MARGIN_BEHIND)),
    ({"last_fill_sequence": 0, "step": 0},    {"journal_sequence": 10},           TakeStep(1)),
    ({"is_empty": True},                      {},                                 Close(Outcome.EMPTIED)),
    ({"is_empty": True, "moved_sequence": 21}, {},                                Wait(WaitReason.MARGIN_BEHIND)),
    ({"is_empty": True},                      {"validity": ValidityClass.STALE},  Close(Outcome.EMPTIED)),
    ({},                                      {"validity": ValidityClass.HOLD},   Wait(WaitReason.MARK_NOT_USABLE)),
    ({},                                      {"validity": ValidityClass.STALE},  Wait(WaitReason.MARK_NOT_USABLE)),
    ({},                                      {"validity": ValidityClass.DEGRADED}, TakeStep(3)),
    ({},                                      {"equity": 100},                    Close(Outcome.HEALTHY)),
    ({},                                      {"equity": 99},                     TakeStep(3)),
    ({},                                      {"equity": -1},                     TakeStep(3)),
    ({"step": 4},                             {},                                 TakeStep(5)),
    ({"step": 5},                             {},                                 Wait(WaitReason.STEPS_EXHAUSTED)),
    ({"step": 5, "has_reducible": False},     {},                                 Resolve()),
    ({"has_reducible": False},                {"equity": -1},                     Resolve()),
    ({"has_reducible": False, "has_supply": True, "has_debt": False}, {},         Resolve()),
    ({"has_reducible": False, "has_debt": False}, {},                             Wait(WaitReason.NOTHING_TO_RESOLVE)),
]  # fmt: skip


@pytest.mark.parametrize(("view", "row", "expected"), CASES)
def test_what_next(view: dict[str, object], row: dict[str, object] | None, expected: Next) -> None:
    found = next_action(
        replace(VIEW, **view),  # type: ignore[arg-type]
        None if row is None else replace(ROW, **row),  # type: ignore[arg-type]
        steps_max=STEPS_MAX,
    )
    assert found == expected


def test_the_worst_account_comes_first() -> None:
    rows = [None, ROW, replace(ROW, equity=Usd6(-1)), replace(ROW, equity=Usd6(79))]
    assert sorted(rows, key=urgency) == [rows[2], rows[1], rows[3], None]
