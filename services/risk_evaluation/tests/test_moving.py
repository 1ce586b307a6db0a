"""An entity that moves is margined where it was until it is known to have arrived, and liquidated where it arrives."""

from __future__ import annotations

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2
from services.risk_evaluation.app.fold import PartitionFold
from services.risk_evaluation.tests.hand import SESSION, Desk, Effect, attributes, posting
from services.risk_evaluation.tests.world import BTC_PERP, USD, account

CASH, LOTS = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS
VARIATION = ledger_pb2.LINE_KIND_VARIATION
HELD = ((USD, CASH, 300_000_000), (BTC_PERP, LOTS, 10), (BTC_PERP, VARIATION, -600_000_000_000))


def held() -> list[Effect]:
    """An account with a position and little money."""
    return [attributes(account()), *(posting(account(), key, kind, units) for key, kind, units in HELD)]


def leaves() -> list[Effect]:
    """Everything it has leaves for partition 1."""
    gone = journal_pb2.Account(account=account(), entity=account(), restricted=True, moving_to=2, moved_out=True)
    lines = [movement_pb2.MovedLine(account=account(), asset=key, kind=kind, units=units) for key, kind, units in HELD]
    out = movement_pb2.Movement(
        to_partition=1, sequence=1, kind=ledger_pb2.MOVEMENT_KIND_ENTITY, account=account(), lines=lines
    )
    return [Effect(account=gone), *(posting(account(), key, kind, 0) for key, kind, _ in HELD), Effect(movement=out)]


def arrives() -> Effect:
    """The other partition has it."""
    return Effect(movement=movement_pb2.Movement(to_partition=1, sequence=1, arrived=True))


async def test_it_is_margined_until_it_is_known_to_have_arrived() -> None:
    desk = Desk()
    await desk.journal(*held())
    await desk.marks()
    before = desk.screen.frames[-1]
    await desk.journal(*leaves())
    await desk.marks()
    away = desk.screen.frames[-1]
    assert list(before.account) == list(away.account) == [account()]
    assert (list(away.equity), list(away.maintenance_margin)) == (
        list(before.equity), list(before.maintenance_margin),
    )  # fmt: skip
    await desk.journal(arrives())
    await desk.marks()
    there = desk.screen.frames[-1]
    assert (list(there.equity), list(there.maintenance_margin)) in (([], []), ([0], [0]))


async def test_underwater_on_its_way_no_episode_is_opened_here() -> None:
    desk = Desk()
    await desk.journal(*held())
    await desk.journal(*leaves())
    desk.screen.clear()
    await desk.marks(btc=30_000)
    assert desk.screen.frames[-1].equity[0] < 0
    assert desk.screen.commands == []


def test_the_fold_forgets_what_has_arrived() -> None:
    desk = Desk(live=False)
    fold = PartitionFold(partition=0, model=desk.model, session=SESSION)
    for effects in (held(), leaves()):
        fold.apply(desk.frame(*effects))
    folded = fold.apply(desk.frame(arrives()))
    assert folded.touched == frozenset({account()})
    assert list(fold.book.away()) == []
