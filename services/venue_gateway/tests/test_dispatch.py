"""What a venue hears about an order: one row a case."""

import pytest

from ballast.types.v1 import ledger_pb2
from services.venue_gateway.domain.dispatch import (
    SILENCE_SECONDS,
    SKEW_NS,
    Action,
    OrderView,
    Progress,
    decide,
    decide_on_status,
    is_silent,
)

RESERVED = ledger_pb2.ORDER_STATE_RESERVED
RELEASED = ledger_pb2.ORDER_STATE_RELEASED
WORKING = ledger_pb2.ORDER_STATE_WORKING
CANCELLING = ledger_pb2.ORDER_STATE_CANCELLING
SEND_BY = 1_000


@pytest.mark.parametrize(
    ("state", "now", "progress", "action"),
    [
        (RESERVED, 0, Progress(), Action.NOTHING),
        (RELEASED, 0, Progress(), Action.SEND),
        (RELEASED, SEND_BY, Progress(), Action.SEND),
        (RELEASED, SEND_BY + 1, Progress(), Action.QUERY),
        (RELEASED, SEND_BY + 1, Progress(queried=True), Action.NOTHING),
        (RELEASED, SEND_BY + 1, Progress(sent=True), Action.NOTHING),
        (RELEASED, SEND_BY + 1, Progress(known=True), Action.NOTHING),
        (RELEASED, 0, Progress(sent=True), Action.NOTHING),
        (WORKING, 0, Progress(), Action.NOTHING),
        (CANCELLING, 0, Progress(), Action.QUERY),
        (CANCELLING, 0, Progress(queried=True), Action.NOTHING),
        (CANCELLING, 0, Progress(sent=True), Action.CANCEL),
        (CANCELLING, 0, Progress(known=True), Action.CANCEL),
        (CANCELLING, 0, Progress(sent=True, cancel_sent=True), Action.NOTHING),
    ],
)
def test_an_order_goes_out_once_a_session_and_until_its_send_by_time(
    state: ledger_pb2.OrderState, now: int, progress: Progress, action: Action
) -> None:
    assert decide(OrderView(state, SEND_BY), progress, run_time_ns=now) is action


LATE = SEND_BY + SKEW_NS + 1


@pytest.mark.parametrize(
    ("state", "now", "progress", "known", "terminal", "action"),
    [
        (RELEASED, LATE, Progress(queried=True), False, False, Action.GIVE_UP),
        (CANCELLING, 0, Progress(queried=True), False, False, Action.GIVE_UP),
        (CANCELLING, 0, Progress(queried=True), True, False, Action.CANCEL),
        (CANCELLING, 0, Progress(queried=True), True, True, Action.NOTHING),
        (RELEASED, LATE, Progress(queried=True), True, False, Action.NOTHING),
        (RELEASED, 0, Progress(sent=True, queried=True), False, False, Action.SEND),
        (RELEASED, LATE, Progress(sent=True, queried=True), False, False, Action.NOTHING),
        (RELEASED, LATE, Progress(sent=True, unknown_answers=1), False, False, Action.GIVE_UP),
        (RELEASED, LATE - 1, Progress(sent=True, unknown_answers=1), False, False, Action.NOTHING),
        (CANCELLING, LATE, Progress(sent=True, cancel_sent=True, unknown_answers=1), False, False, Action.GIVE_UP),
        (CANCELLING, 0, Progress(sent=True, cancel_sent=True, unknown_answers=1), False, False, Action.NOTHING),
    ],
)
def test_an_order_is_given_up_only_when_it_cannot_arrive_any_more(
    state: ledger_pb2.OrderState, now: int, progress: Progress, known: bool, terminal: bool, action: Action
) -> None:
    found = decide_on_status(OrderView(state, SEND_BY), progress, known=known, terminal=terminal, run_time_ns=now)
    assert found is action
    assert not progress.queried


@pytest.mark.parametrize(
    ("state", "progress", "silent"),
    [
        (RELEASED, Progress(sent=True), True),
        (RELEASED, Progress(sent=True, known=True), False),
        (RELEASED, Progress(sent=True, queried=True), False),
        (RELEASED, Progress(), False),
        (WORKING, Progress(sent=True), False),
        (CANCELLING, Progress(sent=True), False),
        (CANCELLING, Progress(sent=True, cancel_sent=True), True),
    ],
)
def test_a_silent_order_is_asked_for(state: ledger_pb2.OrderState, progress: Progress, silent: bool) -> None:
    view = OrderView(state, SEND_BY)
    assert is_silent(view, progress, now_s=SILENCE_SECONDS + 1) is silent
    assert not is_silent(view, progress, now_s=SILENCE_SECONDS)
