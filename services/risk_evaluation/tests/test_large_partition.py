"""A partition too large for one record: those that matter are in every frame, everyone goes round in parts."""

from __future__ import annotations

import pytest

from ballast.types.v1 import ledger_pb2
from services.risk_evaluation.app import partition
from services.risk_evaluation.tests.hand import Desk, attributes, order, posting
from services.risk_evaluation.tests.world import BTC_PERP, DOLLAR, USD, account

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
ACCOUNTS, PART = 11, 3
POOR = account(entity=ACCOUNTS)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "FULL_ROWS_MAX", 4)
    monkeypatch.setattr(partition, "PART_ROWS", PART)


async def town() -> Desk:
    desk = Desk()
    for number in range(1, ACCOUNTS):
        await desk.journal(attributes(account(entity=number)), posting(account(entity=number), USD, CASH, DOLLAR))
    await desk.journal(attributes(POOR), posting(POOR, USD, CASH, 40_000 * DOLLAR), posting(POOR, BTC_PERP, LOTS, 10))
    await desk.journal(posting(POOR, BTC_PERP, VARIATION, -600_000 * DOLLAR))
    return desk


async def test_everyone_is_published_within_some_marks_and_no_frame_says_it_is_full() -> None:
    desk = await town()
    seen: set[int] = set()
    for _ in range(-(-ACCOUNTS // PART)):
        await desk.marks()
        seen.update(one for frame in desk.screen.frames for one in frame.account)
    assert seen == {account(entity=number) for number in range(1, ACCOUNTS + 1)}
    assert not any(frame.full for frame in desk.screen.frames)


async def test_those_that_matter_come_first_and_in_every_frame_of_a_mark() -> None:
    desk = await town()
    await desk.marks()
    for _ in range(5):
        desk.screen.clear()
        await desk.marks()
        first, part = desk.screen.outputs
        assert first.on_marks
        of_mark, of_part = desk.screen.frames
        assert POOR in of_mark.account  # below its initial margin
        assert not part.on_marks
        assert not part.commands
        assert len(of_part.account) <= PART


async def test_a_part_stands_on_what_the_frames_of_its_mark_stand_on() -> None:
    desk = await town()
    await desk.marks(61_000)
    desk.screen.clear()
    await desk.marks(59_000)
    first, part = desk.screen.frames
    assert (first.mark_sequence, first.journal_sequence) == (part.mark_sequence, part.journal_sequence)
    assert first.accounts_by_state == part.accounts_by_state


async def test_rows_beyond_a_record_go_into_more_frames_and_decisions_go_with_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition, "FRAME_ROWS_MAX", 2)
    desk = await town()
    await desk.marks()
    desk.screen.clear()
    for number in range(1, 6):
        desk.risk.take_journal(0, desk.frame(posting(account(entity=number), USD, CASH, number * DOLLAR)))
    desk.risk.take_journal(0, desk.frame(order(1, 1, of=account(entity=3))))
    await desk.risk.turn()
    found = desk.screen.outputs
    assert [len(one.account) for one in desk.screen.frames] == [2, 2, 1]
    assert [len(one.commands) for one in found] == [1, 0, 0]


async def test_the_oracle_checks_parts_against_what_was_swept() -> None:
    desk = await town()
    risk = desk.risk.partitions[0]
    risk._kernel_from = 0
    for btc in (60_000, 60_100, 58_000, 57_500):
        await desk.marks(btc)
    assert risk._swept is not None
    assert len(desk.screen.frames) >= 8
