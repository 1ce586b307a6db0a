"""Endings: the home decides on the published price, the others repeat it, batches follow one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.config import load_parameters
from libs.common.units import SECOND_NS, UnixNs
from services.interest_accrual.app.endings import RESEND_SECONDS, Endings
from services.interest_accrual.app.view import View

COMMITTED = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters
PERP = 11
HOME = PERP % COMMITTED.partitions
ENDS = UnixNs(COMMITTED.genesis_ns + 3_600 * SECOND_NS)
ENDING = replace(next(one for one in COMMITTED.instruments if one.id == PERP), delisted_ns=ENDS)
PARAMETERS = replace(COMMITTED, instruments=tuple(ENDING if one.id == PERP else one for one in COMMITTED.instruments))


class World:
    """A view and what the process manager makes of it."""

    def __init__(self) -> None:
        self.view = View(PARAMETERS)
        self.endings = Endings(self.view)
        self._sequences = [0] * PARAMETERS.partitions

    def publish(self, price: int, *, is_final: bool = True) -> None:
        average = market_pb2.SettlementAverage(instrument=PERP, price=price, is_final=is_final)
        body = market_pb2.MarksBody(settlement_average=[average])
        self.view.fold_marks(sequence=self.view.mark_sequence + 1, run_time_ns=ENDS, body=body)

    def journal(self, partition: int, *effects: journal_pb2.Effect) -> None:
        self._sequences[partition] += 1
        body = journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=effects)])
        self.view.fold_journal(partition, sequence=self._sequences[partition], body=body)

    def due(self, now_s: float = 0.0) -> list[tuple[int, int, int]]:
        return sorted(map(_said, self.endings.due(ENDING, now_s=now_s)))


def _said(one: tuple[int, commands_pb2.Command]) -> tuple[int, int, int]:
    return one[0], one[1].close_instrument.price, one[1].close_instrument.home_sequence


def listing(price: int) -> journal_pb2.Effect:
    """A closing that has begun."""
    return journal_pb2.Effect(listing=lifecycle_pb2.Listing(instrument=PERP, price=price, mark_sequence=7))


def sweep(
    batches: int, *, is_over: bool = False, kind: kinds.SweepKind = kinds.SWEEP_KIND_CLOSING
) -> journal_pb2.Effect:
    """How far it is."""
    return journal_pb2.Effect(
        sweep=lifecycle_pb2.Sweep(kind=kind, subject=PERP, tick=3, price=5, batches=batches, is_over=is_over)
    )


def others(price: int, sequence: int) -> list[tuple[int, int, int]]:
    """What the other partitions get."""
    return [(number, price, sequence) for number in range(PARAMETERS.partitions) if number != HOME]


def test_nothing_is_closed_before_a_price_is_final() -> None:
    world = World()
    world.publish(1_500_000, is_final=False)
    assert world.due() == []


def test_the_home_decides_first_and_the_others_repeat_what_it_journalled() -> None:
    world = World()
    world.publish(1_500_000)
    world.publish(1_700_000)  # the first final price holds
    assert world.due() == [(HOME, 1_500_000, 0)]
    assert world.due() == []
    world.journal(HOME, listing(1_500_000))
    assert world.due() == others(1_500_000, 1)
    for number, _, _ in others(0, 0):
        world.journal(number, listing(1_500_000))
    assert world.due(now_s=99) == []


def test_a_restart_relays_what_the_journal_has_without_a_price_on_the_marks() -> None:
    world = World()
    world.journal(HOME, listing(1_500_000))
    assert world.due() == others(1_500_000, 1)


def test_batches_follow_one_another_and_what_got_lost_is_sent_again() -> None:
    world = World()
    world.publish(1_500_000)
    world.due()
    world.journal(HOME, listing(1_500_000), sweep(1))
    assert (HOME, 1_500_000, 0) in world.due()
    assert world.due() == []
    assert (HOME, 1_500_000, 0) in world.due(now_s=RESEND_SECONDS)
    world.journal(HOME, sweep(2))
    assert (HOME, 1_500_000, 0) in world.due(now_s=RESEND_SECONDS)
    world.journal(HOME, sweep(3, is_over=True))
    assert (HOME, 1_500_000, 0) not in world.due(now_s=99)


def test_a_settlement_that_is_under_way_is_carried_on_at_its_price() -> None:
    world = World()
    world.journal(2, sweep(1, kind=kinds.SWEEP_KIND_SETTLEMENT))
    (sent,) = _settled(world.endings.due(ENDING, now_s=0))
    assert (sent.tick, sent.price) == (3, 5)
    assert _settled(world.endings.due(ENDING, now_s=1)) == []
    world.journal(2, sweep(2, is_over=True, kind=kinds.SWEEP_KIND_SETTLEMENT))
    assert _settled(world.endings.due(ENDING, now_s=99)) == []


def _settled(found: Iterable[tuple[int, commands_pb2.Command]]) -> list[commands_pb2.SettleVariation]:
    return [one.settle_variation for _, one in found if one.HasField("settle_variation")]
