"""Climbs the refusals of a command from first to last, mending one fault at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from services.collateral_management.tests.story import Story

Fields = Mapping[str, object]
Mend = Fields | Callable[[], Fields | None]


def climb(story: Story, name: str, faulty: Fields, rungs: Sequence[tuple[words.Refusal, Mend]]) -> journal_pb2.Outcome:
    """The accepted outcome at the top.

    Args:
        faulty: fields of the command, all faults in them or in the story.
        rungs: the refusal expected next, and what mends it: new fields, or a deed in the story that may return some.
    """
    fields = dict(faulty)
    for refusal, mend in rungs:
        before = {line: one for line, one in story.state.all_lines() if one}
        outcome = _send(story, name, fields)
        assert words.Refusal.Name(outcome.refusal) == words.Refusal.Name(refusal), outcome.detail
        assert outcome.detail
        assert before == {line: one for line, one in story.state.all_lines() if one}
        fields.update((mend() if callable(mend) else mend) or {})
    outcome = _send(story, name, fields)
    assert not outcome.refusal, outcome.detail
    return outcome


def _send(story: Story, name: str, fields: Fields) -> journal_pb2.Outcome:
    given = {key: value() if callable(value) else value for key, value in fields.items()}
    sender = given.pop("sender", "alice")
    assert isinstance(sender, str)
    return story.do(name, sender=sender, **given)
