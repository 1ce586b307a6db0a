"""Measures what traces cost a frame: off, against the same work in code that knows none; and on.

`python -m bench.tracing [--frames N]`: the work of a frame is its headers, written and read, and the hand-over to a
fold; rounds of both kinds alternate. CPU time, one thread; spans go to a processor whose exporter drops them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from ballast.events.v1 import chain_pb2
from libs.common.chain import AcceptedFrame
from libs.common.codec import headers
from libs.common.topics import MARKS
from libs.common.trace import Remembered, Trace, Tracer, digest, of_mark, pack, unpack

_ROUNDS = 9
_SUBJECTS = 4  # of a frame in which something traced happens: an episode, its account, two orders


class _Drop(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _fold(frame: AcceptedFrame, found: list[int]) -> None:
    found[0] += frame.sequence


def _plain(frames: int) -> None:
    found = [0]
    for number in range(frames):
        named = dict(headers(wall_ns=number))
        _fold(AcceptedFrame(number, chain_pb2.Frame(), b"", named, 0), found)


def _off(frames: int) -> None:
    tracer, known, found = Tracer(), Remembered(), [0]
    traces: dict[int, Trace] = {}
    for number in range(frames):
        named = dict(headers(wall_ns=number, trace=pack(traces) if traces else None))
        frame = AcceptedFrame(number, chain_pb2.Frame(), b"", named, 0)
        if tracer.on:
            known.take(unpack(frame.headers))
        _fold(frame, found)


def _on(tracer: Tracer) -> Callable[[int], None]:
    def run(frames: int) -> None:
        known, found = Remembered(), [0]
        for number in range(frames):
            cause = of_mark(MARKS.name, number)
            own = tracer.follow("frame", cause, number, start_ns=number)
            traces = {int.from_bytes(digest(number, one), "big"): own for one in range(_SUBJECTS)}
            named = dict(headers(wall_ns=number, trace=pack(traces)))
            frame = AcceptedFrame(number, chain_pb2.Frame(), b"", named, 0)
            if tracer.on:
                known.take(unpack(frame.headers))
            _fold(frame, found)

    return run


def _ns(work: Callable[[int], None], frames: int) -> float:
    started = time.process_time_ns()
    work(frames)
    return (time.process_time_ns() - started) / frames


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    frames = parser.parse_args().frames
    processor = BatchSpanProcessor(_Drop())
    tracer = Tracer("bench", "0", processor)
    pairs = [(_ns(_plain, frames), _ns(_off, frames)) for _ in range(_ROUNDS)]
    on = [_ns(_on(tracer), frames // 20) for _ in range(3)]
    processor.shutdown()
    plain = statistics.median(one for one, _ in pairs)
    cost = statistics.median(off - one for one, off in pairs)
    print(f"a frame without traces in the code {plain:8.0f} ns")
    print(f"traces off add                     {cost:8.0f} ns a frame ({cost / plain:.1%}; {_ROUNDS} rounds)")
    print(f"traces on, a span and {_SUBJECTS} subjects   {statistics.median(on):8.0f} ns a frame")


if __name__ == "__main__":
    main()
