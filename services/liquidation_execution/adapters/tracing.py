"""Spans of decisions on episodes: caused by the frame that moved the episode, linked to the marks they cite."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ballast.events.v1 import commands_pb2
from libs.common.chain import AcceptedFrame
from libs.common.topics import MARKS
from libs.common.trace import Remembered, Trace, Tracer, digest, of_mark, subject_of, unpack
from services.liquidation_execution.app.ports import Decision


class EpisodeTraces:
    """Remembers what last moved each episode; asked only while traces are on."""

    def __init__(self, tracer: Tracer) -> None:
        self.on = tracer.on
        self._tracer = tracer
        self._known = Remembered()

    def frame(self, frame: AcceptedFrame) -> None:
        """Takes the traces of an accepted frame."""
        self._known.take(unpack(frame.headers))

    def asked(self, account: int) -> str | None:
        """Metadata of a question about an account; the logs of the asking task show its trace."""
        cause = self._known.get(account)
        self._tracer.work_for(cause)
        return cause.traceparent if cause is not None else None

    def decided(self, decision: Decision, number: int) -> None:
        """A decision was submitted."""
        cause = self._known.get(decision.episode)
        if cause is None:
            return
        kind = type(decision.what).__name__
        own = Trace(cause.trace_id, digest("plan", decision.episode, decision.step, kind, number))
        self._tracer.span(
            "plan", own=own, parent=cause, start_ns=time.time_ns(),
            attributes={"episode": f"{decision.episode:x}", "step": decision.step, "decision": kind},
            links=(of_mark(MARKS.name, decision.citation.mark_sequence),),
        )  # fmt: skip
        self._known.take({decision.episode: own})

    def sent(self, batch: Sequence[commands_pb2.Command]) -> dict[int, Trace]:
        """Spans by subject of commands on their way."""
        subjects = map(subject_of, batch)
        return {one: found for one in subjects if (found := self._known.get(one)) is not None}
