"""What a venue must hear about an order: sent, cancelled, asked for, or given up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ballast.types.v1 import ledger_pb2
from libs.common.units import SECOND_NS

SKEW_NS = 60 * SECOND_NS  # how far the run clocks of house and venue may lie apart
UNKNOWN_ANSWERS = 2  # after which an order sent in this session is given up, once its send-by time is past
SILENCE_SECONDS = 5.0  # wall time after which an order without any report is asked for


class Action(Enum):
    """What to do next."""

    NOTHING = "nothing"
    SEND = "send"
    CANCEL = "cancel"
    QUERY = "query"
    GIVE_UP = "give up"  # the venue has not got it and cannot get it any more


@dataclass(slots=True)
class Progress:
    """What this session has said and heard about an order.

    Args:
        sent_at_s: wall time at which it went out last, in seconds.
        known: the venue has said that it has it.
        queried: a query is unanswered.
        unknown_answers: answers in a row that the venue has not got it.
    """

    sent: bool = False
    sent_at_s: float = 0.0
    cancel_sent: bool = False
    known: bool = False
    queried: bool = False
    unknown_answers: int = 0


@dataclass(frozen=True, slots=True)
class OrderView:
    """What the journal says about an order."""

    state: ledger_pb2.OrderState
    send_by_ns: int


def decide(order: OrderView, progress: Progress, *, run_time_ns: int) -> Action:
    """What to do with an order as the journal has it now.

    A released order goes out until its send-by time, in each session again: the same id is the same order. Afterwards,
    and for a cancel of what this session has not sent, the venue is asked first.
    """
    if order.state == ledger_pb2.ORDER_STATE_RELEASED:
        if progress.sent or progress.known:
            return Action.NOTHING
        if run_time_ns <= order.send_by_ns:
            return Action.SEND
        return Action.NOTHING if progress.queried else Action.QUERY
    if order.state == ledger_pb2.ORDER_STATE_CANCELLING and not progress.cancel_sent:
        if progress.sent or progress.known:
            return Action.CANCEL
        return Action.NOTHING if progress.queried else Action.QUERY
    return Action.NOTHING


def decide_on_status(order: OrderView, progress: Progress, *, known: bool, terminal: bool, run_time_ns: int) -> Action:
    """What to do after the venue answered a query; updates `progress`.

    An order this session has not sent is given up at once: the venue refuses older sessions, so nothing of them can
    arrive any more. One that it has sent is given up only after its send-by time plus skew and a second answer.
    """
    progress.queried = False
    if known:
        progress.known, progress.unknown_answers = True, 0
        if terminal:
            return Action.NOTHING  # its reports are on their way
        return decide(order, progress, run_time_ns=run_time_ns)
    progress.known = False
    if not progress.sent:
        return Action.GIVE_UP
    progress.unknown_answers += 1
    if run_time_ns <= order.send_by_ns and order.state == ledger_pb2.ORDER_STATE_RELEASED:
        return Action.SEND
    if progress.unknown_answers >= UNKNOWN_ANSWERS and run_time_ns > order.send_by_ns + SKEW_NS:
        return Action.GIVE_UP
    return Action.NOTHING  # asked again when it has been silent for long enough


def is_silent(order: OrderView, progress: Progress, *, now_s: float) -> bool:
    """True when an order went out, nothing was reported of it for a while, and the venue should be asked."""
    if progress.queried or progress.known or not progress.sent:
        return False
    silent = order.state == ledger_pb2.ORDER_STATE_RELEASED or (
        order.state == ledger_pb2.ORDER_STATE_CANCELLING and progress.cancel_sent
    )
    return silent and now_s - progress.sent_at_s > SILENCE_SECONDS
