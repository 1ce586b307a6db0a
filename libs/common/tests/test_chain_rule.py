"""The rule of the chained log, as tables: what every reader accepts, calls noise, or stops at."""

from collections.abc import Callable
from typing import Any

import pytest

from ballast.events.v1 import chain_pb2
from libs.common.chain import (
    BODY_BYTES_MAX,
    GENESIS,
    AcceptedClaim,
    AcceptedFrame,
    ChainBroken,
    ChainHead,
    ChainRule,
    Draft,
    FrameTooLarge,
    Rejected,
    Rejection,
    record_hash,
    rule_at,
)
from libs.common.errors import InvariantBroken

ALICE = b"A" * 16
BOB = b"B" * 16
TOPIC_ID = b"T" * 16


def _claim(**changes: Any) -> bytes:
    claim = chain_pb2.Claim(epoch=2, owner=BOB, previous_claim_offset=0, input_topic_id=TOPIC_ID)
    for name, value in changes.items():
        setattr(claim, name, value)
    return chain_pb2.ChainRecord(claim=claim).SerializeToString()


def _frame(rule: ChainRule, **changes: Any) -> bytes:
    frame = chain_pb2.Frame(
        epoch=rule.epoch,
        owner=rule.owner,
        sequence=rule.sequence + 1,
        previous_hash=rule.head,
        claim_offset=rule.claim_offset,
        input_offset=7,
        input_index=3,
        run_time_ns=50,
        control_sequence=1,
        body=b"body",
    )
    for name, value in changes.items():
        setattr(frame, name, value)
    return chain_pb2.ChainRecord(frame=frame).SerializeToString()


def _started() -> ChainRule:
    """A log of Alice: her claim at offset 0, frame 1 at offset 1."""
    rule = ChainRule()
    assert isinstance(rule.take(offset=0, value=_claim(epoch=1, owner=ALICE, previous_claim_offset=-1)), AcceptedClaim)
    assert isinstance(rule.take(offset=1, value=_frame(rule, inherited=GENESIS)), AcceptedFrame)
    return rule


def _state(rule: ChainRule) -> tuple[object, ...]:
    return (rule.epoch, rule.owner, rule.head, rule.inherited, rule.sequence, rule.claim_offset, rule.input_position)


def test_an_accepted_frame_carries_what_was_written() -> None:
    rule = _started()
    value = _frame(rule, run_time_ns=60)
    frame = rule.take(offset=5, value=value, headers={"trace": b"t"})
    assert isinstance(frame, AcceptedFrame)
    assert (frame.offset, frame.sequence, frame.run_time_ns, frame.control_sequence) == (5, 2, 60, 1)
    assert (frame.body, frame.headers, frame.size) == (b"body", {"trace": b"t"}, len(value))
    assert frame.head == rule.head == record_hash(value)
    assert (rule.input_position, rule.run_time_ns, rule.control_sequence) == ((7, 3), 60, 1)


