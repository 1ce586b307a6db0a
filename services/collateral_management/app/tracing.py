"""Spans of what the ledger did with a command, and what its frame carries on for whoever acts on it next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ballast.events.v1 import commands_pb2, journal_pb2
from libs.common.trace import Trace, Tracer, subject_of

_NAMES = {
    "open_episode": "episode opened",
    "verdict": "order judged",
    "step_episode": "order released",
    "order_report": "order reported",
    "close_episode": "episode closed",
    "resolve_shortfall": "shortfall resolved",
}


def traced(
    tracer: Tracer,
    command: commands_pb2.Command,
    outcome: journal_pb2.Outcome,
    causes: Mapping[int, Trace],
    *,
    at: tuple[int, int, int],
    started_ns: int,
) -> dict[int, Trace]:
    """The span of an accepted command under each subject that it moved; empty when nobody traced it.

    Args:
        causes: spans by subject of the record it came in.
        at: partition, offset and index of the command.
    """
    cause = causes.get(subject_of(command))
    if cause is None or outcome.refusal or outcome.command not in _NAMES:
        return {}
    is_fill = any(effect.HasField("fill") for effect in outcome.effects)
    name = "fill settled" if is_fill else _NAMES[outcome.command]
    own = tracer.follow(name, cause, *at, start_ns=started_ns, attributes={"partition": at[0], "offset": at[1]})
    return dict.fromkeys(_subjects(outcome), own)


def _subjects(outcome: journal_pb2.Outcome) -> Iterator[int]:
    for effect in outcome.effects:
        if effect.HasField("order"):
            yield effect.order.order
        elif effect.HasField("episode"):
            yield effect.episode.episode
            yield effect.episode.account  # liquidation asks risk by account
        elif effect.HasField("fill") and effect.fill.episode:
            yield effect.fill.episode
