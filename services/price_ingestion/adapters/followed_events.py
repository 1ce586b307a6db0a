"""What the replay clock hears of the journal and of risk, translated into its own words."""

from __future__ import annotations

from collections.abc import Iterator

from ballast.events.v1 import journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.validity import Action, ValidityClass, permits
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

_AT_THE_VENUE = frozenset(
    (ledger_pb2.ORDER_STATE_RELEASED, ledger_pb2.ORDER_STATE_WORKING, ledger_pb2.ORDER_STATE_CANCELLING)
)
_LIQUIDATABLE = frozenset((risk_pb2.MARGIN_STATE_LIQUIDATION, risk_pb2.MARGIN_STATE_BANKRUPT))


def journal_events(body: journal_pb2.JournalBody) -> Iterator[Event]:
    """What a frame of the journal means to the replay clock, in its order."""
    for outcome in body.outcomes:
        for effect in outcome.effects:
            which = effect.WhichOneof("effect")
            if which == "order":
                yield _order_event(effect.order)
            elif which == "reservation":
                is_pending = effect.reservation.state == ledger_pb2.RESERVATION_STATE_PENDING
                event = ReservationPending if is_pending else ReservationResolved
                yield event(effect.reservation.reservation)
            elif which == "episode":
                is_open = effect.episode.state == ledger_pb2.EPISODE_STATE_OPEN
                yield (EpisodeOpened if is_open else EpisodeClosed)(effect.episode.account)


def margin_event(frame: risk_pb2.MarginFrame) -> RiskPublished:
    """What a margin frame means to the replay clock: how far risk is, and whose episode is due."""
    liquidatable: set[int] = set()
    others: set[int] = set()
    for account, state, validity in zip(frame.account, frame.state, frame.validity, strict=True):
        is_due = state in _LIQUIDATABLE and _may_liquidate(validity)
        (liquidatable if is_due else others).add(account)
    nobody = not any(state in _LIQUIDATABLE and count for state, count in enumerate(frame.accounts_by_state))
    return RiskPublished(
        partition=frame.partition,
        mark_sequence=frame.mark_sequence,
        liquidatable=frozenset(liquidatable),
        others=frozenset(others),
        is_full=frame.full or (nobody and len(frame.accounts_by_state) > 0),
    )


def _order_event(order: journal_pb2.Order) -> Event:
    if order.state == ledger_pb2.ORDER_STATE_RESERVED:
        return OrderReserved(order.order)
    if order.state in _AT_THE_VENUE:
        is_known = order.state != ledger_pb2.ORDER_STATE_RELEASED
        return OrderReleased(order.order, order.account, is_episode=order.episode != 0, is_known=is_known)
    return OrderEnded(order.order)


def _may_liquidate(validity: int) -> bool:
    return validity in ValidityClass._value2member_map_ and permits(ValidityClass(validity), Action.LIQUIDATION)
