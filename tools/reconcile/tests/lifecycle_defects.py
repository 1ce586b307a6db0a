"""Defects of closings and deleveragings planted in an honest run."""

from __future__ import annotations

from collections.abc import Callable

from ballast.events.v1 import journal_pb2, lifecycle_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from tools.reconcile.tests.story import PERP, Story, honest


def _last_tick(story: Story) -> journal_pb2.Outcome:
    frames = [frame for frame in story.frames if frame.partition == 0]
    return [one for frame in frames for one in frame.body.outcomes if one.command == "set_index"][-1]


def _account(story: Story) -> int:
    return next(iter(story.books[0].accounts))


def lots_are_given_that_nobody_gave_up() -> Story:
    story = honest()
    closed = lifecycle_pb2.PositionClosed(
        account=_account(story), instrument=PERP, lots=-3, price=705_000, cause=kinds.CLOSING_CAUSE_DELEVERAGED
    )
    _last_tick(story).effects.add().position_closed.CopyFrom(closed)
    return story


def closes_at_a_price_that_was_never_published() -> Story:
    story = honest()
    body = market_pb2.MarksBody.FromString(story.marks[-1].body.SerializeToString())
    body.settlement_average.add(instrument=PERP, price=705_000, is_final=True)
    story.marks[-1].body.CopyFrom(body)
    listing = lifecycle_pb2.Listing(instrument=PERP, price=705_001, mark_sequence=len(story.marks))
    _last_tick(story).effects.add().listing.CopyFrom(listing)
    return story


def position_is_settled_at_another_price() -> Story:
    story = honest()
    closed = lifecycle_pb2.PositionClosed(
        account=_account(story), instrument=PERP, lots=1, price=705_002, cause=kinds.CLOSING_CAUSE_SETTLED
    )
    _last_tick(story).effects.add().position_closed.CopyFrom(closed)
    return story


LIFECYCLE_DEFECTS: list[tuple[str, Callable[[], Story]]] = [
    ("I11", lots_are_given_that_nobody_gave_up),
    ("I16", closes_at_a_price_that_was_never_published),
    ("I16", position_is_settled_at_another_price),
]
