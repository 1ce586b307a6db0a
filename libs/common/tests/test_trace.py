"""Traces carry over headers and metadata, and decide nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.events.v1 import commands_pb2
from libs.common.codec import headers
from libs.common.trace import (
    Remembered,
    Trace,
    Tracer,
    digest,
    of_mark,
    pack,
    subject_of,
    traceparent,
    tracer_to,
    unpack,
)

TRACES = st.builds(Trace, st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))


@given(st.dictionaries(st.integers(0, 2**64 - 1), TRACES, max_size=5))
def test_what_a_header_carries_is_read_again(entries: dict[int, Trace]) -> None:
    named = dict(headers(wall_ns=1, trace=pack(entries) if entries else None))
    assert unpack(named) == entries


@given(st.binary(max_size=200))
def test_nonsense_in_the_header_is_no_trace(value: bytes) -> None:
    for subject, one in unpack({"trace": value}).items():
        assert 0 <= subject < 2**64
        assert (len(one.trace_id), len(one.span_id)) == (16, 8)


@given(TRACES)
def test_metadata_is_read_again(trace: Trace) -> None:
    assert traceparent(trace.traceparent) == trace


@pytest.mark.parametrize("text", ["", "00", "00-zz-11-01", "00-ab-cd-01", "nothing to do with it"])
def test_other_metadata_is_no_trace(text: str) -> None:
    assert traceparent(text) is None


def test_everyone_finds_the_trace_of_a_mark_by_its_sequence() -> None:
    assert of_mark("marks", 7) == of_mark("marks", 7) != of_mark("marks", 8)
    assert digest("a", 1) == digest("a", 1) != digest("a", 2)


def test_commands_are_traced_by_what_they_are_about() -> None:
    assert subject_of(commands_pb2.Command(open_episode=commands_pb2.OpenEpisode(account=5))) == 5
    assert subject_of(commands_pb2.Command(verdict=commands_pb2.Verdict(order=6))) == 6
    assert subject_of(commands_pb2.Command(verdict=commands_pb2.Verdict(reservation=7))) == 7
    assert subject_of(commands_pb2.Command(order_report=commands_pb2.OrderReport(order=8))) == 8
    assert subject_of(commands_pb2.Command(set_index=commands_pb2.SetIndex(asset=1))) == 0


def test_memory_is_bounded_and_keeps_the_newest() -> None:
    known = Remembered()
    for number in range(20_010):
        known.take({number: of_mark("marks", number)})
    assert known.get(9) is None
    assert known.get(20_009) == of_mark("marks", 20_009)


def test_traces_are_off_without_a_target() -> None:
    tracer = tracer_to("", service="risk_evaluation", instance="0")
    assert not tracer.on
    tracer.span("nothing", own=of_mark("marks", 1), parent=None, start_ns=1)
    tracer.stop()


def test_a_span_is_named_by_what_it_did_and_hangs_on_its_cause() -> None:
    class Kept:
        def __init__(self) -> None:
            self.spans: list[object] = []

        def on_end(self, span: object) -> None:
            self.spans.append(span)

        def shutdown(self) -> None:
            self.spans.append("shut down")

    kept, mark = Kept(), of_mark("marks", 1)
    tracer = Tracer("risk_evaluation", "0", kept)
    first = tracer.follow("margin", mark, 0, 5, start_ns=10)
    assert tracer.follow("margin", mark, 0, 5, start_ns=11) == first  # a retry is the same span
    span = kept.spans[0]
    assert span.context.span_id == int.from_bytes(first.span_id, "big")  # type: ignore[attr-defined]
    assert span.parent.span_id == int.from_bytes(mark.span_id, "big")  # type: ignore[attr-defined]
    tracer.stop()
    assert kept.spans[-1] == "shut down"
