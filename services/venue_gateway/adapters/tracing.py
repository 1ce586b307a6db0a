"""Spans of orders at the edge: sent to a venue, reported by it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2
from libs.common.chain import AcceptedFrame
from libs.common.trace import Remembered, Trace, Tracer, subject_of, unpack


class OrderTraces:
    """Remembers what each order was released for; asked only while traces are on."""

    def __init__(self, tracer: Tracer) -> None:
        self.on = tracer.on
        self._tracer = tracer
        self._known = Remembered()

    def frames(self, frames: Iterable[AcceptedFrame]) -> None:
        """Takes the traces of accepted frames."""
        for frame in frames:
            self._known.take(unpack(frame.headers))

    def sent(self, response: venue_pb2.ConnectResponse) -> None:
        """A message goes out to a venue."""
        if response.WhichOneof("message") != "order":
            return
        order = response.order.order
        if (cause := self._known.get(order)) is not None:
            span = self._tracer.follow(
                "order sent", cause, order, start_ns=time.time_ns(), attributes={"order": f"{order:x}"}
            )
            self._known.take({order: span})

    def reported(self, commands: Sequence[commands_pb2.Command]) -> dict[int, Trace]:
        """The spans of reports that go to the ledger, by order."""
        found: dict[int, Trace] = {}
        for command in commands:
            order = subject_of(command)
            if command.WhichOneof("body") == "order_report" and (cause := self._known.get(order)) is not None:
                found[order] = self._tracer.follow(
                    "fill reported", cause, order, command.fact.sequence, start_ns=time.time_ns(),
                    attributes={"order": f"{order:x}", "stream": command.fact.stream},
                )  # fmt: skip
        return found
