"""The process manager over a world in memory: from an opening to the end, and what must not happen on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import InstrumentId
from libs.common.validity import ValidityClass
from services.liquidation_execution.app.live import IN_FLIGHT_SECONDS
from services.liquidation_execution.app.ports import CloseIt, Step
from services.liquidation_execution.app.process import BACKLOG_MAX, PLANS_AT_ONCE, Process
from services.liquidation_execution.domain.episodes import Outcome
from services.liquidation_execution.tests.kernel import BTC, BTC_PERP, COIN, DOLLAR, MARKS, USD, Account
from services.liquidation_execution.tests.test_planner import HEDGED, INSOLVENT, LONG_BTC, RESIDUE
from services.liquidation_execution.tests.world import START_NS, World, lots_of

SMALL = Account({USD: 200 * DOLLAR}).open(BTC_PERP, 75)


async def until(process: Process, holds: Callable[[], bool]) -> None:
    """Lets the process look until the condition holds; 20 seconds at most."""
    stopping = asyncio.Event()
    running = asyncio.create_task(process.run(stopping))
    try:
        async with asyncio.timeout(20):
            while not holds() and not running.done():
                process.wake()
                await asyncio.sleep(0.001)
    finally:
        stopping.set()
        process.wake()
        await running


async def settle(process: Process) -> None:
    """Lets the process do all it can do now."""
    with_turns = iter(range(20))
    await until(process, lambda: next(with_turns, None) is None)


async def work_off(world: World, *, part: int = 1, rounds: int = 60) -> list[str]:
    """Names of all decisions until no episode is open."""
    process, done = world.process(), 0
    for _ in range(rounds):
        world.margin()
        await settle(process)
        while done < len(world.decisions):
            done += 1
            world.accept(done)
        world.fill(part=part)
        world.clock.now += 0.1
        world.marks()
        if not list(world.live.episodes()):
            break
    return [type(one.what).__name__ for one in world.decisions]


async def test_an_account_is_reduced_until_it_is_healthy() -> None:
    world = World()
    number = world.open_account(LONG_BTC.copy())
    assert await work_off(world) == ["Step", "CloseIt"]
    assert world.decisions[-1].what == CloseIt(Outcome.HEALTHY)
    now = world.accounts[number].margin()
    assert now.equity >= now.initial
    assert 0 < world.accounts[number].lots[BTC_PERP] < 7_500
    assert [one.what for one in world.plans] == [one.what for one in world.decisions]


async def test_no_step_cites_an_answer_that_stands_on_a_mark_which_forbids_it() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    world.margin()  # on a mark that is usable; the answer stands on the next one
    world.answer_validity = ValidityClass.HOLD
    await settle(world.process())
    assert not world.decisions
    assert world.meter.waiting == {"MARK_NOT_USABLE": 1}
    world.answer_validity = ValidityClass.DEGRADED
    world.margin()
    await settle(world.process())
    assert [type(one.what) for one in world.decisions] == [Step]


async def test_steps_go_on_while_depth_is_thin() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    names = await work_off(world, part=3)
    assert names[-1] == "CloseIt"
    steps = [one.what.step for one in world.decisions if isinstance(one.what, Step)]
    assert len(steps) > 3
    assert steps == list(range(1, len(steps) + 1))


async def test_a_bankrupt_account_is_sold_resolved_and_closed_empty() -> None:
    world = World()
    number = world.open_account(INSOLVENT.copy())
    assert await work_off(world) == ["Step", "ResolveIt", "CloseIt"]
    assert world.decisions[-1].what == CloseIt(Outcome.EMPTIED)
    assert not world.live.books[1].lines_of(number)


async def test_a_debt_below_a_lot_is_bought_back_before_the_waterfall() -> None:
    world = World()
    world.open_account(RESIDUE.copy())
    assert (await work_off(world))[:1] == ["Step"]
    step = world.decisions[0].what
    assert isinstance(step, Step)
    assert [(order.direction, order.lots) for order in step.orders] == [(1, 1)]


async def test_a_hedge_is_brought_home_whole() -> None:
    world = World()
    number = world.open_account(HEDGED.copy())
    await work_off(world)
    one = world.accounts[number]
    assert abs(one.cash[BTC] - -one.lots[BTC_PERP] * COIN // 1_000) <= 2 * COIN // 1_000


async def test_nothing_is_decided_on_marks_that_may_not_be_acted_on() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    process = world.process()
    world.margin(validity=ValidityClass.HOLD)
    await settle(process)
    assert world.meter.waiting == {"MARK_NOT_USABLE": 1}
    world.marks(ValidityClass.STALE)  # risk has not seen it yet
    world.margin()
    await settle(process)
    assert world.meter.waiting == {"NO_DEPTH": 1}
    world.marks()
    world.clock.now += 1.1  # no heartbeat
    world.margin()
    await settle(process)
    assert world.meter.waiting == {"MARK_NOT_USABLE": 1}
    assert not world.decisions
    world.marks()
    world.margin()
    await until(process, lambda: bool(world.decisions))


async def test_a_step_waits_for_a_margin_after_the_last_fill() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    process = world.process()
    await settle(process)
    assert world.meter.waiting == {"MARGIN_BEHIND": 1}
    world.margin()
    await until(process, lambda: bool(world.decisions))
    world.accept(1)
    await settle(process)
    assert world.meter.waiting == {"ORDERS_ALIVE": 1}
    world.fill(part=3)
    await settle(process)
    assert world.meter.waiting == {"MARGIN_BEHIND": 1}
    assert len(world.decisions) == 1


async def test_a_step_in_flight_is_not_repeated_for_two_seconds() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    process = world.process()
    world.margin()
    await until(process, lambda: bool(world.decisions))
    world.clock.now += IN_FLIGHT_SECONDS - 0.01
    world.marks()
    world.margin()
    await settle(process)
    assert len(world.decisions) == 1
    world.clock.now += 0.02
    world.marks()
    world.margin()
    await until(process, lambda: len(world.decisions) == 2)
    assert world.decisions[0].what == world.decisions[1].what  # the ledger takes one and refuses the other


async def test_a_restart_goes_on_from_the_journal_alone() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    world.margin()
    await until(world.process(), lambda: bool(world.decisions))
    world.accept(1)
    world.restarted()
    world.margin()
    await settle(world.process())
    assert len(world.decisions) == 1
    assert world.meter.waiting == {"ORDERS_ALIVE": 1}
    world.fill(part=2)
    world.restarted()
    world.margin()
    await until(world.process(), lambda: len(world.decisions) == 2)
    again = world.decisions[1].what
    assert isinstance(again, Step)
    assert again.step == 2


async def test_a_refused_step_is_planned_again_after_a_pause() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    process = world.process()
    world.margin()
    await until(process, lambda: bool(world.decisions))
    world.refuse(1, ledger_pb2.REFUSAL_NOT_REDUCING)
    await settle(process)
    assert len(world.decisions) == 1
    world.clock.now += 0.06
    world.marks()
    await until(process, lambda: len(world.decisions) == 2)
    assert world.meter.refusals == ["REFUSAL_NOT_REDUCING"]


async def test_risk_that_is_away_is_asked_again() -> None:
    world = World()
    world.open_account(LONG_BTC.copy())
    process, world.risk_is_up = world.process(), False
    world.margin()
    await settle(process)
    assert world.meter.waiting == {"RISK_BEHIND": 1}
    world.risk_is_up = True
    world.clock.now += 0.06
    world.marks()
    await until(process, lambda: len(world.decisions) == 1)


async def test_all_episodes_share_one_participation_worst_first() -> None:
    world = World()
    world.show(lots=30)
    numbers = [world.open_account(SMALL.copy()) for _ in range(60)]
    worst = world.accounts[numbers[-1]]
    worst.cash[USD] -= 50 * DOLLAR
    world.margin()
    process = world.process()
    await settle(process)
    taken = Counter[int]()
    for one in world.decisions:
        assert isinstance(one.what, Step)
        for order in one.what.orders:
            taken[order.venue] += order.lots
    # 20 levels of 30 lots at each venue, half of them ours: taken to the last lot.
    assert all(lots <= 300 for lots in taken.values())
    assert sum(taken.values()) == 600
    assert world.decisions[0].account == numbers[-1]
    assert world.meter.waiting.get("NO_DEPTH", 0) > 10
    for number in range(1, len(world.decisions) + 1):
        world.accept(number)
    await settle(process)
    before = len(world.decisions)
    world.fill()
    world.show(lots=30, run_time_ns=START_NS + 1)
    world.margin()
    process.depth_changed()
    await until(process, lambda: len(world.decisions) > before)


async def test_orders_that_are_being_cancelled_are_left_out_of_the_plan() -> None:
    world = World()
    number = world.open_account(LONG_BTC.copy())
    for serial, state in ((90, ledger_pb2.ORDER_STATE_CANCELLING), (91, ledger_pb2.ORDER_STATE_WORKING)):
        world.frame(journal_pb2.Effect(order=journal_pb2.Order(order=serial, account=number, state=state)))
        world.margin()
        await until(world.process(), lambda: bool(world.without_orders))
        assert world.without_orders.pop(0) is (state == ledger_pb2.ORDER_STATE_CANCELLING)
        world.without_orders.clear()
        world.restarted()


async def test_fills_newer_than_the_book_count_against_it() -> None:
    world = World()
    world.show(run_time_ns=START_NS - 1)
    world.open_account(LONG_BTC.copy())
    world.margin()
    await until(world.process(), lambda: bool(world.decisions))
    world.accept(1)
    step = world.decisions[0].what
    assert isinstance(step, Step)
    world.fill()
    venues = world.live.catalogue.venues_of[BTC_PERP]

    def claimed() -> int:
        mark = MARKS[InstrumentId(BTC_PERP)]
        shown = world.live.depth.shown(InstrumentId(BTC_PERP), -1, venues, mark=mark, marks=world.live.marks)
        return sum(one.claimed for one in shown)

    assert claimed() == lots_of(step.orders)
    world.show(run_time_ns=START_NS)
    assert claimed() == 0


async def test_no_more_is_decided_than_the_broker_takes() -> None:
    world = World()
    world.backlog = BACKLOG_MAX
    world.open_account(LONG_BTC.copy())
    world.margin()
    await settle(world.process())
    assert not world.decisions


async def test_hundreds_of_episodes_are_worked_off() -> None:
    world = World()
    world.show(lots=200_000)
    for number in range(300):
        world.open_account(Account({USD: (200 - number % 7) * DOLLAR}).open(BTC_PERP, 75))
    assert len(world.accounts) > PLANS_AT_ONCE
    await work_off(world)
    assert not list(world.live.episodes())
