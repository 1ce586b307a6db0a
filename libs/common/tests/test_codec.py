"""Headers, decoding and the splitting of batches."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.events.v1 import commands_pb2
from libs.common.codec import GENERATION, Undecodable, decode, header_map, headers, split, stamp
from libs.common.codec import _letter as letter
from libs.common.topics import FRAME_BYTES_MAX


@dataclass(frozen=True)
class Record:
    value: bytes | None = b""
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int = 0
    offset: int = 0
    key: bytes | None = None


def test_headers_carry_ids_in_hex_and_stamps_in_decimal() -> None:
    found = header_map(Record(headers=headers(wall_ns=5, event_id=b"\x01\xff", trace=b"\0", mark_received_wall_ns=7)))
    assert found == {
        "generation": b"1",
        "wall_ns": b"5",
        "event_id": b"01ff",
        "trace": b"00",
        "mark_received_wall_ns": b"7",
    }
    assert stamp(found, "mark_received_wall_ns") == 7
    assert stamp(found, "absent") == 0
    assert stamp({"wall_ns": b"soon"}, "wall_ns") == 0


def test_a_message_comes_back() -> None:
    batch = commands_pb2.CommandBatch(commands=[commands_pb2.Command()])
    assert decode(commands_pb2.CommandBatch, Record(batch.SerializeToString())) == batch


@pytest.mark.parametrize(
    ("record", "bytes_max", "reason"),
    [
        (Record(headers=[("generation", b"%d" % (GENERATION + 1))]), 9, "expected generation at most 1, was 2"),
        (Record(headers=[("generation", b"x")]), 9, "expected generation at most 1, was x"),
        (Record(None), 9, "was a record without value"),
        (Record(b"0123456789"), 9, "expected at most 9 bytes, was 10"),
        (Record(b"\xff\xff"), 9, "expected a ballast.events.v1.CommandBatch, was other bytes"),
    ],
)
def test_a_record_that_cannot_be_taken_says_why(record: Record, bytes_max: int, reason: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(commands_pb2.CommandBatch, record, bytes_max=bytes_max)
    assert reason in refused.value.reason


def test_a_dead_letter_of_the_largest_record_fits_in_a_record() -> None:
    record = Record(b"x" * FRAME_BYTES_MAX, key=b"k" * FRAME_BYTES_MAX)
    assert letter(record, topic="t", reason="r" * 10_000, service="s").ByteSize() < FRAME_BYTES_MAX - 16_384


@given(st.lists(st.integers(0, 90), max_size=60))
def test_split_keeps_every_message_in_order_within_the_bound(sizes: list[int]) -> None:
    counts = split(sizes, bytes_max=100)
    assert sum(counts) == len(sizes)
    start = 0
    for count in counts:
        assert count > 0
        assert sum(size + 8 for size in sizes[start : start + count]) <= 100
        start += count