@pytest.mark.parametrize(
    ("reason", "write"),
    [
        (Rejection.MALFORMED, lambda rule: b"\xff\xff"),
        (Rejection.MALFORMED, lambda rule: b""),
        (Rejection.MALFORMED, lambda rule: chain_pb2.ChainRecord().SerializeToString()),
        (Rejection.MALFORMED, lambda rule: _claim(owner=b"short")),
        (Rejection.CLAIM_NOT_NEXT, lambda rule: _claim(epoch=0)),
        (Rejection.CLAIM_NOT_NEXT, lambda rule: _claim(epoch=1)),
        (Rejection.CLAIM_NOT_NEXT, lambda rule: _claim(epoch=3)),
        (Rejection.OTHER_EPOCH, lambda rule: _frame(rule, epoch=0)),
        (Rejection.OTHER_EPOCH, lambda rule: _frame(rule, epoch=2)),
        (Rejection.OTHER_OWNER, lambda rule: _frame(rule, owner=BOB)),
        (Rejection.OTHER_OWNER, lambda rule: _frame(rule, owner=b"")),
        (Rejection.DUPLICATE, lambda rule: _frame(rule, sequence=1, previous_hash=b"h" * 32)),
        (Rejection.GAP, lambda rule: _frame(rule, sequence=3, previous_hash=b"h" * 32)),
    ],
)
def test_noise_is_counted_by_reason_and_changes_nothing(reason: Rejection, write: Callable[[ChainRule], bytes]) -> None:
    rule = _started()
    before = _state(rule)
    outcome = rule.take(offset=2, value=write(rule))
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason
    assert _state(rule) == before
    assert rule.rejected == {reason: 1}
    assert isinstance(rule.take(offset=3, value=_frame(rule)), AcceptedFrame)


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("previous hash", {"previous_hash": b"h" * 32}),
        ("sequence 2, was 1", {"sequence": 1}),
        ("sequence 2, was 3", {"sequence": 3}),
        ("input position", {"input_offset": 6}),
        ("input position", {"input_index": 2}),
        ("run time", {"run_time_ns": 49}),
        ("claim offset", {"claim_offset": 1}),
    ],
)
def test_a_reader_stops_loudly_when_the_owner_contradicts_the_log(what: str, changes: dict[str, Any]) -> None:
    rule = _started()
    with pytest.raises(ChainBroken, match=f"I8 broken: .*{what}"):
        rule.take(offset=2, value=_frame(rule, **changes))


@pytest.mark.parametrize(
    "changes", [{}, {"input_index": 4}, {"input_offset": 8, "input_index": 0}, {"run_time_ns": 51}]
)
def test_input_position_and_run_time_may_stand_or_rise(changes: dict[str, Any]) -> None:
    rule = _started()
    assert isinstance(rule.take(offset=2, value=_frame(rule, **changes)), AcceptedFrame)


@pytest.mark.parametrize(("inherited", "is_right"), [(None, True), (GENESIS, False), (b"", False)])
def test_the_first_frame_after_a_claim_inherits_the_readers_own_head(inherited: bytes | None, is_right: bool) -> None:
    rule = _started()
    head = rule.head
    assert isinstance(rule.take(offset=2, value=_claim()), AcceptedClaim)
    assert (rule.epoch, rule.owner, rule.inherited, rule.claim_offset) == (2, BOB, head, 2)
    first = _frame(rule, inherited=head if inherited is None else inherited)
    if is_right:
        assert isinstance(rule.take(offset=3, value=first), AcceptedFrame)
        assert isinstance(rule.take(offset=4, value=_frame(rule)), AcceptedFrame)
    else:
        with pytest.raises(ChainBroken, match="inherited"):
            rule.take(offset=3, value=first)


def test_a_claim_wins_over_frames_in_flight_and_of_two_the_first() -> None:
    rule = _started()
    late = _frame(rule)
    assert isinstance(rule.take(offset=2, value=_claim(owner=BOB)), AcceptedClaim)
    assert isinstance(rule.take(offset=3, value=_claim(owner=ALICE)), Rejected)
    assert isinstance(rule.take(offset=4, value=late), Rejected)
    assert rule.rejected == {Rejection.CLAIM_NOT_NEXT: 1, Rejection.OTHER_EPOCH: 1}
    assert rule.owner == BOB


def test_an_offset_read_again_stops_the_reader() -> None:
    rule = _started()
    with pytest.raises(ChainBroken, match="offset above 1, was 1"):
        rule.take(offset=1, value=_claim())


def _late_reader(*records: bytes) -> tuple[ChainRule, list[type]]:
    rule = ChainRule(from_start=False)
    return rule, [type(rule.take(offset=100 + at, value=record)) for at, record in enumerate(records)]


