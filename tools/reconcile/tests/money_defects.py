"""Defects of client money planted in an honest run."""

from __future__ import annotations

from collections.abc import Callable

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import custody_pb2 as custody
from tools.reconcile.tests.story import COIN, USD, Story, honest


def _outcomes(story: Story, command: str) -> list[journal_pb2.Outcome]:
    frames = [frame for frame in story.frames if frame.partition == 0]
    return [one for frame in frames for one in frame.body.outcomes if one.command == command]


def _without(outcome: journal_pb2.Outcome, kind: str) -> None:
    kept = [effect for effect in outcome.effects if not effect.HasField(kind)]
    del outcome.effects[:]
    outcome.effects.extend(kept)


def place_is_forgotten() -> Story:
    story = honest()
    fill = next(one for one in _outcomes(story, "order_report") if any(e.HasField("placement") for e in one.effects))
    _without(fill, "placement")
    return story


def client_has_less_than_nothing_at_a_venue() -> Story:
    story = honest()
    account = _outcomes(story, "open_account")[0].subject
    for venue, units in ((1, -5), (2, 5)):
        placement = _outcomes(story, "set_index")[-1].effects.add().placement
        placement.account, placement.asset, placement.venue, placement.units = account, USD, venue, units
    return story


def client_cash_is_swept_without_consent() -> Story:
    story = honest()
    _outcomes(story, "supply")[0].command = "sweep_lendable"
    return story


def client_cash_is_swept_beyond_its_cap() -> Story:
    story = honest()
    swept = _outcomes(story, "supply")[0]
    swept.command = "sweep_lendable"
    terms = swept.effects.add().custody_terms
    terms.account, terms.asset, terms.mode, terms.cap_units = swept.subject, USD, custody.CUSTODY_MODE_LENDABLE, 1
    terms.document_hash, terms.consented_at_ns, terms.lent_shares = b"d" * 32, story.now_ns, 2
    return story


def _paid_out(story: Story) -> journal_pb2.Outcome:
    return next(one for one in _outcomes(story, "verdict") if any(e.HasField("reservation") for e in one.effects))


def more_leaves_than_the_limit_of_an_hour() -> Story:
    story = honest()
    for effect in _paid_out(story).effects:
        if effect.HasField("reservation"):
            effect.reservation.units = 51 * COIN  # fifty may leave the house
    return story


def withdrawal_leaves_by_a_closed_gate() -> Story:
    story = honest()
    gate = _outcomes(story, "withdraw")[0].effects.add().gate
    gate.closed, gate.cause = True, custody.GATE_CAUSE_OPERATOR
    return story


def gate_stays_open_below_zero() -> Story:
    story = honest()
    for frame in story.frames:
        for outcome in frame.body.outcomes:
            _without(outcome, "gate")
    return story


MONEY_DEFECTS: list[tuple[str, Callable[[], Story]]] = [
    ("I20", place_is_forgotten),
    ("I20", client_has_less_than_nothing_at_a_venue),
    ("I21", client_cash_is_swept_without_consent),
    ("I21", client_cash_is_swept_beyond_its_cap),
    ("I22", more_leaves_than_the_limit_of_an_hour),
    ("I22", withdrawal_leaves_by_a_closed_gate),
    ("I22", gate_stays_open_below_zero),
]
