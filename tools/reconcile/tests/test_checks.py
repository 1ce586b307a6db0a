"""An honest run passes every check; each planted defect is named by its invariant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ballast.events.v1 import commands_pb2, dead_letter_pb2, journal_pb2
from tools.reconcile.checks import CHECKS
from tools.reconcile.engine import Result, reconcile
from tools.reconcile.records import Chain, DeadRecord, JournalFrame
from tools.reconcile.tests.defects import ALONE, DEFECTS, ledger_writes_another_fingerprint, ran, refold
from tools.reconcile.tests.story import BTC, Story, honest


def _findings(result: Result) -> dict[str, list[str]]:
    return {name: one.shown for name, one in result.findings.items() if one.count}


def test_an_honest_run_passes() -> None:
    result = honest().reconcile()
    assert _findings(result) == {}
    assert result.ok
    assert result.findings.keys() == {*CHECKS, "episodes", "dead letters"}


def test_dust_that_no_order_could_sell_goes_with_the_debt() -> None:
    assert _findings(honest(dust=99_999).reconcile()) == {}
    story = honest()
    outcome = ran(story)
    bob = next(effect.waterfall.account for effect in outcome.effects if effect.HasField("waterfall"))
    whole_lot = journal_pb2.Posting(
        account=bob, asset=BTC, kind="LINE_KIND_CASH", delta=-100_000, balance=-100_000, version=99
    )
    outcome.effects.add().posting.CopyFrom(whole_lot)
    assert "I10" in story.reconcile().broken


@pytest.mark.parametrize(("number", "defect"), DEFECTS, ids=[defect.__name__ for _, defect in DEFECTS])
def test_a_planted_defect_is_named(number: str, defect: Callable[[], Story]) -> None:
    result = refold(defect()).reconcile()
    assert number in result.broken, _findings(result)
    if defect in ALONE:
        assert result.broken == [number], _findings(result)


def test_every_invariant_has_a_defect_that_shows_its_check_works() -> None:
    assert {number for number, _ in DEFECTS} >= CHECKS.keys()


def test_a_wrong_fingerprint_is_named() -> None:
    assert ledger_writes_another_fingerprint().reconcile().broken == ["I13"]


def test_a_missing_frame_is_named() -> None:
    story = honest()
    del story.frames[10]
    assert "I8" in story.reconcile().broken


def test_a_broken_chain_and_a_dead_letter_are_named() -> None:
    story = honest()
    chain = Chain("journal/0", 3, 1, {}, broken="frame 3: expected previous hash aa, was bb")
    dead = DeadRecord("commands", dead_letter_pb2.DeadLetter(offset=7, reason="other bytes"))
    result = reconcile(story.world(), story.frames, chains=[chain], dead=[dead])
    assert _findings(result) == {
        "I8": [f"journal/0: {chain.broken}"],
        "dead letters": ["commands offset 7: other bytes"],
    }


def test_a_repeated_command_counts_once() -> None:
    story = honest()
    outcome = journal_pb2.Outcome(command="withdraw", repeated=True)
    outcome.session.CopyFrom(commands_pb2.SessionKey(session=b"s" * 16, n=1))
    body = journal_pb2.JournalBody(outcomes=[outcome], fingerprint=story.books[0].fingerprint)
    story.frames.append(JournalFrame(0, story.books[0].sequence + 1, story.now_ns, 1, body))
    result = story.reconcile()
    assert result.ok
    assert result.figures.repeated == 1