def test_a_reader_that_joins_late_takes_the_first_claim_and_what_is_chained_on_it() -> None:
    draft, full = Draft(owner=BOB, input_topic_id=TOPIC_ID), _started()
    orphan = _frame(full)
    claim = draft.claim(full)
    full.take(offset=101, value=claim.value)
    draft.begin(full)
    frames = []
    for number in range(2):
        drafted = draft.frame(b"", input_position=(8, number), run_time_ns=50, control_sequence=1)
        draft.commit(drafted)
        frames.append(drafted.value)
    rule, kinds = _late_reader(orphan, claim.value, *frames)
    assert kinds == [Rejected, AcceptedClaim, AcceptedFrame, AcceptedFrame]
    for offset, value in zip((102, 103), frames, strict=True):
        full.take(offset=offset, value=value)
    assert _state(rule)[:3] == _state(full)[:3]
    assert (rule.sequence, rule.input_position, rule.is_proven) == (full.sequence, full.input_position, True)


@pytest.mark.parametrize("stale_epoch", [4, 5])
def test_a_reader_that_joins_late_drops_a_claim_that_lost_once_a_frame_refutes_it(stale_epoch: int) -> None:
    winner = ChainRule()
    winner.epoch, winner.owner, winner.sequence = 5, ALICE, 9
    rule, kinds = _late_reader(_claim(epoch=stale_epoch), _frame(winner), _claim(epoch=6, owner=ALICE))
    assert kinds == [AcceptedClaim, Rejected, AcceptedClaim]
    assert (rule.epoch, rule.owner, rule.is_proven) == (6, ALICE, False)


def test_a_draft_refuses_a_falling_input_position_and_an_oversized_body_and_raises_run_time() -> None:
    rule = _started()
    draft = Draft(owner=BOB, input_topic_id=TOPIC_ID)
    rule.take(offset=2, value=draft.claim(rule).value)
    draft.begin(rule)
    with pytest.raises(InvariantBroken, match="I8"):
        draft.frame(b"", input_position=(7, 2), run_time_ns=0, control_sequence=0)
    with pytest.raises(FrameTooLarge):
        draft.frame(bytes(BODY_BYTES_MAX + 1), input_position=(7, 3), run_time_ns=0, control_sequence=0)
    drafted = draft.frame(bytes(BODY_BYTES_MAX), input_position=(7, 3), run_time_ns=0, control_sequence=0)
    assert drafted.run_time_ns == 50
    assert isinstance(rule.take(offset=3, value=drafted.value), AcceptedFrame)


def test_an_unreadable_record_is_torn_once_its_owner_goes_on_behind_it_and_noise_once_anybody_else_does() -> None:
    rule = _started()
    lost = _frame(rule)
    follows = _frame(rule, sequence=rule.sequence + 2, previous_hash=record_hash(lost))
    rule.take(offset=10, value=lost[:-3])
    assert rule.torn_at is None  # nothing follows it: nobody was told of it
    rule.take(offset=11, value=follows)
    assert rule.torn_at == 10
    rule.take(offset=12, value=_claim(epoch=rule.epoch + 1, owner=BOB))
    assert rule.torn_at == 10
    head_before = rule.inherited
    rule.take(offset=13, value=_frame(rule, inherited=head_before))
    assert (rule.torn_at, rule.sequence) == (None, 2)


@pytest.mark.parametrize("begins_late", [False, True])
def test_a_rule_at_a_head_goes_on_as_one_that_has_read_everything(begins_late: bool) -> None:
    whole = _started()
    accepted = whole.take(offset=7, value=_frame(whole))
    assert isinstance(accepted, AcceptedFrame)
    if begins_late:
        whole.take(offset=8, value=b"noise")
    resumed = rule_at(ChainHead.of(accepted, input_topic_id=whole.input_topic_id))
    for offset, value in ((9, _frame(whole)), (10, _claim(epoch=whole.epoch + 1, owner=BOB))):
        assert resumed.take(offset=offset, value=value) == whole.take(offset=offset, value=value)
    frame = _frame(whole, inherited=whole.inherited)
    assert resumed.take(offset=11, value=frame) == whole.take(offset=11, value=frame)
    assert _state(resumed) == _state(whole)
