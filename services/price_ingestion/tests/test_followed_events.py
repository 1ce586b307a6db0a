"""What the replay clock hears: each state of an order, reservation, episode and account in its own words."""

from __future__ import annotations

import pytest

from ballast.events.v1 import journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from services.price_ingestion.adapters.followed_events import journal_events, margin_event
from services.price_ingestion.domain.pacing_words import (
    EpisodeClosed,
    EpisodeOpened,
    Event,
    OrderEnded,
    OrderReleased,
    OrderReserved,
    ReservationPending,
    ReservationResolved,
    RiskPublished,
)


def heard(**effect: object) -> list[Event]:
    body = journal_pb2.JournalBody()
    body.outcomes.add().effects.append(journal_pb2.Effect(**effect))  # type: ignore[arg-type]
    return list(journal_events(body))


@pytest.mark.parametrize(
    ("state", "episode", "event"),
    [
        ("RESERVED", 0, OrderReserved(5)),
        ("RELEASED", 0, OrderReleased(5, 7, is_episode=False)),
        ("RELEASED", 3, OrderReleased(5, 7, is_episode=True)),
        ("WORKING", 3, OrderReleased(5, 7, is_episode=True, is_known=True)),
        ("CANCELLING", 3, OrderReleased(5, 7, is_episode=True, is_known=True)),
        ("FILLED", 3, OrderEnded(5)),
        ("CANCELLED", 3, OrderEnded(5)),
        ("REJECTED", 3, OrderEnded(5)),
        ("VOIDED", 0, OrderEnded(5)),
    ],
)
def test_order(state: str, episode: int, event: Event) -> None:
    order = journal_pb2.Order(order=5, account=7, state=f"ORDER_STATE_{state}", episode=episode)
    assert heard(order=order) == [event]


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (ledger_pb2.RESERVATION_STATE_PENDING, ReservationPending(4)),
        (ledger_pb2.RESERVATION_STATE_SETTLED, ReservationResolved(4)),
        (ledger_pb2.RESERVATION_STATE_VOIDED, ReservationResolved(4)),
    ],
)
def test_reservation(state: ledger_pb2.ReservationState, event: Event) -> None:
    assert heard(reservation=journal_pb2.Reservation(reservation=4, state=state)) == [event]


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (ledger_pb2.EPISODE_STATE_OPEN, EpisodeOpened(9)),
        (ledger_pb2.EPISODE_STATE_HEALTHY, EpisodeClosed(9)),
        (ledger_pb2.EPISODE_STATE_EMPTIED, EpisodeClosed(9)),
    ],
)
def test_episode(state: ledger_pb2.EpisodeState, event: Event) -> None:
    assert heard(episode=journal_pb2.Episode(episode=1, account=9, state=state)) == [event]


def test_what_does_not_concern_the_clock_is_passed_over() -> None:
    assert heard(posting=journal_pb2.Posting(account=1)) == []


@pytest.mark.parametrize(
    ("full", "states", "validity", "counts", "expected"),
    [  # account ids are 1, 2, ... in the order of their states: 1 healthy, 2 call, 3 liquidation, 4 bankrupt
        (False, [1, 3, 4], [1, 1, 2], [0, 1, 0, 1, 1], RiskPublished(2, 8, frozenset({2, 3}), frozenset({1}))),
        (True, [2], [1], [], RiskPublished(2, 8, frozenset(), frozenset({1}), is_full=True)),
        (False, [3], [3], [0, 0, 0, 1], RiskPublished(2, 8, frozenset(), frozenset({1}))),  # HOLD: no episode is due
        (False, [3], [0], [0, 0, 0, 1], RiskPublished(2, 8, frozenset(), frozenset({1}))),
        (False, [], [], [0, 5, 1], RiskPublished(2, 8, is_full=True)),
        (False, [], [], [], RiskPublished(2, 8)),
        (False, [], [], [0, 5, 1, 1], RiskPublished(2, 8)),
    ],
)
def test_margin_frame(
    full: bool, states: list[int], validity: list[int], counts: list[int], expected: RiskPublished
) -> None:
    frame = risk_pb2.MarginFrame(
        partition=2,
        mark_sequence=8,
        full=full,
        account=range(1, len(states) + 1),
        state=bytes(states),
        validity=bytes(validity),
        accounts_by_state=counts,
    )
    assert margin_event(frame) == expected
